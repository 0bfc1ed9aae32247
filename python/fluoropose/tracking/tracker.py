"""A bone followed through a stream of frame pairs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import not_negative, whole_positive
from fluoropose.bone import Bone
from fluoropose.drr import device_beside
from fluoropose.errors import InputError
from fluoropose.io.stored_frame import StoredFrame, why_unusable
from fluoropose.learning.bundle import Bundle, SegmentNetwork, StyleNetwork
from fluoropose.region import Frame
from fluoropose.registration.locate import circling
from fluoropose.registration.registrar import Registrar, residual_at_bone_mm
from fluoropose.registration.registration import Registration, Status
from fluoropose.registration.sight import Frames, Seen
from fluoropose.registration.trial import Checks
from fluoropose.rig import Rig
from fluoropose.silhouette import field_mask
from fluoropose.tracking.closer import Closer
from fluoropose.tracking.kalman import Belief, Motion
from fluoropose.tracking.limits import Limits
from fluoropose.tracking.pace import Pace
from fluoropose.tracking.proof import Proof
from fluoropose.tracking.pulsed import at_one_moment, motion_since
from fluoropose.tracking.tracked import Clock, Phase, Tracked

__all__ = ["Tracker"]

_LOOKED_AT = 128  # rows and columns, at least, that tell whether a frame is blank


@dataclass(eq=False)
class Tracker:
    """Follows one bone through a stream of frame pairs of a rig with two views.

    As long as there is a track, both frames go through the network once, in one call, cropped round the pose that
    constant velocity predicts, a little beside it and each time on another side (see `circling`); without one, a pair
    is registered from the whole field. Of the past it keeps only the filter's last belief and how many pairs it has
    followed. Where the rig states that its tubes fire in turn, the pose is that of view 1's exposure.

    Parameters
    ----------
    bone, rig, bundle
        The bone, the installation, and the network trained for them.
    checks
        What a registration must satisfy.
    motion
        How much the motion may surprise.
    limits
        When to believe a measurement, and when to give up.
    looks
        Slightly moved crops per frame. On the demo's 91 pairs one gives 0.96 degrees and 1.04 mm on average, four give
        0.78 and 0.85 for four times the network's work; pairs by themselves, with four, 0.88 and 0.87.
    more_looks
        The same for a second look, taken where the first one shows nothing believable, and in the whole-field search.
    segmenter, translator
        As in ``Registrar``.
    refine_ms
        Most time that a pair may take to have its measured pose refined by the images, where the bundle runs, at the
        scale that the time allows (see `Closer`); less of it where the next pair would else have to wait. 0: it is not
        refined. Several trackers of one stream must share the time.
    hurried
        Whether a pair must be done before the next one is due. Where all are kept, however long that takes, only
        ``refine_ms`` counts.
    proven
        Whether a bone that was searched for in the whole field is followed only where the images bear its pose out, see
        `Proof`. That takes some 20 ms when a track begins. Of tubes that fire in turn it asks nothing. One that is
        followed and refined is asked the same where it seems to be elsewhere than its motion leads, and believed there.

    Raises
    ------
    InputError
        If the bundle was made for another bone, or the rig does not have two views.
    """

    bone: Bone
    rig: Rig
    bundle: Bundle
    checks: Checks = field(default_factory=Checks)
    motion: Motion = field(default_factory=Motion)
    limits: Limits = field(default_factory=Limits)
    looks: int = 1
    more_looks: int = 4
    segmenter: SegmentNetwork | None = None
    translator: StyleNetwork | None = None
    refine_ms: float = 15.0
    hurried: bool = True
    proven: bool = True

    def __post_init__(self) -> None:
        if len(self.rig.fluoroscopes) != 2:
            raise InputError(f"rig: expected two views, found {len(self.rig.fluoroscopes)}")
        for name in ("looks", "more_looks"):
            whole_positive(name, getattr(self, name))
        self._registrar = Registrar(
            self.rig,
            self.bone,
            self.bundle,
            self.checks,
            looks=self.more_looks,
            segmenter=self.segmenter,
            translator=self.translator,
        )
        self._every = [max(1, min(view.size_px) // _LOOKED_AT) for view in self.rig.views]
        fields = map(field_mask, self.rig.fluoroscopes)
        self._fields = [field[::every, ::every] for field, every in zip(fields, self._every, strict=True)]
        self._floor = _floor(self.limits.floor_deg, self.limits.floor_mm)
        self._refined_floor = _floor(self.limits.refined_floor_deg, self.limits.refined_floor_mm)
        device = device_beside(self.bundle.device.type)
        self._closer = self._proof = None
        if not_negative("refine_ms", self.refine_ms) > 0:
            self._closer = Closer(self.rig, self.bone, self.refine_ms, self.checks, device)
        if self.proven and not any(self.rig.offsets_s):
            moving = None if self._closer is None else self._closer.moving
            self._proof = Proof(self.rig, self.bone, self.checks, moving, device)
        self._pace = Pace()
        self.forget()

    def warm_up(self) -> None:
        """Run the networks on noise; their first calls take longer, being compiled for the shapes they meet."""
        rng = np.random.default_rng(0)
        frames = [rng.uniform(0, 1, (view.height, view.width)).astype(np.float32) for view in self.rig.views]
        for looks in 3 * (1, self.looks, self.more_looks):
            self._registrar.sight.see(self._registrar.sight.look([frames], [self._registrar.regions(None)], looks))

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong with the machine, and how it goes on."""
        images = (one for one in (self._closer, self._proof) if one is not None)
        problems = (self._registrar.sight.problem, *(one.problem for one in images))
        return tuple(dict.fromkeys(problem for problem in problems if problem))

    def forget(self) -> None:
        """Give the track up; the next pair is searched for in the whole field."""
        self._belief: Belief | None = None
        self._followed = 0
        self._seen_s = float("-inf")

    def push(self, frame1: Frame, frame2: Frame, time_s: float, waited_ms: float = 0.0) -> Tracked:
        """Find the bone in one more pair.

        Parameters
        ----------
        frame1, frame2
            (h, w) of either view as recorded, bright = attenuating, full scale 1: arrays, or stored frames, which are
            converted where they are looked at. Black, white, damaged frames or frames of a wrong size are no error:
            they show no bone, and the result says why.
        time_s
            When they were taken. A clock that steps back, or far ahead, starts a new track.
        waited_ms
            How long they have been there already: so much less time is left to refine the pose.

        Raises
        ------
        InputError
            If a frame is no array, or the time not finite.
        """
        for name, frame in (("frame1", frame1), ("frame2", frame2)):
            if not isinstance(frame, np.ndarray | StoredFrame):
                raise InputError(f"{name}: expected an array (h, w), found {type(frame).__name__}; see miss")
        if not np.isfinite(time_s):
            raise InputError(f"time_s: expected a finite number, found {time_s}")
        clock = Clock(waited_ms)
        self._pace.tick(time_s)
        expected = self._expected(time_s)
        reason = self._why_unusable((frame1, frame2))
        clock.lap("check")
        if reason:
            return self._without(time_s, expected, _nothing_seen(self.bone, reason), float("nan"), clock)
        if expected is None:
            return self._searched(time_s, (frame1, frame2), clock)
        measured = self._measured(expected, (frame1, frame2), clock)
        found, distance, belief = measured.found, measured.distance, measured.belief
        if belief is not None:
            tracked = self._with(belief, found, distance, measured.phase, clock)
            return replace(tracked, refined_px=measured.refined_px)
        if self._must_give_up(time_s):
            return self._searched(time_s, (frame1, frame2), clock)
        return self._without(time_s, expected, found, distance, clock)

    def miss(self, time_s: float, reason: str) -> Tracked:
        """Say that nothing can be seen at a moment, such as when a frame did not arrive; the track coasts."""
        return self._without(time_s, self._expected(time_s), _nothing_seen(self.bone, reason), float("nan"), Clock())

    def _expected(self, time_s: float) -> Belief | None:
        """Return the prediction for a moment, or None where no track reaches that far."""
        belief = self._belief
        if belief is None or not belief.time_s < time_s:
            return None
        expected = belief.predicted(time_s, self.motion)
        turn, shift = expected.sd
        return None if turn > np.radians(self.limits.lost_deg) or shift > self.limits.lost_mm else expected

    def _must_give_up(self, time_s: float) -> bool:
        return time_s - self._seen_s > self.limits.coast_s

    def _why_unusable(self, frames: Frames) -> str:
        reasons = []
        views = zip(frames, self.rig.views, self._fields, self._every, strict=True)
        for k, (frame, view, lit, every) in enumerate(views, start=1):
            width, height = view.size_px
            if frame.shape != (height, width):
                found = " x ".join(map(str, frame.shape[::-1]))
                reasons.append(f"view {k}: wrong size: expected {width} x {height} pixels, found {found}")
                continue
            # Of a stored frame what is stored: black is black then, whatever its polarity.
            pixels, bits = (frame.pixels, frame.bits) if isinstance(frame, StoredFrame) else (frame, None)
            sparse = pixels[::every, ::every]
            why = why_unusable(sparse, bits, (sparse.shape[1], sparse.shape[0]), lit)
            if why:
                reasons.append(f"view {k}: {why}")
        return "; ".join(reasons)

    def _measured(self, expected: Belief, frames: Frames, clock: Clock) -> _Measured:
        """Return what looking where the bone is expected shows."""
        self._followed += 1
        for looks in (self.looks, self.more_looks):
            seen = self._looked(expected, frames, looks, clock)
            best = self._solved(seen, expected)
            clock.lap("solve")
            if best.distance > self.limits.gate:
                best = self._surprised(best, expected, frames, clock)
            elif best.found.ok:
                best = self._refined(best, expected, frames, clock)
            if best.belief is not None:
                break
        return best

    def _looked(self, expected: Belief, frames: Frames, looks: int, clock: Clock) -> Seen:
        sight = self._registrar.sight
        regions = self._registrar.regions(expected.world_from_bone)
        if self.bundle.landmarks.facts.crop_margin is not None:  # others know nothing but the whole field
            regions = [circling(region, self._followed) for region in regions]
        look = sight.look([frames], [regions], looks)
        clock.lap("crop")
        (seen,) = sight.see(look, clock.lap)
        clock.lap("landmarks")
        return seen

    def _solved(self, seen: Seen, expected: Belief) -> _Measured:
        """Return the most believable hypothesis of what was seen."""
        best = self._nearest(seen, expected, expected)
        found = best.found
        if any(self.rig.offsets_s) and found.world_from_bone is not None and found.covariance is not None:
            # Once more, with the rate that this very pair speaks for.
            best = self._nearest(
                seen, expected.updated(found.world_from_bone, found.covariance + self._floor), expected
            )
        return best

    def _nearest(self, seen: Seen, moving: Belief, expected: Belief) -> _Measured:
        """Return the most believable hypothesis of what was seen while the bone was ``moving``."""
        seen = replace(seen, px=at_one_moment(seen.px, moving, self.rig, self.bone.landmarks_mm))
        near = expected.world_from_bone
        best = self._judged(self._registrar.solve(seen, near), expected)
        if not best.distance <= self.limits.gate and len(self.bone.symmetric_pairs):
            # The cheapest hypothesis contradicts the motion; another one may carry it on.
            others = (self._registrar.solve(seen, near, mirrored) for mirrored in product((False, True), repeat=2))
            judged = [self._judged(other, expected) for other in others if other.mirrored != best.found.mirrored]
            believable = [one for one in judged if one.distance <= self.limits.gate]
            best = min(believable, key=lambda one: one.distance, default=best)
        return best

    def _judged(self, found: Registration, expected: Belief) -> _Measured:
        found = _certain(self._registrar.checked(found))
        if found.world_from_bone is None or found.covariance is None:
            return _Measured(found)
        return _Measured(found, expected.distance(found.world_from_bone, found.covariance + self._floor))

    def _refined(self, best: _Measured, expected: Belief, frames: Frames, clock: Clock) -> _Measured:
        """Return a believable measurement, refined where there is time, with what the filter makes of it."""
        found, side = best.found, 0
        assert found.world_from_bone is not None
        assert found.covariance is not None
        if self._closer is not None:
            knowing = expected.updated(found.world_from_bone, found.covariance + self._floor)
            since = motion_since(found.world_from_bone, knowing.rate, self.rig)
            left_ms = self._pace.left_ms(clock.spent_ms) if self.hurried else math.inf
            found, side = self._closer.refine(frames, found, left_ms, since)
            clock.lap("refine")
        assert found.world_from_bone is not None
        assert found.covariance is not None
        noise = found.covariance + (self._refined_floor if side else self._floor)
        return _Measured(found, best.distance, expected.updated(found.world_from_bone, noise), side)

    def _surprised(self, best: _Measured, expected: Belief, frames: Frames, clock: Clock) -> _Measured:
        """Return a measurement where the motion does not lead: believed if the images bear it out, else failed."""
        if self._closer is not None and self._proof is not None:
            # As when a track begins: three steps of refinement leave what is far off half way, and call it alike.
            found = self._proof.proved(frames, best.found)
            clock.lap("refine")
            if found.world_from_bone is not None and found.covariance is not None:
                noise, side = found.covariance + self._refined_floor, self._proof.side_px
                distance = expected.distance(found.world_from_bone, noise)
                if distance <= self.limits.gate:  # the landmarks were wrong, not the motion
                    return _Measured(found, distance, expected.updated(found.world_from_bone, noise), side)
                # What was known of its speed has turned out to be wrong.
                belief = Belief.first(expected.time_s, found.world_from_bone, noise, self.motion)
                return _Measured(found, distance, belief, side, Phase.ACQUIRED)
        reason = (
            f"not where the motion leads: Mahalanobis distance {best.distance:.1f}, "
            f"expected at most {self.limits.gate:g}"
        )
        return _Measured(best.found.failed(reason), best.distance)

    def _searched(self, time_s: float, frames: Frames, clock: Clock) -> Tracked:
        self.forget()
        (found,) = self._registrar.register([frames])
        found, floor, side = self._proved(_certain(found), frames)
        clock.lap("search")
        if found.world_from_bone is None or found.covariance is None:
            return self._without(time_s, None, found, float("nan"), clock)
        # Of tubes that fire in turn, an unknown speed makes the views disagree.
        noise = found.covariance + floor + max(map(abs, self.rig.offsets_s)) ** 2 * self.motion.start
        belief = Belief.first(time_s, found.world_from_bone, noise, self.motion)
        return replace(self._with(belief, found, float("nan"), Phase.ACQUIRED, clock), refined_px=side)

    def _proved(self, found: Registration, frames: Frames) -> tuple[Registration, NDArray[np.float64], int]:
        """Return what was found, or why the images say no, with what `_refined` adds to it and the windows' side."""
        if self._proof is None:
            return found, self._floor, 0
        proved = self._proof.proved(frames, found)
        if proved.ok and self._closer is None:
            return found, self._floor, 0
        return proved, self._refined_floor, self._proof.side_px if proved.ok else 0

    def _with(self, belief: Belief, found: Registration, distance: float, phase: Phase, clock: Clock) -> Tracked:
        self._belief, self._seen_s = belief, belief.time_s
        quality = self._quality(found)
        clock.lap("filter")
        return Tracked(belief.time_s, phase, found, belief, distance, quality, "", clock.stages)

    def _without(
        self, time_s: float, expected: Belief | None, found: Registration, distance: float, clock: Clock
    ) -> Tracked:
        if expected is None or self._must_give_up(time_s):
            self.forget()
            return Tracked(time_s, Phase.LOST, found, None, distance, 0.0, found.reason, clock.stages)
        self._belief = expected
        return Tracked(time_s, Phase.COASTING, found, expected, distance, 0.0, found.reason, clock.stages)

    def _quality(self, found: Registration) -> float:
        if found.world_from_bone is None:
            return 0.0
        residual = residual_at_bone_mm(found, self.rig, found.world_from_bone)
        share = found.n_visible / len(self.bone.landmarks_mm)
        return share * max(0.0, 1 - residual / self.checks.max_residual_mm)


@dataclass(frozen=True, eq=False)
class _Measured:
    """What a pair shows of a bone that is followed, how far that lies from where it was expected, what follows."""

    found: Registration
    distance: float = float("nan")
    belief: Belief | None = None
    refined_px: int = 0
    phase: Phase = Phase.TRACKING


def _floor(deg: float, mm: float) -> NDArray[np.float64]:
    """Return the covariance (6, 6), rad and mm, of so large standard deviations per axis."""
    return np.diag(np.repeat([np.radians(deg), mm], 3) ** 2)


def _certain(found: Registration) -> Registration:
    """Return a registration, failed where nothing tells how certain its pose is: no filter can weigh that."""
    if found.world_from_bone is None or found.covariance is not None:
        return found
    return found.failed(f"too few landmarks: {found.n_visible} used, which do not tell how certain the pose is")


def _nothing_seen(bone: Bone, reason: str) -> Registration:
    """Return the registration of a pair in which nothing can be seen."""
    n = len(bone.landmarks_mm)
    return Registration(
        world_from_bone=None,
        status=Status.FAILED,
        failure=None,
        reason=reason,
        mirrored=(False, False),
        costs=np.full(4, np.inf),
        cost=float("nan"),
        visible=np.zeros((2, n), bool),
        residuals_mm=np.full((2, n, 2), np.nan),
        covariance=None,
    )
