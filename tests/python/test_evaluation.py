"""Errors against references, by hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest

from fluoropose.errors import InputError
from fluoropose.evaluation import align_worlds, iou, pose_errors
from fluoropose.geometry import Pose


def test_paper_errors_are_infinity_norms() -> None:
    reference = Pose.from_euler_zyx_deg([10, 20, 30], [1, 2, 3])
    estimate = Pose.from_euler_zyx_deg([11, 18, 30.5], [1.5, 2, -1])
    errors = pose_errors([estimate], [reference])
    assert errors.rotation_error_deg == pytest.approx([2.0], abs=1e-9)
    assert errors.translation_error_mm == pytest.approx([4.0], abs=1e-12)
    assert errors.translation_norm_mm == pytest.approx([np.sqrt(0.25 + 16)], abs=1e-12)
    assert errors.mtre_mm is None


def test_angles_wrap_at_180_degrees() -> None:
    reference = Pose.from_euler_zyx_deg([179.5, 0, 0], [0, 0, 0])
    estimate = Pose.from_euler_zyx_deg([-179.0, 0, 0], [0, 0, 0])
    errors = pose_errors([estimate], [reference])
    assert errors.rotation_error_deg == pytest.approx([1.5], abs=1e-9)
    assert errors.geodesic_error_deg == pytest.approx([1.5], abs=1e-9)


def test_half_a_turn_is_180_degrees_and_not_more() -> None:
    errors = pose_errors([Pose.from_euler_zyx_deg([180, 0, 0], [0, 0, 0])], [Pose.identity()])
    assert errors.rotation_error_deg == pytest.approx([180.0])
    assert errors.geodesic_error_deg == pytest.approx([180.0])


def test_geodesic_angle_stays_small_where_euler_angles_jump() -> None:
    reference = Pose.from_euler_zyx_deg([0, 90, 0], [0, 0, 0])
    estimate = Pose.exp([0, np.radians(0.5), 0], [0, 0, 0]) * Pose.from_euler_zyx_deg([30, 89.9, -30], [0, 0, 0])
    errors = pose_errors([estimate], [reference])
    assert errors.geodesic_error_deg[0] < 1.0
    assert errors.rotation_error_deg[0] > 20.0


def test_mtre_is_the_mean_distance_of_the_landmarks() -> None:
    # A quarter turn about z: a point at distance r from the axis moves by r sqrt(2).
    turn = Pose.exp([0, 0, np.pi / 2], [0, 0, 0])
    errors = pose_errors([turn], [Pose.identity()], [[1, 0, 0], [0, 3, 0], [0, 0, 5]])
    assert errors.mtre_mm == pytest.approx([(1 + 3 + 0) * np.sqrt(2) / 3])


def test_failed_pairs_have_no_error_and_are_no_success() -> None:
    good, far = Pose.identity(), Pose.exp([0, 0, 0], [0, 0, 7.0])
    errors = pose_errors([good, None, far, good], [Pose.identity()] * 4)
    assert errors.failed.tolist() == [False, True, False, False]
    assert np.isnan(errors.geodesic_error_deg).tolist() == [False, True, False, False]
    assert errors.success_rate(5, 5) == 0.5
    assert errors.success_rate(5, 7) == 0.75
    assert pose_errors([None], [good]).success_rate(180, 1e9) == 0.0


def test_align_worlds_recovers_the_motion_between_two_worlds() -> None:
    rng = np.random.default_rng(0)
    landmarks = rng.normal(0, 50, (6, 3))
    reference = [Pose.exp(rng.normal(0, 1, 3), rng.normal(0, 100, 3)) for _ in range(5)]
    world_from_reference = Pose.exp([0.1, 3.0, 0.2], [10, -20, 30])
    estimated: list[Pose | None] = [world_from_reference * pose for pose in reference]
    estimated[2] = None
    found = align_worlds(estimated, reference, landmarks)
    np.testing.assert_allclose(found.matrix, world_from_reference.matrix, atol=1e-10)


def test_iou_by_counting() -> None:
    a, b = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    a[:2], b[1:3] = True, True
    assert iou(a, b) == pytest.approx(5 / 15)
    assert iou(a, a) == 1.0
    assert iou(a, ~a) == 0.0
    assert np.isnan(iou(np.zeros((2, 2), bool), np.zeros((2, 2), bool)))


def test_bad_arguments_are_named() -> None:
    one = Pose.identity()
    with pytest.raises(InputError, match="estimated"):
        pose_errors([one], [one, one])
    with pytest.raises(InputError, match="landmarks_mm"):
        pose_errors([one], [one], np.zeros((3, 2)))
    with pytest.raises(InputError, match="landmarks_mm"):
        pose_errors([one], [one], np.zeros((0, 3)))
    with pytest.raises(InputError, match="landmarks_mm"):
        align_worlds([one], [one], [[0, 0, 0], [1, 0, 0], [2, 0, 0]])
    with pytest.raises(InputError, match="estimated"):
        align_worlds([None], [one], np.eye(3))
    with pytest.raises(InputError, match="mask_b"):
        iou(np.zeros((2, 2), bool), np.zeros((2, 3), bool))
    with pytest.raises(InputError, match="mask_a"):
        iou(np.zeros((2, 2)), np.zeros((2, 2), bool))
    with pytest.raises(InputError, match="success_rate"):
        pose_errors([], []).success_rate(5, 5)
