"""A picture of a bone: its surface with the landmarks' names from three sides, and the cut in three planes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from scipy import ndimage

from fluoropose._files import atomic_path
from fluoropose.bone import Bone
from fluoropose.bone_model.build import BoneModel
from fluoropose.bone_model.names import write_names

__all__ = ["save_picture"]


class _Side(NamedTuple):
    """A way to look, and the planes across it.

    ``right``, ``up`` and ``depth`` are the bone's axes in the picture and towards the viewer; of the latter two the
    signs tell which end lies at the top and in front.
    """

    seen_from: str
    plane: str
    right: int
    up: int
    up_sign: int
    depth: int
    depth_sign: int


# As radiologists hang them: from the front, from the left, from the feet. The axes of a CT's bone are LPS.
_SIDES = (
    _Side("the front", "coronal", right=0, up=2, up_sign=1, depth=1, depth_sign=-1),
    _Side("the left", "sagittal", right=1, up=2, up_sign=1, depth=0, depth_sign=1),
    _Side("below", "axial", right=0, up=1, up_sign=-1, depth=2, depth_sign=-1),
)
_PATIENT = (("R", "L"), ("A", "P"), ("I", "S"))  # lower and upper end of each axis
_OWN = (("-x", "+x"), ("-y", "+y"), ("-z", "+z"))
_PAIR, _MIDLINE, _CUT, _NEIGHBOUR = "#d1495b", "#00798c", "#ff9f1c", "#4ea8de"
_MARGIN = 0.14  # of the bone's longest side, shown around it
_FINEST = 500  # pixels along a cut's longest side


def save_picture(model: BoneModel, path: str | Path) -> None:
    """Write a PNG: above, the surface with landmarks; below, coronal, sagittal and axial cuts with their outlines.

    A mesh's axes are its own: there the sides bear the names of the axes.
    """
    with atomic_path(path) as temporary:
        _figure(model).savefig(temporary, dpi=100, format="png")


def _figure(model: BoneModel) -> Figure:
    bone, from_ct = model.bone, model.neighbours is not None
    figure = Figure(figsize=(15, 10.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 3)
    low, high = bone.vertices.min(axis=0), bone.vertices.max(axis=0)
    margin = _MARGIN * (high - low).max()
    box = np.stack([low - margin, high + margin])
    ends = _PATIENT if from_ct else _OWN
    for (above, below), side in zip(axes.T, _SIDES, strict=True):
        _draw_surface(above, bone, side)
        at = _most_cut(model, side.depth)
        _draw_cut(below, model, side, at, box)
        seen_from = side.seen_from if from_ct else ends[side.depth][side.depth_sign > 0]
        above.set_title(f"{bone.name}, seen from {seen_from}", parse_math=False)
        below.set_title(f"{side.plane + ' ' if from_ct else ''}cut at {'xyz'[side.depth]} = {at:.0f} mm")
        for each, colour in ((above, "#8a6d00"), (below, "#ffe066")):
            _frame(each, side, box, ends, colour)
    figure.legend(handles=_legend(model), loc="outside lower center", ncols=4, frameon=False, fontsize=11)
    figure.draw_without_rendering()  # the names find room once the axes have their places
    for above, side in zip(axes[0], _SIDES, strict=True):
        write_names(above, bone.landmark_names, bone.landmarks_mm[:, [side.right, side.up]])
    return figure


def _frame(axes: Axes, side: _Side, box: NDArray[np.float64], ends: Sequence[tuple[str, str]], colour: str) -> None:
    """Give both rows the same limits, in mm, and mark the ends of their axes."""
    upwards = box[:: side.up_sign, side.up]
    axes.set(xlim=box[:, side.right], ylim=upwards, aspect="equal")
    axes.set_xlabel(f"{'xyz'[side.right]}, mm")
    axes.set_ylabel(f"{'xyz'[side.up]}, mm")
    at_ends: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 13, "fontweight": "bold", "color": colour}
    for share, name in zip((0.015, 0.985), ends[side.right], strict=True):
        axes.text(share, 0.5, name, ha="left" if share < 0.5 else "right", va="center", **at_ends)
    for share, name in zip((0.015, 0.985), ends[side.up][:: side.up_sign], strict=True):
        axes.text(0.5, share, name, ha="center", va="bottom" if share < 0.5 else "top", **at_ends)


def _draw_surface(axes: Axes, bone: Bone, side: _Side) -> None:
    across = [side.right, side.up]
    corners = bone.vertices[bone.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    length = np.linalg.norm(normals, axis=1)
    facing = side.depth_sign * normals[:, side.depth] / np.where(length > 0, length, 1)
    shown = np.flatnonzero(facing > 0)
    shown = shown[np.argsort(side.depth_sign * corners[shown, :, side.depth].mean(axis=1))]
    grey = np.repeat(0.35 + 0.6 * facing[shown, None], 3, axis=1)
    # Edges in the faces' own grey close the hairlines that anti-aliasing leaves between neighbours.
    axes.add_collection(
        PolyCollection(list(corners[shown][:, :, across]), facecolors=grey, edgecolors=grey, linewidths=0.3)
    )
    points = bone.landmarks_mm[:, across]
    for pair in bone.symmetric_pairs:
        axes.plot(*points[pair].T, color=_PAIR, lw=0.6, alpha=0.6)
    paired = np.isin(np.arange(len(points)), bone.symmetric_pairs)
    for which, colour in ((paired, _PAIR), (~paired, _MIDLINE)):
        x, y = points[which].T
        axes.scatter(x, y, s=22, color=colour, edgecolors="white", linewidths=0.6, zorder=3)


def _most_cut(model: BoneModel, axis: int) -> float:
    """Return where, mm along an axis of the bone, most of its voxels touch neighbours, else where it has most."""
    volume, mask = model.bone.volume, model.bone.mask
    border = mask if model.neighbours is None else mask & ndimage.binary_dilation(model.neighbours)
    shown = border if border.any() else mask
    places = volume.voxel_to_bone(np.argwhere(shown)[:, ::-1])[:, axis]
    step = float(volume.spacing_mm.max())
    counts, edges = np.histogram(places, bins=np.arange(places.min() - step / 2, places.max() + step, step))
    return float(edges[np.argmax(counts)] + step / 2)


def _draw_cut(axes: Axes, model: BoneModel, side: _Side, at: float, box: NDArray[np.float64]) -> None:
    """Show the plane where the bone's axis ``side.depth`` is ``at`` mm, whichever way the voxels lie."""
    volume = model.bone.volume
    low, high = box[:, [side.right, side.up]]
    step = max(float(volume.spacing_mm.min()) / 2, float((high - low).max()) / _FINEST)
    right, up = (np.arange(a, b, step) for a, b in zip(low, high, strict=True))
    points = np.full((len(up), len(right), 3), at)
    points[..., side.right], points[..., side.up] = right, up[:, None]
    voxels = volume.bone_to_voxel(points.reshape(-1, 3))[:, ::-1].T.reshape(3, *points.shape[:2])

    def sampled(grid: NDArray[np.generic]) -> NDArray[np.float32]:
        return np.asarray(ndimage.map_coordinates(grid.astype(np.float32), voxels, order=1))

    axes.set_facecolor("black")
    extent = (right[0] - step / 2, right[-1] + step / 2, up[0] - step / 2, up[-1] + step / 2)
    brightest = float(np.percentile(volume.mu, 99.9)) or 1.0
    axes.imshow(sampled(volume.mu), cmap="gray", origin="lower", extent=extent, vmin=0, vmax=brightest)
    for region, colour in ((model.neighbours, _NEIGHBOUR), (model.bone.mask, _CUT)):
        shares = None if region is None else sampled(region)
        if shares is not None and shares.max() > 0.5 > shares.min():
            axes.contour(right, up, shares, levels=[0.5], colors=[colour], linewidths=1.3)


def _dot(colour: str, label: str) -> Line2D:
    return Line2D([], [], ls="", marker="o", color=colour, markeredgecolor="white", label=label)


def _legend(model: BoneModel) -> list[Line2D]:
    """Explain what is drawn, with landmarks of the bone as examples."""
    bone = model.bone
    names = [name.replace("$", r"\$") for name in bone.landmark_names]  # no formulas
    entries = []
    for a, b in bone.symmetric_pairs[:1]:
        told = f"symmetric pairs, such as {names[a]} and {names[b]}"
        entries.append(_dot(_PAIR, told))
    for single in np.setdiff1d(np.arange(len(bone.landmarks_mm)), bone.symmetric_pairs)[:1]:
        told = f"landmarks without a partner, on the midline, such as {names[single]}"
        entries.append(_dot(_MIDLINE, told))
    entries.append(Line2D([], [], color=_CUT, label="the bone"))
    if model.neighbours is not None and model.neighbours.any():
        entries.append(Line2D([], [], color=_NEIGHBOUR, label="bones beside it"))
    return entries
