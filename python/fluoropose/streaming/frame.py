"""What travels through a stream: frames, the pairs made of them, and what the tracker said."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from fluoropose.registration.poses_file import PoseRow
from fluoropose.registration.refined import REFINED
from fluoropose.tracking import Phase, Tracked

__all__ = ["Frame", "Output", "Pair", "Source"]


@dataclass(frozen=True, eq=False, slots=True)
class Frame:
    """One frame of one view.

    Attributes
    ----------
    view
        0 or 1.
    number
        Sequence number, counted by the source.
    time_s
        When it was taken, by the source's clock.
    pixels
        (h, w) as stored; None where it could not be read.
    arrived_s
        ``time.monotonic()`` when its last byte was in.
    problem
        Why it could not be read.
    session
        Which writer it came from; numbers and times of another one may start anew.
    """

    view: int
    number: int
    time_s: float
    pixels: NDArray[Any] | None
    arrived_s: float
    problem: str = ""
    session: int = 0


@dataclass(frozen=True, eq=False, slots=True)
class Pair:
    """The two frames of one moment; one of them is None where it never came.

    Attributes
    ----------
    frames
        View 1's and view 2's.
    time_s
        When view 1 was exposed, or would have been.
    """

    frames: tuple[Frame | None, Frame | None]
    time_s: float

    @property
    def first(self) -> Frame:
        """View 1's frame, or view 2's where there is none."""
        for frame in self.frames:
            if frame is not None:
                return frame
        raise ValueError("a pair without frames")

    @property
    def number(self) -> int:
        """The sequence number of ``first``."""
        return self.first.number

    @property
    def arrived_s(self) -> float:
        """When the last byte of both frames was in."""
        return max(frame.arrived_s for frame in self.frames if frame is not None)

    @property
    def problem(self) -> str:
        """Why there is nothing to be seen in one of the views; "" where nothing speaks against it."""
        reasons = []
        for view, frame in enumerate(self.frames, start=1):
            if frame is None:
                reasons.append(f"view {view}: no frame arrived")
            elif frame.pixels is None:
                reasons.append(f"view {view}: {frame.problem}")
        return "; ".join(reasons)


@dataclass(frozen=True, eq=False, slots=True)
class Output:
    """What the tracker said about a pair.

    Attributes
    ----------
    number
        The pair's sequence number.
    tracked
        The pose and what speaks for it.
    latency_ms
        From the last byte in to the pose out.
    arrived_s
        ``time.monotonic()`` when the last byte of both frames was in.
    session
        Which writer the frames came from.
    """

    number: int
    tracked: Tracked
    latency_ms: float
    arrived_s: float = 0.0
    session: int = 0

    @property
    def row(self) -> PoseRow:
        """The row of ``poses.csv``: source "network" for what was measured, "prediction" for what was not.

        With "+refinement" where the images refined what was measured.
        """
        tracked, found = self.tracked, self.tracked.registration
        if tracked.belief is None:
            return PoseRow.failed(self.number, tracked.time_s, tracked.reason)
        measured = tracked.phase is not Phase.COASTING
        return PoseRow(
            self.number,
            tracked.time_s,
            tracked.status,
            tracked.reason,
            tracked.world_from_bone,
            found.hypothesis if measured else "none",
            found.cost if measured else float("nan"),
            found.n_visible if measured else 0,
            ("network" + REFINED * (tracked.refined_px > 0)) if measured else "prediction",
            tracked.covariance,
        )


class Source(Protocol):
    """Where frames come from.

    Attributes
    ----------
    name
        What a user calls it.
    bits
        Bits per pixel that carry signal; None for floating point frames in 0..1.
    overtaken
        Frames that were gone before they could be taken.
    malformed
        Messages that held no frame.
    refused, disconnected
        Attempts to connect that were turned away, and connections that ended.
    """

    name: str
    bits: int | None

    @property
    def overtaken(self) -> int:
        """See above."""

    @property
    def malformed(self) -> int:
        """See above."""

    @property
    def refused(self) -> int:
        """See above."""

    @property
    def disconnected(self) -> int:
        """See above."""

    def __iter__(self) -> Iterator[Frame]:
        """Give frames as they arrive, until there are no more or ``stop`` is called."""

    def stop(self) -> None:
        """End the iteration soon; may be called from any thread."""
