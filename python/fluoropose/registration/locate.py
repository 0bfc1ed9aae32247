"""Where in a frame the network looks for the bone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.region import Region
from fluoropose.rig import Fluoroscope

__all__ = ["around_pose", "around_predictions", "jittered"]


def around_pose(
    fluoroscope: Fluoroscope, landmarks_mm: NDArray[np.float64], world_from_bone: Pose, margin: float
) -> Region | None:
    """Return the square around the projected landmarks (n, 3) mm; None where the pose puts the bone out of the field.

    ``margin`` is the square's side relative to the landmarks' box.
    """
    projected = fluoroscope.view.project(world_from_bone.apply(landmarks_mm))
    if not fluoroscope.sees(projected).any():
        return None
    return _around(fluoroscope, fluoroscope.recorded_from_ideal(projected), margin)


def around_predictions(fluoroscope: Fluoroscope, predicted_px: NDArray[np.float64], margin: float) -> Region:
    """Return the square around predicted landmarks (n, 2) recorded px, the whole field where they tell nothing."""
    return _around(fluoroscope, predicted_px, margin) or fluoroscope.whole


def jittered(region: Region, count: int) -> list[Region]:
    """Return ``count`` regions: the given one, and others moved by 3 % of its side, evenly round it.

    A network's errors depend on where pixels fall; the mean over several looks is better than one.
    """
    reach = 0.03 * region.side_px
    angles = 2 * np.pi * np.arange(count - 1) / max(count - 1, 1)
    moved = [
        Region(region.left_px + reach * float(np.cos(a)), region.top_px + reach * float(np.sin(a)), region.side_px)
        for a in angles
    ]
    return [region, *moved]


def _around(fluoroscope: Fluoroscope, points_px: NDArray[np.float64], margin: float) -> Region | None:
    try:
        region = Region.around(points_px, margin)
    except InputError:
        return None
    # A wild pose or prediction must not shrink the bone to a dot or blow a few pixels up.
    whole = fluoroscope.whole.side_px
    return region if whole / 20 <= region.side_px <= 3 * whole else None
