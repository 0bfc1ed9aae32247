"""The surface of a bone's mask."""

from __future__ import annotations

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes

from fluoropose.errors import InputError

__all__ = ["even_points", "surface_of_mask"]

_SMOOTHING_VOX = 0.7


def surface_of_mask(mask: NDArray[np.bool_], place: NDArray[np.float64], spacing_mm: float) -> trimesh.Trimesh:
    """Return the closed surface of a mask.

    Parameters
    ----------
    mask
        (nz, ny, nx) bool.
    place
        (4, 4) affine map of voxel indices (x, y, z) to mm.
    spacing_mm
        Edge of the marching cubes, mm; coarser ones give fewer triangles.

    Raises
    ------
    InputError
        If the mask is empty, or too small for such cubes.
    """
    if not mask.any():
        raise InputError("mask: expected at least one voxel of bone, found none")
    low = np.array([int(i.min()) for i in np.nonzero(mask)])
    high = np.array([int(i.max()) for i in np.nonzero(mask)]) + 1
    edges = np.linalg.norm(place[:3, :3], axis=0)[::-1]
    smoothing = np.maximum(_SMOOTHING_VOX, 0.4 * spacing_mm / edges)
    margin = np.maximum(np.ceil(2 * smoothing).astype(int), 4)
    inside = np.pad(mask[tuple(map(slice, low, high))].astype(np.float32), [(n, n) for n in margin])
    soft = ndimage.gaussian_filter(inside, smoothing)
    zoom = np.minimum(edges / spacing_mm, 1.0)
    # Sampled at the centres of the coarser cubes, so that indices map back by one affine rule.
    count = np.ceil(np.array(soft.shape) * zoom).astype(int) + 1  # the last one lies outside, however coarse they are
    at = np.meshgrid(*(np.arange(n) / z for n, z in zip(count, zoom, strict=True)), indexing="ij")
    coarse = ndimage.map_coordinates(soft, at, order=1, mode="constant")
    if coarse.max() <= 0.5:
        raise InputError(f"mask: expected a bone that cubes of {spacing_mm:g} mm show, found {mask.sum()} voxels")
    vertices, faces, _, _ = marching_cubes(coarse, 0.5)
    voxels = (vertices / zoom - margin + low)[:, ::-1]
    points = voxels @ place[:3, :3].T + place[:3, 3]
    mesh = trimesh.Trimesh(points, faces, process=True)
    if mesh.volume < 0:
        mesh.invert()
    return mesh


def even_points(mesh: trimesh.Trimesh, count: int) -> NDArray[np.float64]:
    """Return about ``count`` points (n, 3) mm spread evenly over a surface, the same every time."""
    points, _ = trimesh.sample.sample_surface(mesh, count, seed=0)
    return np.asarray(points, dtype=np.float64)
