"""Numbers of a stream, while it runs and at its end."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from fluoropose._files import write_text
from fluoropose.registration.summary import Environment
from fluoropose.streaming.frame import Output, Source
from fluoropose.streaming.outlet import SinkReport
from fluoropose.streaming.pairing import Counts
from fluoropose.tracking import Phase, Stages

__all__ = ["Latency", "Progress", "StreamSummary"]

_KEPT = 100_000  # pairs, nearly an hour at 30 Hz; percentiles are of the last ones, so that memory stays flat


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(_Model):
    """Milliseconds from the last byte in to the pose out."""

    mean: float
    p50: float
    p99: float
    max: float


class StreamSummary(_Model):
    """What became of a stream.

    Attributes
    ----------
    pairs, dropped
        Pairs that the tracker saw, and pairs that the policy "latest" dropped before.
    overtaken
        Frames that were gone before they could be taken, such as those that a ring's writer overwrote.
    malformed, refused, disconnected
        Messages that held no frame, attempts to connect that were turned away, and connections that ended.
    acquired, tracking, coasting, lost
        Pairs by what the tracker did.
    refined
        Pairs whose pose the images refined, by the side of the windows in which they did, px.
    seconds, pairs_per_second
        From the first pose to the last.
    latency_ms
        None without a pair.
    stages_ms
        Mean over the pairs.
    frames
        Counts of single frames; see ``Counts``.
    sinks
        What each took.
    problems
        What went wrong with the machine, such as a GPU that was lost, and how the stream went on.
    """

    pairs: int
    dropped: int
    overtaken: int
    malformed: int
    refused: int
    disconnected: int
    acquired: int
    tracking: int
    coasting: int
    lost: int
    refined: dict[int, int]
    seconds: float
    pairs_per_second: float
    latency_ms: Latency | None
    stages_ms: dict[str, float]
    frames: dict[str, int]
    sinks: tuple[SinkReport, ...]
    problems: tuple[str, ...]
    environment: Environment

    def write(self, path: str | Path) -> None:
        """Write as JSON, atomically."""
        write_text(path, self.model_dump_json(indent=1) + "\n")


class Progress:
    """Keeps count of outputs, in memory that does not grow."""

    def __init__(self) -> None:
        # Asked once, before the stream runs: it starts other programs.
        self._environment = Environment.here()
        self._latencies = np.full(_KEPT, np.nan)
        self._moments: deque[float] = deque(maxlen=60)
        self._stages = np.zeros(len(fields(Stages)))
        self._phases: Counter[Phase] = Counter()
        self._refined: Counter[int] = Counter()
        self._largest = 0.0
        self._first = float("nan")
        self.last: Output | None = None
        self.pairs = 0

    def add(self, output: Output) -> None:
        """Count an output."""
        now = time.monotonic()
        self._first = now if self.pairs == 0 else self._first
        self._moments.append(now)
        self._latencies[self.pairs % _KEPT] = output.latency_ms
        self._largest = max(self._largest, output.latency_ms)
        self._stages += [getattr(output.tracked.stages, one.name) for one in fields(Stages)]
        self._phases[output.tracked.phase] += 1
        self._refined[output.tracked.refined_px] += 1
        self.last, self.pairs = output, self.pairs + 1

    @property
    def rate_hz(self) -> float:
        """Pairs per second, now."""
        recent = [moment for moment in list(self._moments) if moment > time.monotonic() - 2.0]
        return (len(recent) - 1) / (recent[-1] - recent[0]) if len(recent) > 1 else 0.0

    @property
    def latency_ms(self) -> Latency | None:
        """Percentiles over the last pairs, the largest of all."""
        if not self.pairs:
            return None
        last = self._latencies[: self.pairs]
        p50, p99 = np.percentile(last, [50, 99])
        return Latency(mean=float(last.mean()), p50=float(p50), p99=float(p99), max=self._largest)

    def summary(
        self,
        dropped: int,
        source: Source,
        counts: Counts,
        sinks: tuple[SinkReport, ...],
        problems: tuple[str, ...] = (),
    ) -> StreamSummary:
        """Return the numbers so far."""
        seconds = self._moments[-1] - self._first if self.pairs else 0.0
        return StreamSummary(
            pairs=self.pairs,
            dropped=dropped,
            overtaken=source.overtaken,
            malformed=source.malformed,
            refused=source.refused,
            disconnected=source.disconnected,
            **{phase.value: self._phases[phase] for phase in Phase},
            refined={side: count for side, count in sorted(self._refined.items(), reverse=True) if side},
            seconds=seconds,
            pairs_per_second=(self.pairs - 1) / seconds if seconds else 0.0,
            latency_ms=self.latency_ms,
            stages_ms={
                one.name: float(total) / max(self.pairs, 1)
                for one, total in zip(fields(Stages), self._stages, strict=True)
            },
            frames=asdict(counts),
            sinks=sinks,
            problems=problems,
            environment=self._environment,
        )
