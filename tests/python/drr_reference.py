"""Line integrals in float64 NumPy, written for clarity; what the renderers are judged by."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume

Floats = NDArray[np.float64]


def pixel_rays(view: View, world_from_bone: Pose, pixels: Floats) -> tuple[Floats, Floats]:
    """Return start and direction, (n, 3) bone mm, of the rays through pixels (n, 2)."""
    place = world_from_bone.inverse()
    points = view.pixel_to_world(pixels)
    if view.beam == "parallel":
        return place.apply(points), np.broadcast_to(view.source, points.shape) @ place.rotation.T
    return np.broadcast_to(place.apply(view.source[None]), points.shape), (points - view.source) @ place.rotation.T


def trilinear(mu: Floats, points: Floats) -> Floats:
    """Interpolate mu (nz, ny, nx), zero outside, at voxel positions (..., 3) in the order (x, y, z)."""
    padded = np.pad(mu, 2)
    shape = np.array(padded.shape)[::-1]
    p = np.clip(points + 2, 0, shape - 1.000001)
    i = np.floor(p).astype(np.intp)
    w = p - i
    flat = padded.ravel()
    stride = np.array([1, shape[0], shape[0] * shape[1]])
    base = i @ stride
    total = np.zeros(points.shape[:-1])
    for corner in range(8):
        bits = np.array([corner >> axis & 1 for axis in range(3)])
        total += np.where(bits, w, 1 - w).prod(axis=-1) * flat[base + bits @ stride]
    return total


def line_integrals(volume: Volume, view: View, world_from_bone: Pose, pixels: Floats) -> Floats:
    """Return the exact integrals (n,) along the rays of pixels (n, 2).

    Between two planes of voxel centres the interpolated attenuation is a cubic polynomial of the position along the
    ray, which Gauss' rule with two points integrates exactly.
    """
    start, direction = pixel_rays(view, world_from_bone, pixels)
    voxel_from_bone = np.linalg.inv(volume.bone_from_voxel)
    o = start @ voxel_from_bone[:3, :3].T + voxel_from_bone[:3, 3]
    d = direction @ voxel_from_bone[:3, :3].T
    mu = volume.mu.astype(np.float64)
    size = np.array(mu.shape)[::-1]
    earliest = -np.inf if view.beam == "parallel" else 0.0
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.stack([(-1 - o) / d, (size - o) / d])
        still = (d == 0) & (np.abs(o - (size - 1) / 2) > (size + 1) / 2)
        enter = np.fmax(np.nanmax(np.where(d == 0, -np.inf, ends.min(axis=0)), axis=1), earliest)
        leave = np.nanmin(np.where(d == 0, np.inf, ends.max(axis=0)), axis=1)
        leave = np.where(still.any(axis=1), enter, np.fmax(leave, enter))
        cuts = [enter[:, None], leave[:, None]]
        for axis in range(3):
            t = (np.arange(-1, size[axis] + 1) - o[:, axis, None]) / d[:, axis, None]
            cuts.append(np.where(np.isfinite(t), t, enter[:, None]).clip(enter[:, None], leave[:, None]))
    t = np.sort(np.concatenate(cuts, axis=1), axis=1)
    result = np.zeros(len(o))
    half = (t[:, 1:] - t[:, :-1]) / 2
    middle = (t[:, 1:] + t[:, :-1]) / 2
    for sign in (-1, 1):
        at = middle + sign * half / np.sqrt(3)
        values = trilinear(mu, o[:, None] + at[..., None] * d[:, None])
        result += (values * half).sum(axis=1)
    return result * np.linalg.norm(direction, axis=1)


def joseph_sums(volume: Volume, view: View, world_from_bone: Pose, pixels: Floats) -> Floats:
    """Return Joseph's sums (n,) along the rays of pixels (n, 2): what ray casting computes, rounding apart."""
    start, direction = pixel_rays(view, world_from_bone, pixels)
    voxel_from_bone = np.linalg.inv(volume.bone_from_voxel)
    mu = volume.mu.astype(np.float64)
    result = np.zeros(len(start))
    for i in range(len(start)):
        o = voxel_from_bone[:3, :3] @ start[i] + voxel_from_bone[:3, 3]
        d = voxel_from_bone[:3, :3] @ direction[i]
        axis = int(np.argmax(np.abs(d)))
        t = (np.arange(mu.shape[2 - axis]) - o[axis]) / d[axis]
        if view.beam == "point":
            t = t[t > 0]
        result[i] = trilinear(mu, o + t[:, None] * d).sum() * np.linalg.norm(direction[i] / d[axis])
    return result
