"""Frames of several views that were taken together: by their numbers, where their files have any."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from numpy.typing import NDArray

from fluoropose.errors import ConfigError
from fluoropose.io.frames import FrameSource

__all__ = ["frame_numbers", "paired", "trailing_number"]


def paired(sources: Sequence[FrameSource]) -> tuple[FrameSource, ...]:
    """Return the sources so that a position is the same moment in all of them.

    Frames that carry numbers in every view are paired by these; one that a view lacks cannot be read. Where the views
    count alike and no number is in two of them, or some have none, frames are paired in their order.

    Raises
    ------
    ConfigError
        If frames without numbers are not as many in every view, or fewer than half of the numbers are in all of them.
    """
    numbers = [frame_numbers([source.name(i) for i in range(len(source))], named=source.named) for source in sources]
    known = [one for one in numbers if one is not None]
    counts = {len(source) for source in sources}
    common = set.intersection(*(set(one) for one in known)) if known else set()
    unnumbered, same = len(known) < len(numbers), len(set(known)) == 1
    if len(counts) == 1 and (unnumbered or same or (not common and _steps_alike(known))):
        return tuple(sources)
    found = ", ".join(f"{len(source)} in {source.path}" for source in sources)
    if unnumbered:
        raise ConfigError(f"frames: expected the same number of frames in every view, found {found}")
    if 2 * len(common) < min(counts):
        spans = ", ".join(f"{one[0]} to {one[-1]} in {s.path}" for s, one in zip(sources, known, strict=True))
        raise ConfigError(
            f"frames: expected the numbers at the ends of their names to be the same in every view, found {spans}, "
            f"{len(common)} of them in common"
        )
    every = sorted(set().union(*known))
    names = {number: source.name(i) for source, one in zip(sources, known, strict=True) for i, number in enumerate(one)}
    return tuple(
        _Gappy(source, {number: i for i, number in enumerate(one)}, every, names)
        for source, one in zip(sources, known, strict=True)
    )


def frame_numbers(names: Sequence[str], *, named: bool = True) -> tuple[int, ...] | None:
    """Return the numbers at the names' ends where they grow from frame to frame; None where they do not."""
    numbers = tuple(number for name in names if (number := trailing_number(name)) is not None)
    growing = all(before < after for before, after in pairwise(numbers))
    return numbers if named and growing and len(numbers) == len(names) else None


def trailing_number(name: str) -> int | None:
    """Return the number that a name ends in; None where it ends in none."""
    end = re.search(r"(\d+)$", name)
    return None if end is None else int(end[1])


def _steps_alike(numbers: Sequence[tuple[int, ...]]) -> bool:
    """Tell whether all count in the same steps."""
    steps = {tuple(number - one[0] for number in one) for one in numbers}
    return len(steps) == 1


class _Gappy(FrameSource):
    """A source in which positions without a frame cannot be read."""

    def __init__(
        self, source: FrameSource, places: dict[int, int], numbers: Sequence[int], names: dict[int, str]
    ) -> None:
        self.path, self.bits, self.rate_hz, self.named = source.path, source.bits, source.rate_hz, source.named
        self._source, self._places = source, [places.get(number) for number in numbers]
        self._names = [names[number] for number in numbers]

    def __len__(self) -> int:
        return len(self._places)

    def name(self, index: int) -> str:
        place = self._places[index]
        return self._names[index] if place is None else self._source.name(place)

    def _pixels(self, index: int) -> NDArray[Any]:
        place = self._places[index]
        if place is None:
            raise ConfigError(f"{self.path}: frame {self._names[index]} is missing")
        return self._source.read(place)
