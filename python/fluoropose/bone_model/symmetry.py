"""The plane of left-right symmetry of a surface, found by registering the surface to its mirror image."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import cKDTree

from fluoropose._checks import finite_array
from fluoropose.errors import InputError

__all__ = ["SymmetryPlane", "find_symmetry_plane"]

_ITERATIONS = 60
_KEPT_SHARE = 0.8  # of the closest matches: what has no partner on the other side must not pull the plane
_CANDIDATE_POINTS, _FINAL_POINTS = 1500, 8000
_TILT = 0.05  # radians round the best candidate, where the search starts again


@dataclass(frozen=True, eq=False)
class SymmetryPlane:
    """The plane normal . x = offset_mm; ``rms_mm`` says how well the mirrored surface fits (trimmed)."""

    normal: NDArray[np.float64]
    offset_mm: float
    rms_mm: float

    def distance(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the signed distances (n,) of points (n, 3), mm, positive on the normal's side."""
        return np.asarray(points_mm @ self.normal - self.offset_mm)

    def mirror(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the mirror images of points (n, 3) mm."""
        return np.asarray(points_mm - 2 * self.distance(points_mm)[:, None] * self.normal)


def find_symmetry_plane(points_mm: ArrayLike) -> SymmetryPlane:
    """Find the symmetry plane of a surface.

    The points are mirrored at each of several candidate planes (coordinate planes and principal planes) and
    registered to themselves by trimmed iterative closest points; the fit with the smallest residual gives the plane.

    Parameters
    ----------
    points_mm
        (n, 3) points spread over the surface, mm.

    Returns
    -------
    The plane; of its two normals the one with the positive largest component.

    Raises
    ------
    InputError
        If there are fewer than 10 points.
    """
    points = finite_array("points_mm", points_mm, (None, 3))
    if len(points) < 10:
        raise InputError(f"points_mm: expected at least 10 points, found {len(points)}")
    centre = points.mean(axis=0)
    principal = np.linalg.svd(_thinned(points, _CANDIDATE_POINTS) - centre, full_matrices=False)[2]
    starts = [SymmetryPlane(n, float(centre @ n), np.inf) for n in (*np.eye(3), *principal)]
    few = _thinned(points, _CANDIDATE_POINTS)
    tree = cKDTree(_thinned(points, _FINAL_POINTS))
    coarse = min((_refined(start, few, tree) for start in starts), key=lambda plane: plane.rms_mm)
    near = [coarse, *(_refined(start, few, tree) for start in _tilted(coarse, centre))]
    best = min(near, key=lambda plane: plane.rms_mm)
    plane = _refined(best, _thinned(points, _FINAL_POINTS), cKDTree(points))
    sign = np.sign(plane.normal[np.argmax(np.abs(plane.normal))])
    return SymmetryPlane(plane.normal * sign, plane.offset_mm * float(sign), plane.rms_mm)


def _tilted(plane: SymmetryPlane, centre: NDArray[np.float64]) -> list[SymmetryPlane]:
    """Return planes near a fit: closest points leave several minima a degree apart on a surface with much detail."""
    within = np.linalg.svd(plane.normal[None])[2][1:]
    on_plane = centre - float(plane.distance(centre[None])[0]) * plane.normal
    tilted = []
    for angle in np.linspace(0, 2 * np.pi, 8, endpoint=False):
        normal = plane.normal + _TILT * (np.cos(angle) * within[0] + np.sin(angle) * within[1])
        normal /= np.linalg.norm(normal)
        tilted.append(SymmetryPlane(normal, float(on_plane @ normal), np.inf))
    return tilted


def _refined(plane: SymmetryPlane, points: NDArray[np.float64], tree: cKDTree) -> SymmetryPlane:
    for _ in range(_ITERATIONS):
        distance, index = tree.query(plane.mirror(points))
        kept = np.argsort(distance)[: int(_KEPT_SHARE * len(points))]
        rms = float(np.sqrt(np.mean(distance[kept] ** 2)))
        updated = _plane_between(points[kept], np.asarray(tree.data)[index[kept]], rms)
        turn = float(np.linalg.norm(updated.normal - plane.normal)) + abs(updated.offset_mm - plane.offset_mm)
        plane = updated
        if turn < 1e-6:
            break
    return plane


def _plane_between(points: NDArray[np.float64], partners: NDArray[np.float64], rms_mm: float) -> SymmetryPlane:
    """Return the least-squares plane of reflection that takes ``points`` to ``partners``.

    Minimising sum |q - (p - 2 (n.p - d) n)|^2: with both sets about the mean of the midpoints, the normal is the
    eigenvector of sum (p q^T + q p^T) with the smallest eigenvalue.
    """
    middle = (points.mean(axis=0) + partners.mean(axis=0)) / 2
    p, q = points - middle, partners - middle
    normal = np.linalg.eigh(p.T @ q + q.T @ p)[1][:, 0]
    return SymmetryPlane(normal, float(middle @ normal), rms_mm)


def _thinned(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    step = max(1, len(points) // count)
    return points[np.random.default_rng(0).permutation(len(points))[: len(points) // step]]
