"""Similarity measures: gradients against finite differences, invariances, and what they are at best."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from fluoropose.errors import InputError
from fluoropose.refinement import (
    CrossCorrelation,
    GradientCorrelation,
    GradientDifference,
    GradientInformation,
    LaplacianCorrelation,
    LocalCrossCorrelation,
    MutualInformation,
    Tone,
    WeightedSum,
)
from fluoropose.refinement.compiled import CompiledCorrelation
from fluoropose.refinement.features import Identity, LaplacianOfGaussian, gradient_features
from fluoropose.refinement.similarity import LeastSquares, Metric
from fluoropose.refinement.tile_correlation import TileCorrelation
from fluoropose.refinement.tone import TONES

Image = NDArray[np.float32]

CORRELATIONS: list[Metric] = [
    CrossCorrelation(),
    LocalCrossCorrelation(tile_px=9),
    GradientCorrelation(1.0),
    GradientCorrelation(1.7, tile_px=12),
    LaplacianCorrelation(1.2),
]
OTHERS: list[Metric] = [
    GradientInformation(1.0),
    GradientDifference(1.3),
    MutualInformation(24),
    WeightedSum((CrossCorrelation(), LaplacianCorrelation(1.0)), (1.0, 0.5)),
]


def smooth(seed: int, shape: tuple[int, int] = (37, 44)) -> Image:
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 2.0)
    return np.asarray(field / field.std(), dtype=np.float32)


def weights(shape: tuple[int, int] = (37, 44)) -> Image:
    some = np.random.default_rng(9).uniform(0.2, 1.0, shape).astype(np.float32)
    some[12:16, 20:25] = 0
    inner = np.zeros_like(some)
    inner[6:-6, 6:-6] = some[6:-6, 6:-6]  # filters see zeros beyond the edge
    return inner


def names(metric: Metric) -> str:
    return type(metric).__name__


FIXED, MOVING = smooth(1), np.asarray(0.6 * smooth(1) + 0.8 * smooth(2) + 3, dtype=np.float32)


@pytest.mark.parametrize("metric", CORRELATIONS + OTHERS, ids=names)
def test_the_gradient_is_that_of_the_value(metric: Metric) -> None:
    similarity = metric.against(FIXED, weights())
    value, gradient = similarity.value_and_gradient(MOVING)
    assert value == pytest.approx(similarity.value(MOVING), abs=1e-7)  # measured: 1e-8 between NumPy and compiled
    for seed in range(5):
        direction = smooth(10 + seed)
        step = 2e-3
        ahead, back = (similarity.value(MOVING + np.float32(s) * direction) for s in (step, -step))
        expected = (ahead - back) / (2 * step)
        slope = float((gradient.astype(np.float64) * direction).sum())
        size = float(np.linalg.norm(gradient)) * float(np.linalg.norm(direction))
        # Measured at most 4e-6 of |gradient| |direction|: float32 images.
        assert abs(slope - expected) < 2e-5 * size


@pytest.mark.parametrize("metric", CORRELATIONS, ids=names)
def test_the_normal_equations_are_those_of_the_residuals(metric: Metric) -> None:
    similarity = metric.against(FIXED, weights())
    assert isinstance(similarity, LeastSquares)
    directions = np.stack([smooth(20 + k) for k in range(4)])
    found = similarity.step(MOVING, directions)
    value, gradient = similarity.value_and_gradient(MOVING)
    assert found.value == pytest.approx(value, abs=1e-6)
    # The cost is 1 - value. Measured: 2e-7 of the largest.
    by_directions = -np.tensordot(directions.astype(np.float64), gradient, axes=2)
    np.testing.assert_allclose(found.jtr, by_directions, atol=2e-6 * np.abs(by_directions).max())
    # Where the fixed image is the moving one there are no residuals, and J^T J is the whole second derivative.
    alike = metric.against(MOVING, weights())
    assert isinstance(alike, LeastSquares)
    at_best = alike.step(MOVING, directions)
    step = 0.02
    for i in range(4):
        there = [alike.value(MOVING + np.float32(s * step) * directions[i]) for s in (1, -1)]
        # Measured: at most 3e-4 of it.
        assert (2 - sum(there)) / step**2 == pytest.approx(at_best.jtj[i, i], rel=2e-3)
    assert np.linalg.eigvalsh(at_best.jtj).min() > 0


@pytest.mark.parametrize("tile_px", [None, 12])
@pytest.mark.parametrize("sigma_px", [1.0, 1.7])
def test_the_compiled_correlation_has_the_numbers_of_the_one_in_numpy(sigma_px: float, tile_px: int | None) -> None:
    compiled = CompiledCorrelation(FIXED, weights(), sigma_px, tile_px)
    reference = TileCorrelation(FIXED, weights(), gradient_features(sigma_px), tile_px)
    directions = np.stack([smooth(20 + k) for k in range(6)])
    found, expected = compiled.step(MOVING, directions), reference.step(MOVING, directions)
    # Measured: 1e-8 of the value, 1e-7 of the largest element; sums in float32 within a row.
    assert compiled.value(MOVING) == pytest.approx(reference.value(MOVING), abs=2e-7)
    assert found.value == pytest.approx(expected.value, abs=2e-7)
    assert found.independent == pytest.approx(expected.independent)
    np.testing.assert_allclose(found.jtj, expected.jtj, atol=2e-6 * np.abs(expected.jtj).max())
    np.testing.assert_allclose(found.jtr, expected.jtr, atol=2e-6 * np.abs(expected.jtr).max())


def test_what_rounding_leaves_of_a_constant_counts_for_nothing() -> None:
    edge = np.where(np.arange(44) < 22, 1.3, 0.4) + 0.2 * np.sin(np.arange(44))  # the same in every row
    fixed = np.where(np.arange(37)[:, None] < 26, edge, FIXED).astype(np.float32)
    for tile_px in (8, 12):
        compiled = CompiledCorrelation(fixed, weights(), 1.0, tile_px)
        reference = TileCorrelation(fixed, weights(), gradient_features(1.0), tile_px)
        # Measured: 1e-8; where the rounding counted, 0.05.
        assert compiled.value(MOVING) == pytest.approx(reference.value(MOVING), abs=2e-7)


def test_small_images_have_small_tiles() -> None:
    asked = GradientCorrelation(1.0, tile_px=32, tiles_across=4).against(FIXED, weights())
    expected = TileCorrelation(FIXED, weights(), gradient_features(1.0), FIXED.shape[1] // 4)
    assert asked.value(MOVING) == pytest.approx(expected.value(MOVING), abs=2e-7)


@pytest.mark.parametrize("veil", [0.0, 0.3])
def test_the_compiled_correlation_recognises_the_tone(veil: float) -> None:
    line = np.maximum(3 * smooth(1), 0)
    compiled = CompiledCorrelation(Tone(veil).apply(line), weights(), 1.0, None)
    assert compiled.best_tone(line, TONES) == Tone(veil)


@pytest.mark.parametrize("metric", CORRELATIONS, ids=names)
def test_correlations_are_one_at_best_and_blind_to_brightness_and_contrast(metric: Metric) -> None:
    similarity = metric.against(FIXED, weights())
    assert similarity.value(FIXED) == pytest.approx(1, abs=1e-6)
    assert similarity.value(-FIXED) == pytest.approx(-1, abs=1e-6)
    assert similarity.value(MOVING * 7 - 4) == pytest.approx(similarity.value(MOVING), abs=1e-5)
    assert abs(similarity.value(smooth(5))) < 0.3


@pytest.mark.parametrize("metric", [GradientInformation(), GradientDifference()], ids=names)
def test_gradient_measures_are_one_at_best(metric: Metric) -> None:
    similarity = metric.against(FIXED, weights())
    assert similarity.value(3 * FIXED + 1) == pytest.approx(1, abs=1e-5)
    assert similarity.value(smooth(5)) < similarity.value(MOVING) < 0.95


def test_mutual_information_sees_through_any_curve() -> None:
    similarity = MutualInformation().against(FIXED, weights())
    folded = FIXED**2
    # Measured: 1.59 with itself, 1.11 with its square, 0.12 with another image; the NCC with its square is -0.04.
    assert similarity.value(FIXED) > 1.2
    assert similarity.value(folded) > 0.9 > 4 * similarity.value(smooth(5))
    assert abs(CrossCorrelation().against(FIXED, weights()).value(folded)) < 0.1


@pytest.mark.parametrize("metric", CORRELATIONS + OTHERS, ids=names)
def test_pixels_without_weight_do_not_count(metric: Metric) -> None:
    weight = np.zeros(FIXED.shape, np.float32)
    weight[10:28, 10:30] = 1
    similarity = metric.against(FIXED, weight)
    changed = MOVING.copy()
    changed[:3], changed[:, -3:] = 50, -20  # beyond the reach of every filter used here
    assert similarity.value(changed) == pytest.approx(similarity.value(MOVING), abs=1e-6)


@pytest.mark.parametrize("metric", CORRELATIONS + OTHERS, ids=names)
def test_a_flat_image_is_like_nothing(metric: Metric) -> None:
    flat = np.full(FIXED.shape, 2.0, np.float32)
    weight = np.zeros(FIXED.shape, np.float32)
    weight[10:28, 10:30] = 1
    assert np.isnan(metric.against(FIXED, weight).value(flat))


@pytest.mark.parametrize("metric", CORRELATIONS + OTHERS, ids=names)
def test_a_flat_fixed_image_is_like_nothing(metric: Metric) -> None:
    assert np.isnan(metric.against(np.full(FIXED.shape, 2.0, np.float32), weights()).value(MOVING))


@pytest.mark.parametrize("metric", CORRELATIONS + OTHERS, ids=names)
def test_images_of_any_numbers_can_be_compared_but_of_one_shape_only(metric: Metric) -> None:
    similarity = metric.against(FIXED, weights())
    value, gradient = similarity.value_and_gradient(MOVING)
    found, by_pixel = similarity.value_and_gradient(np.asfortranarray(MOVING, dtype=np.float64))  # type: ignore[arg-type]
    assert found == pytest.approx(value, abs=1e-6)
    np.testing.assert_allclose(by_pixel, gradient, atol=1e-6 * np.abs(gradient).max())
    # Pixels are looked up by their numbers: of other shapes, others would be compared.
    for wrong in (np.ascontiguousarray(MOVING.T), smooth(3, (60, 70))):
        with pytest.raises(InputError, match="moving: expected shape"):
            similarity.value(wrong)
        with pytest.raises(InputError, match="moving: expected shape"):
            similarity.value_and_gradient(wrong)
    if isinstance(similarity, LeastSquares):
        with pytest.raises(InputError, match="jacobian: expected shape"):
            similarity.step(MOVING, np.stack([MOVING.T] * 6))


@pytest.mark.parametrize("metric", CORRELATIONS + OTHERS, ids=names)
def test_what_weights_are_relative_to_does_not_matter(metric: Metric) -> None:
    expected = metric.against(FIXED, weights()).value(MOVING)
    assert metric.against(FIXED, np.float32(1e-9) * weights()).value(MOVING) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("metric", CORRELATIONS, ids=names)
def test_equal_images_leave_no_residuals(metric: Metric) -> None:
    similarity = metric.against(FIXED, weights())
    assert isinstance(similarity, LeastSquares)
    assert not similarity.residual(FIXED).any()


def test_residuals_point_at_what_does_not_fit() -> None:
    spoilt = FIXED.copy()
    spoilt[20:24, 20:24] += 6
    similarity = GradientCorrelation().against(spoilt, np.ones(FIXED.shape, np.float32))
    assert isinstance(similarity, LeastSquares)
    residual = similarity.residual(FIXED)
    near = np.zeros(FIXED.shape, bool)
    near[16:28, 16:28] = True
    assert np.sqrt((residual**2).mean()) == pytest.approx(1, abs=1e-4)
    assert residual[near].mean() > 4 * residual[~near].mean()


@pytest.mark.parametrize("feature", [Identity(), *gradient_features(1.3), LaplacianOfGaussian(1.1)])
def test_filters_have_their_adjoints(feature: Identity) -> None:
    x, y = smooth(3), smooth(4)
    left, right = float((feature.apply(x) * y).sum()), float((x * feature.adjoint(y)).sum())
    assert left == pytest.approx(right, rel=1e-4)


def test_the_narrowest_filters_are_differences_of_neighbours() -> None:
    for sigma_px in (0.05, 1e-3):
        np.testing.assert_allclose(
            gradient_features(sigma_px)[0].apply(FIXED)[:, 1:-1], np.gradient(FIXED, axis=1)[:, 1:-1], atol=1e-6
        )


def test_filters_differentiate() -> None:
    v, u = np.mgrid[:31, :33].astype(np.float32)
    inner = (slice(8, -8), slice(8, -8))
    along_u, along_v = gradient_features(1.5)
    np.testing.assert_allclose(along_u.apply(3 * u - 2 * v)[inner], 3, atol=1e-4)
    np.testing.assert_allclose(along_v.apply(3 * u - 2 * v)[inner], -2, atol=1e-4)
    np.testing.assert_allclose(LaplacianOfGaussian(1.5).apply(u**2 + v**2)[inner], 4 * 1.5**2, rtol=1e-3)


@pytest.mark.parametrize("veil", [0.0, 0.1, 3.0])
def test_a_tone_s_slope_is_its_derivative(veil: float) -> None:
    tone, at = Tone(veil), np.linspace(0, 6, 50, dtype=np.float32)
    expected = (tone.apply(at + np.float32(1e-2)) - tone.apply(at - np.float32(1e-2))) / 2e-2
    np.testing.assert_allclose(tone.slope(at), expected, atol=2e-4)
    assert tone.apply(np.zeros(1, np.float32))[0] == pytest.approx(0, abs=1e-6)


def test_bad_input_is_named() -> None:
    with pytest.raises(InputError, match="fixed, weights: expected one shape"):
        CrossCorrelation().against(FIXED, weights()[:5])
    with pytest.raises(InputError, match="weights: expected none below zero and some above"):
        CrossCorrelation().against(FIXED, 0 * weights())
    with pytest.raises(InputError, match="expected finite numbers"):
        MutualInformation().against(FIXED * np.float32(np.nan), weights())
    with pytest.raises(InputError, match="sigma_px: expected a positive number"):
        GradientCorrelation(0.0).against(FIXED, weights())
    with pytest.raises(InputError, match="tile_px: expected a positive number"):
        GradientCorrelation(tile_px=0).against(FIXED, weights())
    with pytest.raises(InputError, match="bins: expected at least 5"):
        MutualInformation(4)
    with pytest.raises(InputError, match="fixed, weights: expected one shape"):
        CrossCorrelation().against(FIXED[:0], weights()[:0])
    with pytest.raises(InputError, match="veil: expected"):
        Tone(-1.0)
    with pytest.raises(InputError, match="factors: expected one per metric"):
        WeightedSum((CrossCorrelation(),), (1.0, 2.0))
