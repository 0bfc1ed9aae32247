"""Tubes that fire in turn: what all views would have seen at one moment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluoropose.geometry import Pose
from fluoropose.rig import Rig
from fluoropose.tracking.kalman import Belief, moved

__all__ = ["at_one_moment", "motion_since"]


def at_one_moment(
    predicted_px: NDArray[np.float64], belief: Belief, rig: Rig, landmarks_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Shift landmarks to where they were at view 1's exposure, by what the bone moves until each view's own.

    Parameters
    ----------
    predicted_px
        (views, n, 2) recorded pixels, seen when each view was exposed.
    belief
        Pose and rate at view 1's exposure. An error of the rate enters times the offset: 50 mm/s in 10 ms are 0.5 mm.
    rig
        States the offsets.
    landmarks_mm
        (n, 3) in the bone's frame.

    Returns
    -------
    (views, n, 2) recorded pixels.
    """
    shifted, pose = predicted_px.copy(), belief.world_from_bone
    for view, (scope, offset_s) in enumerate(zip(rig.fluoroscopes, rig.offsets_s, strict=True)):
        if offset_s:
            then = moved(pose, belief.rate * offset_s)
            shifted[view] += scope.project(pose.apply(landmarks_mm)) - scope.project(then.apply(landmarks_mm))
    return shifted


def motion_since(pose: Pose, rate: NDArray[np.float64], rig: Rig) -> list[Pose] | None:
    """Return for each view how the bone moves from view 1's exposure until its own, world frame.

    Parameters
    ----------
    pose, rate
        At view 1's exposure: ``world_from_bone``, and (6,) as in `Belief`.
    rig
        States the offsets.

    Returns
    -------
    One x_then = motion * x_now per view; None where all are exposed together.
    """
    if not any(rig.offsets_s):
        return None
    return [moved(pose, rate * offset_s) * pose.inverse() for offset_s in rig.offsets_s]
