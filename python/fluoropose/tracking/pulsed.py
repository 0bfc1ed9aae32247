"""Tubes that fire in turn: landmarks of all views as they would have been seen at one moment."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluoropose.rig import Rig
from fluoropose.tracking.kalman import Belief, moved

__all__ = ["at_one_moment"]


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
