"""A function of tensors on a GPU that goes on on the processor where the GPU fails."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fluoropose.errors import InputError, first_line
from fluoropose.learning.bundle.captured import Captured, Function, carried, several

__all__ = ["PROCESSOR", "Placed", "device_named"]

PROCESSOR = torch.device("cpu")


def device_named(name: str) -> torch.device:
    """Return a device that is there; InputError otherwise."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device: expected cpu, cuda or cuda:N, found {name!r}") from error
    # Of large numbers the last eight bits are kept, with their sign.
    if device.type == "cuda" and not 0 <= (device.index or 0) < torch.cuda.device_count():
        raise InputError(f"device: {name} is not there: found {torch.cuda.device_count()} CUDA devices")
    return device


class Placed:
    """Calls a function of tensors on its device, with inputs and outputs on the processor.

    On a CUDA device it is recorded as a graph, see ``Captured``.

    Parameters
    ----------
    make
        Makes the function on a device, when it is first called there. It takes tensors and returns one or several.
    device
        Where it runs, until it fails there.
    name
        What it is called in messages.

    Attributes
    ----------
    problem
        Why it runs on the processor instead; "" where it does not.
    """

    def __init__(self, make: Callable[[torch.device], Function], device: torch.device, name: str) -> None:
        self.make, self.device, self.problem = make, device, ""
        self._name = name
        self._function: Function | None = None

    def __call__(self, *inputs: Tensor, **told: Any) -> tuple[Tensor, ...]:
        """Run the function; what is ``told`` by name reaches it on the processor only, where it runs step by step."""
        if self.device.type != "cpu" and not self.problem:
            try:
                if self._function is None:
                    self._function = _carrying(self.make(self.device), self.device)
                return several(self._function(*inputs))
            except RuntimeError as error:  # out of memory, lost, or anything else that CUDA says
                self._fall(error)
        if self._function is None:
            self._function = self.make(PROCESSOR)
        return several(self._function(*inputs, **told))

    def _fall(self, error: RuntimeError) -> None:
        """Go over to the processor, for good: a device that is lost stays so, and one that is full fills up again."""
        self.problem = f"{self._name}: {self.device} failed, the processor goes on: {first_line(error)}"
        self._function = None  # weights cannot be taken back from a device that is lost


def _carrying(function: Function, device: torch.device) -> Function:
    """Return a function of tensors on the processor that runs one on a device."""
    if device.type == "cuda":
        return Captured(function, device)
    return partial(carried, function, device)
