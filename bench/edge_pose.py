"""The pose of a bone from the edges in the frames alone: no voxels, and nothing of what refinement does.

Where two poses differ it says which of them the frames bear out: the edges of X-rays drawn of the bone's surface are
moved onto the frames' edges, by Gauss-Newton on the distances along the outline's normals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from fluoropose.geometry import Pose
from fluoropose.rig import Fluoroscope
from outline_edges import Outline

__all__ = ["Draw", "pose_of_edges"]

Draw = Callable[[Pose, int], NDArray[np.float32]]  # of a pose in a view: (h, w), bright = attenuating

_STEPS = np.array([np.radians(0.25)] * 3 + [0.1] * 3)  # radians, mm: a third of a pixel
_ITERATIONS = 5
_FURTHEST_PX = 4.0  # further away lies another edge
_TYPICAL_PX = 0.5  # distances beyond this pull less and less


def pose_of_edges(
    fluoroscopes: Sequence[Fluoroscope],
    frames: Sequence[NDArray[np.float32]],
    draw: Draw,
    start: Pose,
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    clear: float,
) -> Pose:
    """Return ``world_from_bone`` near ``start`` at which drawn and recorded edges lie on each other.

    Frames (h, w) bright = attenuating, undistorted; for ``clear`` see ``edge_distances``.
    """
    outlines = [Outline.of(scope, start, vertices, faces) for scope in fluoroscopes]
    recorded = [outline.edges(frame) for outline, frame in zip(outlines, frames, strict=True)]

    def drawn(pose: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        found = [outline.edges(draw(pose, view)) for view, outline in enumerate(outlines)]
        return np.concatenate([at for at, _ in found]), np.concatenate([slope for _, slope in found])

    seen = np.concatenate([outline.seen for outline in outlines])
    wanted, its_slope = (np.concatenate([one[k] for one in recorded]) for k in (0, 1))
    pose, (at, slope) = start, drawn(start)
    moved = [drawn(_turned(start, step)) for step in np.diag(_STEPS)]
    jacobian = np.column_stack([(one - at) / step for (one, _), step in zip(moved, _STEPS, strict=True)])
    good = seen & (its_slope > clear) & (slope > clear) & (np.abs(jacobian * _STEPS).max(axis=1) < _FURTHEST_PX)
    for _ in range(_ITERATIONS):
        left = wanted - at
        used = good & (np.abs(left) < _FURTHEST_PX)
        pose = _turned(pose, _robust_solution(jacobian[used], left[used]))
        at, _ = drawn(pose)
    return pose


def _turned(pose: Pose, step: NDArray[np.float64]) -> Pose:
    """Turn by step[:3] (radians) and shift by step[3:] (mm), both along the bone's axes."""
    return pose * Pose.exp(step[:3], step[3:])


def _robust_solution(columns: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the least squares solution (6,), reweighted as Cauchy's: rims that shine through are no outline."""
    weight = np.ones(len(wanted))
    for _ in range(10):
        solution = np.linalg.lstsq(columns * weight[:, None], wanted * weight, rcond=None)[0]
        weight = 1 / np.sqrt(1 + ((wanted - columns @ solution) / _TYPICAL_PX) ** 2)
    return np.asarray(solution)
