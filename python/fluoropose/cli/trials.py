"""Commands for recorded trials: register, evaluate, export, joints."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from fluoropose.cli.app import Device, TrialFile, app, console, shown
from fluoropose.errors import FluoroposeError

if TYPE_CHECKING:
    from fluoropose.registration.poses_file import PoseRow
    from fluoropose.registration.summary import Summary

PosesFile = Annotated[
    Path | None,
    typer.Option(
        help="a poses file, such as live.csv of fluoropose stream", show_default="poses.csv in the folder out"
    ),
]

_CHECK = "no pair has a pose: check polarity, the order of the frames' folders, bone and rig"


@app.command()
def register(
    trial: TrialFile,
    frames: Annotated[str | None, typer.Option(help="A:B, only these positions (without B)")] = None,
    device: Device = "cpu",
) -> None:
    """Find the bone in every frame pair of a trial. Goes on where it was stopped.

    Writes poses.csv, summary.json and report.html to the trial's folder "out". A pair in which the bone cannot be found
    has a row that says why. The exit code is 1 where no pair has a pose.
    """
    from fluoropose.registration.register import register_trial
    from fluoropose.registration.trial import load_trial
    from fluoropose.report import write_report

    loaded = load_trial(trial)
    columns = (TextColumn("registering"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=None, failed="")

        def show(done: int, total: int, failed: int) -> None:
            bar.update(task, completed=done, total=total, failed=f"[red]{failed} failed[/red]" if failed else "")

        try:
            result = register_trial(loaded, frames, show, device)
        except FluoroposeError:
            bar.update(task, visible=False)  # inputs that are refused leave no bar behind
            raise
        except KeyboardInterrupt:
            bar.stop()
            console.print(
                f"stopped; what was found is in {shown(loaded.out / 'poses.csv')}, a rerun goes on from there"
            )
            raise typer.Exit(130) from None
    if result.resumed:
        were = "pair was" if result.resumed == 1 else "pairs were"
        console.print(f"{result.resumed} {were} there from an earlier run")
    write_report(loaded.out / "report.html", loaded, result.rows, result.summary)
    _show(result.summary, loaded.out)
    _show_doubts(result.rows)
    if result.summary.failed == result.summary.pairs:
        console.print(_CHECK, highlight=False, soft_wrap=True)
        raise typer.Exit(1)


@app.command()
def evaluate(
    trial: TrialFile,
    reference: Annotated[Path, typer.Option(help="poses.csv, or CSV with frame, m00 ... m33", show_default=False)],
    source_frame: Annotated[
        bool, typer.Option("--source-frame", help="the reference moves the CT's (or mesh's) own frame, not the bone's")
    ] = False,
    align: Annotated[
        bool, typer.Option("--align", help="the reference lives in another world: align it once for the whole trial")
    ] = False,
    limit_deg: Annotated[float, typer.Option(help="success: largest angle")] = 5.0,
    limit_mm: Annotated[float, typer.Option(help="success: largest distance")] = 5.0,
    poses: PosesFile = None,
) -> None:
    """Compare a trial's poses with reference poses.

    Without --poses it compares the registered ones, and rewrites summary.json and report.html. Of another file, such as
    the live.csv of fluoropose stream, the errors are printed and nothing is written.
    """
    from fluoropose.registration.trial import load_trial
    from fluoropose.report.compare import compare_poses, record_comparison

    loaded = load_trial(trial)
    found = compare_poses(
        loaded,
        reference,
        poses_path=poses,
        source_frame=source_frame,
        align=align,
        success_deg=limit_deg,
        success_mm=limit_mm,
    )
    if poses is None:
        _show(record_comparison(loaded, found), loaded.out)
    else:
        _show_errors(found.summary)
    compared = found.summary.pairs
    if compared < len(found.rows):
        console.print(f"compared: {compared} of {len(found.rows)} pairs; the others have no reference pose")


@app.command()
def export(
    trial: TrialFile,
    files: Annotated[
        list[str],
        typer.Argument(
            help="FILE.mot, .sto (OpenSim), .tra (Autoscoper), xmalab:FILE.csv, FILE.c3d, .parquet, .csv",
            show_default=False,
        ),
    ],
    poses: PosesFile = None,
) -> None:
    """Write the poses of a registered trial to files of other programs."""
    from fluoropose.bone import Bone
    from fluoropose.registration.poses_file import read_poses
    from fluoropose.registration.trial import TrialFrames, load_trial
    from fluoropose.streaming.sinks.export import export_poses
    from fluoropose.streaming.sinks.named import counts_frames

    loaded = load_trial(trial)
    rows = read_poses(loaded.out / "poses.csv" if poses is None else poses)
    numbers = TrialFrames.open(loaded).numbers if any(map(counts_frames, files)) else ()
    export_poses(rows, files, Bone.load(loaded.bone), numbers)
    found = sum(row.world_from_bone is not None for row in rows)
    console.print(f"{found} of {len(rows)} pairs have a pose: [bold]{shown(', '.join(files))}[/bold]")


@app.command()
def joint(
    config: Annotated[Path, typer.Argument(help="the joint's TOML file", show_default=False)],
) -> None:
    """Joint angles and translations (Grood and Suntay) from the registered poses of two bones.

    The file names both bones, their poses and the points that define their anatomical frames; fluoropose template joint
    prints one. Writes a table, and a picture of its six curves beside it.
    """
    from fluoropose._toml import read_toml
    from fluoropose.registration.joint_trial import JointConfig, joint_of, joint_rows, write_joint
    from fluoropose.registration.poses_file import read_poses
    from fluoropose.report.joint_picture import save_joint_picture

    loaded = read_toml(config, JointConfig)
    poses = read_poses(loaded.proximal.poses), read_poses(loaded.distal.poses)
    rows = joint_rows(joint_of(loaded), *poses)
    picture = loaded.out.with_suffix(".png")
    write_joint(loaded.out, rows)
    save_joint_picture(picture, rows)
    found = sum(row.motion is not None for row in rows)
    console.print(
        f"{found} of {len(rows)} pairs have both bones: [bold]{shown(loaded.out)}[/bold]; picture: {shown(picture)}"
    )


def _show_doubts(rows: Sequence[PoseRow]) -> None:
    """Print why pairs failed or could not be refined, the most frequent reason first."""
    from fluoropose.registration.refined import not_refined

    failed = [row.reason for row in rows if row.world_from_bone is None]
    kept = [row.reason for row in rows if not_refined(row)]
    for what, reasons in (("failed", failed), ("kept as the landmarks gave them", kept)):
        alike: dict[str, list[str]] = {}
        for reason in reasons:  # numbers differ from pair to pair, the words do not
            alike.setdefault(re.sub(r"[-\d.]+", "", reason), []).append(reason)
        if alike:
            example = max(alike.values(), key=len)[0]
            told = f"{len(reasons)} {what}, most often like this: {example}"
            console.print(told, markup=False, highlight=False, soft_wrap=True)


def _show(summary: Summary, out: Path) -> None:
    """Print what a summary says, and where the files are."""
    _show_errors(summary)
    if summary.seconds_per_pair is not None:
        console.print(f"{summary.seconds:.1f} s, {1000 * summary.seconds_per_pair:.0f} ms per pair")
    console.print(f"results: [bold]{shown(out)}[/bold] (poses.csv, summary.json, report.html)")


def _show_errors(summary: Summary) -> None:
    """Print the table of a summary, and the share of the pairs within the limits."""
    table = Table(title=f"{summary.pairs - summary.failed} of {summary.pairs} pairs have a pose", title_justify="left")
    for heading in ("", "mean", "sd", "median", "95 %", "largest"):
        table.add_column(heading, justify="left" if not heading else "right")
    for name, one in summary.named.items():
        table.add_row(name, *one.cells)
    if table.row_count:
        console.print(table)
    else:
        console.print(table.title, style="bold")
    if summary.success_rate is not None:
        rate = summary.success_rate
        console.print(f"{rate.value:.1%} of all pairs within {rate.deg:g} degrees and {rate.mm:g} mm")
