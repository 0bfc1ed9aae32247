"""Distortion: both directions, outside the fitted disc, NaN, whole images, bad input."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.polynomial import chebyshev
from numpy.typing import NDArray

from fluoropose.distortion import Distortion, PlanePolynomial, leave_out_residuals
from fluoropose.errors import InputError

SIZE = 768


def bead_grid(step: float = 24.0) -> NDArray[np.float64]:
    """Return ideal pixels of a plate's beads inside a round field."""
    u, v = np.meshgrid(np.arange(0, SIZE, step), np.arange(0, SIZE, step))
    points = np.column_stack([u.ravel(), v.ravel()])
    return points[np.hypot(*(points - SIZE / 2).T) < 370]


def warped(ideal: NDArray[np.float64], pincushion: float, turn: float, shift: float) -> NDArray[np.float64]:
    """Distort as an image intensifier does: pincushion, a turn that grows with the radius (S shape), a local bump."""
    x, y = (ideal - SIZE / 2).T / 380
    rho2 = x * x + y * y
    angle = turn * rho2
    scale = 1 + pincushion * rho2
    u = scale * (np.cos(angle) * x - np.sin(angle) * y)
    v = scale * (np.sin(angle) * x + np.cos(angle) * y)
    bump = shift * np.exp(-((x - 0.3) ** 2 + (y + 0.2) ** 2) / 0.3)
    return np.column_stack([u, v]) * 380 + SIZE / 2 + bump[:, None]


strengths = {
    "pincushion": st.floats(-0.05, 0.12),
    "turn": st.floats(-0.06, 0.06),
    "shift": st.floats(-3, 3),
}


@settings(max_examples=25, deadline=None)
@given(order=st.integers(3, 9), **strengths)
def test_the_two_directions_are_inverse_to_each_other(order: int, pincushion: float, turn: float, shift: float) -> None:
    ideal = bead_grid()
    recorded = warped(ideal, pincushion, turn, shift)
    distortion = Distortion.fit(recorded, ideal, order)
    # Well beyond the beads, where both directions are continued linearly: Newton's method leaves 1e-9 px.
    wide = np.random.default_rng(0).uniform(-200, SIZE + 200, (300, 2))
    assert np.abs(distortion.recorded_from_ideal(distortion.ideal_from_recorded(wide)) - wide).max() < 1e-6
    assert np.abs(distortion.ideal_from_recorded(distortion.recorded_from_ideal(wide)) - wide).max() < 1e-6


def test_the_default_order_follows_an_intensifier() -> None:
    ideal = bead_grid()
    recorded = warped(ideal, 0.06, 0.04, 1.0)
    distortion = Distortion.fit(recorded, ideal)
    assert distortion.order == 5
    elsewhere = bead_grid(17.0)[1:]
    missed = distortion.residuals(warped(elsewhere, 0.06, 0.04, 1.0), elsewhere)
    # Measured 0.027 px RMS; an uncorrected image is more than 10 px off.
    assert np.sqrt((missed**2).sum(1).mean()) < 0.035
    assert np.sqrt(((warped(elsewhere, 0.06, 0.04, 1.0) - elsewhere) ** 2).sum(1).mean()) > 10


@pytest.mark.parametrize("order", [1, 2, 5, 9, 15])
def test_the_compiled_polynomial_is_numpys(order: int) -> None:
    rng = np.random.default_rng(order)
    polynomial = PlanePolynomial(order, [300, 310], 350, rng.normal(size=(2, (order + 1) * (order + 2) // 2)))
    inside = rng.uniform(-0.7, 0.7, (50, 2))
    expected = []
    for coefficients in polynomial.coefficients:
        square = np.zeros((order + 1, order + 1))
        square[np.add.outer(np.arange(order + 1), np.arange(order + 1)) <= order] = coefficients
        expected.append(chebyshev.chebval2d(*inside.T, square))
    assert np.allclose(polynomial(inside * 350 + [300, 310]), np.transpose(expected), atol=1e-11)


def test_outside_the_disc_the_map_continues_linearly_and_smoothly() -> None:
    ideal = bead_grid()
    forward = Distortion.fit(warped(ideal, 0.08, 0.05, 2.0), ideal, 9).forward
    for angle in np.linspace(0, 2 * np.pi, 12):
        radii = np.array([0.99, 0.995, 1.0, 1.005, 1.01, 1.5, 2.0, 2.5]) * forward.radius
        line = forward(forward.centre + radii[:, None] * [np.cos(angle), np.sin(angle)])
        inner, outer = line[1] - line[0], line[4] - line[3]
        assert np.linalg.norm(inner - outer) < 0.03 * np.linalg.norm(inner)
        assert np.allclose(line[6] - line[5], line[7] - line[6], atol=1e-9)
        assert np.allclose((line[6] - line[5]) / 100, outer, rtol=1e-9, atol=1e-9)


def test_nan_stays_nan_and_does_not_spread() -> None:
    ideal = bead_grid()
    distortion = Distortion.fit(warped(ideal, 0.05, 0.02, 0.0), ideal)
    points = np.array([[100.0, 200.0], [np.nan, 200.0], [np.nan, np.nan]])
    for mapped in (distortion.ideal_from_recorded(points), distortion.recorded_from_ideal(points)):
        assert np.isfinite(mapped[0]).all()
        assert np.isnan(mapped[1:]).all()


def test_where_the_model_folds_the_inverse_is_nan() -> None:
    # u' = u - u^3 / 3 in disc radii turns back at the rim, and continues at constant u' = 2/3 beyond it.
    coefficients = np.zeros((2, 10))
    coefficients[0, [4, 9]] = [100 * (1 - 0.25), -100 / 12]  # T_1(x) and T_3(x) of x - x^3 / 3
    coefficients[1, 1] = 100
    polynomial = PlanePolynomial(3, [0, 0], 100, coefficients)
    mapped = Distortion(polynomial, polynomial).recorded_from_ideal([[20.0, 0.0], [90.0, 0.0]])
    assert np.isfinite(mapped[0]).all()
    assert np.isnan(mapped[1]).all()


def test_leave_out_residuals_equal_a_refit_without_the_bead() -> None:
    ideal = bead_grid(60.0)
    recorded = warped(ideal, 0.06, 0.04, 1.0) + np.random.default_rng(1).normal(0, 0.3, ideal.shape)
    residuals = leave_out_residuals(recorded, ideal, 4)
    # Beads inside the disc: beyond it the refit is continued linearly, as any polynomial is.
    for i in np.flatnonzero(np.hypot(*(ideal - SIZE / 2).T) < 200)[::7]:
        others = np.arange(len(ideal)) != i
        refit = Distortion.fit(recorded[others], ideal[others], 4)
        assert np.allclose(refit.residuals(recorded[[i]], ideal[[i]]), residuals[i], atol=1e-8)
    assert np.abs(residuals).mean() > np.abs(Distortion.fit(recorded, ideal, 4).residuals(recorded, ideal)).mean()


def test_an_image_is_resampled_to_the_ideal_grid() -> None:
    ideal = bead_grid()
    distortion = Distortion.fit(warped(ideal, 0.06, 0.04, 0.0), ideal)
    v, u = np.mgrid[:SIZE, :SIZE]
    recorded = np.column_stack([u.ravel(), v.ravel()])
    # A recorded image that holds its own ideal u is, undistorted, the ramp u.
    image = distortion.ideal_from_recorded(recorded)[:, 0].reshape(SIZE, SIZE).astype(np.float32)
    corrected = distortion.undistort_image(image)
    field = np.hypot(u - SIZE / 2, v - SIZE / 2) < 340
    assert np.abs(corrected - u)[field].max() < 0.01
    assert distortion.undistort_image(np.ones((SIZE, SIZE), np.uint8), (100, 50)).shape == (50, 100)


def test_it_survives_a_file() -> None:
    ideal = bead_grid()
    distortion = Distortion.fit(warped(ideal, 0.06, 0.04, 1.0), ideal)
    again = Distortion.from_dict(json.loads(json.dumps(distortion.to_dict())))
    assert np.array_equal(again.recorded_from_ideal(ideal), distortion.recorded_from_ideal(ideal))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.update(model="spline"), "model"),
        (lambda d: d.pop("recorded_from_ideal"), "recorded_from_ideal"),
        (lambda d: d["ideal_from_recorded"].update(order=4), "coefficients"),
        (lambda d: d["ideal_from_recorded"].update(radius=-1), "radius"),
        (lambda d: d["ideal_from_recorded"].update(surprise=1), "surprise"),
        (lambda d: d["ideal_from_recorded"].update(order=2.5), "order"),
    ],
)
def test_a_damaged_file_is_refused_by_field(change: object, named: str) -> None:
    ideal = bead_grid()
    document = Distortion.fit(warped(ideal, 0.06, 0.04, 1.0), ideal).to_dict()
    change(document)  # type: ignore[operator]
    with pytest.raises(InputError, match=named):
        Distortion.from_dict(document)


def test_bad_beads_are_refused() -> None:
    ideal = bead_grid()
    recorded = warped(ideal, 0.06, 0.04, 1.0)
    with pytest.raises(InputError, match="at least 21 beads for order 5, found 20"):
        Distortion.fit(recorded[:20], ideal[:20])
    with pytest.raises(InputError, match="ideal_px"):
        Distortion.fit(recorded, ideal[:-1])
    with pytest.raises(InputError, match="recorded_px"):
        Distortion.fit(np.full_like(recorded, np.nan), ideal)
    with pytest.raises(InputError, match="determine only"):
        Distortion.fit(np.column_stack([np.arange(50.0), np.zeros(50)]), np.column_stack([np.arange(50.0)] * 2), 3)
    with pytest.raises(InputError, match="folds over"):
        Distortion.fit(recorded, ideal[:, ::-1])
    with pytest.raises(InputError, match="order"):
        Distortion.fit(recorded, ideal, 16)
    distortion = Distortion.fit(recorded, ideal)
    with pytest.raises(InputError, match="pixels"):
        distortion.ideal_from_recorded(np.zeros(3))
    with pytest.raises(InputError, match="image"):
        distortion.undistort_image(np.zeros((10, 10, 3), np.uint8))
