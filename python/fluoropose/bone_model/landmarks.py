"""Landmarks placed without a person: spread over the surface in symmetric pairs, and along the midline (2.1)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fluoropose.bone_model.symmetry import SymmetryPlane, find_symmetry_plane
from fluoropose.errors import InputError

__all__ = ["Landmarks", "place_landmarks"]


@dataclass(frozen=True, eq=False)
class Landmarks:
    """Named points (n, 3) mm, and the (k, 2) pairs that a mirror exchanges, the one on the normal's side first."""

    names: tuple[str, ...]
    points_mm: NDArray[np.float64]
    pairs: NDArray[np.intp]
    plane: SymmetryPlane


def place_landmarks(surface_mm: NDArray[np.float64], allowed: NDArray[np.bool_], count: int, pairs: int) -> Landmarks:
    """Place ``pairs`` symmetric pairs and ``count - 2 pairs`` midline points on a surface.

    The symmetry plane comes from the whole surface. Points of one side are chosen one after the other, each the
    farthest from all before (with the mirror images counted), then mirrored and moved to the closest surface point.

    Parameters
    ----------
    surface_mm
        (v, 3) points spread evenly over the surface, mm.
    allowed
        (v,) where landmarks may be placed.
    count, pairs
        How many landmarks in all, and how many pairs among them; the paper has 33 and 13.

    Raises
    ------
    InputError
        If the counts do not fit each other, or too little surface is allowed on one side or along the midline.
    """
    if pairs < 0 or count < 1 or 2 * pairs > count:
        raise InputError(f"pairs: expected at most half of count = {count}, found {pairs}")
    plane = find_symmetry_plane(surface_mm)
    distance = plane.distance(surface_mm)
    spacing = float(np.median(cKDTree(surface_mm).query(surface_mm, k=2)[0][:, 1]))
    midline = surface_mm[allowed & (np.abs(distance) < 1.5 * spacing)]
    tree = cKDTree(surface_mm[allowed])
    side = surface_mm[allowed & (distance > 0)]
    # A pair needs a partner: mirrored, the point must meet the surface.
    gap = tree.query(plane.mirror(side))[0] if len(side) else np.empty(0)
    side = side[gap < max(4 * plane.rms_mm, 3 * spacing)]
    if len(side) < pairs or len(midline) < count - 2 * pairs:
        raise InputError(
            f"landmarks: expected room for {pairs} pairs and {count - 2 * pairs} midline points on the allowed "
            f"surface, found {len(side)} points beside and {len(midline)} on the midline"
        )
    first, centre = _spread(side, midline, pairs, count - 2 * pairs, plane)
    second = surface_mm[allowed][tree.query(plane.mirror(first))[1]] if pairs else first
    points = np.concatenate([np.stack([first, second], axis=1).reshape(-1, 3), centre])
    names = [f"{kind}{i + 1:02d}" for i in range(pairs) for kind in ("A", "B")]
    names += [f"M{i + 1:02d}" for i in range(count - 2 * pairs)]
    return Landmarks(tuple(names), points, np.arange(2 * pairs).reshape(-1, 2).astype(np.intp), plane)


def _spread(
    side: NDArray[np.float64], midline: NDArray[np.float64], pairs: int, singles: int, plane: SymmetryPlane
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Farthest-point sampling, pairs first: each choice is the farthest from all chosen points and mirror images.

    A pair's own mirror image counts too, so that its two points, which the network must tell apart, lie well asunder.
    """
    chosen: list[NDArray[np.float64]] = []

    def farthest(candidates: NDArray[np.float64], away: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(candidates[int(np.argmax(away))])

    start = np.concatenate([side, midline]).mean(axis=0)
    picked_side: list[NDArray[np.float64]] = []
    across = 2 * plane.distance(side)
    for _ in range(pairs):
        away = cKDTree(np.array(chosen)).query(side)[0] if chosen else np.linalg.norm(side - start, axis=1)
        point = farthest(side, np.minimum(away, across))
        picked_side.append(point)
        chosen += [point, plane.mirror(point[None])[0]]
    picked_middle: list[NDArray[np.float64]] = []
    for _ in range(singles):
        away = cKDTree(np.array(chosen)).query(midline)[0] if chosen else np.linalg.norm(midline - start, axis=1)
        point = farthest(midline, away)
        picked_middle.append(point)
        chosen.append(point)
    return np.array(picked_side).reshape(-1, 3), np.array(picked_middle).reshape(-1, 3)
