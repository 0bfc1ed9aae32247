"""What a tracker says about one frame pair."""

from __future__ import annotations

import time
from dataclasses import astuple, dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fluoropose.geometry import Pose
from fluoropose.registration.registration import Registration, Status
from fluoropose.tracking.kalman import Belief

__all__ = ["Clock", "Phase", "Stages", "Tracked"]


class Phase(StrEnum):
    """What the tracker did with a frame pair."""

    ACQUIRED = "acquired"
    """The start of a track: it found the bone in the whole field, or the images bore out that it lies where the motion
    of the last track did not lead."""
    TRACKING = "tracking"
    """It found the bone where the track expected it."""
    COASTING = "coasting"
    """It found nothing believable; the pose is the track's prediction."""
    LOST = "lost"
    """There is no track, and the whole field showed no bone: there is no pose."""


@dataclass(frozen=True)
class Stages:
    """Milliseconds spent on one pair; ``search`` is the whole-field path, which replaces those from crop to solve.

    On a GPU, where all networks are one launch, ``landmarks`` holds ``segment`` and ``translate`` too.
    """

    check: float = 0.0
    crop: float = 0.0
    segment: float = 0.0
    translate: float = 0.0
    landmarks: float = 0.0
    solve: float = 0.0
    refine: float = 0.0
    search: float = 0.0
    filter: float = 0.0

    @property
    def total(self) -> float:
        """All of them."""
        return float(sum(astuple(self)))


@dataclass(frozen=True, eq=False)
class Tracked:
    """What is known about the bone after one frame pair.

    Attributes
    ----------
    time_s
        Of the pair.
    phase
        How the pose came about.
    registration
        What this pair alone showed. Failed where it showed nothing, or nothing that the track can believe.
    belief
        The filter's pose, rate and covariance; None when lost.
    distance
        Mahalanobis distance of the measured pose from the predicted one; NaN where one of them is missing.
    quality
        0 to 1: the share of the landmarks that were used, times one minus the residual's share of what the checks
        allow; 0 without a measurement.
    reason
        Why there was no (believable) measurement; empty where there was.
    stages
        Where the time went.
    refined_px
        Side of the windows in which the images refined the measured pose; 0 where they did not.
    """

    time_s: float
    phase: Phase
    registration: Registration
    belief: Belief | None
    distance: float
    quality: float
    reason: str
    stages: Stages
    refined_px: int = 0

    @property
    def ok(self) -> bool:
        """Whether there is a pose."""
        return self.belief is not None

    @property
    def status(self) -> Status:
        """``Status.OK`` where there is a pose, measured or predicted."""
        return Status.OK if self.ok else Status.FAILED

    @property
    def world_from_bone(self) -> Pose | None:
        """The filtered pose, mm; None when lost."""
        return None if self.belief is None else self.belief.world_from_bone

    @property
    def covariance(self) -> NDArray[np.float64] | None:
        """(6, 6) of the filtered pose, as ``Registration.covariance``; None when lost."""
        return None if self.belief is None else self.belief.pose_covariance

    @property
    def hypothesis(self) -> str:
        """The mirror hypothesis of this pair's registration."""
        return self.registration.hypothesis


class Clock:
    """Tells how long the stages of a pair took, which may have waited before."""

    def __init__(self, waited_ms: float = 0.0) -> None:
        self.stages, self._last, self._waited_ms = Stages(), time.perf_counter(), waited_ms

    @property
    def spent_ms(self) -> float:
        """Since the pair was there, up to now."""
        return self._waited_ms + self.stages.total + 1e3 * (time.perf_counter() - self._last)

    def lap(self, stage: str) -> None:
        """Count the time since the last lap as that of ``stage``, a field of ``Stages``."""
        now = time.perf_counter()
        spent = getattr(self.stages, stage) + 1e3 * (now - self._last)
        self.stages, self._last = replace(self.stages, **{stage: spent}), now
