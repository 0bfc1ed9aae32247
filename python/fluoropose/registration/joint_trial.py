"""The motion of a joint from the registered poses of its two bones."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluoropose._files import write_text
from fluoropose._toml import Config, ConfigPath, OutputPath, require_inputs
from fluoropose.bone import Bone
from fluoropose.errors import ConfigError, InputError
from fluoropose.geometry import Pose
from fluoropose.joint import Joint, JointMotion, Side, anatomical_frame
from fluoropose.registration.poses_file import PoseRow, time_text

__all__ = ["COLUMNS", "JointConfig", "JointRow", "SegmentConfig", "joint_of", "joint_rows", "write_joint"]

Point = tuple[float, float, float] | str | tuple[str, ...]
_NAMES = tuple(field.name for field in fields(JointMotion))
COLUMNS = ("frame", "time_s", "reason", *_NAMES, *(f"sd_{name}" for name in _NAMES))
_HEADER = (
    "# fluoropose-joint version 1; distal relative to proximal bone, Grood and Suntay; degrees, mm, seconds; sd: 1 sd"
)


class SegmentConfig(Config):
    """One of the joint's bones: its file, its poses, and four points that define its anatomical frame.

    The frame's origin lies halfway between ``right`` and ``left``, z points from ``distal`` to ``proximal``, x to the
    right and y forward.

    Attributes
    ----------
    bone, poses
        The bone file, and the poses.csv of its registered trial.
    right, left, proximal, distal
        Each the name of a landmark, several names (their mean), or x, y, z in mm in the CT's or mesh's own frame, as
        another program shows them.
    """

    bone: ConfigPath
    poses: ConfigPath
    right: Point
    left: Point
    proximal: Point
    distal: Point


class JointConfig(Config):
    """What ``fluoropose joint`` needs to know; read from a TOML file, paths relative to that file.

    Attributes
    ----------
    side
        Of the subject's body: "right" or "left"; lateral, adduction and external rotation are mirror images.
    out
        The table to write, .csv; a picture of its six curves goes beside it.
    proximal, distal
        The two bones: of a knee femur and tibia, of a neck a vertebra and the one below.
    """

    side: Side
    out: OutputPath
    proximal: SegmentConfig
    distal: SegmentConfig


@dataclass(frozen=True)
class JointRow:
    """The joint in one frame pair.

    Attributes
    ----------
    frame, time_s
        Of the pair; time NaN when unknown.
    motion
        None where one of the bones has no pose, or no angles are defined.
    deviations
        Standard deviations of ``motion``; None where a pose has no covariance.
    reason
        Why there is no motion.
    """

    frame: int
    time_s: float
    motion: JointMotion | None
    deviations: JointMotion | None
    reason: str = ""


def joint_of(config: JointConfig) -> Joint:
    """Define the joint by its bones' points; raises ConfigError where a file or a point does not exist."""
    require_inputs(config)
    frames = [_frame(name, getattr(config, name)) for name in ("proximal", "distal")]
    return Joint(frames[0], frames[1], config.side)


def joint_rows(joint: Joint, proximal: Sequence[PoseRow], distal: Sequence[PoseRow]) -> list[JointRow]:
    """Return one row per frame that both bones' rows have, in the order of the proximal bone's.

    Raises
    ------
    InputError
        If they have no frame in common, or call different times the same frame.
    """
    others = {row.frame: row for row in distal}
    both = [(row, others[row.frame]) for row in proximal if row.frame in others]
    if not both:
        raise InputError("poses: the two bones have no frame in common")
    return [_row(joint, one, other) for one, other in both]


def write_joint(path: str | Path, rows: Sequence[JointRow]) -> None:
    """Write the table (CSV, atomically); pairs without a motion have empty numbers and say why."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    nothing = JointMotion(*[float("nan")] * 6)
    for row in rows:
        numbers = [*astuple(row.motion or nothing), *astuple(row.deviations or nothing)]
        table.writerow([row.frame, time_text(row.time_s), row.reason, *map(_text, numbers)])
    write_text(path, f"{_HEADER}\n{text.getvalue()}")


def _row(joint: Joint, proximal: PoseRow, distal: PoseRow) -> JointRow:
    times = proximal.time_s, distal.time_s
    if abs(times[0] - times[1]) > 1e-6:
        raise InputError(f"poses: frame {proximal.frame}: expected one time, found {times[0]:g} s and {times[1]:g} s")
    one, other = proximal.world_from_bone, distal.world_from_bone
    if one is None or other is None:
        reasons = [f"{n}: {r.reason}" for n, r in (("proximal", proximal), ("distal", distal)) if r.reason]
        return JointRow(proximal.frame, times[0], None, None, "; ".join(reasons))
    try:
        motion = joint.motion(one, other)
    except InputError as error:  # one pair where no angles are defined must not cost the others theirs
        return JointRow(proximal.frame, times[0], None, None, str(error))
    deviations = None
    if proximal.covariance is not None and distal.covariance is not None:
        deviations = joint.deviations(one, other, proximal.covariance, distal.covariance)
    return JointRow(proximal.frame, times[0], motion, deviations)


def _frame(name: str, segment: SegmentConfig) -> Pose:
    bone = Bone.load(segment.bone)
    points = [_point(f"{name}.{key}", getattr(segment, key), bone) for key in ("right", "left", "proximal", "distal")]
    try:
        return anatomical_frame(*points)
    except InputError as error:
        raise ConfigError(f"{name}: {error}") from error


def _point(where: str, given: Point, bone: Bone) -> NDArray[np.float64]:
    if isinstance(given, tuple) and not isinstance(given[0], str):
        return np.asarray(bone.bone_from_source.apply(np.array([given], dtype=np.float64))[0])
    names = (given,) if isinstance(given, str) else given
    unknown = [name for name in names if name not in bone.landmark_names]
    if unknown:
        raise ConfigError(
            f"{where}: expected landmarks of {bone.name!r} ({', '.join(bone.landmark_names)}), found {unknown[0]!r}"
        )
    return np.asarray(bone.landmarks_mm[[bone.landmark_names.index(str(name)) for name in names]].mean(axis=0))


def _text(value: float) -> str:
    return "" if np.isnan(value) else format(value, ".9g")
