"""Pictures of an artificial set: radiographs with masks and landmarks over many poses."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor

from fluoropose.learning.config import LearningConfig, StyleConfig
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.learning.style import Pictures, draw_shown
from fluoropose.learning.translation.config import PlainStyle
from fluoropose.report.page import Picture, Section, new_figure

__all__ = ["drawn", "radiograph_section", "show"]

_COLUMNS, _ROWS = 8, 3
_SEED = 20261


def radiograph_section(path: Path, radiographs: RadiographSet, config: LearningConfig) -> Section:
    """Show samples whose poses lie far apart, and how the poses of all of them are spread.

    Parameters
    ----------
    path
        The set's file.
    radiographs
        The same, loaded.
    config
        Style and preprocessing of the learned pictures.
    """
    turns_deg, places_mm = _poses(path, radiographs.config)
    rows = torch.from_numpy(_far_apart(turns_deg, _COLUMNS * _ROWS))
    captions = [
        f"view {int(radiographs.view[row]) + 1}\n" + "  ".join(f"{round(angle):+d}°" for angle in turns_deg[row])
        for row in rows.tolist()
    ]
    tests = radiographs.config.dataset.test_count
    what = f"{radiographs.owner.bone_name}: {len(radiographs)} samples, {tests} of them for tests"
    return Section(
        f"Radiographs of {radiographs.owner.bone_name}",
        f"{what}. Samples whose orientations lie far apart. Above each: its view, and how far it is turned about the "
        "bone's x, y and z against the nominal orientation. Orange: the outline of the bone's mask; dots: its "
        "landmarks, each with its own colour.",
        [
            Picture("plain radiographs", _sheet(radiographs, rows, PlainStyle(), config.preprocessing, captions)),
            Picture(
                "the same in the style of the run, as a network is shown them",
                _sheet(radiographs, rows, config.style, config.preprocessing, captions),
            ),
            Picture("orientations and positions of all samples", _spread(turns_deg, places_mm)),
        ],
    )


def drawn(
    radiographs: RadiographSet, rows: Tensor, style: StyleConfig, preprocessing: Preprocessing
) -> tuple[Pictures, NDArray[np.float32]]:
    """Return samples in a style, always the same way, and as a network takes them: (b, size, size) in [-1, 1]."""
    rng = torch.Generator().manual_seed(_SEED + int(rows[0]))
    samples, segmented, size = radiographs.samples(rows), radiographs.segmented[rows], radiographs.config.dataset.size
    pictures, inputs = draw_shown(samples, segmented, size, style, preprocessing, rng)
    return pictures, inputs.numpy()


def show(axes: Axes, picture: NDArray[np.float32], caption: str = "") -> None:
    """Show a picture in [-1, 1] without axes."""
    axes.imshow(picture, cmap="gray", vmin=-1, vmax=1)
    axes.set_axis_off()
    axes.set_title(caption, fontsize=9)


def _sheet(
    radiographs: RadiographSet, rows: Tensor, style: StyleConfig, preprocessing: Preprocessing, captions: Sequence[str]
) -> Figure:
    pictures, inputs = drawn(radiographs, rows, style, preprocessing)
    size = radiographs.config.dataset.size
    figure = new_figure(1.75 * _COLUMNS, 2.2 * _ROWS)
    places = np.ravel(figure.subplots(_ROWS, _COLUMNS))
    colours = mpl.colormaps["turbo"](np.linspace(0.05, 0.95, pictures.landmarks_px.shape[1]))
    for axes in places:
        axes.set_axis_off()
    for k, (axes, caption) in enumerate(zip(places, captions, strict=False)):
        show(axes, inputs[k], caption)
        mask = pictures.mask[k].numpy()
        if mask.any() and not mask.all():
            axes.contour(mask, levels=[0.5], colors="#ffa726", linewidths=0.7)
        points = pictures.landmarks_px[k].numpy()
        inside = ((points > -0.5) & (points < size - 0.5)).all(axis=1)
        axes.scatter(*points[inside].T, s=7, c=colours[inside], edgecolors="black", linewidths=0.25)
        axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    return figure


def _poses(path: Path, config: LearningConfig) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return turns (n, 3) against the nominal orientation, degrees, and positions (n, 3) in the world, mm."""
    with h5py.File(path, "r") as file:
        world_from_bone = np.asarray(file["world_from_bone"][:])
    nominal = Rotation.from_matrix(np.array(config.dataset.pose.rotation))
    turns = (nominal.inv() * Rotation.from_matrix(world_from_bone[:, :3, :3])).as_rotvec(degrees=True)
    return turns, world_from_bone[:, :3, 3]


def _far_apart(points: NDArray[np.float64], count: int) -> NDArray[np.intp]:
    """Choose rows far from each other: the one nearest to the middle, then always the one farthest from all chosen."""
    chosen = [int(np.argmin(np.linalg.norm(points, axis=1)))]
    nearest = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        nearest = np.minimum(nearest, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(nearest)))
    return np.sort(chosen)


def _spread(turns_deg: NDArray[np.float64], places_mm: NDArray[np.float64]) -> Figure:
    figure = new_figure(14, 2.6)
    for k, axes in enumerate(np.ravel(figure.subplots(1, 6))):
        values = (turns_deg, places_mm)[k // 3][:, k % 3]
        axes.hist(values, bins=30, color="#1565c0")
        axes.set_title(f"{'turned about ' if k < 3 else ''}{'xyz'[k % 3]}, {'degrees' if k < 3 else 'mm'}", fontsize=9)
        axes.tick_params(labelsize=7)
    return figure
