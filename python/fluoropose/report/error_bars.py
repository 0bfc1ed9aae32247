"""Errors by scenario and style as bars, as in Figure 10 of Zhou et al. 2021."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fluoropose.errors import FileFormatError, first_line
from fluoropose.report.page import Picture, Section, new_figure

__all__ = ["error_bars", "error_section"]

Row = Mapping[str, Any]
Paper = Mapping[str, Mapping[str, Sequence[float]]]

_ERRORS = {"rotation_error_deg": "degrees", "translation_error_mm": "mm"}
_FIELDS = ("scenario", "style", "segmentation", "pairs", "failed", *_ERRORS, "success_rate")


def error_section(path: Path) -> Section:
    """Draw the rows of a results file (``bench/figure10.py`` makes them), and list them.

    Raises
    ------
    FileFormatError
        If the file is not JSON with "rows" that have scenario, style, segmentation and a summary's fields.
    """
    document, rows = _read(path)
    try:
        return _section(document, rows)
    except (KeyError, TypeError, IndexError) as error:
        raise FileFormatError(f"{path}: rows, paper: expected the statistics of a summary: {error!r}") from error


def _section(document: Mapping[str, Any], rows: Sequence[Row]) -> Section:
    table: list[tuple[str, ...]] = [
        ("scenario", "style", "segmentation", "failed", "degrees", "mm", "within the limits")
    ]
    table += [_line(row) for row in rows]
    small = "A SMALL RUN, of less than the full trainings. " if document.get("small") else ""
    return Section(
        "Errors by scenario and style",
        f"{small}Rotation and translation errors of Zhou et al. 2021, Eq. 3: mean and standard deviation over the "
        "pairs with a pose; below a bar, how many pairs have none. Dotted: the paper's means.",
        [Picture("", error_bars(rows, document.get("paper", {})))],
        table,
    )


def error_bars(rows: Sequence[Row], paper: Paper, title: str = "") -> Figure:
    """Draw errors as bars, one column of axes per segmentation.

    Parameters
    ----------
    rows
        Each with scenario, style, segmentation, failed and both errors' statistics, or None for these.
    paper
        Per scenario the means "degrees" and "mm", drawn as lines; scenarios may be missing.
    """
    scenarios, styles, kinds = (list(dict.fromkeys(row[key] for row in rows)) for key in _FIELDS[:3])
    figure = new_figure(5 * len(kinds), 6)
    grid = figure.subplots(len(_ERRORS), len(kinds), sharey="row", squeeze=False)
    for (field, unit), line in zip(_ERRORS.items(), grid, strict=True):
        for kind, axes in zip(kinds, line, strict=True):
            for k, style in enumerate(styles):
                chosen = {row["scenario"]: row for row in rows if (row["style"], row["segmentation"]) == (style, kind)}
                if not chosen:
                    continue
                places = {one: n + (k - (len(styles) - 1) / 2) * 0.8 / len(styles) for n, one in enumerate(scenarios)}
                _bars(axes, {places[name]: row for name, row in chosen.items()}, field, 0.72 / len(styles), style, k)
            for n, scenario in enumerate(scenarios):
                if scenario in paper:
                    label = None if "paper" in axes.get_legend_handles_labels()[1] else "paper"
                    axes.plot([n - 0.42, n + 0.42], [paper[scenario][unit][0]] * 2, "k:", lw=1, label=label)
            axes.set_xticks(range(len(scenarios)), [scenario.replace("_", "\n") for scenario in scenarios])
            if any((row[field] or {"mean": 0})["mean"] > 0 for row in rows):
                axes.set_yscale("log")
            axes.grid(axis="y", alpha=0.3)
        line[0].set_ylabel(f"Eq. 3, {unit}")
    for kind, axes in zip(kinds, grid[0], strict=True):
        axes.set_title(f"segmentation: {kind}")
    drawn: dict[str, Any] = {}
    for axes in grid[0]:
        drawn |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(drawn.values(), drawn.keys(), loc="outside lower center", ncols=len(drawn), fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=10)
    return figure


def _bars(axes: Axes, rows: Mapping[float, Row], field: str, width: float, style: str, colour: int) -> None:
    """Draw one style's bars at their places, and how many pairs each leaves out."""
    found = [row[field] or {"mean": np.nan, "sd": np.nan} for row in rows.values()]
    heights, spread = [one["mean"] for one in found], [one["sd"] for one in found]
    axes.bar(list(rows), heights, width, yerr=spread, color=f"C{colour}", label=style)
    for place, row in rows.items():
        if row["failed"]:
            axes.text(
                *(place, 0.01, f"-{row['failed']}"), transform=axes.get_xaxis_transform(), ha="center", fontsize=6
            )


def _read(path: Path) -> tuple[dict[str, Any], list[Row]]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = [*document["rows"], *document.get("rows_without_segmentation", [])]
        missing = [field for row in rows for field in _FIELDS if field not in row]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        found = f"no {error}" if isinstance(error, KeyError) else first_line(error)
        raise FileFormatError(f'{path}: expected JSON with "rows" of scenarios and styles, found {found}') from error
    if missing or not rows:
        raise FileFormatError(
            f"{path}: rows: {f'expected {missing[0]} in each' if missing else 'expected at least one'}"
        )
    return document, rows


def _line(row: Row) -> tuple[str, ...]:
    numbers = ["" if row[key] is None else f"{row[key]['mean']:.2f} ± {row[key]['sd']:.2f}" for key in _ERRORS]
    rate = row["success_rate"]
    within = "" if rate is None else f"{rate['value']:.0%} ({rate['deg']:g}°, {rate['mm']:g} mm)"
    named = (row["scenario"].replace("_", " "), row["style"], row["segmentation"])
    return (*named, f"{row['failed']} of {row['pairs']}", *numbers, within)
