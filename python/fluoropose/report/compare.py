"""Comparing a trial's poses with reference poses, in numbers and in its report."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluoropose.bone import Bone
from fluoropose.evaluation import iou
from fluoropose.geometry import Pose
from fluoropose.registration.evaluate import evaluate, read_reference
from fluoropose.registration.poses_file import PoseRow, read_poses, write_poses
from fluoropose.registration.register import REFERENCE
from fluoropose.registration.registration import Status
from fluoropose.registration.summary import Statistics, Summary
from fluoropose.registration.trial import Trial
from fluoropose.report.report import write_report
from fluoropose.rig import Rig
from fluoropose.silhouette import field_mask, silhouette

__all__ = ["Comparison", "compare_poses", "overlap", "record_comparison"]

_LIKELIER, _NOTICED_MM = 2.0, 0.5  # a reference in the wrong frame of the bone is further off than this


@dataclass(frozen=True, eq=False)
class Comparison:
    """What ``compare_poses`` found.

    Attributes
    ----------
    rows
        All pairs of the poses file.
    truth
        The reference poses by frame, in the trial's world and bone frame; of the frames compared.
    summary
        Of the frames compared, without times.
    """

    rows: tuple[PoseRow, ...]
    truth: dict[int, Pose]
    summary: Summary


def compare_poses(
    trial: Trial,
    reference_path: Path,
    *,
    poses_path: Path | None = None,
    source_frame: bool = False,
    align: bool = False,
    world_from_reference: Pose | None = None,
    success_deg: float = 5.0,
    success_mm: float = 5.0,
) -> Comparison:
    """Compare poses of the trial's bone with reference poses; writes nothing, see ``record_comparison``.

    Parameters
    ----------
    trial
        Names the rig and the bone.
    reference_path
        A poses file, or CSV with the columns frame, m00 ... m33.
    poses_path
        A poses file, such as ``fluoropose stream`` writes; the trial's poses.csv by default.
    source_frame
        The reference carries the frame that the bone was made from (the CT's or the mesh's), not the bone's own.
    align
        Estimate how the reference's world lies in the trial's, once for all pairs.
    world_from_reference
        The same where it is known; identity by default.
    success_deg, success_mm
        Limits of the success rate.

    Raises
    ------
    FileFormatError, InputError
        As ``fluoropose.registration.evaluate.evaluate``.
    """
    bone, rig = Bone.load(trial.bone), Rig.load(trial.rig)
    poses_path = trial.out / "poses.csv" if poses_path is None else poses_path
    frames = (Pose.identity(), bone.bone_from_source)  # of the reference's bone: the bone's own, or the source's
    bone_from_reference_bone = frames[source_frame]
    result, other = (
        evaluate(
            poses_path,
            reference_path,
            landmarks_mm=bone.landmarks_mm,
            bone_from_reference_bone=frame,
            world_from_reference=world_from_reference,
            align=align,
            success_deg=success_deg,
            success_mm=success_mm,
        )
        for frame in (bone_from_reference_bone, frames[not source_frame])
    )
    _warn_of_frame(reference_path, result.summary, other.summary, source_frame=source_frame)
    rows = tuple(read_poses(poses_path))
    stored = read_reference(reference_path)
    truth = {
        frame: result.world_from_reference * stored[frame] * bone_from_reference_bone.inverse()
        for frame in result.frames
    }
    pairs = [(row.world_from_bone, truth[row.frame]) for row in rows if row.frame in truth]
    shared = np.array([overlap(rig, bone, found, right) for found, right in pairs if found is not None])
    return Comparison(rows, truth, result.summary.model_copy(update={"iou": Statistics.of(shared)}))


def record_comparison(trial: Trial, found: Comparison) -> Summary:
    """Rewrite summary.json and report.html of a registered trial, whose poses.csv was compared.

    The reference goes to evaluated_against.csv beside them, in the trial's world and bone frame, for later reports.
    """
    timed = Summary.read(trial.out / "summary.json")
    summary = found.summary.model_copy(update={"seconds": timed.seconds, "seconds_per_pair": timed.seconds_per_pair})
    summary.write(trial.out / "summary.json")
    times = {row.frame: row.time_s for row in found.rows}
    write_poses(
        trial.out / REFERENCE,
        [PoseRow(n, times[n], Status.OK, world_from_bone=pose, source="reference") for n, pose in found.truth.items()],
    )
    write_report(trial.out / "report.html", trial, found.rows, summary, found.truth)
    return summary


def _warn_of_frame(reference: Path, asked: Summary, other: Summary, *, source_frame: bool) -> None:
    """Warn where the reference seems to move another frame of the bone than it is said to."""
    if asked.mtre_mm is None or other.mtre_mm is None:
        return
    off, instead = asked.mtre_mm.median, other.mtre_mm.median
    if off > _LIKELIER * instead and off - instead > _NOTICED_MM:
        advice = ("with", "the frame of what it was made from") if not source_frame else ("without", "its own frame")
        warnings.warn(
            f"{reference}: {off:.2g} mm from the poses found, {instead:.2g} mm if it moves the bone by {advice[1]}: "
            f"try {advice[0]} --source-frame (source_frame)",
            stacklevel=3,
        )


def overlap(rig: Rig, bone: Bone, found: Pose, right: Pose) -> float:
    """Return the overlap (IoU) of the bone's shadow under two poses, inside the fields, mean over the views."""
    shares: list[float] = []
    for fluoroscope in rig.fluoroscopes:
        shadows: list[NDArray[np.bool_]] = [
            silhouette(fluoroscope, pose.apply(bone.vertices), bone.faces) & field_mask(fluoroscope)
            for pose in (found, right)
        ]
        shares.append(iou(*shadows))
    return float(np.nanmean(shares)) if np.isfinite(shares).any() else float("nan")
