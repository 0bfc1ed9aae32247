"""Commands that follow a bone while frames arrive."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoropose._checks import positive
from fluoropose.cli.app import Device, TrialFile, app, console, errors_console, shown
from fluoropose.errors import InputError
from fluoropose.streaming.options import LiveOptions

if TYPE_CHECKING:
    from fluoropose.registration.trial import Trial
    from fluoropose.streaming.queues import Policy
    from fluoropose.streaming.stream import Stream

_SINKS = (
    "FILE.csv, .parquet, .c3d, .mot, .sto or .tra; xmalab:FILE.csv, smooth:FILE.csv, ring:FILE, zmq:tcp://HOST:PORT, "
    "igtl:[HOST:]PORT, lsl[:NAME]"
)


def _live_options(
    tolerance_ms: Annotated[
        float | None, typer.Option(help="pair frames by time within this tolerance", show_default="by number")
    ] = None,
    looks: Annotated[int, typer.Option(help="looks at each frame: more are more accurate and slower")] = 1,
    refine_ms: Annotated[
        float,
        typer.Option(help="most time per pair to refine poses by the images, less where pairs come fast; 0: none"),
    ] = 15.0,
    token: Annotated[
        str,
        typer.Option(
            envvar="FLUOROPOSE_TOKEN",
            show_default=False,
            help="what programs must know where other machines can reach this",
        ),
    ] = "",
    view: Annotated[bool, typer.Option("--view", help="show frames and poses on the screen (extra view)")] = False,
    record: Annotated[
        Path | None, typer.Option(help="record frames and poses to FILE.rrd for rerun (extra view)", show_default=False)
    ] = None,
    device: Device = "cpu",
) -> LiveOptions:
    """Make of the options that both commands have what ``open_stream`` takes."""
    if view and record is not None:
        raise InputError("--view, --record: expected one of them; a recording can be watched with rerun afterwards")
    return LiveOptions(
        tolerance_s=None if tolerance_ms is None else positive("tolerance_ms", tolerance_ms) / 1e3,
        looks=looks,
        refine_ms=refine_ms,
        token=token,
        view="" if view else None if record is None else str(record),
        device=device,
    )


def _with_live_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of ``_live_options`` in place of its last parameter, which gets what that returns."""
    own, shared = (list(signature(one, eval_str=True).parameters.values()) for one in (command, _live_options))
    names = {one.name for one in shared}

    @wraps(command)
    def taking(**given: Any) -> None:
        options = _live_options(**{name: value for name, value in given.items() if name in names})
        command(**{name: value for name, value in given.items() if name not in names}, live=options)

    taking.__signature__ = Signature(own[:-1] + shared)  # type: ignore[attr-defined]
    taking.__annotations__ = {one.name: one.annotation for one in own[:-1] + shared}
    return taking


@app.command()
@_with_live_options
def stream(
    trial: TrialFile,
    source: Annotated[
        str,
        typer.Option(
            help="frames: the trial's own, replayed; ring:FILE: shared memory; zmq:tcp://HOST:PORT; igtl:[HOST:]PORT"
        ),
    ] = "frames",
    sink: Annotated[list[str] | None, typer.Option(help=_SINKS, show_default="live.csv in the folder out")] = None,
    every: Annotated[bool, typer.Option("--every", help="drop nothing; the source waits for the tracker")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="replay as fast as the tracker can, not at the trial's rate; drops nothing")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="go on where an earlier run was stopped: keep its rows, replay the rest")
    ] = False,
    *,
    live: LiveOptions,
) -> None:
    """Follow the bone through frames as they arrive: a trial's own, replayed, or those that a camera writes.

    The images refine the landmarks' poses, where there is time, and a filter smooths them. Quality, 1 at most, is the
    share of the landmarks that were used, times how little they contradict each other.

    Stops with the source, or when told to (Ctrl-C, SIGTERM); what was found until then is written. Numbers go to
    stream.json.
    """
    from fluoropose.registration.trial import load_trial
    from fluoropose.streaming.run import open_stream

    loaded = load_trial(trial)
    policy: Policy = "every" if every or fast else "latest"
    opened = open_stream(loaded, source, sink or (), live, policy=policy, speed=None if fast else 1.0, resume=resume)
    _watch(opened, loaded, resume=resume)


@app.command()
@_with_live_options
def serve(
    trial: TrialFile,
    source: Annotated[
        str, typer.Option(help="where programs bring frames: ring:FILE, zmq:tcp://HOST:PORT or igtl:[HOST:]PORT")
    ] = "ring:/dev/shm/fluoropose.frames",
    sink: Annotated[list[str] | None, typer.Option(help=_SINKS, show_default="ring:/dev/shm/fluoropose.poses")] = None,
    *,
    live: LiveOptions,
) -> None:
    """Follow the bone for other programs: they bring frames and take poses, come and go, until this is told to stop.

    The trial says how many bits of the frames carry signal (bit_depth). Only this machine is served, unless an address
    says otherwise; that needs a token of 16 characters or more. What programs must do stands in fluoropose/embed and in
    the docstrings of fluoropose.streaming.zeromq, sources.igtl, ring and pose_ring.
    """
    from fluoropose.registration.trial import load_trial
    from fluoropose.streaming.run import open_service

    loaded = load_trial(trial)
    opened = open_service(loaded, source, sink or ["ring:/dev/shm/fluoropose.poses"], live)
    console.print(f"frames: {shown(opened.source_name)}", highlight=False, soft_wrap=True)
    for report in opened.summary().sinks:
        console.print(f"poses: {shown(report.name)}", highlight=False, soft_wrap=True)
    _watch(opened, loaded)


def _watch(opened: Stream, loaded: Trial, *, resume: bool = False) -> None:
    """Run a stream under a live view."""
    from rich.live import Live

    from fluoropose.streaming.run import run_stream
    from fluoropose.streaming.watch import Watch, numbers_table

    with Live(Watch(opened), console=console, refresh_per_second=4) as live:
        summary = run_stream(opened, loaded, resume=resume)
        live.update(
            numbers_table(summary, opened.progress.last, f"{summary.pairs_per_second:.1f} per second on average")
        )
    if not console.is_terminal:  # rich ends the last line in a terminal only
        console.line()
    for problem in summary.problems:
        errors_console.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"numbers: [bold]{shown(loaded.out / 'stream.json')}[/bold]")
