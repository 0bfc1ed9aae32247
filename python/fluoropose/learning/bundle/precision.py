"""In which numbers a network computes on a processor."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from fluoropose.learning.bundle.archive import quiet

__all__ = ["OnProcessor", "Precision", "fastest_precision"]

Precision = Literal["float32", "bfloat16"]


def fastest_precision() -> Precision:
    """Return what this processor computes convolutions fastest in; one that emulates bfloat16 is slower with it."""
    has = torch.cpu.get_capabilities()
    return "bfloat16" if has.get("avx512_bf16") or has.get("amx_bf16") else "float32"


class OnProcessor:
    """Calls a network on the processor; numbers go in and come out as they are.

    Parameters
    ----------
    module
        TorchScript, in float32 and for inference. Its weights become constants of the graph.
    precision
        Of convolutions and products of matrices. In "bfloat16" the demo's landmark network takes 5.4 ms of the
        processor instead of 7.6 for a frame pair, and its landmarks move by 0.08 pixels of 128 (RMS).
    """

    def __init__(self, module: Any, precision: Precision) -> None:
        with quiet():
            self._module = torch.jit.freeze(module)
        self._bfloat16 = precision == "bfloat16"

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run the network."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self._bfloat16):
            output: Tensor = self._module(*inputs)
        return output
