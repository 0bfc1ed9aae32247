"""The commands of ``fluoropose``; each is a thin call into its module, and modules are imported only when called."""

from __future__ import annotations

import re
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TextIO

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from typer.core import TyperGroup

from fluoropose import __version__
from fluoropose.errors import FluoroposeError, InputError

if TYPE_CHECKING:
    from fluoropose._toml import Config
    from fluoropose.benchmark import DrrTimes
    from fluoropose.learning.config import LearningConfig
    from fluoropose.registration.poses_file import PoseRow
    from fluoropose.registration.summary import Summary
    from fluoropose.registration.trial import Trial
    from fluoropose.streaming.stream import Stream

__all__ = ["app"]

console = Console()
_errors = Console(stderr=True)


class _OneLineErrors(TyperGroup):
    """Shows what is wrong with an input as one red line and exit code 2; --debug shows where it was found.

    Warnings are one yellow line each.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except (FluoroposeError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            message = " ".join(str(error).split())
            _errors.print("error: ", style="bold red", end="")
            _errors.print(message, style="red", markup=False, highlight=False, soft_wrap=True)
            raise typer.Exit(2) from None


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """Stand in for ``warnings.showwarning``."""
    _errors.print("warning: ", style="bold yellow", end="")
    _errors.print(" ".join(str(message).split()), style="yellow", markup=False, highlight=False, soft_wrap=True)


app = typer.Typer(
    cls=_OneLineErrors,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help=r"""Find where a bone is, in six degrees of freedom, in every frame pair of two X-ray fluoroscopes.

[bold]The way from images to poses[/bold]

  1  [cyan]fluoropose calibrate[/cyan] calibration.toml --out rig.json
     from images of a bead plate and of an alignment tool; once per set-up

  2  [cyan]fluoropose bone[/cyan] bone.toml --out skull.h5
     from a CT or a surface model; once per bone

  3  [cyan]fluoropose dataset[/cyan] learn.toml --out set.h5
     [cyan]fluoropose train landmarks[/cyan] set.h5 --out skull.fpbundle
     a network for this bone, from artificial radiographs; once per bone

  4  [cyan]fluoropose register[/cyan] walking.toml
     frames in; poses.csv, summary.json and report.html out; once per trial

  5  [cyan]fluoropose evaluate[/cyan] walking.toml --reference poses.csv
     where reference poses exist

  6  [cyan]fluoropose joint[/cyan] knee.toml
     joint angles, from the poses of two bones

Instead of 4, while the subject walks:

     [cyan]fluoropose stream[/cyan] walking.toml --source ring:/dev/shm/frames

[bold]A trial[/bold], here walking.toml; paths are relative to the file:

  rig = "rig.json"
  bone = "skull.h5"
  bundle = "skull.fpbundle"
  frames = \["walking/view1", "walking/view2"]
  frame_rate_hz = 30
  out = "out/walking"

Frames are folders of PNG or TIFF, TIFF stacks, DICOM runs or videos.
[cyan]fluoropose template[/cyan] trial prints all keys; also of calibration, bone, learning,
style, joint, simulation.

No data at hand? [cyan]fluoropose demo[/cyan] simulates a laboratory and goes
the whole way.""",
)
train_app = typer.Typer(no_args_is_help=True, help="Train the networks.")
app.add_typer(train_app, name="train")
bench_app = typer.Typer(no_args_is_help=True, help="Measure how fast this machine is.")
app.add_typer(bench_app, name="bench")

TomlFile = Annotated[Path, typer.Argument(help="configuration file", show_default=False)]
TrialFile = Annotated[Path, typer.Argument(help="the trial's TOML file", show_default=False)]
Tolerance = Annotated[
    float | None, typer.Option(help="pair frames by time within this tolerance", show_default="by number")
]
Looks = Annotated[int, typer.Option(help="looks at each frame: more are more accurate and slower")]
RefineMs = Annotated[
    float | None,
    typer.Option(help="time per pair to refine poses by the images, at the scale it allows", show_default="none"),
]
TokenOption = Annotated[
    str,
    typer.Option(
        envvar="FLUOROPOSE_TOKEN",
        show_default=False,
        help="what programs must know where other machines can reach this",
    ),
]
Device = Annotated[str, typer.Option(help="where the networks run: cpu, cuda or cuda:N; cpu where that fails")]
View = Annotated[bool, typer.Option("--view", help="show frames and poses on the screen (extra view)")]
Record = Annotated[
    Path | None, typer.Option(help="record frames and poses to FILE.rrd for rerun (extra view)", show_default=False)
]
_SINKS = (
    "FILE.csv, .parquet, .c3d, .mot, .sto or .tra; xmalab:FILE.csv, smooth:FILE.csv, ring:FILE, zmq:tcp://HOST:PORT, "
    "igtl:[HOST:]PORT, lsl[:NAME]"
)


def _version(asked: bool) -> None:
    if asked:
        console.print(__version__, highlight=False)
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error comes from.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Show it.")] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder for the results")] = Path("out/demo"),
) -> None:
    """Simulate a laboratory and go the whole way: calibrate, register, evaluate, report. Needs no data."""
    from fluoropose.demo import run_demo

    run_demo(out)


@app.command()
def template(
    kind: Annotated[
        Literal["calibration", "bone", "learning", "style", "trial", "joint", "simulation"],
        typer.Argument(help="of which file", show_default=False),
    ],
) -> None:
    """Print a configuration file with every key, its default and its meaning; redirect it to a file to begin one."""
    from fluoropose._template import toml_template
    from fluoropose.bone_model.build import BoneConfig
    from fluoropose.calibration.config import CalibrationConfig
    from fluoropose.learning.config import LearningConfig
    from fluoropose.learning.translation.config import TranslationConfig
    from fluoropose.registration.joint_trial import JointConfig
    from fluoropose.registration.trial import Trial
    from fluoropose.simulate.trial.config import SimulationConfig

    models: dict[str, type[Config]] = {
        "calibration": CalibrationConfig,
        "bone": BoneConfig,
        "learning": LearningConfig,
        "style": TranslationConfig,
        "trial": Trial,
        "joint": JointConfig,
        "simulation": SimulationConfig,
    }
    typer.echo(toml_template(models[kind]), nl=False)


@app.command()
def calibrate(
    config: TomlFile,
    out: Annotated[Path, typer.Option(help="the rig to write")] = Path("rig.json"),
) -> None:
    """Calibrate a rig from bead plates (distortion, pixel size) and an alignment tool (views and sources)."""
    from fluoropose.calibration import calibrate as run

    run(config, out)


@app.command()
def mayacam(
    files: Annotated[list[Path], typer.Argument(help="one MayaCam 2.0 file per view", show_default=False)],
    out: Annotated[Path, typer.Option(help="the rig to write")] = Path("rig.json"),
    unit: Annotated[str, typer.Option(help="unit of the files' translations: mm, cm or m")] = "mm",
    frames: Annotated[
        list[Path] | None, typer.Option(help="frames of a trial, once per view: shows where the round field is")
    ] = None,
) -> None:
    """Make a rig from another program's calibration (XMALab, Autoscoper), for images free of distortion."""
    from fluoropose.calibration.field import with_fields
    from fluoropose.io.frames import open_frames
    from fluoropose.io.mayacam import read_mayacam_rig

    rig = read_mayacam_rig(files, unit=unit)
    if frames:
        rig = with_fields(rig, [open_frames(path) for path in frames])
    rig.save(out)
    console.print(f"rig: [bold]{out}[/bold], {len(rig.fluoroscopes)} views")


@app.command()
def simulate(
    config: TomlFile,
    out: Annotated[Path, typer.Option(help="folder for the trials and their truth")] = Path("simulated"),
) -> None:
    """Simulate X-rays of moving bones: trials as a laboratory leaves them, and the truth. Goes on where it was stopped.

    A head whose neck bends, or two bones of a knee, before any rig. For every trial and bone a TRIAL_BONE.toml for
    fluoropose register is written; truth/TRIAL/world_from_BONE.csv is the reference for fluoropose evaluate.
    """
    from fluoropose.simulate.trial.config import read_simulation
    from fluoropose.simulate.trial.write import write_simulation

    try:
        write_simulation(read_simulation(config), out, console)
    except KeyboardInterrupt:
        console.print(f"stopped; what was exposed is in {out}, a rerun goes on from there")
        raise typer.Exit(130) from None
    console.print(f"trials: [bold]{out / 'trials'}[/bold], truth: {out / 'truth'}")


@app.command()
def bone(
    config: TomlFile,
    out: Annotated[Path, typer.Option(help="the bone to write")] = Path("bone.h5"),
    data: Annotated[
        Path | None, typer.Option(help="folder where the file's relative paths start", show_default="the file's own")
    ] = None,
) -> None:
    """Build a bone from a CT or a surface: attenuation, mask, surface and landmarks in symmetric pairs.

    A picture of the surface with its landmarks, and of the cut, is written beside it: look at it.
    """
    from fluoropose.bone_model.build import build_bone, read_bone_config
    from fluoropose.bone_model.picture import save_picture

    with console.status("reading") as status:
        built = build_bone(read_bone_config(config, data), status.update)
        built.save(out)
        save_picture(built, out.with_suffix(".png"))
    console.print(
        f"bone: [bold]{out}[/bold], {len(built.landmarks_mm)} landmarks, {len(built.symmetric_pairs)} symmetric pairs; "
        f"picture: {out.with_suffix('.png')}"
    )


@app.command()
def dataset(
    config: TomlFile,
    out: Annotated[Path, typer.Option(help="the set to write")] = Path("set.h5"),
) -> None:
    """Render an artificial set of radiographs with their landmarks. Goes on where it was stopped."""
    from fluoropose.learning.config import load_config
    from fluoropose.learning.dataset import make_dataset

    make_dataset(load_config(config), out)
    console.print(f"set: [bold]{out}[/bold]")


SetFile = Annotated[Path, typer.Argument(help="the set that fluoropose dataset wrote", show_default=False)]
BundleFile = Annotated[Path, typer.Option("--out", help="the bundle to add to or to begin")]
RunFile = Annotated[Path | None, typer.Option(help="other settings than those stored in the set", show_default=False)]


@train_app.command()
def landmarks(samples: SetFile, out: BundleFile = Path("landmarks.fpbundle"), config: RunFile = None) -> None:
    """Train the landmark network of one bone, which registration needs. Goes on where it was stopped."""
    from fluoropose.learning.training.landmarks import train_landmarks

    _train(train_landmarks, samples, out, config)


@train_app.command()
def segment(samples: SetFile, out: BundleFile = Path("landmarks.fpbundle"), config: RunFile = None) -> None:
    """Train a network that tells the bone from all else, for trials with segmentation = "predicted"."""
    from fluoropose.learning.training.segment import train_segment

    _train(train_segment, samples, out, config)


@train_app.command()
def style(
    config: TomlFile,
    out: BundleFile = Path("landmarks.fpbundle"),
    data: Annotated[
        Path | None, typer.Option(help="folder where relative paths of frames start", show_default="the file's own")
    ] = None,
    distil: Annotated[
        bool, typer.Option("--distil", help="teach a small network what the trained one does, for use without a GPU")
    ] = False,
) -> None:
    """Train the translation of a trial's X-rays to radiographs and back. Goes on where it was stopped.

    Pictures of both, after every epoch, and the log lie in the folder named as the bundle with ".work" appended.
    """
    from fluoropose.learning.translation.config import load_translation_config
    from fluoropose.learning.translation.distil import distil_style
    from fluoropose.learning.translation.train import train_style

    loaded = load_translation_config(config, data)
    if distil:
        told = distil_style(loaded, out).training
        console.print(
            f"mean difference {told['test_loss']:.3f} of [-1, 1], phi {told['test_phi']:.3f}; "
            f"{told['ms_per_pair']:.0f} ms per frame pair instead of {told['large_ms_per_pair']:.0f}"
        )
    else:
        train_style(loaded, out)
    console.print(f"bundle: [bold]{out}[/bold]")


@train_app.command()
def uncertainty(samples: SetFile, out: BundleFile = Path("landmarks.fpbundle"), config: RunFile = None) -> None:
    """Teach a bundle's landmark network to tell how sure it is of each landmark; its positions stay as they are."""
    from fluoropose.learning.training.uncertainty import train_uncertainty

    _train(train_uncertainty, samples, out, config)


def _train(
    train: Callable[[Path, Path, LearningConfig | None], Path], samples: Path, out: Path, config: Path | None
) -> None:
    from fluoropose.learning.config import load_config

    train(samples, out, None if config is None else load_config(config))
    console.print(f"bundle: [bold]{out}[/bold]")


@app.command()
def bundle(
    file: Annotated[Path, typer.Argument(help="the bundle", show_default=False)],
    add: Annotated[
        list[Path] | None, typer.Option(help="bundle whose networks to put in, in place of those of the same names")
    ] = None,
) -> None:
    """Show what a bundle holds, or join bundles of one bone; its weights are checked."""
    from fluoropose.learning.bundle import Bundle, copy_networks

    for other in add or ():
        copy_networks(other, file)
    manifest = Bundle.load(file).manifest
    console.print(f"bone: [bold]{manifest.bone_name}[/bold] ({manifest.bone_fingerprint[:12]}), {manifest.views} views")
    for name, facts in manifest.networks.named().items():
        weights = "" if facts.parameters is None else f", {facts.parameters:,} weights"
        table = Table(title=f"{name}: {facts.size} px{weights}", title_justify="left", show_header=False)
        for key, value in facts.training.items():
            table.add_row(key.replace("_", " "), f"{value:.4g}")
        console.print(table)


@app.command()
def register(
    trial: TrialFile,
    frames: Annotated[str | None, typer.Option(help="A:B, only these positions (without B)")] = None,
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
            result = register_trial(loaded, frames, show)
        except KeyboardInterrupt:
            bar.stop()
            console.print(f"stopped; what was found is in {loaded.out / 'poses.csv'}, a rerun goes on from there")
            raise typer.Exit(130) from None
    if result.resumed:
        console.print(f"{result.resumed} pairs were there from an earlier run")
    write_report(loaded.out / "report.html", loaded, result.rows, result.summary)
    _show(result.summary, loaded.out)
    _show_doubts(result.rows)
    if result.summary.failed == result.summary.pairs:
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
) -> None:
    """Compare a registered trial with reference poses; rewrites its summary.json and report.html."""
    from fluoropose.registration.poses_file import read_poses
    from fluoropose.registration.trial import load_trial
    from fluoropose.report.compare import compare_trial

    loaded = load_trial(trial)
    summary = compare_trial(
        loaded,
        reference,
        source_frame=source_frame,
        align=align,
        success_deg=limit_deg,
        success_mm=limit_mm,
    )
    _show(summary, loaded.out)
    registered = len(read_poses(loaded.out / "poses.csv"))
    if summary.pairs < registered:
        console.print(f"compared: {summary.pairs} of {registered} pairs; the others have no reference pose")


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
    console.print(f"{found} of {len(rows)} pairs have both bones: [bold]{loaded.out}[/bold]; picture: {picture}")


@app.command()
def stream(
    trial: TrialFile,
    source: Annotated[
        str,
        typer.Option(
            help="frames: the trial's own, replayed; ring:FILE: shared memory; zmq:tcp://HOST:PORT; igtl:[HOST:]PORT"
        ),
    ] = "frames",
    sink: Annotated[list[str] | None, typer.Option(help=_SINKS, show_default="poses.csv in the folder out")] = None,
    every: Annotated[bool, typer.Option("--every", help="drop nothing; the source waits for the tracker")] = False,
    fast: Annotated[bool, typer.Option("--fast", help="replay as fast as possible, not at the trial's rate")] = False,
    tolerance_ms: Tolerance = None,
    looks: Looks = 1,
    refine_ms: RefineMs = None,
    token: TokenOption = "",
    view: View = False,
    record: Record = None,
    device: Device = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume", help="go on where an earlier run was stopped: keep its rows, replay the rest")
    ] = False,
) -> None:
    """Follow the bone through frames as they arrive: a trial's own, replayed, or those that a camera writes.

    Poses are those of the landmarks, filtered; with --refine-ms the images refine them before, where there is time.

    Stops with the source, or when told to (Ctrl-C, SIGTERM); what was found until then is written. Numbers go to
    stream.json.
    """
    from fluoropose.registration.trial import load_trial
    from fluoropose.streaming.run import open_stream

    loaded = load_trial(trial)
    opened = open_stream(
        loaded,
        source,
        sink or (),
        policy="every" if every else "latest",
        speed=None if fast else 1.0,
        tolerance_s=None if tolerance_ms is None else tolerance_ms / 1e3,
        looks=looks,
        refine_ms=refine_ms,
        token=token,
        view=_viewer(view, record),
        device=device,
        resume=resume,
    )
    _watch(opened, loaded)


@app.command()
def serve(
    trial: TrialFile,
    source: Annotated[
        str, typer.Option(help="where programs bring frames: ring:FILE, zmq:tcp://HOST:PORT or igtl:[HOST:]PORT")
    ] = "ring:/dev/shm/fluoropose.frames",
    sink: Annotated[list[str] | None, typer.Option(help=_SINKS, show_default="ring:/dev/shm/fluoropose.poses")] = None,
    tolerance_ms: Tolerance = None,
    looks: Looks = 1,
    refine_ms: RefineMs = None,
    token: TokenOption = "",
    view: View = False,
    record: Record = None,
    device: Device = "cpu",
) -> None:
    """Follow the bone for other programs: they bring frames and take poses, come and go, until this is told to stop.

    The trial says how many bits of the frames carry signal (bit_depth). Only this machine is served, unless an address
    says otherwise; that needs a token of 16 characters or more. What programs must do stands in fluoropose/embed and in
    the docstrings of fluoropose.streaming.zeromq, sources.igtl, ring and pose_ring.
    """
    from fluoropose.registration.trial import load_trial
    from fluoropose.streaming.run import open_service

    loaded = load_trial(trial)
    opened = open_service(
        loaded,
        source,
        sink or ["ring:/dev/shm/fluoropose.poses"],
        tolerance_s=None if tolerance_ms is None else tolerance_ms / 1e3,
        looks=looks,
        refine_ms=refine_ms,
        token=token,
        view=_viewer(view, record),
        device=device,
    )
    console.print(f"frames: {opened.source_name}", highlight=False, soft_wrap=True)
    for report in opened.summary().sinks:
        console.print(f"poses: {report.name}", highlight=False, soft_wrap=True)
    _watch(opened, loaded)


def _viewer(view: bool, record: Path | None) -> str | None:
    """Return what ``open_stream`` calls it."""
    if view and record is not None:
        raise InputError("view, record: expected one of them; a recording can be watched with rerun afterwards")
    return "" if view else None if record is None else str(record)


def _watch(opened: Stream, loaded: Trial) -> None:
    """Run a stream under a live view."""
    from rich.live import Live

    from fluoropose.streaming.run import run_stream
    from fluoropose.streaming.watch import Watch

    with Live(Watch(opened), console=console, refresh_per_second=4):
        summary = run_stream(opened, loaded)
    for problem in summary.problems:
        _errors.print(problem, style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"numbers: [bold]{loaded.out / 'stream.json'}[/bold]")


@app.command()
def report(trial: TrialFile) -> None:
    """Write a registered trial's report.html again, with the reference poses it was last compared with."""
    from fluoropose.registration.evaluate import read_reference
    from fluoropose.registration.poses_file import read_poses
    from fluoropose.registration.register import REFERENCE
    from fluoropose.registration.summary import Summary
    from fluoropose.registration.trial import load_trial
    from fluoropose.report import write_report

    loaded = load_trial(trial)
    path, compared = loaded.out / "report.html", loaded.out / REFERENCE
    rows, summary = read_poses(loaded.out / "poses.csv"), Summary.read(loaded.out / "summary.json")
    write_report(path, loaded, rows, summary, read_reference(compared) if compared.exists() else None)
    console.print(f"report: [bold]{path}[/bold]")


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
    table = Table(title=f"{here.environment.cpu}, {here.threads} threads", title_justify="left")
    for heading in ("method", "voxels", "pixels", "ms per DRR", "DRRs per second", "shipped, ms"):
        table.add_column(heading, justify="left" if heading == "method" else "right")
    for row in here.rows:
        there = shipped.like(row)
        sizes = f"{row.volume}^3", f"{row.detector} x {row.detector}"
        times = f"{row.milliseconds:.2f}", f"{1000 / row.milliseconds:.0f}", "" if there is None else f"{there:.2f}"
        table.add_row(row.method, *sizes, *times)
    console.print(table)
    place = shipped.environment
    console.print(f"shipped: {place.cpu}, {shipped.threads} threads, {place.date[:10]}, fluoropose {place.fluoropose}")


def _show_doubts(rows: Sequence[PoseRow]) -> None:
    """Print why pairs failed or could not be refined, the most frequent reason first."""
    from fluoropose.registration.refined import not_refined

    failed = [row.reason for row in rows if row.world_from_bone is None]
    kept = [row.reason for row in rows if not_refined(row)]
    for what, reasons in (("failed", failed), ("kept as the landmarks gave them", kept)):
        if reasons:
            # Numbers differ from pair to pair, the words do not.
            often = Counter(re.sub(r"[-\d.]+", "", reason) for reason in reasons).most_common(1)[0][0]
            example = next(reason for reason in reasons if re.sub(r"[-\d.]+", "", reason) == often)
            console.print(f"{len(reasons)} {what}, most often like this: {example}", markup=False, highlight=False)


def _show(summary: Summary, out: Path) -> None:
    """Print the table of a summary, and where the files are."""
    table = Table(title=f"{summary.pairs - summary.failed} of {summary.pairs} pairs have a pose", title_justify="left")
    for heading in ("", "mean", "sd", "median", "95 %", "largest"):
        table.add_column(heading, justify="left" if not heading else "right")
    named = {
        "rotation error, degrees": summary.rotation_error_deg,
        "translation error, mm": summary.translation_error_mm,
        "geodesic angle, degrees": summary.geodesic_error_deg,
        "distance of the origin, mm": summary.translation_norm_mm,
        "target registration error, mm": summary.mtre_mm,
        "overlap (IoU)": summary.iou,
    }
    for name, s in named.items():
        if s is not None:
            table.add_row(name, *(f"{value:.3f}" for value in (s.mean, s.sd, s.median, s.p95, s.max)))
    if table.row_count:
        console.print(table)
    else:
        console.print(table.title, style="bold")
    if summary.success_rate is not None:
        rate = summary.success_rate
        console.print(f"{rate.value:.1%} of all pairs within {rate.deg:g} degrees and {rate.mm:g} mm")
    if summary.seconds_per_pair is not None:
        console.print(f"{summary.seconds:.1f} s, {1000 * summary.seconds_per_pair:.0f} ms per pair")
    console.print(f"results: [bold]{out}[/bold] (poses.csv, summary.json, report.html)")
