"""The simulated intensifier: smooth, invertible, switched off piece by piece, and no polynomial."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluoropose.errors import InputError
from fluoropose.simulate.intensifier import IntensifierWarp

RADIUS = 150.0


def disc(count: int = 400, radius: float = RADIUS) -> np.ndarray:
    rng = np.random.default_rng(1)
    r, a = radius * np.sqrt(rng.random(count)), 2 * np.pi * rng.random(count)
    return np.column_stack([r * np.cos(a), r * np.sin(a)])


def test_everything_off_changes_nothing() -> None:
    warp = IntensifierWarp(RADIUS)
    assert warp.distort(disc()) == pytest.approx(disc(), abs=1e-12)
    assert warp.rim_magnification == 1.0


@given(
    angle=st.floats(0, 40),
    turn=st.floats(-15, 15),
    shift=st.tuples(st.floats(-8, 8), st.floats(-8, 8)),
    centre=st.tuples(st.floats(-100, 100), st.floats(-100, 100)),
)
def test_undistort_inverts_distort(
    angle: float, turn: float, shift: tuple[float, float], centre: tuple[float, float]
) -> None:
    warp = IntensifierWarp(RADIUS, angle, turn, shift, centre, shift_width_mm=50.0)
    points = disc(60)
    assert np.abs(warp.undistort(warp.distort(points)) - points).max() < 1e-8
    assert np.abs(warp.distort(warp.undistort(points)) - points).max() < 1e-8


def test_pincushion_stretches_the_rim_as_a_curved_screen_does() -> None:
    warp = IntensifierWarp(RADIUS, screen_half_angle_deg=20.0)
    rim = warp.distort(np.array([[RADIUS, 0.0], [0.0, RADIUS / 2]]))
    angle = np.radians(20.0)
    assert rim[0] == pytest.approx([RADIUS * np.tan(angle) / angle, 0])
    assert rim[1] == pytest.approx([0, RADIUS * np.tan(angle / 2) / angle])
    assert warp.rim_magnification == pytest.approx(np.tan(angle) / angle)


def test_s_shape_turns_the_rim_by_the_stated_angle_and_keeps_radii() -> None:
    warp = IntensifierWarp(RADIUS, turn_deg=3.0)
    turned = warp.distort(np.array([[RADIUS, 0.0], [1e-6, 0.0]]))
    assert np.degrees(np.arctan2(turned[:, 1], turned[:, 0])) == pytest.approx([3.0, 0.0], abs=1e-6)
    assert np.hypot(*warp.distort(disc()).T) == pytest.approx(np.hypot(*disc().T))


def test_shift_is_as_stated_at_its_centre_and_fades() -> None:
    warp = IntensifierWarp(RADIUS, shift_mm=(2.0, -1.0), shift_centre_mm=(30.0, 40.0), shift_width_mm=20.0)
    points = np.array([[30.0, 40.0], [50.0, 40.0], [-90.0, -60.0]])
    moved = warp.distort(points) - points
    assert moved[0] == pytest.approx([2.0, -1.0])
    assert moved[1] == pytest.approx(np.array([2.0, -1.0]) * np.exp(-0.5))
    assert np.abs(moved[2]).max() < 1e-6


def test_no_polynomial_of_fifth_order_says_it_exactly() -> None:
    warp = IntensifierWarp(RADIUS, 22.0, 2.5, (1.2, 0.4), (40.0, -30.0), 60.0)
    points = disc()
    x, y = (points / RADIUS).T
    matrix = np.column_stack([x**i * y**j for i in range(6) for j in range(6 - i)])
    rest = warp.distort(points) - matrix @ np.linalg.lstsq(matrix, warp.distort(points), rcond=None)[0]
    assert 0.005 < np.sqrt((rest**2).mean()) < 0.1  # mm; measured 0.02: a fit is put to the test, but not broken


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("radius_mm", {"radius_mm": 0.0}),
        ("screen_half_angle_deg", {"radius_mm": 1.0, "screen_half_angle_deg": 60.0}),
        ("turn_deg", {"radius_mm": 1.0, "turn_deg": float("nan")}),
        ("shift_mm", {"radius_mm": 1.0, "shift_mm": (60.0, 0.0), "shift_width_mm": 50.0}),
    ],
)
def test_refuses_what_would_fold_or_is_no_number(field: str, values: dict[str, float]) -> None:
    with pytest.raises(InputError, match=field):
        IntensifierWarp(**values)
