"""The poses of a whole trial, smoothed when it is over."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from fluoropose.registration.poses_file import write_poses
from fluoropose.streaming.frame import Output
from fluoropose.tracking.kalman import Motion
from fluoropose.tracking.smoother import smooth_trial

__all__ = ["SmoothedFile"]


class SmoothedFile:
    """A ``poses.csv`` in which every pose knows what came after it; source "smoothed".

    It keeps every output until the end, some 5 kB each.

    Parameters
    ----------
    path
        The file.
    motion
        That of the tracker.
    """

    def __init__(self, path: str | Path, motion: Motion) -> None:
        self.name = f"smooth:{path}"
        self._path, self._motion = path, motion
        self._outputs: list[Output] = []

    def write(self, output: Output) -> None:
        """Keep the output."""
        self._outputs.append(output)

    def close(self) -> None:
        """Smooth and write."""
        beliefs = smooth_trial([output.tracked for output in self._outputs], self._motion)
        rows = [
            output.row
            if belief is None
            else replace(
                output.row,
                world_from_bone=belief.world_from_bone,
                covariance=belief.pose_covariance,
                source="smoothed",
            )
            for output, belief in zip(self._outputs, beliefs, strict=True)
        ]
        write_poses(self._path, rows)
