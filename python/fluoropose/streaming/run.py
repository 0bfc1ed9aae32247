"""``fluoropose stream``: a trial's rig, bone and network, and frames that arrive."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

import numpy as np

from fluoropose.bone import Bone
from fluoropose.errors import FileFormatError, InputError
from fluoropose.learning.bundle import Bundle
from fluoropose.registration.trial import Trial, TrialFrames
from fluoropose.rig import Rig
from fluoropose.streaming.frame import Source
from fluoropose.streaming.pairing import Pairer
from fluoropose.streaming.queues import Policy
from fluoropose.streaming.replay import Replay
from fluoropose.streaming.ring import RingReader
from fluoropose.streaming.sinks.named import open_sink
from fluoropose.streaming.statistics import StreamSummary
from fluoropose.streaming.stream import Stream
from fluoropose.tracking import Tracker
from fluoropose.tracking.stored import Attenuating

__all__ = ["open_source", "open_stream", "run_stream"]


def open_stream(
    trial: Trial,
    source: str = "frames",
    sinks: Sequence[str] = (),
    *,
    policy: Policy = "latest",
    speed: float | None = 1.0,
    pairer: Pairer | None = None,
    looks: int = 1,
) -> Stream:
    """Make the stream of a trial.

    Parameters
    ----------
    trial
        Names rig, bone and bundle, the polarity and the checks; and the frames, for the source "frames".
    source
        "frames": the trial's own, replayed; "ring:FILE": a ring that acquisition software writes.
    sinks
        Where poses go, see ``open_sink``; by default to poses.csv in the trial's folder "out".
    policy
        "latest" drops what the tracker cannot keep up with, "every" makes the source wait.
    speed
        Of the replay; None: as fast as it can be read.
    pairer
        Which frames belong together.
    looks
        Crops per frame in the steady state; more are more accurate and slower.

    Raises
    ------
    FileFormatError, InputError
        If an input is missing or does not fit the others.
    """
    rig, bone, bundle = Rig.load(trial.rig), Bone.load(trial.bone), Bundle.load(trial.bundle)
    tracker = Tracker(bone, rig, bundle, trial.checks, looks=looks)
    opened = open_source(source, trial, rig, speed)
    attenuating = Attenuating(rig, trial.bit_depth or opened.bits, trial.polarity)
    trial.out.mkdir(parents=True, exist_ok=True)
    named = list(sinks) or [str(trial.out / "poses.csv")]
    outlets = [open_sink(name, bone.name, tracker.motion) for name in named]
    return Stream(opened, tracker, attenuating, outlets, pairer=pairer, policy=policy)


def open_source(source: str, trial: Trial, rig: Rig, speed: float | None) -> Source:
    """Open "frames" or "ring:FILE"; raises InputError for other names, FileFormatError for what does not fit."""
    kind, _, rest = source.partition(":")
    if source == "frames":
        frames = TrialFrames.open(trial)
        if len(frames.sources) != len(rig.fluoroscopes):
            raise FileFormatError(f"frames: expected {len(rig.fluoroscopes)} views, found {len(frames.sources)}")
        if not np.isfinite(frames.times_s).all():
            raise InputError("frame_rate_hz: following a trial needs the times of its frames; give this rate, or times")
        return Replay(frames, speed)
    if kind == "ring" and rest:
        ring = RingReader(rest)
        for k, view in enumerate(rig.views, start=1):
            if ring.size_px != view.size_px:
                raise FileFormatError(f"{rest}: view {k}: expected {view.size_px} pixels, found {ring.size_px}")
        return ring
    raise InputError(f"source: expected frames or ring:FILE, found {source!r}")


def run_stream(stream: Stream, trial: Trial) -> StreamSummary:
    """Run a stream until it ends or the program is told to (SIGINT, SIGTERM); writes stream.json to ``trial.out``."""
    with _told_to_stop(stream.stop):
        try:
            return stream.run()
        finally:
            stream.summary().write(trial.out / "stream.json")


@contextmanager
def _told_to_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` when a signal asks the program to end; where signals are heard, in the main thread."""
    if current_thread() is not main_thread():
        yield
        return

    def heard(number: int, frame: FrameType | None) -> None:
        stop()

    before = {number: signal.signal(number, heard) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
