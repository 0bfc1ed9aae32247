from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given

from fluoropose.errors import InputError
from fluoropose.geometry import View
from fluoropose.region import Region
from strategies import lengths

SIZE = 64


@given(lengths(-500, 500), lengths(-500, 500), lengths(1, 2000), lengths(-1e3, 1e3), lengths(-1e3, 1e3))
def test_points_map_both_ways(left: float, top: float, side: float, u: float, v: float) -> None:
    region = Region(left, top, side)
    points = np.array([[u, v]])
    assert np.allclose(region.to_frame(region.from_frame(points, SIZE), SIZE), points, atol=1e-8)


def test_it_is_the_window_of_a_view() -> None:
    view = View.from_sdd((300, 200), 1000, 0.5, 0.5, 3, -4)
    region = Region(20.25, -7.5, 110.0)
    cropped = view.crop(region.left_px, region.top_px, (region.side_px,) * 2, (SIZE, SIZE))
    world = np.array([[10.0, 20.0, -300.0], [-5.0, 8.0, -500.0]])
    assert np.allclose(region.from_frame(view.project(world), SIZE), cropped.project(world), atol=1e-9)


@pytest.mark.parametrize(("left", "side"), [(12.0, 48.0), (3.4, 131.7), (20.2, 64.0), (10.0, 30.0)])
def test_crop_puts_a_blob_where_the_points_say(left: float, side: float) -> None:
    v, u = np.mgrid[:160, :160]
    centre = np.array([[left + 0.55 * side, left + 0.4 * side]])
    frame = np.exp(-0.5 * ((u - centre[0, 0]) ** 2 + (v - centre[0, 1]) ** 2) / (side / 16) ** 2).astype(np.float32)
    region = Region(left, left, side)
    crop = region.crop(frame, SIZE).astype(np.float64)
    v, u = np.mgrid[:SIZE, :SIZE]
    found = np.array([(u * crop).sum(), (v * crop).sum()]) / crop.sum()
    # Measured: at most 0.004 px, from the blob's cut-off tails and bilinear sampling.
    assert np.abs(found - region.from_frame(centre, SIZE)[0]).max() < 0.01


def test_crop_averages_areas() -> None:
    frame = np.random.default_rng(0).random((96, 96)).astype(np.float32)
    crop = Region(0, 0, 96).crop(frame, 32)
    assert np.allclose(crop, frame.reshape(32, 3, 32, 3).mean(axis=(1, 3)), atol=1e-5)


def test_crop_past_the_edge_is_filled() -> None:
    crop = Region(-50, 0, 100).crop(np.zeros((100, 100), np.float32), 50, outside=1.0)
    assert np.all(crop[:, :24] == 1)
    assert np.all(crop[:, 26:] == 0)


def test_around_holds_the_points_and_ignores_missing_ones() -> None:
    points = np.array([[10.0, 20.0], [np.nan, 3.0], [50.0, 30.0]])
    region = Region.around(points, 1.5)
    inner = region.from_frame(points[[0, 2]], SIZE)
    assert region.side_px == pytest.approx(60)
    assert np.allclose(inner.mean(axis=0), (SIZE - 1) / 2)


def test_whole_images_and_circles() -> None:
    assert Region.of_image(300, 200) == Region(0, -50, 300)
    circle = Region.of_circle(99.5, 49.5, 50)
    assert np.allclose(circle.to_frame(np.array([[31.5, 31.5]]), SIZE), [[99.5, 49.5]])


@pytest.mark.parametrize("bad", [(0, 0, 0), (0, 0, -1), (np.nan, 0, 1), (0, np.inf, 1), (0, 0, np.nan)])
def test_bad_regions_are_refused(bad: tuple[float, float, float]) -> None:
    with pytest.raises(InputError):
        Region(*bad)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InputError, match="points_px"):
        Region.around(np.full((3, 2), np.nan), 1.2)
    with pytest.raises(InputError, match="points_px"):
        Region.around(np.zeros(3), 1.2)
    with pytest.raises(InputError, match="frame"):
        Region(0, 0, 10).crop(np.zeros((2, 3, 4), np.float32), 8)
