"""The shadow of a closed surface in a recorded frame, and its outline."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from fluoropose._checks import finite_array, whole_positive
from fluoropose.errors import InputError
from fluoropose.rig import Fluoroscope

__all__ = ["field_mask", "outline", "silhouette"]

_POINTS = 50_000  # tested at once: more leave the processor's cache


def silhouette(
    fluoroscope: Fluoroscope, vertices_world_mm: ArrayLike, faces: ArrayLike, step: int = 1
) -> NDArray[np.bool_]:
    """Rasterise the shadow of a surface in recorded pixels.

    Parameters
    ----------
    fluoroscope
        The view; its circular field does not cut the shadow.
    vertices_world_mm
        (v, 3) mm, world frame.
    faces
        (f, 3) indices into the vertices.
    step
        Only every so many-th row and column of the pixels, from the first on; the time falls with its square.

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
    every, (width, height) = whole_positive("step", step), fluoroscope.view.size_px
    mask = np.zeros((-(-height // every), -(-width // every)), dtype=bool)
    corners = fluoroscope.project(vertices)[triangles] / every
    corners = corners[np.isfinite(corners).all(axis=(1, 2))]
    first = np.ceil(np.clip(corners.min(axis=1), 0, None))
    last = np.floor(np.minimum(corners.max(axis=1), np.array(mask.shape[::-1]) - 1))
    size = (last - first).max(axis=1, initial=-1) + 1
    covers = ((last - first) >= 0).all(axis=1)  # some pixel centres, inside the image
    corners, first, size = corners[covers], first[covers], size[covers]
    # Triangles of about the same size together, each tested at a square block of pixel centres.
    sides = 2 ** np.ceil(np.log2(np.maximum(size, 1))).astype(int)
    for side in np.unique(sides):
        alike = np.flatnonzero(sides == side)
        at_once = max(1, _POINTS // int(side) ** 2)
        for start in range(0, len(alike), at_once):
            some = alike[start : start + at_once]
            _fill(mask, corners[some], first[some], int(side))
    return mask


def _fill(mask: NDArray[np.bool_], corners: NDArray[np.float64], first: NDArray[np.float64], side: int) -> None:
    """Set the pixels whose centre lies in a triangle; ``first`` (t, 2) is the least pixel of each side x side block."""
    v, u = (index.ravel() for index in np.indices((side, side)))
    local = corners - first[:, None, :]
    lowest = np.full((len(local), side * side), np.inf)
    highest = -lowest
    for k in range(3):
        x, y = local[:, k].T
        dx, dy = (local[:, (k + 1) % 3] - local[:, k]).T
        turn = dx[:, None] * v - dy[:, None] * u
        turn += (dy * x - dx * y)[:, None]
        np.minimum(lowest, turn, out=lowest)
        np.maximum(highest, turn, out=highest)
    triangle, pixel = np.nonzero((lowest >= 0) | (highest <= 0))
    inside = first[triangle].astype(int) + np.column_stack([u[pixel], v[pixel]])
    kept = inside[(inside[:, 0] < mask.shape[1]) & (inside[:, 1] < mask.shape[0])]
    mask[kept[:, 1], kept[:, 0]] = True


def field_mask(fluoroscope: Fluoroscope) -> NDArray[np.bool_]:
    """Return the recorded pixels (h, w) inside the circular field; all of them where there is none."""
    view, field = fluoroscope.view, fluoroscope.field
    if field is None:
        return np.ones((view.height, view.width), dtype=bool)
    v, u = np.ogrid[: view.height, : view.width]
    return np.asarray(np.hypot(u - field.u, v - field.v) <= field.radius)


def outline(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Return the closed outlines of a mask, holes included: polygons (n, 2) of pixels (u, v)."""
    image = np.ascontiguousarray(mask, dtype=np.uint8)
    found, _ = cv2.findContours(image, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    return [c[:, 0, :].astype(np.float64) for c in found if len(c) >= 3]
