"""Poses that are there already, written to files of other programs."""

from __future__ import annotations

from collections.abc import Sequence

from fluoropose.bone import Bone
from fluoropose.registration.poses_file import PoseRow
from fluoropose.streaming.sinks.named import open_table

__all__ = ["export_poses"]


def export_poses(rows: Sequence[PoseRow], files: Sequence[str], bone: Bone) -> None:
    """Write the rows of a poses file to other files; each appears when it is complete.

    Parameters
    ----------
    rows
        In the order of their frames.
    files
        As ``open_table`` takes them: FILE.mot, FILE.tra, xmalab:FILE.csv, ...
    bone
        The bone.

    Raises
    ------
    InputError
        If a text names no such file, what it needs is not installed, or it asks for times that are unknown.
    """
    for name in files:
        table = open_table(name, bone)
        try:
            for row in rows:
                table.add(row)
            table.close()
        finally:
            table.partial.unlink(missing_ok=True)
