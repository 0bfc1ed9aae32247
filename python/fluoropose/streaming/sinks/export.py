"""Poses that are there already, written to files of other programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from fluoropose.bone import Bone
from fluoropose.errors import InputError
from fluoropose.registration.poses_file import PoseRow
from fluoropose.streaming.sinks.named import open_table, require_table
from fluoropose.streaming.sinks.tables import partial_of

__all__ = ["export_poses"]


def export_poses(rows: Sequence[PoseRow], files: Sequence[str], bone: Bone, numbers: Sequence[int] = ()) -> None:
    """Write the rows of a poses file to other files; each appears when it is complete.

    Parameters
    ----------
    rows
        Of different frames.
    files
        As ``open_table`` takes them: FILE.mot, FILE.tra, xmalab:FILE.csv, ...
    bone
        The bone.
    numbers
        Those of the trial's pairs, in order: files for which ``counts_frames`` need them.

    Raises
    ------
    InputError
        If a text names no such file, what it needs is not installed, it asks for times that are unknown, a row is of
        none of the trial's pairs, or an interrupted stream to the same file could still go on.
    """
    for name in files:
        require_table(name)
    for name in files:
        left = partial_of(Path(name.removeprefix("xmalab:")))
        if left.exists():
            raise InputError(f"{name}: a stream to it was interrupted: resume it, or remove the rows it left in {left}")
        table = open_table(name, bone, numbers)
        try:
            for row in sorted(rows, key=lambda one: one.frame):
                table.add(row)
            table.close()
        except BaseException:
            table.discard()
            raise
