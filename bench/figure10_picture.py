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
from fluoropose.registration.locate import whole_field
from fluoropose.rig import Fluoroscope

__all__ = ["save_chart", "save_translations"]

_ERRORS = {"rotation_error_deg": ("degrees", "degrees"), "translation_error_mm": ("mm", "mm")}


def save_chart(
    path: Path, rows: Sequence[Mapping[str, Any]], paper: Mapping[str, Mapping[str, Sequence[float]]], title: str
) -> None:
    """Draw errors (Eq. 3, mean and SD) as bars, one column of axes per segmentation, as the paper's Figure 10.

    Below the bars stands how many pairs failed, which the bars do not count.
    """
    scenarios = list(dict.fromkeys(row["scenario"] for row in rows))
    styles = list(dict.fromkeys(row["style"] for row in rows))
    kinds = list(dict.fromkeys(row["segmentation"] for row in rows))
    figure, axes = plt.subplots(len(_ERRORS), len(kinds), figsize=(5 * len(kinds), 6), sharey="row", squeeze=False)
    width = 0.8 / len(styles)
    for (field, (key, unit)), line in zip(_ERRORS.items(), axes, strict=True):
        for kind, axis in zip(kinds, line, strict=True):
            for k, style in enumerate(styles):
                chosen = {row["scenario"]: row for row in rows if (row["style"], row["segmentation"]) == (style, kind)}
                if not chosen:
                    continue
                found = [chosen[scenario][field] or {"mean": np.nan, "sd": np.nan} for scenario in scenarios]
                places = np.arange(len(scenarios)) + (k - (len(styles) - 1) / 2) * width
                axis.bar(
                    places,
                    [f["mean"] for f in found],
                    0.9 * width,
                    yerr=[f["sd"] for f in found],
                    color=f"C{k}",
                    label=style,
                )
                for place, scenario in zip(places, scenarios, strict=True):
                    if failed := chosen[scenario]["failed"]:
                        where = {"transform": axis.get_xaxis_transform(), "ha": "center", "fontsize": 6}
                        axis.text(place, 0.01, f"-{failed}", **where)
            for place, scenario in enumerate(scenarios):
                level = paper[scenario][key][0]
                axis.plot(
                    [place - 0.42, place + 0.42], [level, level], "k:", lw=1, label="paper" if place == 0 else None
                )
            axis.set_xticks(range(len(scenarios)), [scenario.replace("_", "\n") for scenario in scenarios])
            axis.set_yscale("log")
            axis.grid(axis="y", alpha=0.3)
        line[0].set_ylabel(f"Eq. 3, {unit}")
    for kind, axis in zip(kinds, axes[0], strict=True):
        axis.set_title(f"segmentation: {kind}")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="lower center", ncols=len(labels), fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    figure.tight_layout(rect=(0, 0.04, 1, 1))
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=100)
    plt.close(figure)


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
            region = whole_field(scope)
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
