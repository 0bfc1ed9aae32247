"""``fluoropose stream`` and ``fluoropose serve``: a trial's rig, bone and network, and frames that arrive."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import current_thread, main_thread
from types import FrameType

from fluoropose._toml import require_inputs
from fluoropose.bone import Bone
from fluoropose.errors import ConfigError, InputError
from fluoropose.learning.bundle import Bundle, device_named, fastest_precision
from fluoropose.registration.trial import Trial
from fluoropose.rig import Rig
from fluoropose.streaming.endpoint import Token
from fluoropose.streaming.frame import Source
from fluoropose.streaming.options import LiveOptions
from fluoropose.streaming.pairing import Pairer
from fluoropose.streaming.queues import Policy
from fluoropose.streaming.replay import Replay
from fluoropose.streaming.sinks import Sink
from fluoropose.streaming.sinks.named import open_sink, require_sink
from fluoropose.streaming.sinks.tables import PosesTable, Table, last_frame
from fluoropose.streaming.sources.named import LISTENING, SOURCES, listen, open_source, require_source
from fluoropose.streaming.statistics import StreamSummary
from fluoropose.streaming.stream import Stream
from fluoropose.streaming.viewer.viewer import Viewer
from fluoropose.tracking import Tracker
from fluoropose.tracking.stored import Attenuating

__all__ = ["open_service", "open_stream", "run_stream"]


_DEFAULT = LiveOptions()
_UNUSED, _RECORDED = ("masks", "start_poses", "manual_poses"), ("frames", "times")


def open_stream(
    trial: Trial,
    source: str = "frames",
    sinks: Sequence[str] = (),
    options: LiveOptions = _DEFAULT,
    *,
    policy: Policy = "latest",
    speed: float | None = 1.0,
    resume: bool = False,
) -> Stream:
    """Make the stream of a trial.

    Parameters
    ----------
    trial
        Names rig, bone and bundle, the polarity, the checks and whether to segment and translate; and the frames, for
        the source "frames".
    source
        Where frames come from, see ``open_source``.
    sinks
        Where poses go, see ``open_sink``; by default to live.csv in the trial's folder "out".
    options
        How the bone is followed.
    policy
        "latest" drops what the tracker cannot keep up with, "every" makes the source wait.
    speed
        Of the replay; None: as fast as it can be read.
    resume
        Go on where an earlier run was stopped: files keep its rows, and a replayed trial begins behind the last pair
        of the table.

    Raises
    ------
    FileFormatError, InputError
        If an input is missing or does not fit the others.
    """
    named = list(sinks) or [str(trial.out / "live.csv")]
    parts = _Parts(trial, options, source, named, policy=policy)
    goes_on = resume and source == "frames"
    after = _last_frame(named) if goes_on else None
    opened = open_source(source, trial, parts.rig, speed, parts.token, after)
    return parts.stream(opened, opened.bits, named, resume=resume, level=goes_on)


def open_service(trial: Trial, source: str, sinks: Sequence[str], options: LiveOptions = _DEFAULT) -> Stream:
    """Make a stream for whoever sends frames, one program after the other, until it is stopped; see ``listen``.

    Parameters and errors are those of ``open_stream``. What the tracker cannot keep up with is dropped.
    """
    parts = _Parts(trial, options, source, sinks, LISTENING)
    opened = listen(source, trial, parts.rig, parts.token)
    return parts.stream(opened, opened.bits, sinks)


class _Parts:
    """What every stream of a trial needs."""

    def __init__(
        self,
        trial: Trial,
        options: LiveOptions,
        source: str,
        sinks: Sequence[str],
        kinds: Mapping[str, str] = SOURCES,
        policy: Policy = "latest",
    ) -> None:
        self.token = Token(options.token)
        require_source(source, trial, kinds)
        for name in sinks:
            require_sink(name)
        device_named(options.device)
        require_inputs(trial, *_UNUSED, *(() if source == "frames" else _RECORDED))
        self._trial, self._options, self.rig = trial, options, Rig.load(trial.rig)
        self._pairer = _pairer(options.tolerance_s, self.rig)
        self._policy, self._tracker = policy, _tracker(trial, self.rig, options, policy == "latest")
        trial.out.mkdir(parents=True, exist_ok=True)

    def stream(
        self,
        source: Source,
        bits: int | None,
        sinks: Sequence[str],
        *,
        resume: bool = False,
        level: bool = False,
    ) -> Stream:
        """Join them with an open source; ``level`` as in ``_level``, where that begins behind FILE.csv's last pair."""
        trial, view, tracker = self._trial, self._options.view, self._tracker
        attenuating = Attenuating(bits, trial.polarity)
        numbers = source.numbers if isinstance(source, Replay) else ()
        outlets: list[Sink] = []
        try:
            named = (tracker.bone, tracker.motion, self.token, numbers)
            outlets.extend(open_sink(name, *named, resume=resume) for name in sinks)
            if level:
                _level(outlets)
            viewer = None if view is None else Viewer(trial.rig, trial.bone, bits, Path(view) if view else None)
        except BaseException:
            source.stop()
            for outlet in outlets:
                outlet.close()
            raise
        return Stream(source, tracker, attenuating, outlets, pairer=self._pairer, policy=self._policy, viewer=viewer)


def _last_frame(sinks: Sequence[str]) -> int | None:
    """Return the number of the last pair that an earlier run wrote; None where there was none."""
    found = {last_frame(name) for name in sinks if ":" not in name and Path(name).suffix.lower() == ".csv"}
    if len(found) != 1:
        raise InputError("resume: expected a sink FILE.csv, whose last row tells where to go on, or several that agree")
    return found.pop()


def _level(outlets: Sequence[Sink]) -> None:
    """Let every table go on with the rows of FILE.csv: one that was killed left each with as many as it had got to."""
    tables = [one for one in outlets if isinstance(one, Table)]
    rows = next(table.rows for table in tables if isinstance(table, PosesTable))
    for table in tables:
        if not isinstance(table, PosesTable):
            table.begin_with(rows)


def _tracker(trial: Trial, rig: Rig, options: LiveOptions, hurried: bool) -> Tracker:
    if trial.segmentation == "given":
        raise ConfigError('segmentation: expected "none" or "predicted" for a stream, found "given"')
    bone, bundle = Bone.load(trial.bone), Bundle.load(trial.bundle, options.device, fastest_precision())
    segmenter, translator = bundle.asked(trial.segmentation == "predicted", trial.translation)
    return Tracker(
        bone,
        rig,
        bundle,
        trial.checks,
        looks=options.looks,
        segmenter=segmenter,
        translator=translator,
        refine_ms=options.refine_ms,
        hurried=hurried,
    )


def _pairer(tolerance_s: float | None, rig: Rig) -> Pairer:
    offset_s = rig.offsets_s[-1]
    return Pairer(offset_s=offset_s) if tolerance_s is None else Pairer("time", tolerance_s, offset_s=offset_s)


def run_stream(stream: Stream, trial: Trial, *, resume: bool = False) -> StreamSummary:
    """Run a stream until it ends or the program is told to (SIGINT, SIGTERM); writes stream.json to ``trial.out``.

    A resumed one that finds no pair left keeps the numbers of the run that it goes on from, as it keeps its rows.
    """
    numbers = trial.out / "stream.json"
    with _told_to_stop(stream.stop):
        try:
            return stream.run()
        finally:
            summary = stream.summary()
            if summary.pairs or not (resume and numbers.exists()):
                summary.write(numbers)


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
