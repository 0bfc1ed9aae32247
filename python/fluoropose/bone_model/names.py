"""Names beside points in a picture, placed so that they cover neither each other nor the points."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

__all__ = ["write_names"]

_SIZE_PT, _DOT_PT, _GLYPH = 7.0, 2.5, 0.64  # of a letter, a dot's radius, a letter's width as a share of its height
_DIRECTIONS = np.column_stack([f(np.arange(16) * np.pi / 8) for f in (np.cos, np.sin)])
_DISTANCES_PT = (5.0, 12.0, 20.0, 30.0, 42.0)


def write_names(axes: Axes, names: Sequence[str], points: NDArray[np.float64]) -> None:
    """Write the names of points (n, 2) of the data in axes that have their final place; a line leads to a name far off.

    One after the other takes the nearest free place, so it is the last of a crowd that must go far.
    """
    to_pt = 72 / axes.figure.dpi
    dots = axes.transData.transform(points) * to_pt
    frame = np.asarray(axes.get_window_extent().extents) * to_pt
    taken = [np.r_[dot - _DOT_PT, dot + _DOT_PT] for dot in dots]
    for name, point, dot in zip(names, points, dots, strict=True):
        half = np.array([len(name) * _GLYPH * _SIZE_PT, 1.2 * _SIZE_PT]) / 2
        places = [
            dot + (distance + half * np.abs(direction)) * direction
            for distance in _DISTANCES_PT
            for direction in _DIRECTIONS
        ]
        boxes = [np.r_[place - half, place + half] for place in places]
        best = int(np.argmin([_covered(box, taken) + 10 * _outside(box, frame) for box in boxes]))
        taken.append(boxes[best])
        far = best >= len(_DIRECTIONS)
        axes.annotate(
            name,
            point,
            xytext=places[best] - dot,
            textcoords="offset points",
            fontsize=_SIZE_PT,
            ha="center",
            va="center",
            parse_math=False,
            arrowprops={"arrowstyle": "-", "lw": 0.4, "color": "0.35", "shrinkA": 0, "shrinkB": 2} if far else None,
        ).set_in_layout(False)


def _covered(box: NDArray[np.float64], others: Sequence[NDArray[np.float64]]) -> float:
    """Return the area that boxes (4,), left, bottom, right, top, share with others."""
    stacked = np.array(others)
    sides = np.minimum(box[2:], stacked[:, 2:]) - np.maximum(box[:2], stacked[:, :2])
    return float(np.prod(np.maximum(sides, 0), axis=1).sum())


def _outside(box: NDArray[np.float64], frame: NDArray[np.float64]) -> float:
    """Return how far a box reaches beyond a frame."""
    return float(np.maximum(frame[:2] - box[:2], 0).sum() + np.maximum(box[2:] - frame[2:], 0).sum())
