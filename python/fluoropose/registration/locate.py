"""Where in a frame the network looks for the bone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.region import Region
from fluoropose.rig import Fluoroscope

__all__ = ["around_pose", "around_predictions", "circling", "jittered"]


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
    angles = 2 * np.pi * np.arange(count - 1) / max(count - 1, 1)
    return [region, *(_moved(region, 0.03, float(angle)) for angle in angles)]


def circling(region: Region, number: int) -> Region:
    """Return a region moved by 1.5 % of its side, about two pixels of the network, by a third of a turn per ``number``.

    What a network does wrong because of where pixels fall thereby differs from frame to frame, and a filter averages
    it; three frames in a row are moved by nothing on the whole.
    """
    return _moved(region, 0.015, 2 * np.pi * (number % 3) / 3)


def _moved(region: Region, share: float, angle: float) -> Region:
    along, down = share * region.side_px * np.array([np.cos(angle), np.sin(angle)])
    return Region(region.left_px + float(along), region.top_px + float(down), region.side_px)


def _around(fluoroscope: Fluoroscope, points_px: NDArray[np.float64], margin: float) -> Region | None:
    try:
        region = Region.around(points_px, margin)
    except InputError:
        return None
    # A wild pose or prediction must not shrink the bone to a dot or blow a few pixels up.
    whole = fluoroscope.whole.side_px
    return region if whole / 20 <= region.side_px <= 3 * whole else None
