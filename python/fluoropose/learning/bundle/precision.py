"""In which numbers a network computes."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from fluoropose.learning.bundle.archive import quiet
from fluoropose.learning.bundle.rewritten import (
    convolve_in_blocks,
    normalise_by_groups,
    pack_weights,
    pool_along_channels,
)

__all__ = ["OnDevice", "Precision", "fastest_precision"]

_PRODUCTS = {"aten::_convolution", "aten::conv2d", "aten::linear"}

Precision = Literal["float32", "bfloat16"]


def fastest_precision() -> Precision:
    """Return what this processor computes convolutions fastest in; one that emulates bfloat16 is slower with it."""
    has = torch.cpu.get_capabilities()
    native = has.get("avx512_bf16") or has.get("amx_bf16")
    # oneDNN may have been told to keep off AVX-512 (ONEDNN_MAX_CPU_ISA); its bfloat16 is a hundred times slower then.
    used = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return "bfloat16" if native and used else "float32"


class OnDevice:
    """Calls a network on one device, with inputs and outputs there; numbers go in and come out as they are.

    Parameters
    ----------
    module
        TorchScript, in float32 and for inference, on the processor. Its weights become constants of the graph.
    device
        Where it runs.
    precision
        Of convolutions and products of matrices on a processor. In "bfloat16" the demo's landmark network takes 2.7 ms
        of the processor instead of 5.8 for a frame pair, and its landmarks move by 0.07 pixels of 128 (RMS). On other
        devices they are in float16, which is as fast there and has three more digits.
    size
        Side of the crops it takes, pixels.
    """

    def __init__(self, module: Any, device: torch.device, precision: Precision, size: int) -> None:
        self._device = device.type
        self._on_processor = self._device == "cpu"
        with quiet():
            # In this order oneDNN and cuDNN need not rearrange what goes from one convolution to the next.
            self._module = torch.jit.freeze(module.to(device).to(memory_format=torch.channels_last))
            if self._on_processor:
                rewrite(self._module.graph, precision, size)
            else:
                name_device(self._module.graph, device)
                reduce_weights(self._module.graph, torch.float16)  # once, not in every run
        self._reduced = torch.bfloat16 if self._on_processor else torch.float16
        self._enabled = not self._on_processor or precision == "bfloat16"

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Run the network."""
        # Off the processor the graph is recorded elsewhere: TorchScript must not compile anything meanwhile.
        with (
            torch.autocast(self._device, self._reduced, enabled=self._enabled, cache_enabled=self._on_processor),
            torch.jit.optimized_execution(self._on_processor),  # type: ignore[attr-defined]  # not listed
        ):
            output: Tensor = self._module(*inputs)
        return output


def rewrite(graph: Any, precision: Precision, size: int) -> None:
    """Bring a network for crops of so many pixels a side into the forms that the processor computes fastest."""
    if size % 4 == 0:
        convolve_in_blocks(graph)
    pool_along_channels(graph)
    if precision == "float32":
        normalise_by_groups(graph)
    elif torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pack_weights(graph, torch.bfloat16)


def name_device(graph: Any, device: torch.device) -> None:
    """Name a device in a TorchScript graph wherever the export named its own, the processor."""
    for one in _devices(graph):
        traced = torch.jit.trace(lambda one: one.to(device), torch.ones(1), check_trace=False)  # type: ignore[no-untyped-call]
        one.copyAttributes(_devices(traced.graph)[0])


def reduce_weights(graph: Any, dtype: torch.dtype) -> None:
    """Round the constants of convolutions and products of matrices to what autocast would make of them in every run."""
    for one in graph.findAllNodes("prim::Constant"):
        users = {use.user.kind() for use in one.output().uses()}
        if users and users <= _PRODUCTS and one.output().isCompleteTensor():
            one.t_("value", one.t("value").to(dtype))


def _devices(graph: Any) -> list[Any]:
    constants = graph.findAllNodes("prim::Constant")
    return [one for one in constants if one.output().type().kind() == "DeviceObjType"]
