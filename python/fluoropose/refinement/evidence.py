"""Whether the bone is where a pose says: how alike radiographs and frames are there, and how that changes round it.

How alike they can be at all depends on what else is in the frames: right poses of a skull come to a gradient
correlation of 0.7 to 0.8, those of a neck behind the jaw to 0.35, and wrong ones of a skull to 0.5. But at a right pose
the likeness is a peak of the shape that the bone's own radiograph gives it, in every view.

Measured on refined poses of two heads, two necks and three knee bones, simulated and real, from starts up to 50 degrees
and 40 mm away: of 332 right ones (within 2 degrees and 2 mm) none is refused by the defaults, of 125 wrong ones (beyond
4 degrees or 4 mm) none believed. A mean likeness of 0.4, alone, would refuse 6 and believe 14.
"""

from __future__ import annotations

from fluoropose.geometry import Pose
from fluoropose.refinement.objective import Objective

__all__ = ["objection"]

_BESIDE_PX = 8.0  # beyond the peak of a right pose, which is some pixels wide; 4 and 16 tell right from wrong less well


def objection(objective: Objective, pose: Pose, min_likeness: float, min_peak_fit: float) -> str:
    """Return why a pose is not to be believed, or "".

    Parameters
    ----------
    objective
        Of all views, round the pose.
    pose
        ``world_from_bone``, as refinement left it.
    min_likeness
        Of radiographs and frames: where every view comes to it, nothing else is asked.
    min_peak_fit
        What every view must come to otherwise; see `Objective.peak_fits`.
    """
    likeness = objective.values(pose)
    if all(one >= min_likeness for one in likeness):
        return ""
    fits = objective.peak_fits(pose, _BESIDE_PX)
    if all(one >= min_peak_fit for one in fits):
        return ""
    return (
        f"the bone's radiographs are unlike the frames: gradient correlation {_listed(likeness)} in the views, "
        f"expected {min_likeness:g}, or a peak there; it has {_listed(fits)} of a peak's shape, "
        f"expected {min_peak_fit:g}"
    )


def _listed(values: list[float]) -> str:
    return " and ".join(f"{one:.2f}" for one in values)
