"""Calibrating a rig: image distortion from bead plates, views and sources from an alignment tool."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from fluoropose.calibration.alignment import Alignment, align
from fluoropose.calibration.calibrate_rig import RigCalibration, calibrate_rig
from fluoropose.calibration.layout import write_config
from fluoropose.calibration.plate import PlateCalibration, calibrate_plate
from fluoropose.calibration.report import notes, summary_table, write_picture, write_report
from fluoropose.calibration.tool import AlignmentTool, SeenBeads

__all__ = [
    "Alignment",
    "AlignmentTool",
    "PlateCalibration",
    "RigCalibration",
    "SeenBeads",
    "align",
    "calibrate",
    "calibrate_plate",
    "calibrate_rig",
    "write_config",
]


def calibrate(config_path: str | Path, out_path: str | Path) -> RigCalibration:
    """Calibrate the rig that a CALIBRATION.toml describes; write ``out_path`` and, beside it, report and picture.

    ``rig.json`` comes with ``rig_report.json`` and ``rig_report.png``. The main numbers and notes are printed.

    Raises
    ------
    FileFormatError, InputError
        See ``calibrate_rig``; nothing is written then.
    """
    out = Path(out_path)
    console = Console()
    calibration = calibrate_rig(config_path, console)
    write_report(calibration, out.with_name(f"{out.stem}_report.json"))
    write_picture(calibration, out.with_name(f"{out.stem}_report.png"))
    calibration.rig.save(out)
    console.print(summary_table(calibration))
    for note in notes(calibration):
        console.print(f"note: {note}", style="yellow", markup=False)
    beside = f"{out.stem}_report.json, {out.stem}_report.png beside it"
    console.print(f"rig: {out}; report: {beside}", soft_wrap=True, markup=False)
    return calibration
