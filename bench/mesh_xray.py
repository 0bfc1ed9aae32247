"""X-rays of a closed surface of one material, without voxels: exact lengths of rays inside it."""

from __future__ import annotations

import cv2
import numpy as np
import trimesh
from numpy.typing import NDArray

from fluoropose.geometry import Pose, View
from fluoropose.io.mesh import ray_crossings

__all__ = ["beam_through"]

_FINE = 2  # rays along a pixel's side
_AROUND_PX = 2


def beam_through(
    view: View,
    world_from_bone: Pose,
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    attenuation_per_mm: float,
) -> NDArray[np.float32]:
    """Return the share (h, w) of the beam that reaches each pixel of a point beam's view, the mean over its area.

    ``vertices`` (n, 3) mm in the bone's frame and ``faces`` (f, 3) are a closed surface.
    """
    placed = world_from_bone.apply(vertices)
    pixels = view.project(placed)
    depth = np.abs((placed - view.source) @ view.normal)
    low = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - _AROUND_PX, 0)
    high = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + _AROUND_PX, np.array(view.size_px) - 1)
    width, height = high - low + 1
    # Seen in pixels and reciprocal depth, planes stay planes, and the rays of a point source are parallel.
    bent = np.column_stack([(pixels - low + 0.5) * _FINE, 1 / depth])
    rays = (int(height) * _FINE, int(width) * _FINE)
    row, column, nearness, sign = ray_crossings(trimesh.Trimesh(bent, faces, process=False), np.zeros(2), 1.0, rays)
    through = view.pixel_to_world(np.column_stack([column + 0.5, row + 0.5]) / _FINE - 0.5 + low) - view.source
    distance = np.linalg.norm(through, axis=1) / np.abs(through @ view.normal) / nearness
    inside, balance = np.zeros(rays), np.zeros(rays)
    np.add.at(inside, (row, column), sign * distance)
    np.add.at(balance, (row, column), sign)
    # A ray that enters through an open sliver without leaving says nothing; its neighbours in the pixel speak for it.
    sound = (np.abs(balance) < 0.5).astype(np.float64)
    passed = sound * np.exp(-attenuation_per_mm * np.abs(inside))
    size = (int(width), int(height))
    shares = (cv2.resize(one, size, interpolation=cv2.INTER_AREA) for one in (passed, sound))
    found = np.ones((view.height, view.width), np.float32)
    found[low[1] : high[1] + 1, low[0] : high[0] + 1] = np.divide(*(np.maximum(one, 1e-9) for one in shares))
    return found
