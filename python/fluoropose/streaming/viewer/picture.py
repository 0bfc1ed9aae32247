"""What is sent to the process that draws; it imports nothing heavy, so that the process starts quickly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Picture", "Setting"]


@dataclass(frozen=True)
class Setting:
    """What stays the same: the files of rig and bone, and where to record; None shows it on the screen."""

    rig: str
    bone: str
    record: str | None


@dataclass(frozen=True, eq=False)
class Picture:
    """One frame pair and its pose.

    Attributes
    ----------
    number, time_s
        Of the pair.
    xrays
        Per view (h, w) bytes, every ``steps``-th pixel of the frame; None where it is missing.
    steps
        Per view.
    world_from_bone
        (4, 4) mm; None without a pose.
    angles_deg
        (3,) theta x, y, z.
    quality, phase
        As the tracker says.
    """

    number: int
    time_s: float
    xrays: tuple[NDArray[np.uint8] | None, ...]
    steps: tuple[int, ...]
    world_from_bone: NDArray[np.float64] | None
    angles_deg: NDArray[np.float64] | None
    quality: float
    phase: str
