"""Commands that need no data: the demonstration, and how fast this machine is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fluoropose.cli.app import app, bench_app, console

if TYPE_CHECKING:
    from fluoropose.benchmark import DrrTimes


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for the results")] = Path("out/demo"),
) -> None:
    """Simulate a laboratory and go the whole way: calibrate, register, evaluate, report. Needs no data."""
    from fluoropose.demo import run_demo

    run_demo(out)


@bench_app.command()
def drr(
    out: Annotated[Path | None, typer.Option(help="JSON file for the times")] = None,
) -> None:
    """Time artificial radiographs (DRRs) of a drawn head on this machine, next to the results that are shipped.

    Takes seconds and needs no data. OMP_NUM_THREADS sets the number of threads.
    """
    from fluoropose.benchmark import measure_drr, shipped_drr

    with console.status("drawing a head") as status:
        here = measure_drr(status.update)
    if out:
        here.write(out)
    _show_times(here, shipped_drr())


def _show_times(here: DrrTimes, shipped: DrrTimes) -> None:
    """Print the times of this machine beside those that are shipped."""
    table = Table(title=f"{here.environment.cpu}, {_threads(here)}", title_justify="left")
    for heading in ("method", "voxels", "pixels", "ms per DRR", "DRRs per second", "shipped, ms"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for row in here.rows:
        there = shipped.like(row)
        sizes = f"{row.volume}^3", f"{row.detector} x {row.detector}"
        times = f"{row.milliseconds:.2f}", f"{1000 / row.milliseconds:.0f}", "" if there is None else f"{there:.2f}"
        table.add_row(row.method, *sizes, *times)
    console.print(table)
    place = shipped.environment
    console.print(f"shipped: {place.cpu}, {_threads(shipped)}, {place.date[:10]}, fluoropose {place.fluoropose}")


def _threads(times: DrrTimes) -> str:
    return f"{times.threads} thread{'s' if times.threads > 1 else ''}"
