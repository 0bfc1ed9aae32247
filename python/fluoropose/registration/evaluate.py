"""Compare a file of poses with a file of reference poses."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from numpy.typing import ArrayLike

from fluoropose.errors import FileFormatError, FluoroposeError, InputError, first_line
from fluoropose.evaluation import PoseErrors, align_worlds, pose_errors
from fluoropose.geometry import Pose
from fluoropose.registration.poses_file import read_poses
from fluoropose.registration.summary import Summary, summarise

__all__ = ["Evaluation", "evaluate", "read_reference"]

_MATRIX_COLUMNS = ["frame", *(f"m{i}{j}" for i in range(4) for j in range(4))]


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What ``evaluate`` found.

    Attributes
    ----------
    frames
        The frames compared, in the order of the errors.
    errors
        Per frame; NaN where the pair failed.
    world_from_reference
        The rigid motion that was applied to the reference's world.
    frames_without_reference
        Frames of the poses file that the reference does not have; they are not counted.
    summary
        Ready to be written as ``summary.json``.
    """

    frames: tuple[int, ...]
    errors: PoseErrors
    world_from_reference: Pose
    frames_without_reference: tuple[int, ...]
    summary: Summary


def evaluate(
    poses_path: str | Path,
    reference_path: str | Path,
    *,
    landmarks_mm: ArrayLike | None = None,
    bone_from_reference_bone: Pose | None = None,
    world_from_reference: Pose | None = None,
    align: bool = False,
    success_deg: float = 5.0,
    success_mm: float = 5.0,
) -> Evaluation:
    """Compare ``poses.csv`` with reference poses of the same frames.

    Parameters
    ----------
    poses_path
        A file in the format of ``poses.csv``.
    reference_path
        Another such file, or a CSV with the columns frame, m00 ... m33 (row-major rigid matrices, mm).
    landmarks_mm
        (k, 3) mm, bone frame; targets of the mTRE. Needed for ``align``.
    bone_from_reference_bone
        How the reference's bone frame (often the CT's or mesh's own) lies in the bone frame; identity by default.
    world_from_reference
        How the reference's world lies in the poses' world; identity by default.
    align
        Estimate ``world_from_reference`` from all pairs instead (see ``align_worlds`` for what this hides).
    success_deg, success_mm
        Limits of the success rate.

    Raises
    ------
    FileFormatError
        If a file is malformed.
    InputError
        If the two files have no frame in common, or ``align`` is asked for beside a given world or without landmarks.
    """
    rows = read_poses(poses_path)
    reference = read_reference(reference_path)
    compared = [row for row in rows if row.frame in reference]
    if not compared:
        raise InputError(f"{reference_path}: no frame in common with {poses_path}")
    estimated = [row.world_from_bone for row in compared]
    reference_bone_from_bone = (bone_from_reference_bone or Pose.identity()).inverse()
    truth = [reference[row.frame] * reference_bone_from_bone for row in compared]
    if align and (landmarks_mm is None or world_from_reference is not None):
        raise InputError("align: needs landmarks_mm, and no world_from_reference")
    if align and landmarks_mm is not None:
        world_from_reference = align_worlds(estimated, truth, landmarks_mm)
    world = world_from_reference or Pose.identity()
    errors = pose_errors(estimated, [world * pose for pose in truth], landmarks_mm)
    return Evaluation(
        frames=tuple(row.frame for row in compared),
        errors=errors,
        world_from_reference=world,
        frames_without_reference=tuple(row.frame for row in rows if row.frame not in reference),
        summary=summarise(
            len(compared), int(errors.failed.sum()), errors=errors, success_deg=success_deg, success_mm=success_mm
        ),
    )


def read_reference(path: str | Path) -> dict[int, Pose]:
    """Read reference poses by frame: a poses file (its failed rows left out) or frame, m00 ... m33.

    Raises
    ------
    FileFormatError
        Naming the file, line and field.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: expected a CSV of reference poses: {first_line(error)}") from error
    if lines and lines[0].startswith("#"):
        return {row.frame: row.world_from_bone for row in read_poses(path) if row.world_from_bone is not None}
    reader = csv.reader(lines)
    header = next(reader, [])
    if header != _MATRIX_COLUMNS:
        raise FileFormatError(
            f"{path}: line 1: expected a poses file or the columns frame, m00 ... m33, found {','.join(header)!r}"
        )
    poses: dict[int, Pose] = {}
    for number, cells in enumerate(reader, start=2):
        try:
            frame, pose = _matrix_row(cells)
        except (ValueError, FluoroposeError) as error:
            raise FileFormatError(f"{path}: line {number}: {error}") from error
        if frame in poses:
            raise FileFormatError(f"{path}: line {number}: frame: {frame} appears twice")
        poses[frame] = pose
    return poses


def _matrix_row(cells: list[str]) -> tuple[int, Pose]:
    if len(cells) != len(_MATRIX_COLUMNS):
        raise FileFormatError(f"expected {len(_MATRIX_COLUMNS)} fields, found {len(cells)}")
    values = [float(cell) for cell in cells[1:]]
    return int(cells[0]), Pose.from_matrix([values[4 * i : 4 * i + 4] for i in range(4)])
