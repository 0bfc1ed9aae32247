"""The shadow of a closed surface in a recorded frame, and its outline."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fluoropose._checks import finite_array
from fluoropose.errors import InputError
from fluoropose.rig import Fluoroscope

__all__ = ["outline", "silhouette"]

_FINE = 5  # rasterised this much finer, because OpenCV's triangles are half a pixel too fat
_SHIFT = 4  # fractional bits of OpenCV's vertices


def silhouette(fluoroscope: Fluoroscope, vertices_world_mm: ArrayLike, faces: ArrayLike) -> NDArray[np.bool_]:
    """Rasterise the shadow of a surface in recorded pixels.

    Parameters
    ----------
    fluoroscope
        The view; its circular field does not cut the shadow.
    vertices_world_mm
        (v, 3) mm, world frame.
    faces
        (f, 3) indices into the vertices.

    Returns
    -------
    (h, w) bool, pixels whose centre lies in the shadow of some face; faces that reach behind the source are left out.

    Raises
    ------
    InputError
        If a shape is wrong or a face names a vertex that is not there.
    """
    vertices = finite_array("vertices_world_mm", vertices_world_mm, (None, 3))
    triangles = np.asarray(faces)
    if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype.kind not in "ui":
        raise InputError(f"faces: expected whole numbers of shape (f, 3), found {triangles.shape} {triangles.dtype}")
    if triangles.size and (triangles.min() < 0 or triangles.max() >= len(vertices)):
        raise InputError(f"faces: expected indices of {len(vertices)} vertices, found up to {triangles.max()}")
    view = fluoroscope.view
    mask = np.zeros((view.height, view.width), dtype=bool)
    pixels = fluoroscope.project(vertices)
    corners = pixels[triangles]
    seen = np.isfinite(corners).all(axis=(1, 2)) & ~_outside(corners, view.width, view.height)
    corners = corners[seen]
    if not len(corners):
        return mask
    low = np.clip(np.floor(corners.min(axis=(0, 1))).astype(int) - 1, 0, [view.width - 1, view.height - 1])
    high = np.clip(np.ceil(corners.max(axis=(0, 1))).astype(int) + 2, 1, [view.width, view.height])
    fine = np.zeros(((high[1] - low[1]) * _FINE, (high[0] - low[0]) * _FINE), dtype=np.uint8)
    at = (corners - low + 0.5) * _FINE - 0.5
    for triangle in np.round(at * 2**_SHIFT).astype(np.int32):
        cv2.fillConvexPoly(fine, triangle, 1, lineType=cv2.LINE_8, shift=_SHIFT)
    middle = _FINE // 2
    mask[low[1] : high[1], low[0] : high[0]] = fine[middle::_FINE, middle::_FINE].astype(bool)
    return mask


def outline(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the closed outlines of a mask, holes included: polygons (n, 2) of pixels (u, v)."""
    image = np.ascontiguousarray(mask, dtype=np.uint8)
    found, _ = cv2.findContours(image, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    return [c[:, 0, :].astype(np.float64) for c in found if len(c) >= 3]


def _outside(corners: NDArray[np.float64], width: int, height: int) -> NDArray[np.bool_]:
    low, high = corners.min(axis=1), corners.max(axis=1)
    return np.asarray((high < 0).any(axis=1) | (low[:, 0] > width) | (low[:, 1] > height))
