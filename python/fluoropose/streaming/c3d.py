"""Writes a C3D file, in a process of its own: ``python -m fluoropose.streaming.c3d``.

ezc3d and SimpleITK share SWIG's table of types; where SimpleITK was imported first, ezc3d cannot write.
"""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Motion", "write_c3d"]


@dataclass(frozen=True, eq=False)
class Motion:
    """What a C3D file holds.

    Attributes
    ----------
    rate_hz
        Of points and channels.
    points_mm
        (3, n, frames); NaN where a point is missing.
    point_labels
        (n,)
    channels
        (c, frames)
    channel_labels, channel_units
        (c,)
    """

    rate_hz: float
    points_mm: NDArray[np.float64]
    point_labels: tuple[str, ...]
    channels: NDArray[np.float64]
    channel_labels: tuple[str, ...]
    channel_units: tuple[str, ...]


def write_c3d(path: str, motion: Motion) -> None:
    """Write a file; OSError with ezc3d's words where that fails."""
    command = [sys.executable, "-m", "fluoropose.streaming.c3d"]
    done = subprocess.run(command, input=pickle.dumps((path, asdict(motion))), capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
        raise OSError(f"{path}: ezc3d: {said[-1]}")


def _write(path: str, motion: Motion) -> None:
    import ezc3d

    file, missing = ezc3d.c3d(), np.isnan(motion.points_mm[:1])
    for group, labels, units in (
        ("POINT", motion.point_labels, ("mm",)),
        ("ANALOG", motion.channel_labels, motion.channel_units),
    ):
        file["parameters"][group]["RATE"]["value"] = [motion.rate_hz]
        file["parameters"][group]["LABELS"]["value"] = list(labels)
        file["parameters"][group]["UNITS"]["value"] = list(units)
    file["data"]["points"] = np.concatenate([motion.points_mm, np.ones_like(motion.points_mm[:1])])
    file["data"]["analogs"] = motion.channels[None]
    file["data"]["meta_points"]["residuals"] = np.where(missing, -1.0, 0.0)
    file.write(path)


if __name__ == "__main__":
    place, fields = pickle.load(sys.stdin.buffer)
    _write(place, Motion(**fields))
