"""The filter and the smoother against finite differences, statistics and a solution of all moments at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.simulate.motion import Walking
from fluoropose.tracking.kalman import Belief, Motion, difference, moved
from fluoropose.tracking.smoother import smooth
from strategies import poses

MOTION = Motion(strays_deg=4.0, strays_mm=6.0, start_deg_s=60.0, start_mm_s=150.0)
NOISE = np.diag([0.01, 0.01, 0.015, 0.8, 0.6, 1.0]) ** 2
DT = 1 / 30


@given(poses(), poses())
def test_a_difference_is_the_step_between_two_poses(a: Pose, b: Pose) -> None:
    there = moved(b, difference(a, b))
    assert there.angle_to(a) < 1e-7
    np.testing.assert_allclose(there.translation_mm, a.translation_mm, atol=1e-9)


def test_the_transition_carries_errors_as_the_motion_does() -> None:
    rate = np.array([4.0, -7.0, 5.0, 200.0, 10.0, -90.0])  # 19 degrees a frame: fast enough to need the Jacobian
    belief = Belief(0.0, Pose.from_euler_zyx_deg([10, 20, 30], [1, 2, 3]), rate, np.eye(12))
    later = belief.predicted(DT, MOTION)
    expected, h = np.empty((12, 12)), 1e-6
    for k, error in enumerate(h * np.eye(12)):
        shifted = Belief(0.0, moved(belief.world_from_bone, error[:6]), rate + error[6:], np.eye(12))
        after = shifted.predicted(DT, MOTION)
        expected[:6, k] = difference(after.world_from_bone, later.world_from_bone) / h
        expected[6:, k] = (after.rate - later.rate) / h
    # Measured: 3e-8 of the forward difference; without the Jacobian the rotations' part is off by 6e-3.
    np.testing.assert_allclose(belief.transition(DT), expected, atol=1e-6)


def simulated(rng: np.random.Generator, count: int) -> tuple[list[Belief], list[Pose]]:
    """True motion under the model (pose and rate), and what was measured of it."""
    rate = rng.normal(size=6) * np.repeat([np.radians(MOTION.start_deg_s), MOTION.start_mm_s], 3)
    truth = [Belief(0.0, Pose.from_euler_zyx_deg([5, 80, -170], [10, -20, -300]), rate, np.eye(12))]
    for k in range(1, count):
        surprise = rng.multivariate_normal(np.zeros(12), MOTION.noise(DT), method="cholesky")
        on = truth[-1].predicted(k * DT, MOTION)
        truth.append(Belief(k * DT, moved(on.world_from_bone, surprise[:6]), on.rate + surprise[6:], np.eye(12)))
    noise = rng.multivariate_normal(np.zeros(6), NOISE, count, method="cholesky")
    return truth, [moved(one.world_from_bone, n) for one, n in zip(truth, noise, strict=True)]


def filtered(measured: list[Pose]) -> list[Belief]:
    beliefs = [Belief.first(0.0, measured[0], NOISE, MOTION)]
    for k, pose in enumerate(measured[1:], start=1):
        beliefs.append(beliefs[-1].predicted(k * DT, MOTION).updated(pose, NOISE))
    return beliefs


def errors(beliefs: list[Belief], truth: list[Belief]) -> NDArray[np.float64]:
    steps = [difference(t.world_from_bone, b.world_from_bone) for b, t in zip(beliefs, truth, strict=True)]
    return np.column_stack([steps, [t.rate - b.rate for b, t in zip(beliefs, truth, strict=True)]])


def test_the_covariances_say_how_large_the_errors_are() -> None:
    rng = np.random.default_rng(8)
    squared: dict[str, list[float]] = {"filter": [], "smoother": []}
    spread: dict[str, list[float]] = {"measured": [], "filter": [], "smoother": []}
    for _ in range(60):
        truth, measured = simulated(rng, 25)
        causal = filtered(measured)
        for name, beliefs in (("filter", causal), ("smoother", smooth(causal, MOTION))):
            e = errors(beliefs, truth)
            squared[name] += [r @ np.linalg.solve(b.covariance, r) for r, b in zip(e, beliefs, strict=True)]
            spread[name] += list(np.linalg.norm(e[5:-5, 3:6], axis=1))
        shifts = [m.translation_mm - t.world_from_bone.translation_mm for m, t in zip(measured, truth, strict=True)]
        spread["measured"] += list(np.linalg.norm(shifts[5:-5], axis=1))
    # Twelve degrees of freedom: the mean squared distance of a consistent filter is 12. Measured: 11.9 and 11.9.
    assert np.mean(squared["filter"]) == pytest.approx(12.0, abs=0.6)
    assert np.mean(squared["smoother"]) == pytest.approx(12.0, abs=0.6)
    mean = {name: np.mean(values) for name, values in spread.items()}
    assert mean["filter"] < 0.95 * mean["measured"]
    assert mean["smoother"] < 0.75 * mean["measured"]


def test_the_smoother_solves_all_moments_at_once() -> None:
    """Where nothing turns, the problem is linear, and the solution is that of one large least-squares problem."""
    rng = np.random.default_rng(4)
    count, still = 9, Pose.identity()
    measured = [Pose(still.rotation, rng.normal(size=3) * 5) for _ in range(count)]
    beliefs = smooth(filtered(measured), MOTION)
    # Unknowns: position and velocity along x at every moment; information from the start, the motion, the measurements.
    part = np.ix_([3, 9], [3, 9])
    f, q_inv = np.array([[1, DT], [0, 1]]), np.linalg.inv(MOTION.noise(DT)[part])
    information, right = np.zeros((2 * count, 2 * count)), np.zeros(2 * count)
    information[1, 1] += 1 / MOTION.start_mm_s**2
    for k, pose in enumerate(measured):
        information[2 * k, 2 * k] += 1 / NOISE[3, 3]
        right[2 * k] += pose.translation_mm[0] / NOISE[3, 3]
        if k:
            both = slice(2 * k - 2, 2 * k + 2)
            step = np.hstack([-f, np.eye(2)])
            information[both, both] += step.T @ q_inv @ step
    solution, covariance = np.linalg.solve(information, right), np.linalg.inv(information)
    np.testing.assert_allclose([b.world_from_bone.translation_mm[0] for b in beliefs], solution[::2], atol=1e-8)
    np.testing.assert_allclose([b.rate[3] for b in beliefs], solution[1::2], atol=1e-7)
    np.testing.assert_allclose([b.covariance[3, 3] for b in beliefs], np.diag(covariance)[::2], rtol=1e-8)


def test_the_distance_counts_standard_deviations() -> None:
    belief = Belief(0.0, Pose.identity(), np.zeros(6), np.diag([0.01**2] * 3 + [3.0**2] * 9))
    noise = np.diag([0.01**2] * 3 + [4.0**2] * 3)
    assert belief.distance(Pose.exp([0, 0, 0], [10.0, 0, 0]), noise) == pytest.approx(2.0)
    assert belief.distance(Pose.exp([0, 0.03 * np.sqrt(2), 0], [0, 0, 0]), noise) == pytest.approx(3.0)
    assert belief.sd == pytest.approx((0.01, 3.0))


def test_strays_are_what_they_are_called() -> None:
    noise = MOTION.noise(0.1)
    assert np.degrees(np.sqrt(noise[1, 1])) == pytest.approx(4.0)
    assert np.sqrt(noise[4, 4]) == pytest.approx(6.0)


@pytest.mark.parametrize("strides_per_s", [0.95, 1.3])
def test_a_walking_head_is_followed_without_lagging(strides_per_s: float) -> None:
    """Half of what the filter expects of a network's errors differs from pair to pair, as it does with real ones."""
    walking, rng = Walking((0.0, 0.0, 0.0), strides_per_s=strides_per_s), np.random.default_rng(0)
    noise = np.diag(np.repeat([np.radians(0.5), 0.5], 3) ** 2)
    truth = [walking.world_from_head(k * DT) for k in range(600)]
    measured = [moved(pose, rng.multivariate_normal(np.zeros(6), noise / 4, method="cholesky")) for pose in truth]
    belief, causal = Belief.first(0.0, measured[0], noise, Motion()), []
    for k, pose in enumerate(measured[1:], start=1):
        belief = belief.predicted(k * DT, Motion()).updated(pose, noise)
        causal.append(belief.world_from_bone)
    left = [
        np.linalg.norm([difference(a, b)[3:] for a, b in zip(found, truth[1:], strict=True)], axis=1).mean()
        for found in (causal, measured[1:])
    ]
    # Measured: 0.979 and 0.985; a head that were expected to stray by 6 mm alone would lag, with 1.05 in brisk walking.
    assert left[0] < left[1]


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match="strays_mm: expected a positive number, found -1"):
        Motion(strays_mm=-1)
    beliefs = filtered([Pose.identity()] * 3)
    with pytest.raises(InputError, match="filtered: expected increasing times"):
        smooth(beliefs[::-1], MOTION)
    assert smooth([], MOTION) == []


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 1e-5, 0.01, 1.0, 3.0, 3.14, np.pi - 1e-7])
def test_steps_between_poses_are_scipys(angle: float) -> None:
    axes = np.random.default_rng(4).normal(size=(20, 3))
    for axis in axes / np.linalg.norm(axes, axis=1, keepdims=True):
        start = Pose.exp(2 * axis[[1, 2, 0]], [1.0, 2.0, 3.0])
        step = np.concatenate([angle * axis, [4.0, 5.0, 6.0]])
        there = moved(start, step)
        expected = (Rotation.from_rotvec(step[:3]) * Rotation.from_matrix(start.rotation)).as_matrix()
        np.testing.assert_allclose(there.rotation, expected, atol=1e-14)
        np.testing.assert_allclose(difference(there, start), step, atol=1e-9)
