"""The landmark network's two ways to find a landmark, and how they are mixed."""

from __future__ import annotations

import pytest
import torch

from fluoropose.learning.coordinates import normalised_from_px
from fluoropose.learning.landmark_net import LandmarkNet, UncertainLandmarkNet


@pytest.fixture(scope="module")
def net() -> LandmarkNet:
    torch.manual_seed(3)
    return LandmarkNet(5, 2, 64, width=8).eval()


def crops(count: int) -> torch.Tensor:
    return torch.rand(count, 1, 64, 64, generator=torch.Generator().manual_seed(4)) * 2 - 1


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 6), (7, 7)])
def test_a_map_with_one_peak_says_where_it_is(net: LandmarkNet, row: int, column: int) -> None:
    """The centre of cell (row, column) of 8 x 8 is pixel 8 k + 3.5 of 64."""
    features = net.features(crops(1))
    fine = torch.full_like(features.fine, -30.0)
    fine[:, :, row, column] = 30.0
    peaked = LandmarkNet(5, 2, 64, width=8)
    torch.nn.init.constant_(peaked.maps.weight, 1.0)
    torch.nn.init.zeros_(peaked.maps.bias)
    _, mapped, _ = peaked.candidates(features._replace(fine=fine), torch.tensor([1]))
    expected = normalised_from_px(torch.tensor([8 * column + 3.5, 8 * row + 3.5]), 64)
    assert torch.allclose(mapped, expected.expand(1, 5, 2), atol=1e-5)


def test_a_flat_map_says_the_middle(net: LandmarkNet) -> None:
    features = net.features(crops(2))
    _, mapped, _ = net.candidates(features._replace(fine=torch.zeros_like(features.fine)), torch.tensor([0, 1]))
    assert torch.allclose(mapped, torch.zeros(2, 5, 2), atol=1e-6)


def test_positions_lie_between_what_is_read_and_what_is_mapped(net: LandmarkNet) -> None:
    views = torch.tensor([0, 1, 0])
    features = net.features(crops(3))
    read, mapped, share = net.candidates(features, views)
    assert ((share > 0) & (share < 1)).all()
    assert (mapped.abs() < 1).all()
    found = net(crops(3), views)
    assert torch.allclose(found, share * mapped + (1 - share) * read, atol=1e-6)
    assert (read - mapped).abs().max() > 1e-3


def test_each_view_has_heads_of_its_own(net: LandmarkNet) -> None:
    features = net.features(crops(1))
    first, second = (net.candidates(features, torch.tensor([view])) for view in (0, 1))
    for one, other in zip(first, second, strict=True):
        assert (one - other).abs().max() > 1e-3


def test_both_ways_learn_from_one_loss(net: LandmarkNet) -> None:
    learning = LandmarkNet(5, 2, 64, width=8)
    learning(crops(4), torch.tensor([0, 1, 0, 1])).square().sum().backward()
    for parameter in (learning.head.weight, learning.maps.weight, learning.lateral[0].weight):
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0


def test_weights_rebuild_the_network(net: LandmarkNet) -> None:
    again = LandmarkNet.of_weights(net.state_dict(), 2, 64).eval()
    views = torch.tensor([1, 0])
    assert torch.equal(again(crops(2), views), net(crops(2), views))
    older = {k: v for k, v in net.state_dict().items() if not k.startswith("maps")}
    with pytest.raises(KeyError):
        LandmarkNet.of_weights(older, 2, 64)


def test_telling_deviations_changes_no_position(net: LandmarkNet) -> None:
    views = torch.tensor([1, 0])
    told = UncertainLandmarkNet(net, 2).eval()(crops(2), views)
    assert told.shape == (2, 5, 3)
    assert torch.equal(told[..., :2], net(crops(2), views))
