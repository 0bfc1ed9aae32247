"""Training steps as CUDA graphs: one launch instead of thousands, for networks whose layers are done sooner than asked.

What is captured must do the same work for all numbers and never wait for the device. What is drawn at random is drawn
outside and given to it, and what changes from step to step, such as the learning rate, is read from a tensor.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import lightning.pytorch as pl
import torch
from torch import Tensor

from fluoropose.errors import first_line

__all__ = ["Graphed", "Step", "beside", "fastest_step", "set_rate"]

Step: TypeAlias = Callable[..., Tensor]  # of tensors; with all that it does to weights, optimisers and buffers
First = TypeVar("First")
Second = TypeVar("Second")

_WARM_UP = 5  # steps before the capture: cuDNN chooses its kernels, and the optimisers make their memories


def fastest_step(module: pl.LightningModule, step: Step) -> Step:
    """Return a step of manual optimisation, as it is or, where one CUDA device trains alone, as a graph.

    The step must call ``step`` of each of the module's optimisers once, and its inputs have the same shapes every time.
    Not with float16, whose scaler looks at the gradients before it decides.
    """
    trainer = module.trainer
    if module.device.type != "cuda" or trainer.world_size > 1 or trainer.precision == "16-mixed":
        return step

    def replayed() -> None:
        """Count, as Lightning does where it is called: no checkpoint is written where no step was made."""
        progress = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress
        for _ in trainer.optimizers:
            progress.increment_ready()
            progress.increment_completed()

    return Graphed(step, replayed, module.device)


class Graphed:
    """A training step that runs as it is a few times, is then captured, and from then on replayed.

    One that cannot be captured goes on as it is, with a warning.

    Parameters
    ----------
    step
        Takes tensors on the device, of the same shapes every time, and returns one.
    replayed
        Called after every replay, in which no Python runs but this.
    device
        A CUDA device.
    """

    def __init__(self, step: Step, replayed: Callable[[], None], device: torch.device) -> None:
        self._step, self._replayed = step, replayed
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._left = _WARM_UP
        self._graph: torch.cuda.CUDAGraph | None = None
        self._given: list[Tensor] = []
        self._made = torch.empty(0)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Make one step; what it returns is no longer written to."""
        if self._left > 0:
            self._left -= 1
            return self._as_it_is(inputs)
        if self._graph is None:
            try:
                self._graph = self._captured(inputs)  # which does not run it
            except RuntimeError as error:
                said = f"no CUDA graph of the training step, which goes on without one: {first_line(error)}"
                warnings.warn(said, stacklevel=2)
                self._left = sys.maxsize
                return self._as_it_is(inputs)
        else:
            self._replayed()
            for given, one in zip(self._given, inputs, strict=True):
                given.copy_(one)
        self._graph.replay()
        return self._made.clone()

    def _as_it_is(self, inputs: tuple[Tensor, ...]) -> Tensor:
        current = torch.cuda.current_stream(self._stream.device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            made = self._step(*inputs)
        current.wait_stream(self._stream)
        return made

    def _captured(self, inputs: tuple[Tensor, ...]) -> torch.cuda.CUDAGraph:
        self._given = [one.clone() for one in inputs]
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=self._stream):
            self._made = self._step(*self._given)
        return graph


def beside(
    side: torch.cuda.Stream | None, first: Callable[[], First], second: Callable[[], Second]
) -> tuple[First, Second]:
    """Call both; given a side stream, the second's kernels run on it, beside the first's.

    So do those of their backward passes; after these the current stream must wait for the side stream once more.
    """
    if side is None:
        return first(), second()
    current = torch.cuda.current_stream(side.device)
    side.wait_stream(current)
    one = first()
    with torch.cuda.stream(side):
        other = second()
    current.wait_stream(side)
    return one, other


def set_rate(optimiser: Any, rate: float, place: Tensor) -> None:
    """Set the learning rate; on a CUDA device by way of ``place``, (), on that device, where graphs read it.

    An optimiser that was resumed takes on what its device needs, wherever its checkpoint was written.
    """
    place.fill_(rate)
    settings = {
        "lr": place if place.is_cuda else rate,
        "fused": place.device.type in ("cpu", "cuda"),
        "capturable": place.is_cuda,
    }
    for group in optimiser.param_groups:
        group.update(settings)
