"""What a stream looks like in a terminal while it runs."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Column, Table

from fluoropose.streaming.stream import Stream
from fluoropose.tracking import Phase

__all__ = ["Watch"]

_COLOURS = {Phase.ACQUIRED: "yellow", Phase.TRACKING: "green", Phase.COASTING: "yellow", Phase.LOST: "red"}


class Watch:
    """Shows rate, latency, losses and the last pose; rich asks for it as often as it draws, in a thread of its own."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def __rich__(self) -> Table:
        """Draw the numbers of this moment."""
        progress, summary = self._stream.progress, self._stream.summary()
        table = Table(Column(overflow="fold"), Column(), show_header=False, box=None, padding=(0, 2))
        table.add_row("pairs", f"{summary.pairs}  at {progress.rate_hz:.1f} per second")
        if summary.latency_ms is not None:
            latency = summary.latency_ms
            table.add_row("latency, ms", f"median {latency.p50:.1f}  99 % {latency.p99:.1f}  largest {latency.max:.1f}")
        table.add_row("dropped", f"{summary.dropped} pairs  {summary.overtaken} frames overtaken")
        if summary.malformed or summary.refused:
            table.add_row("", f"[red]{summary.malformed} messages malformed  {summary.refused} connections refused[/]")
        counted = [f"{count} {name.replace('_', ' ')}" for name, count in summary.frames.items() if count]
        table.add_row("frames", "  ".join(counted) or "none")
        scales = [f"{count} at {side} px" for side, count in summary.refined.items()]
        table.add_row("refined", "  ".join(scales) or "none")
        last = progress.last
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
