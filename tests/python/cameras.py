"""Cameras that play the laboratory's frames, with faults, and the streams that follow them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from threading import Event

import numpy as np
from numpy.typing import NDArray

from fluoropose.learning.bundle import Bundle
from fluoropose.registration.trial import TrialFrames
from fluoropose.streaming.frame import Frame, Output
from fluoropose.streaming.queues import Policy
from fluoropose.streaming.sinks import Callback, Sink
from fluoropose.streaming.statistics import StreamSummary
from fluoropose.streaming.stream import Stream
from fluoropose.tracking import Tracker
from fluoropose.tracking.stored import Attenuating
from trial_laboratory import Laboratory


class Cameras:
    """The laboratory's 20 pairs, played to and fro, with each frame passed through a fault; as fast as they are taken.

    ``rate_hz`` gives pairs at that rate instead.
    """

    name = "cameras"
    bits: int | None = 16
    overtaken = malformed = refused = disconnected = 0

    def __init__(
        self,
        lab: Laboratory,
        count: int,
        fault: Callable[[Frame], list[Frame]] = lambda frame: [frame],
        rate_hz: float | None = None,
    ) -> None:
        frames = TrialFrames.open(lab.trial(lab.folder))
        self.stored = [[frames.sources[view].read(i) for view in (0, 1)] for i in range(20)]
        self.count, self.fault, self.rate_hz, self.stopped = count, fault, rate_hz, Event()

    def __iter__(self) -> Iterator[Frame]:
        start = time.monotonic()
        for k in range(self.count):
            wait = 0.0 if self.rate_hz is None else start + k / self.rate_hz - time.monotonic()
            if self.stopped.wait(max(wait, 0)):
                return
            for view in (0, 1):
                pixels = self.stored[position(k)][view]
                yield from self.fault(Frame(view, k, k / 30, pixels, time.monotonic()))

    def stop(self) -> None:
        self.stopped.set()


def position(k: int) -> int:
    """To and fro through the 20 pairs, so that the bone never jumps."""
    return 19 - abs(k % 38 - 19)


def stream(lab: Laboratory, cameras: Cameras, *sinks: Sink, policy: Policy = "every", **settings: object) -> Stream:
    # Not refined: at either end the bone turns round within a frame, as none does, which the images would notice.
    tracker = Tracker(lab.bone, lab.rig, Bundle.load(lab.folder / "bone.fpbundle"), refine_ms=0)
    return Stream(cameras, tracker, Attenuating(16), sinks, policy=policy, **settings)  # type: ignore[arg-type]


def tracked(
    lab: Laboratory, count: int, fault: Callable[[Frame], list[Frame]] = lambda frame: [frame]
) -> tuple[list[Output], StreamSummary]:
    found: list[Output] = []
    return found, stream(lab, Cameras(lab, count, fault), Callback(found.append)).run()


def errors(lab: Laboratory, outputs: list[Output]) -> NDArray[np.float64]:
    found = []
    for one in outputs:
        truth, pose = lab.truth[position(one.number)], one.tracked.world_from_bone
        assert pose is not None, one.tracked.reason
        shift = pose.translation_mm - truth.translation_mm
        found.append((np.degrees(truth.angle_to(pose)), np.linalg.norm(shift)))
    return np.array(found)
