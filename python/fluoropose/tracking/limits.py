"""When a tracker believes what it sees, and when it gives up."""

from __future__ import annotations

from dataclasses import dataclass, fields

from fluoropose._checks import positive

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """When to believe a measurement, and when to give a track up.

    Attributes
    ----------
    gate
        Largest Mahalanobis distance between a measured pose and the predicted one. Of normal errors with six degrees
        of freedom one in 2,900 lies beyond 5.
    floor_deg, floor_mm
        Standard deviation per axis that is added to what triangulation claims: what a network does wrong in the same
        way at all landmarks shows in no residual. The demo's network errs by 0.42 degrees and 0.49 mm per axis, of
        which 0.17 and 0.22 are claimed.
    refined_floor_deg, refined_floor_mm
        The same where the images refined the pose.
    coast_s
        Longest time without a believable measurement.
    lost_deg, lost_mm
        Standard deviation of the prediction along its worst axis, beyond which there is no use in looking there.
    """

    gate: float = 5.0
    floor_deg: float = 0.5
    floor_mm: float = 0.5
    refined_floor_deg: float = 0.2
    refined_floor_mm: float = 0.2
    coast_s: float = 0.12
    lost_deg: float = 45.0
    lost_mm: float = 60.0

    def __post_init__(self) -> None:
        for one in fields(self):
            positive(one.name, getattr(self, one.name))
