"""Several registrations of the same frames side by side: the bone at the beginning, middle and end of a cycle."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fluoropose.bone import Bone
from fluoropose.errors import FileFormatError, InputError
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose
from fluoropose.io.frames import frame_range
from fluoropose.registration.evaluate import read_reference
from fluoropose.registration.poses_file import read_poses
from fluoropose.registration.register import REFERENCE
from fluoropose.registration.summary import summarise
from fluoropose.registration.trial import Trial, TrialFrames
from fluoropose.report.overlay import grey
from fluoropose.report.page import Picture, Section, new_figure
from fluoropose.rig import Fluoroscope, Rig
from fluoropose.silhouette import field_mask, outline, silhouette

__all__ = ["side_by_side_section"]

_SHARES = (0.0, 0.5, 1.0)
_FOUND, _TRUE = "#00c2d8", "#ffb74d"


@dataclass(frozen=True, eq=False)
class _Runs:
    """What was found in the same frames: poses by frame number, per run; and the reference, where there is one."""

    rig: Rig
    bone: Bone
    frames: TrialFrames
    found: Mapping[str, Mapping[int, Pose | None]]
    reference: Mapping[int, Pose]


def side_by_side_section(trials: Mapping[str, Trial], cycle: str | None = None) -> Section:
    """Show the bone as several trials found it in the same frames, beside the reference, at 0, 50 and 100 % of them.

    Parameters
    ----------
    trials
        Registered trials of the same frames, rig and bone, by what they are called. The reference is what the first of
        them that was evaluated was compared with.
    cycle
        "A:B", only these positions among the frames that all of them have, such as one gait cycle (A up to but without
        B).

    Raises
    ------
    FileFormatError
        If a trial has not been registered.
    InputError
        If the trials have no frame in common, or differ in frames, rig or bone.
    """
    runs = _open(trials)
    common = set.intersection(*(set(poses) for poses in runs.found.values()))
    numbers = [number for number in runs.frames.numbers if number in common]
    if not numbers:
        raise InputError(f"trials: no frame in common among {', '.join(trials)}")
    chosen = [numbers[i] for i in frame_range(cycle, len(numbers))]
    pictures = []
    for share in _SHARES:
        number = chosen[round(share * (len(chosen) - 1))]
        time_s = runs.frames.times_s[runs.frames.numbers.index(number)]
        when = "" if np.isnan(time_s) else f", {time_s:.3f} s"
        pictures.append(Picture(f"{share:.0%}: frame {number}{when}", _sheet(runs, number)))
    return Section(
        "The bone side by side",
        "The bone's outline, projected with the pose that each run found and with the reference pose (orange), at the "
        "beginning, in the middle and at the end of the frames. Above a picture: the angle to the reference and the "
        "distance of the bone's origin.",
        pictures,
        _table(runs, chosen),
    )


def _open(trials: Mapping[str, Trial]) -> _Runs:
    first = next(iter(trials.values()))
    found: dict[str, dict[int, Pose | None]] = {}
    reference: dict[int, Pose] = {}
    rig, bone = Rig.load(first.rig), Bone.load(first.bone)
    for name, trial in trials.items():
        poses, compared = trial.out / "poses.csv", trial.out / REFERENCE
        if not poses.exists():
            raise FileFormatError(f"{poses}: not there yet; register the trial first")
        same = {
            "frames": trial.frames == first.frames,
            "rig": Rig.load(trial.rig).fingerprint == rig.fingerprint,
            "bone": Bone.load(trial.bone).fingerprint == bone.fingerprint,
        }
        for what, equal in same.items():
            if not equal:
                raise InputError(
                    f"{what}: expected the same in all trials, found {_files(trial, what)} in {name} and "
                    f"{_files(first, what)} in {next(iter(trials))}"
                )
        found[name] = {row.frame: row.world_from_bone for row in read_poses(poses)}
        if not reference and compared.exists():
            reference = read_reference(compared)
    return _Runs(rig, bone, TrialFrames.open(first), found, reference)


def _files(trial: Trial, what: str) -> str:
    """Name the files of a trial's rig, bone or frames."""
    named = getattr(trial, what)
    return ", ".join(map(str, named)) if isinstance(named, tuple) else str(named)


def _sheet(runs: _Runs, number: int) -> Figure:
    """Draw one frame pair: a line per view, a column per run."""
    truth = runs.reference.get(number)
    columns: dict[str, Pose | None] = {} if truth is None else {"reference": truth}
    columns |= {name: poses[number] for name, poses in runs.found.items()}
    scopes = runs.rig.fluoroscopes
    figure = new_figure(3.6 * len(columns), 3.8 * len(scopes))
    lines = figure.subplots(len(scopes), len(columns), squeeze=False)
    for line, scope, source in zip(lines, scopes, runs.frames.sources, strict=True):
        try:
            picture = _frame(source.read(runs.frames.numbers.index(number)), scope)
        except FileFormatError:  # what could not be read when registering cannot be shown either
            picture = np.zeros((scope.view.height, scope.view.width), dtype=np.uint8)
        for axes, (name, pose) in zip(line, columns.items(), strict=True):
            _show(axes, picture, scope)
            if truth is not None:
                _outlined(axes, scope, runs.bone, truth, color=_TRUE, lw=1.2, ls="-" if pose is truth else (0, (4, 2)))
            if pose is not None and pose is not truth:
                _outlined(axes, scope, runs.bone, pose, color=_FOUND, lw=1.2)
            axes.set_title(_told(name, pose, truth), fontsize=10, parse_math=False)
    return figure


def _frame(stored: NDArray[Any], scope: Fluoroscope) -> NDArray[np.uint8]:
    """Stretch a frame's greys inside the field; outside it is black."""
    inside = field_mask(scope)
    if stored.shape != inside.shape:
        raise InputError(f"frame: expected {inside.shape}, as the rig's views are, found {stored.shape}")
    return np.where(inside, grey(stored, inside), 0).astype(np.uint8)


def _show(axes: Axes, picture: NDArray[np.uint8], scope: Fluoroscope) -> None:
    field = scope.whole
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes.set(
        xlim=(max(field.left_px, 0), min(field.left_px + field.side_px, scope.view.width)),
        ylim=(min(field.top_px + field.side_px, scope.view.height), max(field.top_px, 0)),
    )
    axes.set_axis_off()


def _outlined(axes: Axes, scope: Fluoroscope, bone: Bone, pose: Pose, **line: Any) -> None:
    mask = silhouette(scope, pose.apply(bone.vertices), bone.faces) & field_mask(scope)
    for ring in outline(mask):
        if len(ring) > 8:
            axes.plot(*np.vstack([ring, ring[:1]]).T, **line)


def _told(name: str, pose: Pose | None, truth: Pose | None) -> str:
    if pose is None:
        return f"{name}: failed"
    if truth is None or pose is truth:
        return name
    distance = np.linalg.norm(pose.translation_mm - truth.translation_mm)
    return f"{name}: {np.degrees(truth.angle_to(pose)):.2f}°, {distance:.2f} mm"


def _table(runs: _Runs, chosen: list[int]) -> list[tuple[str, ...]]:
    """Return medians over the frames that have a reference; nothing where there is none."""
    known = [number for number in chosen if number in runs.reference]
    if not known:
        return []
    truth = [runs.reference[number] for number in known]
    rows: list[tuple[str, ...]] = [
        ("", "pairs", "failed", "angle, degrees", "distance, mm", "mTRE, mm", "within 5° and 5 mm")
    ]
    for name, poses in runs.found.items():
        errors = pose_errors([poses[number] for number in known], truth, runs.bone.landmarks_mm)
        s = summarise(len(known), int(errors.failed.sum()), errors=errors)
        medians = [
            "" if one is None else f"{one.median:.2f}"
            for one in (s.geodesic_error_deg, s.translation_norm_mm, s.mtre_mm)
        ]
        rate = "" if s.success_rate is None else f"{s.success_rate.value:.1%}"
        rows.append((name, str(s.pairs), str(s.failed), *medians, rate))
    return rows
