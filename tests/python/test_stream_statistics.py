"""Numbers of a stream, against what NumPy says of the same latencies."""

from __future__ import annotations

import io
from dataclasses import fields
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from fluoropose.streaming import statistics
from fluoropose.streaming.frame import Output
from fluoropose.streaming.pairing import Counts
from fluoropose.streaming.statistics import Progress
from fluoropose.streaming.watch import numbers_table
from fluoropose.tracking import Phase, Stages
from outputs import POSES, output

SOURCE = SimpleNamespace(overtaken=4, malformed=5, refused=6, disconnected=7)


def at(number: int, latency_ms: float, phase: Phase = Phase.TRACKING) -> Output:
    made = output(number, POSES[0], phase)
    return Output(number, made.tracked, latency_ms)


def test_latencies_and_phases_are_counted() -> None:
    progress, latencies = Progress(), np.random.default_rng(1).exponential(10, 500)
    for k, latency in enumerate(latencies):
        progress.add(at(k, latency, Phase.COASTING if k % 5 == 0 else Phase.TRACKING))
    summary = progress.summary(
        3, SimpleNamespace(overtaken=4, malformed=5, refused=6, disconnected=7), Counts(frames=1000, pairs=500), ()
    )
    assert summary.latency_ms is not None
    p50, p99 = np.percentile(latencies, [50, 99])
    found = (summary.latency_ms.p50, summary.latency_ms.p99, summary.latency_ms.max)
    assert found == pytest.approx((p50, p99, latencies.max()))
    assert (summary.pairs, summary.coasting, summary.tracking, summary.lost) == (500, 100, 400, 0)
    assert (summary.dropped, summary.overtaken, summary.frames["frames"]) == (3, 4, 1000)
    assert (summary.malformed, summary.refused, summary.disconnected) == (5, 6, 7)
    assert set(summary.stages_ms) == {one.name for one in fields(Stages)}


def test_memory_stays_flat_and_the_largest_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "_KEPT", 10)
    progress = Progress()
    for k in range(100):
        progress.add(at(k, 1000.0 if k == 3 else float(k)))
    assert progress.latency_ms is not None
    assert progress.latency_ms.p50 == pytest.approx(94.5)  # of the last ten
    assert progress.latency_ms.max == 1000.0


def test_one_pair_is_a_pair_and_has_no_rate() -> None:
    progress = Progress()
    progress.add(at(0, 3.0))
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(numbers_table(progress.summary(1, SOURCE, Counts(), ()), progress.last, "0.0 per second"))
    lines = [" ".join(line.split()) for line in console.export_text().splitlines()]
    assert "pairs 1" in lines
    assert "dropped 1 pair 4 frames overtaken" in lines
    assert "5 messages malformed 6 connections refused" in lines


def test_a_stream_without_pairs_has_no_latency() -> None:
    summary = Progress().summary(0, SOURCE, Counts(), ())
    assert summary.latency_ms is None
    assert summary.pairs_per_second == 0
