"""What a calibration rests on: a JSON report, a picture of the residuals, and a table for the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from rich.markup import escape
from rich.table import Table

from fluoropose._files import atomic_path, write_text
from fluoropose.calibration.alignment import Alignment
from fluoropose.calibration.calibrate_rig import RigCalibration
from fluoropose.calibration.plate import PlateCalibration

__all__ = ["notes", "report_document", "summary_table", "write_picture", "write_report"]

_FORMAT = "fluoropose-calibration-report"
_MATCHED = 0.7  # share of a plate's spots that should be of use; the rest are cut off by the field, or dust
_TYPICAL_DRAWN = 1 / 64  # of the picture's width: the arrow of a typical residual


def write_report(calibration: RigCalibration, path: Path) -> None:
    """Write the report as JSON."""
    write_text(path, json.dumps(report_document(calibration), indent=1) + "\n")


def report_document(calibration: RigCalibration) -> dict[str, Any]:
    """Return everything the calibration found and how well, ready for JSON."""
    views = []
    for config, plate, fluoroscope in zip(
        calibration.config.views, calibration.plates, calibration.rig.fluoroscopes, strict=True
    ):
        field, view = fluoroscope.field, fluoroscope.view
        views.append(
            {
                "name": config.name,
                "beads": {"found": plate.found, "used": len(plate.index), "rejected": plate.rejected},
                "order": plate.distortion.order,
                "residual_rms_px": _rms(plate.residuals_px),
                "leave_out_rms_px": plate.leave_out_rms_px,
                "leave_out_rms_px_by_order": {str(order): error for order, error in plate.leave_out_by_order},
                "pixel_pitch_mm": plate.pitch_mm,
                "plate_turn_deg": plate.turn_deg,
                "field_px": None if field is None else {"u": field.u, "v": field.v, "radius": field.radius},
                "source_to_detector_mm": view.sdd_mm,
                "principal_point_px": view.principal_point_px.tolist(),
            }
        )
    document: dict[str, Any] = {"format": _FORMAT, "version": 1, "views": views, "alignment": None}
    if calibration.alignment is not None:
        document["alignment"] = _alignment_document(calibration.alignment)
    document["notes"] = notes(calibration)
    return document


def _alignment_document(alignment: Alignment) -> dict[str, Any]:
    setting = alignment.setting
    return {
        "placements": len(setting.world_from_tool),
        "beads_used": int(sum(len(seen.bead) for seen in alignment.observations)),
        "beads_rejected": [{"placement": p, "view": v + 1, "bead": bead} for p, v, bead in alignment.rejected],
        "noise_mm": alignment.noise_mm,
        "angle_between_axes_deg": alignment.angles_deg.tolist(),
        "angle_sd_deg": alignment.angle_sd_deg.tolist(),
        "world_from_plane": [pose.matrix.tolist() for pose in setting.world_from_plane],
        "sources_mm": setting.sources_mm.tolist(),
        "standard_deviations": dict(zip(alignment.names, alignment.standard_deviations.tolist(), strict=True)),
        "undetermined": list(alignment.undetermined),
    }


def notes(calibration: RigCalibration) -> list[str]:
    """Return in words what a user should know before trusting the rig."""
    said = []
    for config, plate in zip(calibration.config.views, calibration.plates, strict=True):
        if len(plate.index) < _MATCHED * plate.found:
            said.append(
                f"{config.name}: only {len(plate.index)} of {plate.found} spots of the plate could be measured and "
                "belong to one grid; what lies beyond these beads is extrapolated"
            )
        order, error = plate.distortion.order, plate.leave_out_rms_px
        better = min(plate.leave_out_by_order, key=lambda entry: entry[1], default=(order, error))
        if better[1] < 0.8 * error:
            said.append(
                f"{config.name}: order {order} leaves {error:.3f} px (RMS, leave-out); order {better[0]} would leave "
                f'{better[1]:.3f} px: set plate.order = {better[0]} or "auto"'
            )
    alignment = calibration.alignment
    if alignment is None:
        return [*said, "no alignment tool: the source is where the configuration says"]
    names = [view.name for view in calibration.config.views]
    said += [f"the images of the tool do not determine {what}: kept nominal" for what in alignment.undetermined]
    said += [
        f"bead {bead + 1} of the tool in {names[v]}, placement {p + 1}, left out as an outlier"
        for p, v, bead in alignment.rejected
    ]
    nominal = calibration.config.angle_between_axes_deg
    if nominal is not None and len(alignment.angles_deg) and abs(alignment.angles_deg[0] - nominal) > 5:
        said.append(f"the angle between the axes is {alignment.angles_deg[0]:.2f} deg, nominally {nominal:g} deg")
    return said


def summary_table(calibration: RigCalibration) -> Table:
    """Return the main numbers, one column per view."""
    table = Table(title="calibration")
    table.add_column("")
    for config in calibration.config.views:
        table.add_column(escape(config.name), justify="right")
    plates, rig = calibration.plates, calibration.rig
    table.add_row("beads of the plate used", *(f"{len(p.index)} of {p.found}" for p in plates))
    table.add_row("polynomial order", *(str(p.distortion.order) for p in plates))
    table.add_row("residual, RMS (px)", *(f"{_rms(p.residuals_px):.3f}" for p in plates))
    table.add_row("leave-out error, RMS (px)", *(f"{p.leave_out_rms_px:.3f}" for p in plates))
    table.add_row("ideal pixel (mm)", *(f"{p.pitch_mm:.5f}" for p in plates))
    table.add_row("source to detector (mm)", *(_with_sd(calibration, k, 2, f.view.sdd_mm) for k, f in _views(rig)))
    for axis, name in enumerate("uv"):
        label = f"principal point {name} (mm from the centre)"
        table.add_row(label, *(_with_sd(calibration, k, axis, _offset(f.view, axis)) for k, f in _views(rig)))
    alignment = calibration.alignment
    if alignment is not None:
        angles = [f"{a:.3f} ± {s:.3f}" for a, s in zip(alignment.angles_deg, alignment.angle_sd_deg, strict=True)]
        table.add_row("angle to the first view (deg)", "", *angles)
        table.add_row("tool beads, one coordinate (mm)", f"{alignment.noise_mm:.4f}", *[""] * (len(plates) - 1))
    return table


def write_picture(calibration: RigCalibration, path: Path) -> None:
    """Write a PNG with each view's leave-out residuals as arrows and as a histogram."""
    with atomic_path(path) as temporary:
        _figure(calibration).savefig(temporary, dpi=110)


def _figure(calibration: RigCalibration) -> Figure:
    views = len(calibration.plates)
    figure = Figure(figsize=(5.8 * views, 9), layout=ConstrainedLayoutEngine(wspace=0.05))
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, views, squeeze=False, height_ratios=[2, 1])
    for k, (config, plate) in enumerate(zip(calibration.config.views, calibration.plates, strict=True)):
        _arrows(axes[0, k], plate, config.name)
        _histogram(axes[1, k], plate)
    return figure


def _arrows(axes: Axes, plate: PlateCalibration, name: str) -> None:
    typical = max(plate.leave_out_rms_px, 1e-6)
    u, v = plate.recorded_px.T
    arrows = axes.quiver(
        u,
        v,
        *plate.leave_out_px.T,
        angles="xy",
        scale_units="xy",
        scale=typical / (_TYPICAL_DRAWN * plate.size_px[0]),
        width=0.002,
    )
    axes.quiverkey(arrows, 0.86, 1.03, 3 * typical, f"{3 * typical:.2g} px", labelpos="E", color="C3")
    told = f"{name}: leave-out residuals\n{len(plate.index)} beads, order {plate.distortion.order}"
    axes.set_title(told, parse_math=False)
    axes.set(
        xlim=(0, plate.size_px[0]),
        ylim=(plate.size_px[1], 0),
        aspect="equal",
        xlabel="u (px)",
        ylabel="v (px)",
    )


def _histogram(axes: Axes, plate: PlateCalibration) -> None:
    both = {"leave-out": plate.leave_out_px, "fit": plate.residuals_px}
    edges = np.linspace(0, max(float(np.hypot(*residuals.T).max()) for residuals in both.values()), 41)
    for label, residuals in both.items():
        axes.hist(
            np.hypot(*residuals.T), bins=edges.tolist(), histtype="step", label=f"{label}, RMS {_rms(residuals):.3f} px"
        )
    axes.set(xlabel="length of the residual (px)", ylabel="beads")
    axes.legend()


def _views(rig: Any) -> list[tuple[int, Any]]:
    return list(enumerate(rig.fluoroscopes))


def _offset(view: Any, axis: int) -> float:
    middle = (np.array(view.size_px) - 1) / 2
    return float((view.principal_point_px - middle)[axis] * view.pixel_pitch_mm[axis])


def _with_sd(calibration: RigCalibration, view: int, coordinate: int, value: float) -> str:
    if calibration.alignment is None:
        return f"{value:.2f} (given)"
    sd = calibration.alignment.source_sd_mm[view, coordinate]
    return f"{value:.2f} ± {sd:.2f}" if np.isfinite(sd) else f"{value:.2f} (given)"


def _rms(vectors: Any) -> float:
    return float(np.sqrt(np.mean(np.sum(np.square(vectors), axis=1))))
