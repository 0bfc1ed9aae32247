"""A track begins only where the images bear the landmarks out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from fluoropose.geometry import Pose
from fluoropose.learning.bundle import Bundle
from fluoropose.registration.trial import Checks
from fluoropose.tracking import Phase, Tracker
from fluoropose.tracking.proof import Proof
from test_closer import registration
from trial_laboratory import Laboratory


@pytest.fixture
def proof(lab: Laboratory) -> Proof:
    return Proof(lab.rig, lab.bone, Checks())


def without_bone(lab: Laboratory, number: int) -> list[np.ndarray]:
    """The pair with the bone shifted out of the field, where only the noise of the open beam is left."""
    rng = np.random.default_rng(number)
    return [
        (np.full_like(frame, np.quantile(frame, 0.05)) + 0.01 * rng.normal(size=frame.shape)).astype(np.float32)
        for frame in lab.pair(number)
    ]


def test_poses_near_the_bone_are_borne_out(lab: Laboratory, proof: Proof) -> None:
    for number in (0, 7, 14):
        near = Pose.exp([0.05, -0.03, 0.06], [2.0, -1.5, 2.5]) * lab.truth[number]
        found = proof.proved(lab.pair(number), registration(near))
        assert found.world_from_bone is not None, found.reason
        # Measured: 0.02 degrees and 0.03 mm at most.
        assert np.degrees(found.world_from_bone.angle_to(lab.truth[number])) < 0.2
        assert np.linalg.norm(found.world_from_bone.translation_mm - lab.truth[number].translation_mm) < 0.1
        assert found.covariance is not None
        assert np.sqrt(np.diag(found.covariance)[3:]).max() < 0.5


def test_what_is_nowhere_near_is_not(lab: Laboratory, proof: Proof) -> None:
    pair, truth = lab.pair(3), lab.truth[3]
    turned = replace(truth, rotation=truth.rotation @ Pose.exp([2.0, 1.0, 0.5], [0, 0, 0]).rotation)
    away = replace(truth, translation_mm=truth.translation_mm + [0, 900.0, 0])
    refused = [(pair, turned), (pair, away), (without_bone(lab, 3), truth)]
    found = [proof.proved(frames, registration(pose)) for frames, pose in refused]
    assert all(one.world_from_bone is None and not one.ok and one.reason for one in found)
    assert "in the field" in found[1].reason
    assert proof.proved(pair, registration(None)).world_from_bone is None
    assert proof.problem == ""


def test_a_bone_that_is_not_in_the_frames_is_not_followed(lab: Laboratory) -> None:
    bundle = Bundle.load(lab.folder / "bone.fpbundle")
    credulous = Checks(max_residual_mm=1e3, min_landmarks=3, min_share_in_field=0)
    believing, asking = (Tracker(lab.bone, lab.rig, bundle, credulous, proven=proven) for proven in (False, True))
    first, second = without_bone(lab, 0)
    assert believing.push(first, second, 0.0).phase is Phase.ACQUIRED
    refused = asking.push(first, second, 0.0)
    assert refused.phase is Phase.LOST
    assert refused.reason
    found = asking.push(*lab.pair(0), 0.1)
    assert found.phase is Phase.ACQUIRED
    assert asking.push(*lab.pair(1), 0.2).phase is Phase.TRACKING
