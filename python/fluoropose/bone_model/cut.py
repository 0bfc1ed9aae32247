"""Cutting one bone out of a CT: a threshold, and seeds that say what is the bone and what are its neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from fluoropose.errors import InputError

__all__ = ["cut_from_neighbours", "in_body"]

_TISSUE_HU = -300.0
_DENSEST_HU, _DEEPEST_MM = 900.0, 4.0  # beyond these a voxel is as sure to be inside a bone as it gets


def in_body(hu: NDArray[np.number]) -> NDArray[np.bool_]:
    """Return the (nz, ny, nx) voxels that lie in or at the largest connected body: the table and head rest do not."""
    solid = ndimage.binary_opening(np.asarray(hu > _TISSUE_HU))
    labels, count = ndimage.label(solid)
    if count == 0:
        return np.ones(hu.shape, dtype=bool)
    largest = labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
    return np.asarray(ndimage.binary_dilation(largest, iterations=2))


def cut_from_neighbours(
    hu: NDArray[np.number],
    threshold_hu: float,
    keep: NDArray[np.float64],
    remove: NDArray[np.float64],
    radius_mm: float,
    edges_mm: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Return the mask of the bone in which the ``keep`` seeds lie, cut from the bones of the ``remove`` seeds.

    All voxels above the threshold are flooded from the seeds (marker-based watershed) through dense and thick bone
    first, so that two bones meet where the bridge between them is thin or faint: in the joint. What no seed reaches
    (a head rest, fillings beside the jaw) is dropped.

    Parameters
    ----------
    hu
        (nz, ny, nx) Hounsfield units.
    threshold_hu
        Lowest value that counts as bone.
    keep, remove
        (n, 3) and (m, 3) seeds, voxel indices (x, y, z).
    radius_mm
        Radius of a seed, mm.
    edges_mm
        (3,) edges of a voxel along x, y, z, mm.

    Raises
    ------
    InputError
        If a seed lies outside the volume or has no bone within its radius.
    """
    bone = np.asarray(hu > threshold_hu)
    box = tuple(slice(max(0, int(i.min()) - 1), int(i.max()) + 2) for i in np.nonzero(bone)) if bone.any() else ()
    if not box:
        raise InputError(f"threshold_hu: expected less than the largest value, {hu.max():g} HU, found {threshold_hu:g}")
    markers = np.zeros(bone.shape, dtype=np.int32)
    for name, seeds, label in (("keep", keep, 1), ("remove", remove, 2)):
        for number, seed in enumerate(seeds, start=1):
            markers[_seed(f"{name}: seed {number}", seed, bone, radius_mm, edges_mm)] = label
    inside = bone[box]
    depth = ndimage.distance_transform_edt(inside, sampling=edges_mm[::-1])
    span = max(_DENSEST_HU - threshold_hu, 1.0)  # above a threshold for metal all is as dense as it gets
    density = np.clip((hu[box].astype(np.float32) - threshold_hu) / span, 0, 1)
    labels = watershed(-(np.minimum(depth, _DEEPEST_MM) / _DEEPEST_MM + density), markers[box], mask=inside)
    mask = np.zeros(bone.shape, dtype=bool)
    mask[box] = labels == 1
    return mask


def _seed(
    name: str, seed: NDArray[np.float64], bone: NDArray[np.bool_], radius_mm: float, edges_mm: NDArray[np.float64]
) -> tuple[NDArray[np.intp], ...]:
    """Return the indices [z, y, x] of the bone voxels within ``radius_mm`` of a seed (x, y, z)."""
    centre, edges = seed[::-1], edges_mm[::-1]
    shape = np.array(bone.shape)
    if (centre < -0.5).any() or (centre > shape - 0.5).any():
        raise InputError(f"{name}: expected a place inside the volume, found voxel {np.round(seed, 1).tolist()}")
    low = np.maximum(np.floor(centre - radius_mm / edges).astype(int), 0)
    high = np.minimum(np.ceil(centre + radius_mm / edges).astype(int) + 1, shape)
    grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)), indexing="ij"), axis=-1)
    near = (np.linalg.norm((grid - centre) * edges, axis=-1) <= radius_mm) & bone[tuple(map(slice, low, high))]
    if not near.any():
        raise InputError(f"{name}: expected bone within {radius_mm:g} mm, found none above the threshold")
    return tuple(grid[near].T)
