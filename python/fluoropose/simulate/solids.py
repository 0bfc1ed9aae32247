"""Signed distances of a few solids, painted into voxel grids with anti-aliased edges."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

__all__ = ["Grid", "Solid", "capsule", "ellipsoid", "mirrored", "slab", "tube"]

Vector = tuple[float, float, float]
Points = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]
"""x, y and z of points, each broadcastable to one shape, mm."""


@dataclass(frozen=True)
class Solid:
    """A body: its signed distance (mm, negative inside) and an axis-aligned box that holds it (mm)."""

    distance: Callable[[Points], NDArray[np.float32]]
    lower: Vector
    upper: Vector

    def __and__(self, other: Solid) -> Solid:
        """Intersect two solids."""
        return Solid(
            lambda p: np.maximum(self.distance(p), other.distance(p)),
            _vector(np.maximum(self.lower, other.lower)),
            _vector(np.minimum(self.upper, other.upper)),
        )

    def __or__(self, other: Solid) -> Solid:
        """Unite two solids."""
        return Solid(
            lambda p: np.minimum(self.distance(p), other.distance(p)),
            _vector(np.minimum(self.lower, other.lower)),
            _vector(np.maximum(self.upper, other.upper)),
        )

    def __sub__(self, other: Solid) -> Solid:
        """Take ``other`` away."""
        return Solid(lambda p: np.maximum(self.distance(p), -other.distance(p)), self.lower, self.upper)


def ellipsoid(centre: Vector, radii: Vector) -> Solid:
    """Return an ellipsoid with its axes along x, y and z; its distance is right to first order at the surface."""

    def distance(points: Points) -> NDArray[np.float32]:
        scaled = [(p - c) / r for p, c, r in zip(points, centre, radii, strict=True)]
        first = np.sqrt(sum(s * s for s in scaled))
        second = np.sqrt(sum((s / r) ** 2 for s, r in zip(scaled, radii, strict=True)))
        outwards = first * (first - 1) / np.maximum(second, 1e-6)
        return np.asarray(np.where(first > 0, outwards, -min(radii)), dtype=np.float32)

    return Solid(distance, _vector(np.subtract(centre, radii)), _vector(np.add(centre, radii)))


def capsule(a: Vector, b: Vector, radius_a: float, radius_b: float | None = None) -> Solid:
    """Return a rod with round ends from ``a`` to ``b``; its radius goes linearly from ``radius_a`` to ``radius_b``."""
    end = radius_a if radius_b is None else radius_b
    axis = np.subtract(b, a)
    squared = float(axis @ axis)

    def distance(points: Points) -> NDArray[np.float32]:
        offset = [p - np.float32(c) for p, c in zip(points, a, strict=True)]
        along = np.clip(sum(o * np.float32(x / squared) for o, x in zip(offset, axis, strict=True)), 0, 1)
        away = np.sqrt(sum((o - along * np.float32(x)) ** 2 for o, x in zip(offset, axis, strict=True)))
        return np.asarray(away - (radius_a + (end - radius_a) * along), dtype=np.float32)

    reach = max(radius_a, end)
    return Solid(distance, _vector(np.minimum(a, b) - reach), _vector(np.maximum(a, b) + reach))


def tube(points: list[Vector], radius: float) -> Solid:
    """Return capsules of one radius through ``points``."""
    solid = capsule(points[0], points[1], radius)
    for a, b in pairwise(points[1:]):
        solid = solid | capsule(a, b, radius)
    return solid


def slab(point: Vector, normal: Vector, thickness_mm: float) -> Solid:
    """Return the space within ``thickness_mm`` / 2 of a plane; an infinite thickness reaches below it only."""
    unit = np.asarray(normal) / np.linalg.norm(normal)
    level = float(unit @ np.asarray(point))

    def distance(points: Points) -> NDArray[np.float32]:
        height = sum(p * np.float32(n) for p, n in zip(points, unit, strict=True)) - np.float32(level)
        if np.isinf(thickness_mm):
            return np.asarray(height, dtype=np.float32)
        return np.asarray(np.abs(height) - thickness_mm / 2, dtype=np.float32)

    return Solid(distance, (-np.inf,) * 3, (np.inf,) * 3)


def mirrored(solid: Solid) -> Solid:
    """Return the mirror image about the plane x = 0."""
    (x0, y0, z0), (x1, y1, z1) = solid.lower, solid.upper
    return Solid(lambda p: solid.distance((-p[0], p[1], p[2])), (-x1, y0, z0), (-x0, y1, z1))


@dataclass(frozen=True)
class Grid:
    """Voxel centres at ``origin_mm`` + index * ``spacing_mm``; ``shape`` is (nz, ny, nx)."""

    origin_mm: Vector
    spacing_mm: float
    shape: tuple[int, int, int]

    def share(self, solid: Solid) -> tuple[tuple[slice, slice, slice], NDArray[np.float32]]:
        """Return the window [z, y, x] of the solid's box and the share of each of its voxels that is inside."""
        counts = self.shape[::-1]
        windows, points = [], []
        for axis in range(3):
            first = (solid.lower[axis] - self.origin_mm[axis]) / self.spacing_mm - 1
            last = (solid.upper[axis] - self.origin_mm[axis]) / self.spacing_mm + 2
            begin = int(np.clip(np.floor(first), 0, counts[axis]))
            end = int(np.clip(np.ceil(last), begin, counts[axis]))
            windows.append(slice(begin, end))
            shape = [1, 1, 1]
            shape[2 - axis] = end - begin
            places = self.origin_mm[axis] + self.spacing_mm * np.arange(begin, end)
            points.append(places.astype(np.float32).reshape(shape))
        distance = solid.distance((points[0], points[1], points[2]))
        inside = np.clip(0.5 - distance / np.float32(self.spacing_mm), 0, 1)
        return (windows[2], windows[1], windows[0]), np.asarray(inside, dtype=np.float32)


def _vector(values: NDArray[np.float64]) -> Vector:
    x, y, z = (float(v) for v in values)
    return x, y, z
