"""Poses from predicted landmarks: what is minimised, from where, and under which hypothesis."""

from __future__ import annotations

import numpy as np
import pyceres
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from fluoropose.geometry import Pose, View
from fluoropose.registration.registration import Failure
from fluoropose.registration.triangulation import Loss, neutral_start, triangulate
from fluoropose.rig import Rig
from triangulation_scene import (
    LOSSES,
    PAIRS,
    PITCH_MM,
    SEEDS,
    Array,
    distance,
    exchange,
    few,
    make_head,
    make_rig,
    move_rig,
    predict,
    random_pose,
)


def _residuals(rig: Rig, pose: Pose, landmarks: Array, predicted: list[Array]) -> Array:
    """Return (views, n, 2) mm, by the Python geometry alone."""
    return np.array(
        [
            (pixels - view.project(pose.apply(landmarks))) @ view.plane_mm_from_px.T
            for view, pixels in zip(rig.views, predicted, strict=True)
        ]
    )


def _moved(pose: Pose, x: Array) -> Pose:
    turn = Pose.exp(x[:3], np.zeros(3)).rotation
    return Pose(turn @ pose.rotation, pose.translation_mm + x[3:])


# --- what is minimised ------------------------------------------------------------------------------------------------


def test_cost_is_the_sum_over_views_of_frobenius_norms() -> None:
    rng, rig = np.random.default_rng(0), make_rig()
    landmarks, truth = make_head(rng), random_pose(rng)
    predicted = predict(rig, truth, landmarks, rng, noise_mm=2.0)
    found = triangulate(landmarks, predicted, rig, PAIRS)
    assert found.world_from_bone is not None
    residuals = _residuals(rig, found.world_from_bone, landmarks, predicted)
    np.testing.assert_allclose(found.residuals_mm, residuals, atol=1e-9)
    # The safeguard at zero takes 1e-6 mm from each view's norm.
    assert found.cost == pytest.approx(np.sqrt((residuals**2).sum(axis=(1, 2))).sum(), abs=3e-6)
    assert found.costs[0] == pytest.approx(found.cost, abs=1e-9)
    assert found.rms_mm == pytest.approx(np.sqrt((residuals**2).sum(axis=2).mean()))


class _ViewCost(pyceres.CostFunction):  # type: ignore[misc]
    """Residuals of some landmarks in one view, by the Python geometry, derivatives by central differences."""

    def __init__(self, view: View, base: Pose, landmarks: Array, pixels: Array) -> None:
        super().__init__()
        self.view, self.base, self.landmarks, self.pixels = view, base, landmarks, pixels
        self.set_num_residuals(2 * len(landmarks))
        self.set_parameter_block_sizes([6])

    def _residuals(self, x: Array) -> Array:
        projected = self.view.project(_moved(self.base, x).apply(self.landmarks))
        return np.asarray(((self.pixels - projected) @ self.view.plane_mm_from_px.T).ravel())

    def Evaluate(self, parameters: list[Array], residuals: Array, jacobians: list[Array] | None) -> bool:  # noqa: N802
        x = np.array(parameters[0])
        residuals[:] = self._residuals(x)
        if jacobians is not None and jacobians[0] is not None:
            steps = np.eye(6) * 1e-5
            columns = [(self._residuals(x + step) - self._residuals(x - step)) / 2e-5 for step in steps]
            jacobians[0][:] = np.column_stack(columns).ravel()
        return True


def _pyceres_optimum(rig: Rig, base: Pose, landmarks: Array, predicted: list[Array], loss: Loss) -> Pose:
    x = np.array([0.02, -0.03, 0.01, 2.0, -3.0, 1.0])
    problem = pyceres.Problem()
    for view, pixels in zip(rig.views, predicted, strict=True):
        if loss in ("norm", "squared"):
            # SoftLOne(a) / a is 2 (sqrt(s + a^2) - a): the norm's loss, up to a factor that moves no minimum.
            rho = pyceres.SoftLOneLoss(1e-3) if loss == "norm" else pyceres.TrivialLoss()
            problem.add_residual_block(_ViewCost(view, base, landmarks, pixels), rho, [x])
            continue
        for point, pixel in zip(landmarks, pixels, strict=True):
            rho = pyceres.HuberLoss(2.0) if loss == "huber" else pyceres.CauchyLoss(2.0)
            problem.add_residual_block(_ViewCost(view, base, point[None], pixel[None]), rho, [x])
    options = pyceres.SolverOptions()
    options.function_tolerance = options.gradient_tolerance = options.parameter_tolerance = 1e-14
    options.max_num_iterations = 200
    options.logging_type = pyceres.LoggingType.SILENT
    pyceres.solve(options, problem, pyceres.SolverSummary())
    return _moved(base, x)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("n_views", [1, 2, 3])
def test_pyceres_finds_the_same_optimum(loss: Loss, n_views: int) -> None:
    rng, rig = np.random.default_rng(n_views), make_rig(n_views)
    landmarks, truth = make_head(rng)[:12], random_pose(rng)
    predicted = predict(rig, truth, landmarks, rng, noise_mm=1.5)
    predicted[0][3] += 25.0
    found = triangulate(landmarks, predicted, rig, loss=loss, start=truth)
    apart = distance(found.world_from_bone, _pyceres_optimum(rig, truth, landmarks, predicted, loss))
    # Measured: at most 4e-7 degrees and 3e-7 mm.
    assert max(apart.deg, apart.mm) < 1e-5


def test_a_search_without_derivatives_finds_no_lower_cost() -> None:
    rng, rig = np.random.default_rng(3), make_rig()
    landmarks, truth = make_head(rng), random_pose(rng)
    predicted = predict(rig, truth, landmarks, rng, noise_mm=2.0)
    found = triangulate(landmarks, predicted, rig, PAIRS)
    pose = found.world_from_bone
    assert pose is not None

    def cost(x: Array) -> float:
        moved = _moved(pose, x / [50, 50, 50, 1, 1, 1])
        return float(np.sqrt((_residuals(rig, moved, landmarks, predicted) ** 2).sum(axis=(1, 2))).sum())

    search = minimize(cost, rng.normal(0, 0.5, 6), method="Nelder-Mead", options={"xatol": 1e-6, "fatol": 1e-12})
    assert found.cost <= search.fun + 1e-6
    assert search.fun == pytest.approx(found.cost, rel=1e-4)


@pytest.mark.parametrize("loss", LOSSES)
def test_exact_predictions_give_the_exact_pose_from_any_rotation(loss: Loss) -> None:
    # At zero noise the norm's slope is safeguarded: the minimum is a kink, and must be reached all the same.
    rng, rig = np.random.default_rng(0), make_rig()
    landmarks = make_head(rng)
    for _ in range(20):
        truth = random_pose(rng)
        predicted = predict(rig, truth, landmarks, rng)
        for start in (None, neutral_start(rig)):
            found = triangulate(landmarks, predicted, rig, PAIRS, loss=loss, start=start)
            apart = distance(found.world_from_bone, truth)
            assert found.mirrored == (False, False)
            assert max(apart.deg, apart.mm) < 1e-7
            assert found.cost < 1e-6


def test_robust_losses_ignore_an_outlier() -> None:
    rng, rig = np.random.default_rng(4), make_rig()
    errors: dict[Loss, list[float]] = {loss: [] for loss in LOSSES}
    for _ in range(30):
        landmarks, truth = make_head(rng), random_pose(rng)
        predicted = predict(rig, truth, landmarks, rng, noise_mm=0.5)
        predicted[1][5] = np.clip(predicted[1][5] + 100 / PITCH_MM, 0, 767)
        for loss in LOSSES:
            errors[loss].append(distance(triangulate(landmarks, predicted, rig, loss=loss).world_from_bone, truth).mm)
    median = {loss: np.median(values) for loss, values in errors.items()}
    # Measured: huber and cauchy 0.07 mm, norm 1.1 mm, squared 1.8 mm.
    assert max(median["huber"], median["cauchy"]) < median["norm"] / 5 < median["squared"] / 5


# --- where it starts --------------------------------------------------------------------------------------------------


def test_neutral_start_is_the_papers() -> None:
    rig = make_rig()
    start = neutral_start(rig)
    points = [point for view in rig.views for point in (view.source, view.centre)]
    np.testing.assert_allclose(start.rotation, np.eye(3))
    np.testing.assert_allclose(start.translation_mm, np.mean(points, axis=0), atol=1e-9)


@pytest.mark.parametrize(("n_views", "n_landmarks"), [(2, 3), (2, 4), (2, 33), (1, 6), (1, 33), (3, 5)])
def test_any_rotation_is_found_without_a_start(n_views: int, n_landmarks: int) -> None:
    rng, rig = np.random.default_rng(5), make_rig(n_views)
    missed = 0
    for _ in range(100):
        landmarks, truth = make_head(rng)[rng.permutation(33)[:n_landmarks]], random_pose(rng)
        predicted = predict(rig, truth, landmarks, rng, noise_mm=0.3)
        found = triangulate(landmarks, predicted, rig)
        right = triangulate(landmarks, predicted, rig, start=truth)
        assert found.ok
        missed += found.cost > right.cost * 1.0001
    # Six landmarks in one view leave a second minimum now and then.
    assert missed <= (3 if n_views == 1 and n_landmarks < 10 else 0)


def test_landmarks_in_one_plane_are_found_too() -> None:
    rng = np.random.default_rng(6)
    for n_views in (1, 2):
        rig, missed = make_rig(n_views), 0
        for _ in range(60):
            landmarks, truth = make_head(rng)[:8] * [1, 1, 0], random_pose(rng)
            found = triangulate(landmarks, predict(rig, truth, landmarks, rng, noise_mm=0.1), rig)
            missed += distance(found.world_from_bone, truth).deg > 5
        assert missed <= (6 if n_views == 1 else 0)


def test_a_given_start_is_used() -> None:
    rng, rig = np.random.default_rng(7), make_rig()
    landmarks, truth = make_head(rng), random_pose(rng)
    behind = Pose(truth.rotation, rig.views[0].source - rig.views[0].normal * 500)
    found = triangulate(landmarks, predict(rig, truth, landmarks, rng), rig, start=behind)
    assert found.failure is Failure.BEHIND_SOURCE


# --- mirrored hypotheses ----------------------------------------------------------------------------------------------


@few
@given(SEEDS, st.tuples(st.booleans(), st.booleans()))
def test_confusion_of_left_and_right_is_found_out(seed: int, views: tuple[bool, bool]) -> None:
    rng, rig = np.random.default_rng(seed), make_rig()
    landmarks, truth = make_head(rng), random_pose(rng)
    found = triangulate(landmarks, exchange(predict(rig, truth, landmarks, rng, 1.0), views), rig, PAIRS)
    apart = distance(found.world_from_bone, truth)
    assert found.mirrored == views
    assert found.costs.argmin() == views[0] + 2 * views[1]
    assert np.isfinite(found.costs).all()
    assert apart.deg < 2
    assert apart.mm < 3


def test_all_costs_are_returned_in_the_order_of_their_bits() -> None:
    rng, rig = np.random.default_rng(8), make_rig(3)
    landmarks, truth = make_head(rng), random_pose(rng)
    predicted = predict(rig, truth, landmarks, rng, noise_mm=1.0)
    found = triangulate(landmarks, exchange(predicted, (False, True, True)), rig, PAIRS)
    assert found.costs.shape == (8,)
    assert found.costs.argmin() == 0b110
    assert found.hypothesis == "view2+view3"


def test_a_hypothesis_gains_nothing_by_using_fewer_landmarks() -> None:
    # Both views show the right side only. Exchanged in one view alone, no landmark of a pair is visible in both views:
    # that hypothesis rests on the midline, and the midline fits every hypothesis.
    rng, rig = np.random.default_rng(9), make_rig()
    for _ in range(50):
        landmarks, truth = make_head(rng), random_pose(rng)
        predicted = predict(rig, truth, landmarks, rng, noise_mm=2.0)
        predicted[0][PAIRS[:, 1]] = np.nan
        predicted[1][PAIRS[:, 1]] = np.nan
        found = triangulate(landmarks, predicted, rig, PAIRS)
        assert found.n_visible == 20
        only_midline = triangulate(landmarks, exchange(predicted, (True, False)), rig)
        assert only_midline.n_visible == 7
        # Its own cost is lower, because it explains less ...
        assert only_midline.cost < found.cost
        # ... and it loses all the same.
        assert found.mirrored == (False, False)
        assert found.costs[1] > 2 * found.costs[0]


def test_without_pairs_no_view_is_called_mirrored() -> None:
    rng, rig = np.random.default_rng(10), make_rig()
    landmarks, truth = make_head(rng), random_pose(rng)
    found = triangulate(landmarks, predict(rig, truth, landmarks, rng, noise_mm=1.0), rig)
    assert found.mirrored == (False, False)
    np.testing.assert_allclose(found.costs, found.cost, rtol=1e-5)


# --- invariance -------------------------------------------------------------------------------------------------------


@few
@given(SEEDS, st.sampled_from(LOSSES))
def test_a_rigid_motion_of_the_world_carries_the_pose_along(seed: int, loss: Loss) -> None:
    rng, rig = np.random.default_rng(seed), make_rig()
    landmarks, truth = make_head(rng), random_pose(rng)
    motion = Pose.exp(rng.normal(0, 1, 3), rng.normal(0, 300, 3))
    predicted = predict(rig, truth, landmarks, rng, noise_mm=1.0)
    here = triangulate(landmarks, predicted, rig, PAIRS, loss=loss)
    there = triangulate(landmarks, predicted, move_rig(motion, rig), PAIRS, loss=loss)
    assert here.world_from_bone is not None
    apart = distance(there.world_from_bone, motion * here.world_from_bone)
    assert apart.deg < 1e-4
    assert apart.mm < 1e-4
    assert here.covariance is not None
    assert there.covariance is not None
    turn = np.kron(np.eye(2), motion.rotation)
    scale = np.sqrt(np.outer(np.diag(there.covariance), np.diag(there.covariance)))
    np.testing.assert_allclose((there.covariance - turn @ here.covariance @ turn.T) / scale, 0, atol=1e-4)


@few
@given(SEEDS)
def test_the_order_of_landmarks_does_not_matter(seed: int) -> None:
    rng, rig = np.random.default_rng(seed), make_rig()
    landmarks, truth = make_head(rng), random_pose(rng)
    predicted = exchange(predict(rig, truth, landmarks, rng, noise_mm=1.0), (True, False))
    order = rng.permutation(33)
    place = np.argsort(order)
    one = triangulate(landmarks, predicted, rig, PAIRS)
    other = triangulate(landmarks[order], [p[order] for p in predicted], rig, place[PAIRS][:, ::-1])
    assert one.world_from_bone is not None
    assert distance(other.world_from_bone, one.world_from_bone).mm < 1e-6
    np.testing.assert_allclose(other.residuals_mm, one.residuals_mm[:, order], atol=1e-6)
    assert (other.visible == one.visible[:, order]).all()
