"""A network on a GPU that goes on on the processor where the GPU fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fluoropose.errors import InputError

__all__ = ["Placed", "device_named"]


def device_named(name: str) -> torch.device:
    """Return a device that is there; InputError otherwise."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise InputError(f"device: expected cpu, cuda or cuda:N, found {name!r}") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"device: {name} is not there: found {torch.cuda.device_count()} CUDA devices")
    return device


class Placed:
    """Calls a network on its device, with inputs and outputs on the processor.

    Parameters
    ----------
    load
        Makes the network, on the processor.
    device
        Where it runs, until it fails there.
    name
        What it is called in messages.

    Attributes
    ----------
    problem
        Why it runs on the processor instead; "" where it does not.
    """

    def __init__(self, load: Callable[[], Any], device: torch.device, name: str) -> None:
        self._load, self._device, self._name = load, device, name
        self.problem = ""
        try:
            self._module = load().to(device)
        except RuntimeError as error:
            self._fall(error)

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run the network."""
        if not self.problem:
            try:
                brought_back: Tensor = self._module(*(one.to(self._device) for one in inputs)).cpu()
                return brought_back
            except RuntimeError as error:  # out of memory, lost, or anything else that CUDA says
                self._fall(error)
        on_processor: Tensor = self._module(*inputs)
        return on_processor

    def _fall(self, error: RuntimeError) -> None:
        """Go over to the processor, for good: a device that is lost stays so, and one that is full fills up again."""
        first = str(error).strip().splitlines() or [type(error).__name__]
        self.problem = f"{self._name}: {self._device} failed, the processor goes on: {first[0]}"
        self._module = self._load()  # its weights cannot be taken back from a device that is lost
