"""The windows of frames that refinement compares with radiographs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from fluoropose import _core
from fluoropose.distortion import Distortion
from fluoropose.io.stored_frame import Polarity, StoredFrame
from fluoropose.refinement import fixed_view
from fluoropose.rig import Fluoroscope
from refinement_scene import SIDE, TISSUE, TRUTH, bone, frames, rig


def plainly(signal: NDArray[np.float64], block: int) -> NDArray[np.float64]:
    rows, columns = (n // block for n in signal.shape)
    return -np.log(signal).reshape(rows, block, columns, block).mean(axis=(1, 3))


@pytest.mark.parametrize("block", [1, 2, 3, 7, 8, 9, 20])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_attenuation_is_the_mean_logarithm(block: int, kind: type[np.generic]) -> None:
    rng = np.random.default_rng(block)
    full = 1.0 if kind is np.float32 else float(np.iinfo(kind).max)  # type: ignore[type-var]
    # A part of a larger frame, whose rows do not follow each other without gaps.
    stored = (rng.uniform(0, full, (6 * block + 5, 5 * block + 9))).astype(kind)[2 : 6 * block + 2, 4 : 5 * block + 4]
    for first, step in ((0.3, 1 / full), (1.3, -1 / full)):
        expected = plainly(np.maximum(first + step * stored.astype(np.float64), 0.3), block)
        found = _core.mean_attenuation(stored, block, first, step, 0.3)  # type: ignore[call-overload]
        assert found.shape == expected.shape
        # Measured: 4e-7.
        np.testing.assert_allclose(found, expected, rtol=0, atol=2e-6)


def test_what_is_no_signal_counts_as_the_least_and_nan_stays() -> None:
    stored = np.full((8, 8), 0.5, np.float32)
    stored[0, 0], stored[4, 4] = -5.0, np.nan
    found = _core.mean_attenuation(stored, 4, 0.0, 1.0, 0.3)
    assert found[0, 0] == pytest.approx((15 * np.log(2) - np.log(0.3)) / 16, abs=1e-6)
    assert np.isnan(found[1, 1])
    assert np.isfinite(found).sum() == 3


def test_the_darkest_blocks_keep_their_digits() -> None:
    found = _core.mean_attenuation(np.zeros((64, 64), np.uint16), 64, 0.3, 1 / 65535, 0.3)
    assert found.item() == pytest.approx(-np.log(0.3), abs=1e-5)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"pixels": np.zeros((8, 8, 1), np.uint8)}, "pixels: expected rows"),
        ({"pixels": np.zeros((8, 16), np.uint8)[:, ::2]}, "pixels: expected rows"),
        ({"block": 3}, "block: expected one that divides"),
        ({"block": 0}, "block: expected one that divides"),
        ({"least": 0.0}, "least: expected above 0"),
    ],
)
def test_bad_arguments_are_named(changed: dict[str, object], message: str) -> None:
    given = {"pixels": np.zeros((8, 8), np.uint8), "block": 4, "first": 0.3, "step": 0.1, "least": 0.3} | changed
    with pytest.raises(ValueError, match=message):
        _core.mean_attenuation(**given)


@pytest.mark.parametrize("polarity", ["bright_air", "bright_bone"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32])
def test_a_stored_frame_gives_the_window_of_what_it_stands_for(polarity: Polarity, kind: type[np.generic]) -> None:
    bits = 8 if kind is np.uint8 else 14
    shown = frames(TISSUE)[0] if polarity == "bright_bone" else 1 - frames(TISSUE)[0]
    stored = StoredFrame(np.round(shown * (2**bits - 1)).astype(kind), bits, polarity)
    scope, points = rig().fluoroscopes[0], TRUTH.apply(bone().vertices)
    for most_px in (64, 256):
        window, expected = (fixed_view(scope, frame, points, most_px) for frame in (stored, stored[:, :]))
        np.testing.assert_allclose(window.image, expected.image, atol=1e-5)
        np.testing.assert_array_equal(window.weights, expected.weights)
        assert window.weights.sum() > 0.5 * window.weights.size


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_frames_lie_in_memory_as_their_writers_left_them(kind: type[np.generic]) -> None:
    shown = 1 - frames(TISSUE)[0]
    bits, full = (None, 1) if kind is np.float32 else (14, 2**14 - 1)
    plain = (shown * full).astype(kind)
    headed = np.zeros(SIDE, [("number", np.uint8), ("row", kind, (SIDE,))])["row"]
    shifted = np.zeros(plain.nbytes + 1, np.uint8)[1:].view(kind).reshape(plain.shape)
    headed[:] = shifted[:] = plain
    given = {
        "rows with numbers before them": headed,
        "a byte beside their place": shifted,
        "column by column": np.asfortranarray(plain),
        "upside down": np.ascontiguousarray(plain[::-1])[::-1],
        "from right to left": np.ascontiguousarray(plain[:, ::-1])[:, ::-1],
        "the other byte first": plain.astype(plain.dtype.newbyteorder()),
    }
    scope, points = rig().fluoroscopes[0], TRUTH.apply(bone().vertices)
    expected = fixed_view(scope, StoredFrame(plain, bits, "bright_air"), points, 64).image
    for name, pixels in given.items():
        found = fixed_view(scope, StoredFrame(pixels, bits, "bright_air"), points, 64).image
        np.testing.assert_allclose(found, expected, atol=1e-6, err_msg=name)


def barrel() -> Distortion:
    """Brings what lies beside the ideal image into the frame."""
    grid = np.stack(np.meshgrid(*[np.linspace(0, SIDE - 1, 15)] * 2), axis=-1).reshape(-1, 2)
    away = (grid - SIDE / 2) / (SIDE / 2)
    return Distortion.fit(grid - 12 * away * (away**2).sum(axis=1, keepdims=True), grid, 5)


@pytest.mark.parametrize("beside_mm", [0.0, 70.0])
def test_a_window_lies_where_the_exact_distortion_says(beside_mm: float) -> None:
    """Its places are interpolated between every eighth pixel: measured 0.01 pixels off at most."""
    scope = rig().fluoroscopes[0]
    if beside_mm:
        scope = Fluoroscope(scope.view, barrel())
    points = TRUTH.apply(bone().vertices) + [beside_mm, 0, 0]
    v, u = np.mgrid[:SIDE, :SIDE]
    for along, frame in enumerate((u, v)):
        window = fixed_view(scope, (frame / SIDE).astype(np.float32), points, 256)
        ideal = np.stack(np.meshgrid(np.arange(window.view.width), np.arange(window.view.height)), -1).reshape(-1, 2)
        centre = scope.view.pixel_from_plane_point(window.view.pixel_to_world(ideal.astype(np.float64)))
        expected = scope.recorded_from_ideal(centre)[:, along].reshape(window.image.shape)
        found = SIDE * (1.3 - np.exp(-window.image.astype(np.float64)))
        counted = window.weights > 0
        assert counted.mean() > 0.7
        assert (centre[:, 0].max() > SIDE + 3) == (beside_mm > 0)
        assert np.abs(found - expected)[counted].max() < 0.05
