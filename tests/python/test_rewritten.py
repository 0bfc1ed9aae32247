"""Networks rewritten for a processor say what they said before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fluoropose.learning.bundle.archive import quiet
from fluoropose.learning.bundle.precision import rewrite
from fluoropose.learning.bundle.rewritten import (
    convolve_in_blocks,
    normalise_by_groups,
    pack_weights,
    pool_along_channels,
)
from fluoropose.learning.landmark_net import LandmarkNet
from fluoropose.learning.segment_net import SegmentNet
from fluoropose.learning.translation.networks import Generator

SIZE = 64


def generator() -> nn.Module:
    torch.manual_seed(2)
    net = Generator(width=8, blocks=2)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.2 * torch.randn(parameter.shape))
    return net


def landmark_net() -> nn.Module:
    torch.manual_seed(3)
    return LandmarkNet(7, 2, SIZE, width=16)


def segment_net() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(SegmentNet(width=8), nn.Sigmoid())


def inputs(module: nn.Module, b: int = 2, size: int = SIZE) -> tuple[Tensor, ...]:
    crops = torch.rand(b, 1, size, size, generator=torch.Generator().manual_seed(b)) * 2 - 1
    return (crops, torch.arange(b) % 2) if isinstance(module, LandmarkNet) else (crops,)


def frozen(module: nn.Module, size: int = SIZE) -> Any:
    with torch.inference_mode(), quiet():
        return torch.jit.freeze(torch.jit.trace(module.eval(), inputs(module, size=size)))  # type: ignore[no-untyped-call]


def count(module: Any, kind: str) -> int:
    return len(module.graph.findAllNodes(kind))


def difference(plain: Any, changed: Any, module: nn.Module) -> float:
    """Return the largest one over batches of several sizes; TorchScript runs its first two otherwise than the rest."""
    largest = 0.0
    with torch.inference_mode(), quiet():
        for b in (2, 2, 2, 1, 6):
            given = inputs(module, b)
            largest = max(largest, float((changed(*given).float() - plain(*given).float()).abs().max()))
    return largest


@pytest.mark.parametrize(
    ("make", "change", "before", "after", "most"),
    [
        # Measured, with AVX-512 and with AVX2 alone: 0; 0; 7e-6 and 9e-6.
        (generator, convolve_in_blocks, "aten::tanh", "aten::pixel_shuffle", 5e-6),
        (landmark_net, pool_along_channels, "aten::avg_pool2d", "aten::permute", 1e-6),
        (generator, normalise_by_groups, "aten::instance_norm", "aten::group_norm", 5e-5),
    ],
)
def test_the_results_stay(
    make: Callable[[], nn.Module], change: Callable[[Any], None], before: str, after: str, most: float
) -> None:
    module = make()
    plain, changed = frozen(module), frozen(module)
    assert count(changed, before) > 0
    assert count(changed, after) == 0
    change(changed.graph)
    assert count(changed, after) > 0
    assert difference(plain, changed, module) <= most


@pytest.mark.parametrize(
    ("make", "transposed", "rectifiers"),
    [(generator, 2, 7), (landmark_net, 0, 8), (segment_net, 4, 0)],  # that do not follow a convolution directly
)
def test_packed_weights_give_the_same(make: Callable[[], nn.Module], transposed: int, rectifiers: int) -> None:
    module = make()
    plain, changed = frozen(module), frozen(module)
    pack_weights(changed.graph, torch.float32)
    assert count(changed, "mkldnn::_convolution_pointwise") > 5
    assert count(changed, "aten::_convolution") == transposed
    assert count(changed, "aten::relu") + count(changed, "aten::relu_") == rectifiers
    assert difference(plain, changed, module) < 5e-5  # measured: 1e-5, 4e-7 and 6e-8


@pytest.mark.parametrize("make", [generator, landmark_net, segment_net])
@pytest.mark.skipif(not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="needs a processor with AVX-512")
def test_packed_weights_give_what_autocast_gives(make: Callable[[], nn.Module]) -> None:
    module = make()
    exact, plain, changed = frozen(module), frozen(module), frozen(module)
    rewrite(changed.graph, "bfloat16", SIZE)
    given = inputs(module)
    with torch.inference_mode(), quiet():
        expected = exact(*given).float()
        with torch.autocast("cpu", torch.bfloat16):
            rough, packed = plain(*given).float(), changed(*given).float()
    assert count(changed, "mkldnn::_convolution_pointwise") > 5
    error, usual = ((one - expected).square().mean().sqrt() for one in (packed, rough))
    assert 0 < usual < 0.1
    assert error < 1.1 * usual  # measured: 1.00 times


def _last(*layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), *layers)


@pytest.mark.parametrize(
    ("module", "changes"),
    [
        (_last(nn.Conv2d(8, 1, 7, padding=3)), True),
        (_last(nn.Conv2d(8, 1, (1, 5), padding=(0, 2), bias=False), nn.Sigmoid()), True),
        (_last(nn.Conv2d(8, 1, 3, padding=1), nn.ReLU(), nn.Conv2d(1, 2, 3, padding=1)), False),  # not at the end
        (_last(nn.Conv2d(8, 2, 3, padding=1)), False),  # two channels
        (_last(nn.Conv2d(8, 1, 3, padding=1, stride=2)), False),
        (_last(nn.Conv2d(8, 1, 3, padding=2, dilation=2)), False),
        (_last(nn.ConvTranspose2d(8, 1, 3, padding=1)), False),
        (_last(nn.Conv2d(8, 1, 1)), False),  # nothing to gain
    ],
)
def test_the_last_convolution_alone_is_computed_in_blocks(module: nn.Module, changes: bool) -> None:
    plain, changed = frozen(module), frozen(module)
    convolve_in_blocks(changed.graph)
    assert (count(changed, "aten::pixel_shuffle") == 1) is changes
    assert difference(plain, changed, module) < 5e-6  # measured: 8e-7 with AVX2 alone, 0 with AVX-512


@pytest.mark.parametrize("size", [64, 62])
def test_sides_that_make_no_blocks_stay_whole(size: int) -> None:
    module = _last(nn.Conv2d(8, 1, 7, padding=3))
    changed, given = frozen(module, size), inputs(module, size=size)
    with torch.inference_mode(), quiet():
        expected = changed(*given)
        changed = frozen(module, size)
        rewrite(changed.graph, "float32", size)
        torch.testing.assert_close(changed(*given), expected, rtol=0, atol=5e-6)
    assert count(changed, "aten::pixel_shuffle") == (size % 4 == 0)


@pytest.mark.parametrize("kernel", [(1, 5), (5, 1), (3, 3), (1, 1)])
@pytest.mark.parametrize("channels", [1, 3])
def test_averages_along_lines_stay(kernel: tuple[int, int], channels: int) -> None:
    padding = (kernel[0] // 2, kernel[1] // 2)
    module = nn.Sequential(nn.Conv2d(1, channels, 1), nn.AvgPool2d(kernel, 1, padding, count_include_pad=False))
    plain, changed = frozen(module), frozen(module)
    pool_along_channels(changed.graph)
    assert (count(changed, "aten::permute") == 2) is (1 in kernel)
    assert difference(plain, changed, module) < 1e-6  # measured: 0


def test_running_statistics_stay() -> None:
    """Of a whole set, not of the picture: those are no groups."""
    module = nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, track_running_stats=True))
    with torch.inference_mode():
        module(torch.rand(4, 1, SIZE, SIZE) + 3)
    plain, changed = frozen(module), frozen(module)
    normalise_by_groups(changed.graph)
    assert count(changed, "aten::group_norm") == 0
    assert difference(plain, changed, module) == 0
