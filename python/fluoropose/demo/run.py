"""``fluoropose demo``: everything a laboratory does, on a laboratory that exists only as files the simulator wrote."""

from __future__ import annotations

import json
import shutil
import time
import warnings
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from fluoropose._files import atomic_path, write_text
from fluoropose.bone import Bone
from fluoropose.calibration import calibrate
from fluoropose.demo.skull import Geometry, demo_bone
from fluoropose.demo.truth import CalibrationErrors, compare_calibration
from fluoropose.geometry import Pose
from fluoropose.registration.evaluate import read_reference
from fluoropose.registration.poses_file import PoseRow, write_poses
from fluoropose.registration.register import register_trial
from fluoropose.registration.registration import Status
from fluoropose.registration.summary import Summary
from fluoropose.registration.trial import load_trial
from fluoropose.report.compare import compare_poses, record_comparison
from fluoropose.simulate.folder import write_calibration, write_head, write_trial
from fluoropose.simulate.laboratory import Laboratory, install
from fluoropose.simulate.motion import Walking
from fluoropose.simulate.phantom import head

__all__ = ["BUNDLE", "calibration_toml", "run_demo"]

BUNDLE = "demo.fpbundle"
_SEED = 2021
_TRIAL = "walking"
_TRIAL_TOML = f"""\
# what `fluoropose register` needs
rig = "rig.json"
bone = "bone.h5"
bundle = "{BUNDLE}"
frames = ["lab/trials/{_TRIAL}/view1", "lab/trials/{_TRIAL}/view2"]
times = "lab/trials/{_TRIAL}/times.csv"
out = "."
"""


def run_demo(out: str | Path, pairs: int = 90, console: Console | None = None) -> Summary:
    """Simulate a laboratory, calibrate from its images, register a walking trial and compare it with the truth.

    Parameters
    ----------
    out
        Folder for poses.csv, summary.json, report.html, the rig, the bone and the truth (reference.csv); the
        laboratory's files go to ``out/lab``.
    pairs
        Frame pairs at 30 Hz.
    console
        Where to tell about it.

    Returns
    -------
    What summary.json says.
    """
    out, console = Path(out), console or Console()
    started = time.perf_counter()
    rng = np.random.default_rng(_SEED)

    console.rule("1  a laboratory, simulated")
    laboratory = install(seed=_SEED)
    walking = Walking(centre_mm=_triple(laboratory.nominal.isocentre))
    times = np.arange(pairs) / laboratory.nominal.frame_rate_hz
    drawn = head()
    write_head(out / "lab", drawn)
    with console.status("calibration images"):
        write_calibration(out / "lab", laboratory, rng)
    write_trial(
        out / "lab",
        _TRIAL,
        laboratory,
        drawn,
        times.tolist(),
        [walking.world_from_head(t) for t in times],
        rng,
        console,
    )
    bone = demo_bone(drawn, Geometry.shipped())
    bone.save(out / "bone.h5")
    console.print(f"plates, alignment tool and {pairs} frame pairs: [bold]{escape(str(out / 'lab'))}[/bold]")

    console.rule("2  calibration, from the images alone")
    write_text(out / "lab" / "calibration.toml", calibration_toml(laboratory))
    rig = calibrate(out / "lab" / "calibration.toml", out / "rig.json").rig
    found = compare_calibration(rig, laboratory)

    console.rule("3  registration, without a start pose")
    (out / "poses.csv").unlink(missing_ok=True)  # a demonstration starts afresh
    with as_file(files("fluoropose") / "data" / BUNDLE) as shipped, atomic_path(out / BUNDLE) as copied:
        shutil.copyfile(shipped, copied)
    write_text(out / "trial.toml", _TRIAL_TOML)
    trial = load_trial(out / "trial.toml")
    columns = (TextColumn("registering"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[failed]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("", total=pairs, failed="")

        def show(done: int, total: int, failed: int) -> None:
            bar.update(task, completed=done, total=total, failed=f"{failed} failed" if failed else "")

        with warnings.catch_warnings():  # on purpose: the shipped networks were trained for the rig on paper
            warnings.filterwarnings("ignore", message=".*trained for another calibration")
            register_trial(trial, progress=show)

    console.rule("4  comparison with the truth")
    with console.status("overlaps and report"):
        _write_reference(out, bone, found.world_from_files, times.tolist())
        summary = record_comparison(trial, compare_poses(trial, out / "reference.csv"))
    console.print(_table(summary, found))
    if summary.success_rate is not None:
        rate = summary.success_rate
        console.print(f"{rate.value:.1%} of all pairs within {rate.deg:g} degrees and {rate.mm:g} mm")
    console.print(f"poses: {escape(str(out / 'poses.csv'))}, numbers: {escape(str(out / 'summary.json'))}")
    console.print(
        f"report: [bold]{escape(str(out / 'report.html'))}[/bold] ({time.perf_counter() - started:.0f} s in all)"
    )
    return summary


def _write_reference(out: Path, bone: Bone, world_from_files: Pose, times_s: list[float]) -> None:
    """Write the truth as poses of the bone in the calibrated world, as ``fluoropose evaluate`` takes them."""
    stored = read_reference(out / "lab" / "truth" / _TRIAL / "world_from_ct.csv")
    poses = {frame: world_from_files * pose * bone.bone_from_source.inverse() for frame, pose in stored.items()}
    rows = [PoseRow(k, t, Status.OK, world_from_bone=poses[k], source="truth") for k, t in enumerate(times_s)]
    write_poses(out / "reference.csv", rows)


def calibration_toml(laboratory: Laboratory) -> str:
    """Return what ``fluoropose calibrate`` needs to know about a laboratory's calibration images."""
    nominal, plate = laboratory.nominal, laboratory.plates[0]
    views = [
        f"\n[[views]]\n"
        f'name = "view{number}"\n'
        f'flat = "calibration/flat_view{number}.png"\n'
        f'plate = "calibration/plate_view{number}.png"\n'
        "alignment = "
        + json.dumps(
            [f"calibration/alignment_{held:02d}_view{number}.png" for held in range(len(laboratory.world_from_tool))]
        )
        + f"\nsource_to_detector_mm = {nominal.source_to_intensifier_mm[number - 1]}\n"
        f"detector_diameter_mm = {nominal.intensifier_diameter_mm}\n"
        for number in (1, 2)
    ]
    return (
        "# what `fluoropose calibrate` needs: the images, and what drawings say\n"
        'tool = "calibration/alignment_tool.csv"\n'
        f"angle_between_axes_deg = {nominal.angle_between_axes_deg}\n"
        f'\n[plate]\nspacing_mm = {plate.spacing_mm}\norder = "auto"\n' + "".join(views)
    )


def _table(summary: Summary, calibration: CalibrationErrors) -> Table:
    table = Table(title=f"{summary.pairs - summary.failed} of {summary.pairs} pairs have a pose", title_justify="left")
    for heading in ("error against the truth", "mean", "sd", "median", "95 %", "largest"):
        table.add_column(heading, justify="right" if table.columns else "left")
    for name, one in summary.named.items():
        table.add_row(name, *one.cells)
    table.add_section()
    table.add_row("calibration: angle between the axes, degrees", f"{calibration.angle_deg:.3f}")
    for number, (source, distortion) in enumerate(
        zip(calibration.source_mm, calibration.distortion_px, strict=True), 1
    ):
        table.add_row(f"calibration: source {number}, mm", f"{source:.2f}")
        table.add_row(f"calibration: distortion {number}, RMS pixels", f"{distortion:.3f}")
    return table


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
