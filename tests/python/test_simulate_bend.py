"""Soft tissue that bends between two bodies: rigid at its ends, continuous in between, and all there."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fluoropose.geometry import Pose, View
from fluoropose.simulate.trial.bend import Bend, BentTissue
from fluoropose.simulate.trial.subject import about
from fluoropose.volume import Volume

BEND = Bend((0.0, 0.0, -30.0), (0.0, 0.3, -1.0), 40.0, (0.0, 5.0, -25.0))


def turned(x: float, y: float, z: float, shift: tuple[float, ...] = (0.0, 0.0, 0.0)) -> Pose:
    return Pose(np.eye(3), np.array(shift)) * about(BEND.pivot.tolist(), np.radians([x, y, z]))


@settings(max_examples=40, deadline=None)
@given(
    turn=st.tuples(*(st.floats(-30, 30) for _ in range(3))),
    shift=st.tuples(*(st.floats(-5, 5) for _ in range(3))),
    seed=st.integers(0, 50),
)
def test_origin_undoes_the_motion(turn: tuple[float, ...], shift: tuple[float, ...], seed: int) -> None:
    """Within 25 mm of the pivot, where turns of 30 degrees about each axis fold nothing."""
    away = np.random.default_rng(seed).normal(size=(50, 3))
    points = BEND.pivot + 25 * away / np.linalg.norm(away, axis=1, keepdims=True)
    near_from_far = turned(turn[0], turn[1], turn[2], shift)
    moved = BEND.moved(points, near_from_far)
    weights = BEND.weight_at(moved, near_from_far)
    # Bisection ends at 2^-13 of the whole motion, at most 25 mm here.
    assert BEND.origin(moved, weights, near_from_far) == pytest.approx(points, abs=0.02)


def test_the_ends_follow_their_bodies() -> None:
    near_from_far = turned(20, 0, 15, (2.0, 0.0, 1.0))
    near, far = np.array([[10.0, 20.0, 40.0]]), np.array([[10.0, 20.0, -90.0]])
    assert BEND.moved(near, near_from_far) == pytest.approx(near)
    assert BEND.moved(far, near_from_far) == pytest.approx(near_from_far.apply(far))


@pytest.fixture(scope="module")
def rod() -> Volume:
    z, y, x = np.mgrid[-90:31:2, -20:21:2, -20:21:2].astype(np.float32)
    share = np.clip(0.5 + (15 - np.hypot(x, y)) / 2, 0, 1) * np.clip((z + 84) / 4, 0, 1) * np.clip((24 - z) / 4, 0, 1)
    place = np.diag([2.0, 2.0, 2.0, 1.0])
    place[:3, 3] = (-20, -20, -90)
    return Volume(share, place)


def test_at_rest_nothing_changes(rod: Volume) -> None:
    tissue = BentTissue(rod, BEND, "head", "neck", "ray_cast")
    bent = tissue.bent(Pose.identity())
    inside = rod.voxel_to_bone(np.argwhere(rod.mu > 0)[:, ::-1])
    at = bent.bone_to_voxel(inside)
    assert (at >= 0).all()
    # The same numbers on a shifted grid: only their edges blur.
    assert bent.mu.sum() * 8 == pytest.approx(rod.mu.sum() * 8, rel=0.01)


def test_bent_tissue_has_no_gaps(rod: Volume) -> None:
    """A ray along the middle of the bent rod meets tissue all the way, and about as much of it as before."""
    tissue = BentTissue(rod, BEND, "head", "neck", "ray_cast")
    near_from_far = turned(35, 0, 0)
    middle = np.column_stack([np.zeros(100), np.zeros(100), np.linspace(18, -78, 100)])
    bent = tissue.bent(near_from_far)
    at = np.rint(bent.bone_to_voxel(BEND.moved(middle, near_from_far))).astype(int)
    assert bent.mu[at[:, 2], at[:, 1], at[:, 0]].min() > 0.9
    assert bent.mu.sum() == pytest.approx(rod.mu.sum(), rel=0.1)


def test_a_picture_shows_it_where_the_near_body_is(rod: Volume) -> None:
    tissue = BentTissue(rod, BEND, "head", "neck", "ray_cast")
    view = View.from_sdd((64, 64), 1000.0, 4.0, 4.0, 0.0, 0.0)
    world_from_head = Pose.from_euler_zyx_deg([90, 0, 0], [0, 0, -400])
    image = tissue.render(view, {"head": world_from_head, "neck": world_from_head})
    assert image.max() == pytest.approx(30, abs=1.5)  # mm, through the rod's diameter
    again = tissue.render(view, {"head": world_from_head, "neck": world_from_head * turned(30, 0, 0)})
    assert np.abs(again - image).max() > 10
