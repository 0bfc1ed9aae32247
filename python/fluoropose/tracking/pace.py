"""How fast pairs come, and what time that leaves for each."""

from __future__ import annotations

import math
from collections import deque
from itertools import pairwise
from statistics import median_low

__all__ = ["Pace"]

_REMEMBERED = 10  # moments; of pairs, some may be missing
_SHARE = 0.9  # of the time between pairs; what lies between camera and tracker takes some as well


class Pace:
    """Remembers when the last pairs were taken."""

    def __init__(self) -> None:
        self._moments: deque[float] = deque(maxlen=_REMEMBERED)

    def tick(self, time_s: float) -> None:
        """Take note of a pair; a clock that steps back begins anew."""
        if self._moments and time_s <= self._moments[-1]:
            self._moments.clear()
        self._moments.append(time_s)

    def left_ms(self, spent_ms: float) -> float:
        """Return the time until the next pair, if so much has been spent on this one; endless at the first pair."""
        if len(self._moments) < 2:
            return math.inf
        return 1e3 * _SHARE * median_low(after - before for before, after in pairwise(self._moments)) - spent_ms
