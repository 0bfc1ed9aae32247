"""The pictures of bench/figure10.py: bars by scenario and style, and one frame in every style."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

mpl.use("Agg")

import matplotlib.pyplot as plt  # after the choice of a backend that needs no display
from PIL import Image

from fluoropose._files import atomic_path
from fluoropose.learning.bundle import StyleNetwork
from fluoropose.learning.preprocess import Preprocessing, crop_frame, lit_pixels
from fluoropose.report.error_bars import error_bars
from fluoropose.rig import Fluoroscope

__all__ = ["save_chart", "save_translations"]


def save_chart(
    path: Path, rows: Sequence[Mapping[str, Any]], paper: Mapping[str, Mapping[str, Sequence[float]]], title: str
) -> None:
    """Draw errors (Eq. 3, mean and SD) as bars, one column of axes per segmentation, as the paper's Figure 10.

    Below the bars stands how many pairs failed, which the bars do not count.
    """
    with atomic_path(path) as temporary:
        error_bars(rows, paper, title).savefig(temporary)


def save_translations(
    path: Path,
    frames: Mapping[str, Sequence[NDArray[np.float32]]],
    scopes: Sequence[Fluoroscope],
    translators: Mapping[str, StyleNetwork | None],
    preprocessing: Preprocessing,
    size: int,
) -> None:
    """Show the frames (per scenario one per view, bright = attenuating) in every style: a column each."""
    rows = []
    for of_views in frames.values():
        for frame, scope in zip(of_views, scopes, strict=True):
            region = scope.whole
            crop = preprocessing.apply(crop_frame(frame, region, size), lit_pixels(scope, region, size))[None]
            rows.append([crop[0] if one is None else one.translate(crop)[0] for one in translators.values()])
    figure, axes = plt.subplots(len(rows), len(translators), figsize=(1.1 * len(translators), 1.15 * len(rows)))
    for line, pictures in zip(axes, rows, strict=True):
        for axis, picture in zip(line, pictures, strict=True):
            axis.imshow(picture, cmap="gray", vmin=-1, vmax=1)
            axis.axis("off")
    for axis, name in zip(axes[0], translators, strict=True):
        axis.set_title(name, fontsize=7)
    figure.tight_layout(pad=0.2)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=80)
        with Image.open(temporary) as coloured:
            grey = coloured.convert("L")
        grey.save(temporary, optimize=True)
    plt.close(figure)
