"""A recorded trial as if it were taken now."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from threading import Event
from typing import Any

from numpy.typing import NDArray

from fluoropose._checks import positive
from fluoropose.errors import ConfigError, FileFormatError
from fluoropose.registration.trial import TrialFrames
from fluoropose.streaming.frame import Frame

__all__ = ["Replay"]


class Replay:
    """Gives the frames of a trial when they are due.

    Parameters
    ----------
    frames
        The trial's frames and their times.
    speed
        1: at their own rate; 2: twice as fast; None: as fast as they can be read.
    offsets_s
        How much later than a pair's time each view is exposed, s; none: not at all.
    after
        Begin behind the pair of this number; None: with the first.
    from_memory
        Read all frames before the first is given, so that no file is touched while the stream runs.

    Raises
    ------
    ConfigError
        If the views' frames have not the same bits: a stream knows one full scale.
    """

    def __init__(
        self,
        frames: TrialFrames,
        speed: float | None = 1.0,
        *,
        offsets_s: tuple[float, ...] = (),
        after: int | None = None,
        from_memory: bool = False,
    ) -> None:
        self.name = "frames"
        self.bits = frames.sources[0].bits
        if any(source.bits != self.bits for source in frames.sources):
            found = ", ".join(f"{source.bits or 'floating point'} in {source.path}" for source in frames.sources)
            raise ConfigError(f"frames: expected as many bits in every view to replay them, found {found}")
        self.overtaken = self.malformed = self.refused = self.disconnected = 0
        self._frames = frames
        self._begin = 0 if after is None else sum(number <= after for number in frames.numbers)
        self._speed = None if speed is None else positive("speed", speed)
        self._stopped = Event()
        views = range(len(frames.sources))
        self._offsets_s = offsets_s or tuple(0.0 for _ in views)
        self._read = [[self._pixels(v, i) for v in views] for i in range(len(frames))] if from_memory else None

    @property
    def numbers(self) -> tuple[int, ...]:
        """Those of all of the trial's pairs, in order."""
        return self._frames.numbers

    def __iter__(self) -> Iterator[Frame]:
        """Give view 1's and view 2's frame of every pair."""
        start, begin = time.monotonic(), self._begin
        times_s, numbers = self._frames.times_s[begin:], self._frames.numbers[begin:]
        for i, number, time_s in zip(count(begin), numbers, times_s, strict=False):
            views = range(len(self._frames.sources))
            read = self._read[i] if self._read is not None else [self._pixels(view, i) for view in views]
            due = 0.0 if self._speed is None else start + (time_s - times_s[0]) / self._speed - time.monotonic()
            if self._stopped.wait(max(due, 0.0)):
                return
            for view, (pixels, problem) in enumerate(read):
                yield Frame(view, number, time_s + self._offsets_s[view], pixels, time.monotonic(), problem)

    def stop(self) -> None:
        """End the iteration at the next pair."""
        self._stopped.set()

    def _pixels(self, view: int, index: int) -> tuple[NDArray[Any] | None, str]:
        try:
            return self._frames.sources[view].read(index), ""
        except FileFormatError as error:
            return None, str(error)
