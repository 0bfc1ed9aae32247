"""Poses from predicted landmarks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluoropose.geometry import Pose, View
from fluoropose.registration.triangulation import triangulate
from fluoropose.rig import Fluoroscope, Rig


def _rig() -> Rig:
    second = Pose.exp([0, np.radians(75), 0], [480, 10, -370])
    return Rig(
        (
            Fluoroscope(View.from_sdd((768, 768), 1000, 0.5, 0.5, 3, -5)),
            Fluoroscope(View.from_sdd((768, 768), 1020, 0.5, 0.5, -4, 2, second)),
        )
    )


def _head(rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    right = rng.normal(0, 1, (13, 3)) * [20, 40, 30] + [30, 0, 0]
    midline = rng.normal(0, 1, (7, 3)) * [0, 40, 30]
    return np.vstack([right, right * [-1, 1, 1], midline]), np.array([(i, i + 13) for i in range(13)])


def test_exact_predictions_give_the_exact_pose_from_any_rotation() -> None:
    rng, rig = np.random.default_rng(0), _rig()
    landmarks, pairs = _head(rng)
    for _ in range(20):
        truth = Pose.from_quaternion((q := rng.normal(size=4)) / np.linalg.norm(q), [5, -8, -500])
        predicted = [view.project(truth.apply(landmarks)) for view in rig.views]
        found = triangulate(landmarks, predicted, rig, pairs)
        assert found.world_from_bone is not None
        assert found.mirrored == (False, False)
        np.testing.assert_allclose(found.world_from_bone.matrix, truth.matrix, atol=1e-9)
