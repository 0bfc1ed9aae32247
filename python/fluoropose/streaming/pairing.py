"""Which frame of view 1 belongs to which frame of view 2."""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

from fluoropose._checks import positive, whole_positive
from fluoropose.errors import InputError
from fluoropose.streaming.frame import Frame, Pair

__all__ = ["Counts", "Match", "Pairer"]

Match = Literal["number", "time"]


@dataclass
class Counts:
    """What became of the frames of a stream.

    Attributes
    ----------
    frames
        Frames that arrived, of either view.
    pairs
        Pairs of two frames.
    missing
        Frames that never found their partner: the other one is missing.
    duplicated
        Frames that had arrived before; they are ignored.
    out_of_order
        Frames older than one that had arrived before them, but still in time.
    late
        Frames that arrived when their moment had passed; they are ignored.
    unreadable
        Frames that arrived damaged.
    undated
        Frames whose time is no number; they are ignored.
    restarts
        How often the numbers or the clock were set back.
    """

    frames: int = 0
    pairs: int = 0
    missing: int = 0
    duplicated: int = 0
    out_of_order: int = 0
    late: int = 0
    unreadable: int = 0
    undated: int = 0
    restarts: int = 0


@dataclass(frozen=True, order=False, slots=True)
class _Waiting:
    key: float
    frame: Frame

    def __lt__(self, other: _Waiting) -> bool:
        return self.key < other.key


class Pairer:
    """Makes pairs of frames that arrive one by one; pairs leave in order, and a frame without a partner leaves alone.

    Parameters
    ----------
    match
        "number": equal sequence numbers; "time": times that differ by at most the tolerance.
    tolerance_s
        Less than half the time between frames.
    offset_s
        How much later than view 1 view 2 is exposed; pulsed tubes fire in turn.
    depth
        How many frames of a view wait for their partners. When as many frames in a row come late, the source's numbers
        or clock have been set back, and pairing starts again; as it does with a new session.
    """

    def __init__(
        self, match: Match = "number", tolerance_s: float = 0.004, offset_s: float = 0.0, depth: int = 6
    ) -> None:
        if match not in get_args(Match):
            raise InputError(f'match: expected "number" or "time", found {match!r}')
        self.counts = Counts()
        self._match, self._offset_s = match, offset_s
        self._tolerance = positive("tolerance_s", tolerance_s) if match == "time" else 0.0
        self._depth = whole_positive("depth", depth)
        self._session: int | None = None
        self._forget()

    def _forget(self) -> None:
        self._waiting: tuple[list[_Waiting], list[_Waiting]] = ([], [])
        self._recent: tuple[deque[float], deque[float]] = (deque(maxlen=64), deque(maxlen=64))
        self._behind = [0, 0]
        self._done = float("-inf")

    def add(self, frame: Frame) -> list[Pair]:
        """Take a frame; return the pairs, and frames left alone, that are settled now, oldest first."""
        self.counts.frames += 1
        self.counts.unreadable += frame.pixels is None
        if not isfinite(frame.time_s):
            self.counts.undated += 1
            return []
        settled: list[Pair] = []
        if frame.session != self._session:
            settled = self.flush()
            self._forget()
            self._session = frame.session
        view, key = frame.view, self._key(frame)
        if key in self._recent[view]:
            self.counts.duplicated += 1
            return settled
        if key <= self._done + self._tolerance:
            self.counts.late += 1
            self._behind[view] += 1
            if self._behind[view] < self._depth:
                return settled
            self.counts.restarts += 1
            settled += self.flush()
            self._forget()
        self._behind[view] = 0
        if self._recent[view] and key < max(self._recent[view]):
            self.counts.out_of_order += 1
        self._recent[view].append(key)
        return settled + self._settled(_Waiting(key, frame))

    def flush(self) -> list[Pair]:
        """Give up waiting; return the frames that were left alone, oldest first."""
        return self._give_up(float("inf"))

    def _key(self, frame: Frame) -> float:
        if self._match == "number":
            return float(frame.number)
        return self._moment_s(frame)

    def _moment_s(self, frame: Frame) -> float:
        """Return when view 1 is exposed where ``frame`` is."""
        return frame.time_s - (self._offset_s if frame.view == 1 else 0.0)

    def _settled(self, new: _Waiting) -> list[Pair]:
        own, other = self._waiting[new.frame.view], self._waiting[1 - new.frame.view]
        partner = min(other, key=lambda one: abs(one.key - new.key), default=None)
        if partner is None or abs(partner.key - new.key) > self._tolerance:
            insort(own, new)
            return self._give_up(own[1].key) if len(own) > self._depth else []
        other.remove(partner)
        settled = self._give_up(min(partner.key, new.key))
        self._done = max(partner.key, new.key)
        self.counts.pairs += 1
        frames = (new.frame, partner.frame) if new.frame.view == 0 else (partner.frame, new.frame)
        return [*settled, Pair(frames, frames[0].time_s)]

    def _give_up(self, before: float) -> list[Pair]:
        """Settle what waits and is older than ``before``."""
        old = sorted(one for waiting in self._waiting for one in waiting if one.key < before)
        for waiting in self._waiting:
            waiting[:] = [one for one in waiting if one.key >= before]
        if old:
            self._done = max(self._done, old[-1].key)
        self.counts.missing += len(old)
        return [self._alone(one.frame) for one in old]

    def _alone(self, frame: Frame) -> Pair:
        return Pair((frame, None) if frame.view == 0 else (None, frame), self._moment_s(frame))
