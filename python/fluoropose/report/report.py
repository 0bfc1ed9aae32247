"""The report of a trial: one HTML page that holds everything it shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoropose._files import write_text
from fluoropose.bone import Bone
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose
from fluoropose.registration.poses_file import PoseRow
from fluoropose.registration.refined import REFINED, not_refined
from fluoropose.registration.registration import Status
from fluoropose.registration.summary import Summary
from fluoropose.registration.trial import Trial, TrialFrames
from fluoropose.report.chart import Series, line_chart
from fluoropose.report.overlay import overlay
from fluoropose.report.page import page_template
from fluoropose.rig import Rig

__all__ = ["write_report"]

_CURVES = (
    *(("x", "mm"), ("y", "mm"), ("z", "mm")),
    *(("θx", "degrees"), ("θy", "degrees"), ("θz", "degrees")),
)


def write_report(
    path: str | Path,
    trial: Trial,
    rows: Sequence[PoseRow],
    summary: Summary,
    reference: dict[int, Pose] | None = None,
    title: str | None = None,
    shown: int = 8,
) -> None:
    """Write the page.

    Parameters
    ----------
    path
        Where to, usually ``report.html`` beside ``poses.csv``.
    trial
        The trial whose frames, rig and bone are shown.
    rows
        The rows of its poses file.
    summary
        Its summary.
    reference
        Reference poses ``world_from_bone`` by frame, in the trial's world and bone frame; drawn beside the found ones.
    title
        Heading; the name of the trial's folder by default.
    shown
        Frame pairs to show.

    Raises
    ------
    InputError
        If there are no rows.
    """
    if not rows:
        raise InputError("rows: expected at least one")
    rig, bone, frames = Rig.load(trial.rig), Bone.load(trial.bone), TrialFrames.open(trial)
    reference = reference or {}
    page = page_template("trial.html").render(
        title=title or trial.out.resolve().name,
        date=summary.environment.date.replace("T", " ")[:16],
        bone=bone,
        summary=summary,
        compared=bool(reference),
        count=len(rows),
        tiles=_tiles(summary, rows),
        pairs=[_pair(row, rig, bone, frames, reference) for row in _choose(rows, shown)],
        curves=_curves(rows, reference),
        quality=_quality(rows, len(rig.views)),
        refined=any(row.source.endswith(REFINED) for row in rows),
        failures=[
            {"frame": r.frame, "time": _seconds(r.time_s), "reason": r.reason}
            for r in rows
            if r.status is Status.FAILED
        ],
        statistics=summary.named,
        views=rig.fluoroscopes,
        calibration=_calibration(rig),
        facts=_facts(trial, rig, bone, summary),
        table=[_table_row(row, len(rig.views)) for row in rows],
    )
    write_text(path, page)


def _tiles(summary: Summary, rows: Sequence[PoseRow]) -> list[dict[str, str]]:
    # The summary of a comparison counts the pairs that have a reference, which need not be all.
    failed, unrefined = sum(row.world_from_bone is None for row in rows), sum(not_refined(row) for row in rows)
    tiles = [
        {"value": f"{len(rows) - failed} / {len(rows)}", "label": "pairs with a pose", "kind": ""},
        {"value": str(failed), "label": "failed", "kind": "bad" if failed else "good"},
    ]
    if unrefined:
        tiles.append({"value": str(unrefined), "label": "not refined, see their reasons", "kind": "bad"})
    if summary.geodesic_error_deg and summary.translation_norm_mm:
        tiles += [
            {"value": f"{summary.geodesic_error_deg.median:.2f}°", "label": "median angle error", "kind": ""},
            {"value": f"{summary.translation_norm_mm.median:.2f} mm", "label": "median position error", "kind": ""},
        ]
    if summary.success_rate:
        rate = summary.success_rate
        label = f"of {summary.pairs} pairs with a reference within {rate.deg:g}° and {rate.mm:g} mm"
        tiles.append({"value": f"{rate.value:.1%}", "label": label, "kind": ""})
    if summary.seconds_per_pair is not None:
        tiles.append({"value": f"{1000 * summary.seconds_per_pair:.0f} ms", "label": "per pair", "kind": ""})
    return tiles


def _choose(rows: Sequence[PoseRow], shown: int) -> list[PoseRow]:
    """Return pairs evenly over the trial, the worst fits among the others, and one failed pair, in order."""
    good = [row for row in rows if row.world_from_bone is not None]
    failed = [row for row in rows if row.world_from_bone is None][:1]
    spread = max(shown - 2 - len(failed), 1)
    even = [good[i] for i in sorted({round(i) for i in np.linspace(0, len(good) - 1, spread)})] if good else []
    rest = [row for row in good if row not in even and np.isfinite(row.cost)]
    worst = sorted(rest, key=lambda row: -row.cost)[: max(shown - len(even) - len(failed), 0)]
    return sorted([*even, *worst, *failed], key=lambda row: row.frame)


def _pair(row: PoseRow, rig: Rig, bone: Bone, frames: TrialFrames, reference: dict[int, Pose]) -> dict[str, Any]:
    fit = f"{row.n_visible} landmarks, {_number(_fit_mm(row, len(rig.views)), 1)} mm RMS"
    if row.source.endswith(REFINED):
        fit = f"likeness {_number(row.likeness, 3)}"  # the landmarks were left behind
    note = f"{_seconds(row.time_s)} · {row.reason or fit}"
    views = []
    for source, scope in zip(frames.sources, rig.fluoroscopes, strict=True):
        try:
            frame = source.read(frames.numbers.index(row.frame))
        except (FileFormatError, ValueError):  # what could not be read when registering cannot be shown either
            frame = np.zeros((scope.view.height, scope.view.width), dtype=np.uint8)
        truth = reference.get(row.frame)
        fits = frame.shape == (scope.view.height, scope.view.width)
        views.append(
            {
                "picture": overlay(frame, scope, bone, row.world_from_bone if fits else None),
                "reference": overlay(frame, scope, bone, truth).bone if fits and truth is not None else "",
            }
        )
    return {"frame": row.frame, "note": note, "views": views}


def _curves(rows: Sequence[PoseRow], reference: dict[int, Pose]) -> list[dict[str, str]]:
    found = _six([row.world_from_bone for row in rows])
    truth = _six([reference.get(row.frame) for row in rows])
    truth[:, 3:] -= 360 * _turns(truth[:, 3:] - found[:, 3:])
    charts = []
    for column, (name, unit) in enumerate(_CURVES):
        series = [Series(found[:, column])]
        if reference:
            series.append(Series(truth[:, column], "reference"))
        charts.append(_chart(rows, series, name, unit))
    return charts


def _turns(apart_deg: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 3) whole turns between curves; where one of them is missing, those of the frame before."""
    known = np.asarray(np.isfinite(apart_deg).all(axis=1))
    if not known.any():
        return np.zeros_like(apart_deg)
    last = np.maximum.accumulate(np.where(known, np.arange(len(known)), int(np.argmax(known))))
    return np.asarray(np.round(apart_deg[last] / 360))


def _six(poses: Sequence[Pose | None]) -> NDArray[np.float64]:
    """Return (n, 6) x, y, z mm and the angles in degrees without jumps; NaN rows where there is no pose."""
    six = np.full((len(poses), 6), np.nan)
    for row, pose in zip(six, poses, strict=True):
        if pose is not None:
            row[:3], row[3:] = pose.translation_mm, pose.euler_zyx_deg
    known = np.isfinite(six[:, 3])
    if known.any():
        six[known, 3:] = np.unwrap(six[known, 3:], axis=0, period=360)
    return six


def _fit_mm(row: PoseRow, views: int) -> float:
    """Return how far a row's landmarks lie off on the image planes, root mean square, if all were used in every view.

    Its cost (Eq. 2) is the root of the summed squares of a view, summed over the views.
    """
    used = 0 if row.world_from_bone is None else row.n_visible
    return row.cost / (views * np.sqrt(used)) if used else float("nan")


def _sd(row: PoseRow) -> tuple[float, float]:
    """Return a row's uncertainty, one standard deviation: of the angle in degrees, of the position in mm."""
    if row.covariance is None:
        return float("nan"), float("nan")
    variances = np.diag(row.covariance)
    return float(np.degrees(np.sqrt(variances[:3].sum()))), float(np.sqrt(variances[3:].sum()))


def _quality(rows: Sequence[PoseRow], views: int) -> list[dict[str, str]]:
    sd = np.array([_sd(row) for row in rows])
    nan = float("nan")
    used = np.array([nan if row.world_from_bone is None else row.n_visible for row in rows], dtype=np.float64)
    charts = [
        ("distance of the landmarks", "mm, root mean square", np.array([_fit_mm(row, views) for row in rows])),
        ("landmarks used", "", used),
        ("likeness of the radiographs", "gradient correlation", np.array([row.likeness for row in rows])),
        ("uncertainty of the angle", "degrees, 1 sd", sd[:, 0]),
        ("uncertainty of the position", "mm, 1 sd", sd[:, 1]),
    ]
    return [_chart(rows, [Series(values)], name, unit) for name, unit, values in charts if np.isfinite(values).any()]


def _chart(rows: Sequence[PoseRow], series: Sequence[Series], name: str, unit: str) -> dict[str, str]:
    times = np.array([row.time_s for row in rows])
    timed = bool(np.isfinite(times).all())
    x = times if timed else np.array([row.frame for row in rows], dtype=np.float64)
    names = [f"frame {row.frame}" for row in rows]
    svg = line_chart(x, series, unit.split(",")[0], names, x_unit="s" if timed else "")
    return {"name": name, "unit": unit, "svg": svg}


def _calibration(rig: Rig) -> list[dict[str, Any]]:
    scopes = rig.fluoroscopes
    views = rig.views
    rows: list[tuple[str, list[str]]] = [
        ("image", [f"{v.width} × {v.height} px" for v in views]),
        ("pixel on the image plane", [f"{v.pixel_pitch_mm[0]:.4f} × {v.pixel_pitch_mm[1]:.4f} mm" for v in views]),
        ("source to image plane", [f"{v.sdd_mm:.1f} mm" for v in views]),
        ("source in the world", [", ".join(f"{x:.1f}" for x in v.source) + " mm" for v in views]),
        ("circular field", ["–" if s.field is None else f"radius {s.field.radius:.1f} px" for s in scopes]),
        (
            "distortion",
            ["none" if s.distortion is None else f"polynomial of order {s.distortion.order}" for s in scopes],
        ),
    ]
    if len(views) == 2:
        cosine = float(np.clip(views[0].normal @ views[1].normal, -1, 1))
        rows.append(("angle between the image planes", ["", f"{np.degrees(np.arccos(cosine)):.2f}°"]))
    return [{"name": name, "numbers": numbers} for name, numbers in rows]


def _facts(trial: Trial, rig: Rig, bone: Bone, summary: Summary) -> list[tuple[str, str]]:
    environment = summary.environment
    facts = [
        ("bone", f"{bone.name}: {len(bone.landmarks_mm)} landmarks, {len(bone.symmetric_pairs)} symmetric pairs"),
        ("network", trial.bundle.name),
        ("rig", f"{trial.rig.name}: {len(rig.fluoroscopes)} views"),
        ("frames", ", ".join(path.name for path in trial.frames)),
        (
            "recorded as",
            "bright where the beam is free" if trial.polarity == "bright_air" else "bright where it is stopped",
        ),
        ("time", "–" if summary.seconds is None else f"{summary.seconds:.1f} s in all"),
        ("machine", environment.cpu),
        ("software", f"fluoropose {environment.fluoropose}, Python {environment.python}, PyTorch {environment.torch}"),
    ]
    return [*facts, ("commit", environment.commit)] if environment.commit else facts


def _table_row(row: PoseRow, views: int) -> dict[str, Any]:
    pose = row.world_from_bone
    numbers = [""] * 6 if pose is None else [f"{x:.2f}" for x in (*pose.translation_mm, *pose.euler_zyx_deg)]
    return {
        "frame": row.frame,
        "time": _seconds(row.time_s),
        "failed": pose is None,
        "numbers": numbers,
        "hypothesis": row.hypothesis,
        "fit": [_number(_fit_mm(row, views), 2), row.n_visible, _number(row.likeness, 3)],
        "sd": [_number(value, 3) for value in _sd(row)],
        "source": row.source,
    }


def _seconds(time_s: float) -> str:
    return "–" if np.isnan(time_s) else f"{time_s:.3f} s"


def _number(value: float, digits: int) -> str:
    return "–" if not np.isfinite(value) else f"{value:.{digits}f}"
