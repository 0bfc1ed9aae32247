"""Closed surface meshes (STL, OBJ, PLY), read and turned into attenuation volumes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fluoropose._checks import positive
from fluoropose.errors import FileFormatError, InputError

__all__ = ["ray_crossings", "read_mesh", "voxelise"]

_SUFFIXES = (".stl", ".obj", ".ply")
_SMALLEST_MM, _LARGEST_MM = 5.0, 1500.0
_LARGEST_HOLE = 1e-4  # of the surface's area


def read_mesh(path: str | Path) -> trimesh.Trimesh:
    """Read a closed surface in millimetres.

    Parameters
    ----------
    path
        STL (text or binary), OBJ or PLY.

    Returns
    -------
    The mesh, vertices welded, faces pointing outwards, in the file's own frame, mm. Slivers may be open.

    Raises
    ------
    FileFormatError
        If the file cannot be read, holds no triangles, is not closed, has faces turned against each other, or is too
        small or large for a bone in mm.
    """
    path = Path(path)
    if path.suffix.lower() not in _SUFFIXES:
        raise FileFormatError(f"{path}: expected a mesh with the ending {', '.join(_SUFFIXES)}")
    if not path.is_file():
        raise FileFormatError(f"{path}: no such file")
    try:
        loaded: Any = trimesh.load(path, force="mesh", process=True)
    except Exception as error:  # the loaders of the three formats raise whatever they stumble upon
        raise FileFormatError(f"{path}: cannot be read as a mesh: {error}") from error
    if not isinstance(loaded, trimesh.Trimesh) or len(loaded.faces) == 0:
        raise FileFormatError(f"{path}: expected triangles, found none")
    if not np.isfinite(loaded.vertices).all():
        raise FileFormatError(f"{path}: vertices: expected finite numbers, found NaN or infinity")
    extent = float(np.linalg.norm(loaded.extents))
    if not _SMALLEST_MM <= extent <= _LARGEST_MM:
        raise FileFormatError(
            f"{path}: expected millimetres and a diagonal of {_SMALLEST_MM:g} to {_LARGEST_MM:g} mm, "
            f"found {extent:.4g} (a file in metres has to be scaled by 1000)"
        )
    loaded.merge_vertices(merge_tex=True, merge_norm=True)
    # CAD exports often leave slivers open along a seam, which do no harm.
    holes = _hole_areas(loaded)
    if len(holes) and holes.max() > _LARGEST_HOLE * loaded.area:
        raise FileFormatError(
            f"{path}: expected a closed surface, found {len(holes)} hole(s), the largest of {holes.max():.4g} mm2 "
            f"(at most {100 * _LARGEST_HOLE:g} % of the surface, {_LARGEST_HOLE * loaded.area:.4g} mm2, is allowed)"
        )
    if not loaded.is_winding_consistent:
        raise FileFormatError(f"{path}: expected consistently turned faces, found some turned against their neighbours")
    if loaded.volume < 0:
        loaded.invert()
    return loaded


def _hole_areas(mesh: trimesh.Trimesh) -> NDArray[np.float64]:
    """Return the area (n,) mm2 of each hole: the length of the area vector that its rim encloses."""
    edges = np.asarray(mesh.edges)
    ends, edge = np.unique(np.sort(edges, axis=1), axis=0, return_inverse=True)
    # The faces on both sides of an edge run along it in opposite directions; on a rim one direction is left over.
    balance = np.bincount(edge, weights=np.where(edges[:, 0] < edges[:, 1], 1.0, -1.0))
    rim, weight = ends[balance != 0], balance[balance != 0]
    if len(rim) == 0:
        return np.empty(0)
    graph = coo_array((np.ones(len(rim)), (rim[:, 0], rim[:, 1])), shape=(len(mesh.vertices),) * 2)
    hole = np.unique(connected_components(graph, directed=False)[1][rim[:, 0]], return_inverse=True)[1]
    points = np.asarray(mesh.vertices) - mesh.vertices.mean(axis=0)
    swept = weight[:, None] * np.cross(points[rim[:, 0]], points[rim[:, 1]]) / 2
    vectors = np.column_stack([np.bincount(hole, weights=swept[:, axis]) for axis in range(3)])
    return np.asarray(np.linalg.norm(vectors, axis=1))


def voxelise(
    mesh: trimesh.Trimesh, spacing_mm: float, *, fine: int = 4
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return how much of each voxel lies inside a closed mesh.

    Rays along z are cut with the surface on a grid ``fine`` times denser in x and y; along z the share is exact.

    Parameters
    ----------
    mesh
        Closed, mm.
    spacing_mm
        Edge of a cubic voxel, mm.
    fine
        Rays per voxel edge.

    Returns
    -------
    share
        (nz, ny, nx) from 0 to 1; two empty voxels surround the mesh.
    mesh_from_voxel
        (4, 4) affine map of voxel indices (x, y, z) to mesh mm.

    Raises
    ------
    InputError
        If the spacing is not positive or so small that more than 5e8 voxels were needed, or a body lies inside out
        beside the others (a cavity within another body is inside out, and right so).
    """
    step = positive("spacing_mm", spacing_mm)
    low = np.asarray(mesh.bounds[0]) - 2 * step
    shape = np.ceil((np.asarray(mesh.bounds[1]) - low) / step).astype(int) + 3
    if np.prod(shape, dtype=float) > 5e8:
        raise InputError(f"spacing_mm: {step:g} mm needs {shape.tolist()} voxels for this mesh; choose a larger one")
    rays = (int(shape[1]) * fine, int(shape[0]) * fine)
    row, column, height, sign = ray_crossings(mesh, low[:2] - step / 2, step / fine, rays)
    # A ray through an open sliver enters without leaving: it is left out, its neighbours in the voxel speak for it.
    balance = np.zeros(rays)
    np.add.at(balance, (row, column), sign)
    sound = np.abs(balance) < 0.5
    keep = sound[row, column]
    row, column, height, sign = row[keep], column[keep], height[keep], sign[keep]
    per_voxel = sound.reshape(shape[1], fine, shape[0], fine).sum(axis=(1, 3))
    share = np.zeros((shape[2] + 1, shape[1], shape[0]), dtype=np.float64)
    # A crossing upwards at height h opens (closes) the solid for all voxels above it; the share of the voxel in which
    # it lies is what is left of that voxel. Differences now, one running sum along z at the end.
    at = (height - (low[2] - step / 2)) / step
    k = np.floor(at).astype(int)
    rest = (k + 1 - at) * sign
    y, x = row // fine, column // fine
    np.add.at(share, (k, y, x), rest)
    np.add.at(share, (k + 1, y, x), sign - rest)
    filled = np.cumsum(share, axis=0)[:-1] / np.maximum(per_voxel, 1)
    if filled.min() < -0.5:
        raise InputError("mesh: expected faces that point outwards, found a part that is turned inside out")
    place = np.diag([step, step, step, 1.0])
    place[:3, 3] = low
    return np.clip(filled, 0, 1).astype(np.float32), place


def ray_crossings(
    mesh: trimesh.Trimesh, low: NDArray[np.float64], step: float, rays: tuple[int, int]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """Cut the rays along z of a grid with all triangles.

    Parameters
    ----------
    mesh
        Any surface, mm.
    low, step
        Corner (2,) of the grid in x and y, and the sides of its squares, mm; a ray runs through each one's middle.
    rays
        Rows (y) and columns (x).

    Returns
    -------
    row, column, height, sign
        (n,) each: the ray, z in mm, and +1 where it enters, -1 where it leaves.
    """
    # An irrational offset keeps rays off edges and vertices that lie on round coordinates.
    shift = np.array([0.5 + 1e-5 * np.sqrt(2), 0.5 + 1e-5 * np.sqrt(3)])
    corners = np.asarray(mesh.triangles, dtype=np.float64)
    flat = (corners[:, :, :2] - low) / step - shift
    first = np.maximum(np.ceil(flat.min(axis=1)).astype(int), 0)
    last = np.minimum(np.floor(flat.max(axis=1)).astype(int), np.array([rays[1], rays[0]]) - 1)
    counts = np.maximum(last - first + 1, 0)
    total = counts.prod(axis=1)
    face = np.repeat(np.arange(len(corners)), total)
    within = np.arange(total.sum()) - np.repeat(np.cumsum(total) - total, total)
    column = first[face, 0] + within % np.maximum(counts[face, 0], 1)
    row = first[face, 1] + within // np.maximum(counts[face, 0], 1)
    a, b, c = (flat[face, i] for i in range(3))
    point = np.column_stack([column, row]).astype(np.float64)

    def area(p: NDArray[np.float64], q: NDArray[np.float64], r: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray((q[:, 0] - p[:, 0]) * (r[:, 1] - p[:, 1]) - (q[:, 1] - p[:, 1]) * (r[:, 0] - p[:, 0]))

    weights = np.column_stack([area(b, c, point), area(c, a, point), area(a, b, point)])
    doubled = weights.sum(axis=1)
    hit = (np.sign(weights) == np.sign(doubled)[:, None]).all(axis=1) & (doubled != 0)
    share = weights[hit] / doubled[hit, None]
    height = (share * corners[face[hit], :, 2]).sum(axis=1)
    return row[hit], column[hit], height, -np.sign(doubled[hit])
