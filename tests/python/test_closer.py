"""Refinement in a stream: at the scale that the time allows, and not at all where there is none."""

from __future__ import annotations

import numpy as np

from fluoropose.geometry import Pose
from fluoropose.registration.registration import Registration, Status
from fluoropose.registration.trial import Checks
from fluoropose.tracking.closer import Closer
from refinement_scene import TISSUE, bone, error, frames, off, rig


def registration(pose: Pose | None) -> Registration:
    return Registration(
        world_from_bone=pose,
        status=Status.OK,
        failure=None,
        reason="",
        mirrored=(False, False),
        costs=np.zeros(4),
        cost=0.0,
        visible=np.ones((2, 4), bool),
        residuals_mm=np.zeros((2, 4, 2)),
        covariance=np.eye(6),
    )


def test_a_measured_pose_is_refined_at_the_finest_scale_while_there_is_time() -> None:
    closer = Closer(rig(), bone(), refine_ms=60_000.0, checks=Checks())
    for seed in range(3):
        found, side = closer.refine(frames(TISSUE), registration(off(2.0, 2.0, seed)))
        assert side == 128
        assert found.world_from_bone is not None
        assert found.covariance is not None
        turn, shift = error(found.world_from_bone)
        # Measured at most: 0.3 degrees and 0.1 mm after three steps.
        assert turn < 0.8
        assert shift < 0.3
        assert np.sqrt(np.diag(found.covariance)[3:]).max() < 0.5


def test_without_time_coarser_scales_are_tried_and_then_none_for_a_while() -> None:
    closer = Closer(rig(), bone(), refine_ms=1e-3, checks=Checks(min_likeness=-1.0))
    measured = registration(off(2.0, 2.0))
    tried = [closer.refine(frames(TISSUE), measured) for _ in range(6)]
    assert [side for _, side in tried] == [128, 96, 64, 0, 0, 0]
    assert all(found is measured for found, side in tried if side == 0)


def test_what_cannot_be_refined_stays() -> None:
    closer = Closer(rig(), bone(), refine_ms=60_000.0, checks=Checks())
    nothing = registration(None)
    assert closer.refine(frames(TISSUE), nothing) == (nothing, 0)
    blank = [np.random.default_rng(0).uniform(size=f.shape).astype(np.float32) for f in frames(TISSUE)]
    measured = registration(off(1.0, 1.0))
    assert closer.refine(blank, measured) == (measured, 0)
    outside = registration(Pose(off(0.0, 0.0).rotation, [900.0, 0.0, -330.0]))
    assert closer.refine(frames(TISSUE), outside) == (outside, 0)


def test_what_is_over_at_once_tells_nothing_of_what_refining_takes() -> None:
    closer = Closer(rig(), bone(), refine_ms=60_000.0, checks=Checks())
    outside = registration(Pose(off(0.0, 0.0).rotation, [900.0, 0.0, -330.0]))
    assert closer.refine(frames(TISSUE), registration(off(2.0, 2.0)))[1] == 128
    for _ in range(8):
        closer.refine(frames(TISSUE), outside)
    assert closer.refine(frames(TISSUE), registration(off(2.0, 2.0)), left_ms=1.0)[1] == 96


def test_a_pair_that_came_late_is_refined_at_the_scale_that_it_leaves_time_for() -> None:
    closer = Closer(rig(), bone(), refine_ms=60_000.0, checks=Checks(min_likeness=-1.0))
    measured = registration(off(2.0, 2.0))
    assert closer.refine(frames(TISSUE), measured)[1] == 128  # now it knows what that takes
    sides = [closer.refine(frames(TISSUE), measured, left_ms=1e-3)[1] for _ in range(3)]
    assert sides == [96, 64, 0]
    assert closer.refine(frames(TISSUE), measured, left_ms=-5.0) == (measured, 0)
    assert closer.refine(frames(TISSUE), measured)[1] == 128
