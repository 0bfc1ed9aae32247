"""Soft tissue between two bodies: it follows one at its near end, the other at its far end, and bends in between."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, zoom

from fluoropose.drr import Method, Renderer
from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume

__all__ = ["Bend", "BentTissue"]

_SPACING_MM = 2.0
_COARSE = 3  # the weight is smooth: it is looked for on a grid so many times coarser
_HALVINGS = 12  # of the interval of weights, to 2e-4
_KEPT = 16  # deformed volumes: the instants of one pulse are rendered for every view


class Bend:
    """A motion that goes from one body's to another's, across a plane.

    A point x of the tissue moves by T_w(x): the part w of the turn about the pivot and of the pivot's displacement that
    the far body makes against the near one. w grows linearly from 0 to 1 over ``length_mm`` about the plane.

    Parameters
    ----------
    point_mm, towards
        A point of the plane and the direction of the far body.
    length_mm
        Over which the motion is shared.
    pivot_mm
        About which the far body turns.
    """

    def __init__(
        self, point_mm: tuple[float, ...], towards: tuple[float, ...], length_mm: float, pivot_mm: tuple[float, ...]
    ) -> None:
        self.point, self.pivot, self.length_mm = np.asarray(point_mm), np.asarray(pivot_mm), length_mm
        self.normal = np.asarray(towards) / np.linalg.norm(towards)

    def weight(self, beyond_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return w of points that lie so far beyond the plane."""
        return np.asarray(np.clip(0.5 + beyond_mm / self.length_mm, 0, 1))

    def moved(self, points_mm: NDArray[np.float64], near_from_far: Pose) -> NDArray[np.float64]:
        """Return where points (n, 3) go."""
        w = self.weight((points_mm - self.point) @ self.normal)
        turn, shift = self._motion(near_from_far)
        return np.asarray(_rotated(points_mm - self.pivot, turn, w) + self.pivot + w[:, None] * shift)

    def origin(
        self, points_mm: NDArray[np.float64], weights: NDArray[np.float64], near_from_far: Pose
    ) -> NDArray[np.float64]:
        """Return which points (n, 3) come to ``points_mm`` with their ``weights`` (n,)."""
        turn, shift = self._motion(near_from_far)
        return np.asarray(_rotated(points_mm - self.pivot - weights[:, None] * shift, -turn, weights) + self.pivot)

    def weight_at(self, points_mm: NDArray[np.float64], near_from_far: Pose) -> NDArray[np.float64]:
        """Return the weights (n,) of the tissue that comes to points (n, 3): by bisection, for there always is one."""
        low, high = np.zeros(len(points_mm)), np.ones(len(points_mm))
        turn, shift = self._motion(near_from_far)
        away = points_mm - self.pivot
        level = float((self.pivot - self.point) @ self.normal)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            normals = _rotated(np.broadcast_to(self.normal, away.shape), turn, middle)
            beyond = np.einsum("ij,ij->i", normals, away - middle[:, None] * shift) + level
            more = self.weight(beyond) > middle
            low, high = np.where(more, middle, low), np.where(more, high, middle)
        return np.asarray((low + high) / 2)

    def _motion(self, near_from_far: Pose) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return near_from_far.rotation_vector, near_from_far.apply(self.pivot[None])[0] - self.pivot


class BentTissue:
    """Tissue that bends, ready to be rendered.

    Parameters
    ----------
    share
        What it fills when nothing has moved, in the frame that both bodies then have in common.
    bend, near, far
        How, and the bodies' names.
    method
        The renderer.
    """

    def __init__(self, share: Volume, bend: Bend, near: str, far: str, method: Method) -> None:
        self._share, self._bend, self._near, self._far, self._method = share.trimmed(), bend, near, far, method
        filled = np.argwhere(self._share.mu > 0)[::23, ::-1]  # they only tell the extent
        self._points = self._share.voxel_to_bone(filled)
        self._bent: OrderedDict[bytes, Renderer] = OrderedDict()

    def render(self, view: View, poses: Mapping[str, Pose]) -> NDArray[np.float32]:
        """Return the paths (h, w) mm with the bodies at ``poses`` (world_from_body)."""
        near_from_far = poses[self._near].inverse() * poses[self._far]
        key = near_from_far.matrix.round(9).tobytes()
        if key not in self._bent:
            self._bent[key] = Renderer(self.bent(near_from_far).trimmed(), self._method)
            while len(self._bent) > _KEPT:
                self._bent.popitem(last=False)
        return self._bent[key].render(view, poses[self._near])

    def bent(self, near_from_far: Pose) -> Volume:
        """Return the tissue in the near body's frame."""
        moved = self._bend.moved(self._points, near_from_far)
        low = moved.min(axis=0) - 2 * _SPACING_MM
        counts = np.ceil((np.ptp(moved, axis=0) + 4 * _SPACING_MM) / (_SPACING_MM * _COARSE)).astype(int) + 1
        coarse = self._bend.weight_at(_grid(low, counts, _SPACING_MM * _COARSE), near_from_far)
        fine = (counts - 1) * _COARSE + 1
        weights = zoom(coarse.reshape(counts[::-1]), fine[::-1] / counts[::-1], order=1, grid_mode=False)
        origin = self._bend.origin(_grid(low, fine, _SPACING_MM), weights.ravel(), near_from_far)
        voxels = self._share.bone_to_voxel(origin)[:, ::-1].T
        share = map_coordinates(self._share.mu, voxels, order=1, prefilter=False)
        place = np.diag([_SPACING_MM] * 3 + [1.0])
        place[:3, 3] = low
        return Volume(share.reshape(fine[::-1]), place)


def _grid(low: NDArray[np.float64], counts: NDArray[np.int64], spacing_mm: float) -> NDArray[np.float64]:
    """Return points (n, 3), x the fastest."""
    z, y, x = np.meshgrid(*(low[a] + spacing_mm * np.arange(counts[a]) for a in (2, 1, 0)), indexing="ij")
    return np.stack([x, y, z], axis=-1).reshape(-1, 3)


def _rotated(
    vectors: NDArray[np.float64], turn: NDArray[np.float64], parts: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Turn each vector (n, 3) by its part (n,) of a rotation vector (3,): Rodrigues."""
    angle = float(np.linalg.norm(turn))
    if angle < 1e-12:
        return np.asarray(vectors)
    axis = turn / angle
    c, s = np.cos(parts * angle)[:, None], np.sin(parts * angle)[:, None]
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.asarray(vectors * c + (vectors @ cross.T) * s + (vectors @ np.outer(axis, axis)) * (1 - c))
