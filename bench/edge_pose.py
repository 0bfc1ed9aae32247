"""The pose of a bone from the edges in the frames alone: no voxels, and nothing of what refinement does.

Where two poses differ it says which of them the frames bear out: the edges of X-rays drawn of the bone's surface are
moved onto the frames' edges, by Gauss-Newton on the distances along the outline's normals.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fluoropose.geometry import Pose
from fluoropose.rig import Fluoroscope
from outline_edges import Outline

__all__ = ["Draw", "EdgeFit"]

Draw = Callable[[Pose, int], NDArray[np.float32]]  # of a pose in a view: (h, w), bright = attenuating

_STEPS = np.array([np.radians(0.25)] * 3 + [0.1] * 3)  # radians, mm: a third of a pixel, for differences
_ROUNDS, _STEPS_A_ROUND = 2, 2
_FURTHEST_PX = 4.0  # further away lies another edge
_WHITE = 0.002
_BESIDE_PX = 4
_TYPICAL_PX = 0.5  # distances beyond this pull less and less


@dataclass(frozen=True, eq=False)
class EdgeFit:
    """A pair of frames in which a bone's edges are looked for.

    Attributes
    ----------
    fluoroscopes, frames
        By view; (h, w) bright = attenuating, undistorted.
    draw
        What there would be to see.
    vertices, faces
        Surface of the bone, (n, 3) mm in its frame and (f, 3).
    clear
        As for ``edge_distances``.
    """

    fluoroscopes: Sequence[Fluoroscope]
    frames: Sequence[NDArray[np.float32]]
    draw: Draw
    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    clear: float

    def near(self, start: Pose) -> Pose:
        """Return ``world_from_bone`` near ``start`` at which drawn and recorded edges lie on each other."""
        pose = start
        for _ in range(_ROUNDS):
            pose = self._moved(pose)
        return pose

    def _moved(self, start: Pose) -> Pose:
        """Do some steps at the places of the outline at ``start``, all with the derivative there."""
        outlines = [Outline.of(scope, start, self.vertices, self.faces) for scope in self.fluoroscopes]

        def edges(frames: Iterable[NDArray[np.float32]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            found = [outline.edges(frame) for outline, frame in zip(outlines, frames, strict=True)]
            return np.concatenate([at for at, _ in found]), np.concatenate([slope for _, slope in found])

        def drawn(pose: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            return edges(self.draw(pose, view) for view in range(len(outlines)))

        wanted, its_slope = edges(self.frames)
        ways = [[drawn(_turned(start, way * step)) for way in (1, -1)] for step in np.diag(_STEPS)]
        moved = np.column_stack([ahead - behind for (ahead, _), (behind, _) in ways])
        slopes = np.min([slope for both in ways for _, slope in both], axis=0)
        seen = [one.seen & _exposed(one, frame) for one, frame in zip(outlines, self.frames, strict=True)]
        good = np.concatenate(seen) & (its_slope > self.clear) & (slopes > self.clear)
        good &= np.abs(moved).max(axis=1) < _FURTHEST_PX
        pose = start
        for _ in range(_STEPS_A_ROUND):
            left = wanted - drawn(pose)[0]
            used = good & (np.abs(left) < _FURTHEST_PX)
            pose = _turned(pose, _robust_solution(moved[used] / (2 * _STEPS), left[used]))
        return pose


def _exposed(outline: Outline, frame: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell (n,) which places are not beside overexposed pixels: there only the dark end of an edge's blur shows."""
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _BESIDE_PX + 1, 2 * _BESIDE_PX + 1))
    white = cv2.dilate((frame < _WHITE).astype(np.uint8), disc) > 0
    column, row = np.clip(np.round(outline.points).astype(int), 0, np.array(frame.shape[::-1]) - 1).T
    return np.asarray(~white[row, column])


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
