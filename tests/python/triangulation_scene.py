"""A rig, a head of landmarks and predictions of them, for the tests of triangulation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fluoropose.geometry import Pose, View
from fluoropose.registration.triangulation import Loss
from fluoropose.rig import Fluoroscope, Rig

Array = NDArray[np.float64]

N_PAIRS, N_MIDLINE = 13, 7
PAIRS = np.array([(i, i + N_PAIRS) for i in range(N_PAIRS)])
PITCH_MM = 1.0
LOSSES: tuple[Loss, ...] = ("norm", "squared", "huber", "cauchy")
SEEDS = st.integers(0, 2**32 - 1)
few = settings(max_examples=25, deadline=None)


def make_rig(n_views: int = 2) -> Rig:
    """Return fluoroscopes 75 degrees apart round a centre at z = -500 mm; none is special."""
    centre = np.array([0.0, 0.0, -500.0])
    places = [Pose.identity(), Pose.exp([0.02, np.radians(75), -0.03], [0, 0, 0]), Pose.exp([1.1, 0.1, 0.2], [0, 0, 0])]
    views = []
    for k, turn in enumerate(places[:n_views]):
        world_from_plane = Pose(turn.rotation, centre - turn.rotation @ centre + [0, 4.0 * k, 0])
        views.append(View.from_sdd((768, 768), 1000 + 15 * k, PITCH_MM, PITCH_MM, 3 - k, 2 * k - 5, world_from_plane))
    return Rig(tuple(Fluoroscope(view) for view in views))


def make_head(rng: np.random.Generator) -> Array:
    """Return 33 landmarks (mm): 13 on the right, their mirror images, and 7 on the midline."""
    right = rng.normal(0, 1, (N_PAIRS, 3)) * [20, 45, 35] + [35, 0, 0]
    midline = rng.normal(0, 1, (N_MIDLINE, 3)) * [0, 45, 35]
    return np.vstack([right, right * [-1, 1, 1], midline])


def random_pose(rng: np.random.Generator) -> Pose:
    """Return any rotation at all, near the centre of the rig."""
    return Pose(Rotation.random(random_state=rng).as_matrix(), rng.normal(0, 10, 3) + [0, 0, -500])


def predict(rig: Rig, pose: Pose, landmarks: Array, rng: np.random.Generator, noise_mm: float = 0.0) -> list[Array]:
    """Return what a network right within ``noise_mm`` on the image plane would predict: (n, 2) pixels per view."""
    return [
        view.project(pose.apply(landmarks)) + rng.normal(0, 1, (len(landmarks), 2)) * noise_mm / view.pixel_pitch_mm
        for view in rig.views
    ]


def scene(seed: int) -> tuple[np.random.Generator, Rig, Array, Pose, list[Array]]:
    """Return a rig, a head of landmarks, where it truly is, and what is predicted within 1 mm."""
    rng, rig = np.random.default_rng(seed), make_rig()
    landmarks, truth = make_head(rng), random_pose(rng)
    return rng, rig, landmarks, truth, predict(rig, truth, landmarks, rng, noise_mm=1.0)


def exchange(predicted: list[Array], views: tuple[bool, ...]) -> list[Array]:
    """Return the predictions with left and right confused in the given views."""
    swap = np.arange(2 * N_PAIRS + N_MIDLINE)
    swap[PAIRS[:, 0]], swap[PAIRS[:, 1]] = PAIRS[:, 1], PAIRS[:, 0]
    return [pixels[swap] if flip else pixels for pixels, flip in zip(predicted, views, strict=True)]


def move_rig(world_from_world: Pose, rig: Rig) -> Rig:
    """Return the rig carried along by a rigid motion of the world."""
    turn = world_from_world.rotation
    return Rig(
        tuple(
            Fluoroscope(
                View(
                    v.width,
                    v.height,
                    world_from_world.apply(v.origin[None])[0],
                    turn @ v.u_step,
                    turn @ v.v_step,
                    world_from_world.apply(v.source[None])[0],
                )
            )
            for v in rig.views
        )
    )


@dataclass(frozen=True)
class Distance:
    """How far two poses are apart."""

    deg: float
    mm: float


def distance(a: Pose | None, b: Pose) -> Distance:
    """Return the angle and the distance between two poses; the first must exist."""
    assert a is not None
    return Distance(np.degrees(a.angle_to(b)), float(np.linalg.norm(a.translation_mm - b.translation_mm)))
