"""What a stream looks like in a terminal while it runs."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Column, Table

from fluoropose.streaming.frame import Output
from fluoropose.streaming.statistics import StreamSummary
from fluoropose.streaming.stream import Stream
from fluoropose.tracking import Phase

__all__ = ["Watch", "numbers_table"]

_COLOURS = {Phase.ACQUIRED: "yellow", Phase.TRACKING: "green", Phase.COASTING: "yellow", Phase.LOST: "red"}


class Watch:
    """Shows rate, latency, losses and the last pose; rich asks for it as often as it draws, in a thread of its own."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __rich__(self) -> Table:
        """Draw the numbers of this moment."""
        progress, summary = self._stream.progress, self._stream.summary()
        return numbers_table(summary, progress.last, f"{progress.rate_hz:.1f} per second")


def numbers_table(summary: StreamSummary, last: Output | None, rate: str) -> Table:
    """Draw the numbers of a stream and its last pose; ``rate`` says how fast pairs came, and when."""
    table = Table(Column(overflow="fold"), Column(), show_header=False, box=None, padding=(0, 2))
    table.add_row("pairs", f"{summary.pairs}  at {rate}" if summary.pairs > 1 else f"{summary.pairs}")
    if summary.latency_ms is not None:
        latency = summary.latency_ms
        table.add_row("latency, ms", f"median {latency.p50:.1f}  99 % {latency.p99:.1f}  largest {latency.max:.1f}")
    table.add_row("dropped", f"{_counted(summary.dropped, 'pair')}  {_counted(summary.overtaken, 'frame')} overtaken")
    if summary.malformed or summary.refused:
        malformed, refused = _counted(summary.malformed, "message"), _counted(summary.refused, "connection")
        table.add_row("", f"[red]{malformed} malformed  {refused} refused[/]")
    counted = [f"{count} {name.replace('_', ' ')}" for name, count in summary.frames.items() if count]
    table.add_row("frames", "  ".join(counted) or "none")
    scales = [f"{count} at {side} px" for side, count in summary.refined.items()]
    table.add_row("refined", "  ".join(scales) or "none")
    if last is not None:
        phase = last.tracked.phase
        table.add_row("bone", f"[{_COLOURS[phase]}]{phase.value}[/]  quality {last.tracked.quality:.2f}")
        pose = last.tracked.world_from_bone
        if pose is not None:
            x, y, z = pose.translation_mm
            a, b, c = pose.euler_zyx_deg
            table.add_row("pose", f"{x:.1f} {y:.1f} {z:.1f} mm  {a:.1f} {b:.1f} {c:.1f} degrees")
        if last.tracked.reason:
            table.add_row("", escape(last.tracked.reason))
    for problem in summary.problems:
        table.add_row("", f"[red]{escape(problem)}[/]")
    for sink in summary.sinks:
        lost = f"  [red]{sink.lost} lost[/]" if sink.lost else ""
        failed = f"  [red]{escape(sink.error)}[/]" if sink.error else ""
        table.add_row(escape(sink.name), f"{sink.written} written{lost}{failed}")
    return table


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
