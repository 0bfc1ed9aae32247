"""Refinement in the time that a stream leaves: at the scale at which it fits."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from fluoropose._checks import positive
from fluoropose.bone import Bone
from fluoropose.drr import Device
from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.refinement import LevenbergMarquardt, MovingBone, Refiner, Schedule, Starts
from fluoropose.region import Frame
from fluoropose.registration.registration import Registration
from fluoropose.registration.trial import Checks
from fluoropose.rig import Rig

__all__ = ["Closer"]

_SIDES_PX = (128, 96, 64)
_STEPS = 3  # more hardly help: on the demo 0.22 degrees and 0.14 mm are left after three, 0.20 and 0.12 at the end
_FORGETTING = 0.2  # of the time a scale took before
_TRYING = 0.98  # a scale that is too slow now is tried again some pairs later


class Closer:
    """Refines the poses of a stream, each at one scale: the finest one that lately took no longer than there is time.

    Parameters
    ----------
    rig, bone
        As for `Refiner`.
    refine_ms
        Most time that a pair may take.
    checks
        What the frames must say for a refined pose.
    device
        As for `Refiner`.
    """

    def __init__(self, rig: Rig, bone: Bone, refine_ms: float, checks: Checks, device: Device = "cpu") -> None:
        self._refine_ms, self._checks = positive("refine_ms", refine_ms), checks
        self._refiners: dict[int, Refiner] = {}
        moving = None
        for side in _SIDES_PX:
            refiner = Refiner(
                rig,
                bone,
                most_px=side,
                optimiser=LevenbergMarquardt(_STEPS),
                schedule=Schedule(1),
                starts=Starts(1),
                moving=moving,
                device=device,
            )
            self._refiners[side], moving = refiner, refiner.moving
        self._took_ms = dict.fromkeys(self._refiners, 0.0)

    @property
    def moving(self) -> MovingBone:
        """What is rendered."""
        return next(iter(self._refiners.values())).moving

    @property
    def problem(self) -> str:
        """Why it runs on the processor instead of a GPU; "" where it does not."""
        return next((refiner.problem for refiner in self._refiners.values() if refiner.problem), "")

    def refine(
        self,
        frames: Sequence[Frame],
        found: Registration,
        left_ms: float = math.inf,
        since: Sequence[Pose] | None = None,
    ) -> tuple[Registration, int]:
        """Return a registration with its pose refined, and the side of the windows (px).

        The same registration and 0 where there is no time, no pose, or reason to doubt the refinement.

        Parameters
        ----------
        frames
            One (h, w) per view, bright = attenuating, full scale 1.
        found
            Of these frames.
        left_ms
            Time that is left for this pair, where that is less than ``refine_ms``.
        since
            See `Refiner.windows`.
        """
        left_ms = min(left_ms, self._refine_ms)
        side = next((side for side, took in self._took_ms.items() if took <= left_ms), 0)
        for slower in self._refiners:
            if slower > side:
                self._took_ms[slower] *= _TRYING
        start = found.world_from_bone
        if side == 0 or start is None:
            return found, 0
        began, refiner = time.perf_counter(), self._refiners[side]
        try:
            refined = refiner.refine(frames, start, since)
            least, fit = self._checks.min_likeness, self._checks.min_peak_fit
            doubt = refiner.doubt(refined, start) or refiner.objection(frames, refined, least, fit, since)
        except InputError:  # the bone is not in the field of a view, which tells nothing of what refining it takes
            return found, 0
        took = 1e3 * (time.perf_counter() - began)
        before = self._took_ms[side] or took
        self._took_ms[side] = _FORGETTING * before + (1 - _FORGETTING) * took
        if doubt or refined.covariance is None:
            return found, 0
        return replace(found, world_from_bone=refined.world_from_bone, covariance=refined.covariance), side
