"""From a laboratory's calibration images to its rig."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape

from fluoropose._toml import read_toml, require_inputs
from fluoropose.calibration.alignment import Alignment, align
from fluoropose.calibration.beads import BeadImage, find_beads, measure_bead
from fluoropose.calibration.config import CalibrationConfig, ViewConfig
from fluoropose.calibration.field import find_field
from fluoropose.calibration.plate import PlateCalibration, calibrate_plate
from fluoropose.calibration.stills import read_still
from fluoropose.calibration.tool import AlignmentTool, SeenBeads
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose, View
from fluoropose.rig import CircularField, Fluoroscope, Rig

__all__ = ["RigCalibration", "calibrate_rig"]

_TOOL_CONTRAST = 0.35  # share of the light that a bead of the tool takes away at least; rods take less
_ROD_HARMONICS = 4
_DIAMETER_TOLERANCE = 0.1


@dataclass(frozen=True, eq=False)
class RigCalibration:
    """A rig and what it rests on: the plate of each view, and the alignment (None for one view without a tool)."""

    rig: Rig
    config: CalibrationConfig
    plates: tuple[PlateCalibration, ...]
    alignment: Alignment | None


def calibrate_rig(config_path: str | Path, console: Console | None = None) -> RigCalibration:
    """Calibrate the rig that a CALIBRATION.toml describes.

    The world frame is the image plane of the first view: origin at the image's centre, x along u, y along v, z away
    from the source; mm.

    Raises
    ------
    FileFormatError, InputError
        If a file or field is wrong, or the images do not show what they should; the message names the file.
    """
    config = read_toml(config_path, CalibrationConfig)
    require_inputs(config)
    show = console or Console(quiet=True)
    tool = None if config.tool is None else AlignmentTool.load(config.tool)
    plates, fields, seen = [], [], []
    for view in config.views:
        with show.status(f"{escape(view.name)}: plate"):
            flat = None if view.flat is None else read_still(view.flat, config.polarity, config.bit_depth)
            field, plate = _plate(config, view, flat)
        plates.append(plate)
        fields.append(field)
        with show.status(f"{escape(view.name)}: alignment tool"):
            seen.append([_seen(config, path, flat, field, plate) for path in view.alignment])
    nominal = np.array([(*view.principal_point_mm, -view.source_to_detector_mm) for view in config.views])
    alignment = None
    planes: tuple[Pose, ...] = (Pose.identity(),)
    sources = nominal
    if tool is not None:
        with show.status("how the views stand to each other"):
            placements = list(zip(*seen, strict=True))
            alignment = align(tool, placements, nominal, config.sources == "estimate")
        planes, sources = alignment.setting.world_from_plane, alignment.setting.sources_mm
    fluoroscopes = tuple(
        Fluoroscope(_view(plate, source, plane), plate.distortion, field)
        for plate, source, plane, field in zip(plates, sources, planes, fields, strict=True)
    )
    return RigCalibration(Rig(fluoroscopes), config, tuple(plates), alignment)


def _view(plate: PlateCalibration, source_mm: NDArray[np.float64], world_from_plane: Pose) -> View:
    pitch = plate.pitch_mm
    return View.from_sdd(plate.size_px, -source_mm[2], pitch, pitch, source_mm[0], source_mm[1], world_from_plane)


def _plate(
    config: CalibrationConfig, view: ViewConfig, flat: NDArray[np.float64] | None
) -> tuple[CircularField | None, PlateCalibration]:
    image = read_still(view.plate, config.polarity, config.bit_depth)
    _require_size(view.plate, image, flat)
    order = None if config.plate.order == "auto" else config.plate.order
    try:
        field = find_field(image if flat is None else flat)
    except InputError as error:
        raise FileFormatError(f"{view.flat or view.plate}: {error}") from error
    try:
        plate = calibrate_plate(image, config.plate.spacing_mm, order, flat, field)
    except InputError as error:
        raise FileFormatError(f"{view.plate}: {error}") from error
    if field is not None and view.detector_diameter_mm is not None:
        diameter = 2 * field.radius * plate.pitch_mm
        if abs(diameter / view.detector_diameter_mm - 1) > _DIAMETER_TOLERANCE:
            raise FileFormatError(
                f"{view.plate}: by plate.spacing_mm = {config.plate.spacing_mm:g} the field is {diameter:.1f} mm wide, "
                f"expected detector_diameter_mm = {view.detector_diameter_mm:g}"
            )
    return field, plate


def _seen(
    config: CalibrationConfig,
    path: Path,
    flat: NDArray[np.float64] | None,
    field: CircularField | None,
    plate: PlateCalibration,
) -> SeenBeads:
    """Measure the round spots of an image of the tool, on the image plane."""
    image = read_still(path, config.polarity, config.bit_depth)
    if (image.shape[1], image.shape[0]) != plate.size_px:
        raise FileFormatError(f"{path}: expected the plate image's size {plate.size_px}, found {image.shape[::-1]}")
    prepared = BeadImage.from_images(image, flat, field)
    measured = [
        measure_bead(prepared, u, v, radius, _ROD_HARMONICS, plate.distortion.ideal_from_recorded)
        for u, v, radius in find_beads(prepared, _TOOL_CONTRAST)
    ]
    beads = [bead for bead in measured if bead is not None and bead.contrast > _TOOL_CONTRAST]
    if len(beads) < 4:
        raise FileFormatError(f"{path}: expected at least 4 beads of the alignment tool, found {len(beads)}")
    middle = (np.array(plate.size_px) - 1) / 2
    centres = (np.array([(bead.u, bead.v) for bead in beads]) - middle) * plate.pitch_mm
    return SeenBeads(centres, np.array([bead.radius for bead in beads]) * plate.pitch_mm)


def _require_size(path: Path, image: NDArray[np.float64], flat: NDArray[np.float64] | None) -> None:
    if flat is not None and flat.shape != image.shape:
        raise FileFormatError(f"{path}: expected the flat image's size {flat.shape[::-1]}, found {image.shape[::-1]}")
