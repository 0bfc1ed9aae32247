"""One bone and one rig, ready to refine the poses of many frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np

from fluoropose.bone import Bone
from fluoropose.drr import Device
from fluoropose.errors import InputError, first_line
from fluoropose.geometry import Pose
from fluoropose.refinement.correlation import GradientCorrelation
from fluoropose.refinement.evidence import objection
from fluoropose.refinement.fixed import FixedView, fixed_view
from fluoropose.refinement.moving import MovingBone
from fluoropose.refinement.objective import Objective
from fluoropose.refinement.optimiser import Optimiser
from fluoropose.refinement.refine import Refinement, Schedule, Starts, refine
from fluoropose.refinement.similarity import Metric
from fluoropose.region import Frame
from fluoropose.rig import Rig

__all__ = ["Refiner"]

T = TypeVar("T")
_POINTS = 500  # of the surface are enough to place a window


class Refiner:
    """Matches radiographs of a bone to the frames of a rig; where a GPU fails, the processor goes on.

    Parameters
    ----------
    rig, bone
        As for registration.
    most_px
        Side of the windows round the bone that are compared, at most.
    metric, optimiser, schedule, starts
        As for ``refine``, but that by default several starts round the given pose are tried: landmarks may be off.
    moving
        What is rendered, where another refiner has it already, and where; by default made from the bone.
    device
        Where it is made to render and to be compared, "cpu" or "cuda"; see `LevenbergMarquardt`.

    Attributes
    ----------
    problem
        Why it runs on the processor instead; "" where it does not.

    Raises
    ------
    InputError
        For "cuda", without a device or a build for it.
    """

    def __init__(
        self,
        rig: Rig,
        bone: Bone,
        *,
        most_px: int = 256,
        metric: Metric | None = None,
        optimiser: Optimiser | None = None,
        schedule: Schedule | None = None,
        starts: Starts | None = None,
        moving: MovingBone | None = None,
        device: Device = "cpu",
    ) -> None:
        self._rig, self._bone, self._most_px = rig, bone, most_px
        self._surface = bone.vertices[:: max(1, len(bone.vertices) // _POINTS)]
        self._metric, self._optimiser = metric, optimiser
        self._schedule, self._starts = schedule or Schedule(), starts or Starts(count=8)
        self.problem = ""
        try:
            self.moving = moving or MovingBone(bone.isolated, device)
        except RuntimeError as error:
            if device == "cpu":
                raise
            self._fall(error)

    def windows(self, frames: Sequence[Frame], near: Pose, since: Sequence[Pose] | None = None) -> list[FixedView]:
        """Cut the windows round the bone at a pose out of the frames.

        Parameters
        ----------
        frames
            One (h, w) per view, bright = attenuating.
        near
            ``world_from_bone``.
        since
            Of frames that were not exposed at the moment of the pose: for each view how the bone moves until then,
            world frame. The windows' views move the other way, so that all show the bone where it is at that moment.

        Raises
        ------
        InputError
            If frames do not fit the rig, or the bone lies outside the field of a view.
        """
        scopes = self._rig.fluoroscopes
        for name, given in (("frames", frames), ("since", scopes if since is None else since)):
            if len(given) != len(scopes):
                raise InputError(f"{name}: expected one per view ({len(scopes)}), found {len(given)}")
        points, multiple = near.apply(self._surface), 2 ** (self._schedule.levels - 1)
        if since is None:
            views = zip(scopes, frames, strict=True)
            return [fixed_view(scope, frame, points, self._most_px, multiple=multiple) for scope, frame in views]
        cut = [
            fixed_view(scope, frame, motion.apply(points), self._most_px, multiple=multiple)
            for scope, frame, motion in zip(scopes, frames, since, strict=True)
        ]
        return [replace(one, view=one.view.moved(way.inverse())) for one, way in zip(cut, since, strict=True)]

    def refine(self, frames: Sequence[Frame], start: Pose, since: Sequence[Pose] | None = None) -> Refinement:
        """Refine ``start`` to the frames; see ``refine`` and ``windows``.

        Where the best of several starts ends less alike than ``start`` is, ``start`` alone is tried.
        """
        windows = self.windows(frames, start, since)
        return self._tried(lambda: self._refined(windows, start))

    def objection(
        self,
        frames: Sequence[Frame],
        at: Pose | Refinement,
        min_likeness: float,
        min_peak_fit: float,
        since: Sequence[Pose] | None = None,
    ) -> str:
        """Return why the frames do not show the bone at a pose, or ""; see ``evidence`` and ``windows``."""
        if isinstance(at, Refinement) and all(one >= min_likeness for one in at.by_view):
            return ""
        pose = at.world_from_bone if isinstance(at, Refinement) else at
        reach = self._schedule.reach_px

        def judged() -> str:
            windows, metric = self.windows(frames, pose, since), self._metric or GradientCorrelation()
            return objection(Objective(self.moving, windows, metric, [pose], reach), pose, min_likeness, min_peak_fit)

        try:
            return self._tried(judged)
        except InputError as error:  # it lies outside the field of a view
            return str(error)

    def _tried(self, run: Callable[[], T]) -> T:
        try:
            return run()
        except RuntimeError as error:  # out of memory, lost, or anything else that CUDA says
            if self.moving.device == "cpu":
                raise
            self._fall(error)
        return run()

    def _refined(self, windows: list[FixedView], start: Pose) -> Refinement:
        found = self._from(windows, start, self._starts)
        if found.improved or self._starts.count == 1:
            return found
        # Seen coarsely, another bone was more like the frames than this one, and finely it was not.
        beneath = self._from(windows, start, Starts())
        return beneath if beneath.improved else found

    def _from(self, windows: list[FixedView], start: Pose, starts: Starts) -> Refinement:
        return refine(
            self.moving,
            windows,
            start,
            metric=self._metric,
            optimiser=self._optimiser,
            schedule=self._schedule,
            starts=starts,
        )

    def _fall(self, error: RuntimeError) -> None:
        """Go over to the processor, for good."""
        self.problem = f"refinement: cuda failed, the processor goes on: {first_line(error)}"
        self.moving = MovingBone(self._bone.isolated)

    def doubt(self, found: Refinement, start: Pose) -> str:
        """Return why a refinement is not to be trusted more than its start, or "".

        It must make the images more alike without leaving the neighbourhood in which it was to search.
        """
        if not found.improved:
            return f"the images did not become more alike ({found.value:.3f} after {found.value_at_start:.3f})"
        turn = float(np.degrees(start.angle_to(found.world_from_bone)))
        shift = float(np.linalg.norm(found.world_from_bone.translation_mm - start.translation_mm))
        # The corners of the starts' box: further than that lies somebody else's basin.
        most_deg, most_mm = np.sqrt(3) * self._starts.turn_deg, np.sqrt(3) * self._starts.shift_mm
        if turn > most_deg or shift > most_mm:
            return f"it ran away by {turn:.1f} degrees and {shift:.1f} mm"
        return ""
