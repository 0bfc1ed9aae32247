"""``fluoropose stream`` and ``fluoropose serve``: a trial's rig, bone and network, and frames that arrive."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType

from fluoropose.bone import Bone
from fluoropose.errors import InputError
from fluoropose.learning.bundle import Bundle
from fluoropose.registration.trial import Trial
from fluoropose.rig import Rig
from fluoropose.streaming.endpoint import Token
from fluoropose.streaming.pairing import Pairer
from fluoropose.streaming.queues import Policy
from fluoropose.streaming.sinks.named import open_sink
from fluoropose.streaming.sinks.tables import last_frame
from fluoropose.streaming.sources.named import listen, open_source
from fluoropose.streaming.statistics import StreamSummary
from fluoropose.streaming.stream import Stream
from fluoropose.streaming.viewer.viewer import Viewer
from fluoropose.tracking import Tracker
from fluoropose.tracking.stored import Attenuating

__all__ = ["open_service", "open_stream", "run_stream"]


def open_stream(
    trial: Trial,
    source: str = "frames",
    sinks: Sequence[str] = (),
    *,
    policy: Policy = "latest",
    speed: float | None = 1.0,
    tolerance_s: float | None = None,
    looks: int = 1,
    refine_ms: float | None = None,
    token: str = "",
    view: str | None = None,
    device: str = "cpu",
    resume: bool = False,
) -> Stream:
    """Make the stream of a trial.

    Parameters
    ----------
    trial
        Names rig, bone and bundle, the polarity and the checks; and the frames, for the source "frames".
    source
        Where frames come from, see ``open_source``.
    sinks
        Where poses go, see ``open_sink``; by default to poses.csv in the trial's folder "out".
    policy
        "latest" drops what the tracker cannot keep up with, "every" makes the source wait.
    speed
        Of the replay; None: as fast as it can be read.
    tolerance_s
        Frames that are taken within this time, but for the rig's own offset, are a pair; None: those of equal number.
    looks
        Crops per frame in the steady state; more are more accurate and slower.
    refine_ms
        Time per pair to refine poses by the images, at the scale that it allows; None: they are the landmarks'.
    token
        What other programs must know; needed where other machines can reach a source or a sink.
    view
        "" shows frames and poses on the screen, a file (.rrd) records them; None does neither.
    device
        Where the networks run: "cpu", "cuda" or "cuda:N"; see ``Bundle.load``.
    resume
        Go on where an earlier run was stopped: files keep its rows, and a replayed trial begins behind the last pair
        of poses.csv.

    Raises
    ------
    FileFormatError, InputError
        If an input is missing or does not fit the others.
    """
    rig, secret = Rig.load(trial.rig), Token(token)
    pairer = _pairer(tolerance_s, rig)
    tracker = _tracker(trial, rig, looks, refine_ms, device)
    trial.out.mkdir(parents=True, exist_ok=True)
    named = list(sinks) or [str(trial.out / "poses.csv")]
    after = _last_frame(named) if resume and source == "frames" else None
    opened = open_source(source, trial, rig, speed, secret, after)
    bits = trial.bit_depth or opened.bits
    attenuating = Attenuating(rig, bits, trial.polarity)
    outlets = [open_sink(name, tracker.bone, tracker.motion, secret, resume=resume) for name in named]
    viewer = None if view is None else Viewer(trial.rig, trial.bone, bits, Path(view) if view else None)
    return Stream(opened, tracker, attenuating, outlets, pairer=pairer, policy=policy, viewer=viewer)


def open_service(
    trial: Trial,
    source: str,
    sinks: Sequence[str],
    *,
    tolerance_s: float | None = None,
    looks: int = 1,
    refine_ms: float | None = None,
    token: str = "",
    view: str | None = None,
    device: str = "cpu",
) -> Stream:
    """Make a stream for whoever sends frames, one program after the other, until it is stopped; see ``listen``.

    Parameters and errors are those of ``open_stream``. What the tracker cannot keep up with is dropped.
    """
    rig, secret = Rig.load(trial.rig), Token(token)
    pairer = _pairer(tolerance_s, rig)
    tracker = _tracker(trial, rig, looks, refine_ms, device)
    trial.out.mkdir(parents=True, exist_ok=True)
    opened = listen(source, trial, rig, secret)
    attenuating = Attenuating(rig, opened.bits, trial.polarity)
    outlets = [open_sink(name, tracker.bone, tracker.motion, secret) for name in sinks]
    viewer = None if view is None else Viewer(trial.rig, trial.bone, opened.bits, Path(view) if view else None)
    return Stream(opened, tracker, attenuating, outlets, pairer=pairer, viewer=viewer)


def _last_frame(sinks: Sequence[str]) -> int | None:
    """Return the number of the last pair that an earlier run wrote; None where there was none."""
    found = {last_frame(name) for name in sinks if ":" not in name and Path(name).suffix.lower() == ".csv"}
    if len(found) != 1:
        raise InputError("resume: expected a sink FILE.csv, whose last row tells where to go on, or several that agree")
    return found.pop()


def _tracker(trial: Trial, rig: Rig, looks: int, refine_ms: float | None, device: str) -> Tracker:
    if trial.segmentation == "given":
        raise InputError('segmentation: expected "none" or "predicted" for a stream, found "given"')
    bone, bundle = Bone.load(trial.bone), Bundle.load(trial.bundle, device)
    segmenter, translator = bundle.asked(trial.segmentation == "predicted", trial.translation, small=True)
    return Tracker(
        bone,
        rig,
        bundle,
        trial.checks,
        looks=looks,
        segmenter=segmenter,
        translator=translator,
        refine_ms=refine_ms,
    )


def _pairer(tolerance_s: float | None, rig: Rig) -> Pairer:
    return Pairer() if tolerance_s is None else Pairer("time", tolerance_s, offset_s=rig.offsets_s[-1])


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
