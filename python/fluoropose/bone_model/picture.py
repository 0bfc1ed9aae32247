"""A picture of a bone: its surface with the numbered landmarks from three sides, and the cut in three planes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy import ndimage

from fluoropose._files import atomic_path
from fluoropose.bone import Bone

__all__ = ["save_picture"]

# Names for a CT's LPS axes; a mesh has its own. (horizontal, vertical, depth axis, sign of depth towards the viewer)
_SIDES = (("along y", 0, 2, 1, -1.0), ("along x", 1, 2, 0, 1.0), ("along z", 0, 1, 2, 1.0))
_PAIR, _MIDLINE, _CUT, _NEIGHBOUR = "#d1495b", "#00798c", "#edae49", "#4ea8de"


def save_picture(bone: Bone, path: str | Path) -> None:
    """Write a PNG: above, the surface with landmarks (pairs red and joined, midline blue); below, the cut."""
    figure = Figure(figsize=(15, 10), layout="constrained")
    axes = figure.subplots(2, 3)
    neighbours, border = _neighbours(bone)
    for column, (title, across, up, depth, sign) in enumerate(_SIDES):
        _draw_surface(axes[0, column], bone, across, up, depth, sign)
        axes[0, column].set_title(f"{bone.name}, seen {title} (mm)")
        _draw_cut(axes[1, column], bone, neighbours, border, depth)
        axes[1, column].set_title(f"cut across {'xyz'[depth]}: bone orange, neighbours blue")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=90, format="png")


def _draw_surface(axes: Axes, bone: Bone, across: int, up: int, depth: int, sign: float) -> None:
    corners = bone.vertices[bone.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    facing = sign * normals[:, depth] / np.where(length > 0, length, 1)
    shown = np.flatnonzero(facing > 0)
    shown = shown[np.argsort(sign * corners[shown, :, depth].mean(axis=1))]
    grey = np.repeat(0.35 + 0.6 * facing[shown, None], 3, axis=1)
    # Edges in the faces' own grey close the hairlines that anti-aliasing leaves between neighbours.
    axes.add_collection(
        PolyCollection(list(corners[shown][:, :, [across, up]]), facecolors=grey, edgecolors=grey, linewidths=0.3)
    )
    points = bone.landmarks_mm
    for first, second in bone.symmetric_pairs:
        axes.plot(points[[first, second], across], points[[first, second], up], color=_PAIR, lw=0.6, alpha=0.6)
    paired = np.isin(np.arange(len(points)), bone.symmetric_pairs)
    for which, colour in ((paired, _PAIR), (~paired, _MIDLINE)):
        axes.scatter(points[which, across], points[which, up], s=22, color=colour, edgecolors="white", linewidths=0.6)
    for name, point in zip(bone.landmark_names, points, strict=True):
        axes.annotate(name, (point[across], point[up]), xytext=(3, 3), textcoords="offset points", fontsize=6)
    axes.set_aspect("equal")
    axes.set_xlabel("xyz"[across])
    axes.set_ylabel("xyz"[up])


def _neighbours(bone: Bone) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return the voxels (nz, ny, nx) as dense as the bone that are not of it, and those of them that touch it."""
    neighbours = np.asarray(bone.volume.mu >= np.percentile(bone.volume.mu[bone.mask], 2)) & ~bone.mask
    return neighbours, neighbours & ndimage.binary_dilation(bone.mask)


def _draw_cut(axes: Axes, bone: Bone, neighbours: NDArray[np.bool_], border: NDArray[np.bool_], axis: int) -> None:
    """Show the plane across voxel axis ``axis`` (0 x, 1 y, 2 z) in which the bone was cut most, else with most bone."""
    array_axis = 2 - axis
    shown = border if border.any() else bone.mask
    plane = int(np.argmax(shown.sum(axis=tuple(i for i in range(3) if i != array_axis))))
    mu: NDArray[np.float32] = np.take(bone.volume.mu, plane, axis=array_axis)
    mask, beside = (np.take(volume, plane, axis=array_axis) for volume in (bone.mask, neighbours))
    origin: Literal["upper", "lower"] = "upper" if axis == 2 else "lower"
    axes.imshow(mu, cmap="gray", origin=origin, vmin=0, vmax=float(np.percentile(bone.volume.mu, 99.9)) or 1.0)
    for region, colour in ((mask, _CUT), (beside, _NEIGHBOUR)):
        if 0 < region.sum() < region.size:
            axes.contour(region, levels=[0.5], colors=[colour], linewidths=0.8)
    axes.set_axis_off()
