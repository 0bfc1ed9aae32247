"""Functions of tensors as CUDA graphs: one launch instead of hundreds, and one wait at the end."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from fluoropose.errors import first_line

__all__ = ["Captured", "Function", "carried", "several"]

Function: TypeAlias = Callable[..., Tensor | tuple[Tensor, ...]]
_Shapes: TypeAlias = tuple[tuple[torch.Size, torch.dtype], ...]

_MOST = 16  # graphs that are kept; a trial's batches have fewer shapes
_WARM_UP = 3  # runs before a graph is recorded: in these cuDNN chooses its kernels, and libraries make their handles


def several(output: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return one output, or several, as several."""
    return output if isinstance(output, tuple) else (output,)


def carried(function: Function, device: torch.device, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Run a function on a device, with inputs and outputs on the processor."""
    return tuple(one.cpu() for one in several(function(*(one.to(device) for one in inputs))))


class Captured:
    """Runs a function of tensors on a CUDA device, with inputs and outputs on the processor.

    For every combination of shapes it is recorded once and then replayed: nothing is allocated, numbers go through
    pinned memory, and the processor waits once. So it must do the same work for all numbers, and never wait itself;
    one that cannot be recorded runs step by step there, with a warning.

    Parameters
    ----------
    function
        Takes tensors on the device and returns one or several.
    device
        A CUDA device.
    """

    def __init__(self, function: Function, device: torch.device) -> None:
        self._function, self._device = function, device
        self._recordings: dict[_Shapes, _Recording] = {}
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        self._stream.wait_stream(torch.cuda.current_stream(device))  # on which the function may still be made
        self._pool = torch.cuda.graph_pool_handle()  # shared: the outputs of one are copied before another runs
        self._records = True

    @torch.inference_mode()
    def __call__(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """Run the function."""
        shapes = tuple((one.shape, one.dtype) for one in inputs)
        with torch.cuda.device(self._device), torch.cuda.stream(self._stream):
            if self._records and shapes not in self._recordings:
                self._record(shapes, inputs)
            if self._records:
                return self._recordings[shapes].replay(inputs)
            return carried(self._function, self._device, *inputs)

    def _record(self, shapes: _Shapes, inputs: Sequence[Tensor]) -> None:
        while len(self._recordings) >= _MOST:
            del self._recordings[next(iter(self._recordings))]
        try:
            self._recordings[shapes] = _Recording(self._function, inputs, self._stream, self._pool)
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            said = f"no CUDA graph of the networks, which go on without one: {first_line(error)}"
            warnings.warn(said, stacklevel=3)
            self._records = False


class _Recording:
    """A function recorded for one combination of shapes, on the current stream."""

    def __init__(self, function: Function, inputs: Sequence[Tensor], stream: torch.cuda.Stream, pool: Any) -> None:
        self._stream, self._done = stream, torch.cuda.Event()  # type: ignore[no-untyped-call]
        self._sent = [torch.empty_like(one, pin_memory=True) for one in inputs]
        self._given = [torch.empty_like(one, device=stream.device) for one in inputs]
        self._send(inputs)
        self._graph = torch.cuda.CUDAGraph()
        before, torch.backends.cudnn.benchmark = torch.backends.cudnn.benchmark, True
        try:
            for _ in range(_WARM_UP):
                function(*self._given)
            # Other threads may go on using the device meanwhile.
            with torch.cuda.graph(self._graph, pool, stream, "thread_local"):
                self._made = several(function(*self._given))
        finally:
            torch.backends.cudnn.benchmark = before
        self._received = [torch.empty_like(one, device="cpu", pin_memory=True) for one in self._made]

    def replay(self, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Run it on other numbers."""
        self._send(inputs)
        self._graph.replay()
        for one, made in zip(self._received, self._made, strict=True):
            one.copy_(made, non_blocking=True)
        self._done.record(self._stream)
        self._done.synchronize()
        return tuple(one.clone() for one in self._received)  # as these are written again the next time

    def _send(self, inputs: Sequence[Tensor]) -> None:
        for one, sent, given in zip(inputs, self._sent, self._given, strict=True):
            sent.copy_(one)
            given.copy_(sent, non_blocking=True)
