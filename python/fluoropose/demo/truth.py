"""How a calibrated rig lies to the true one, and how well it was found."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoropose.geometry import Pose
from fluoropose.rig import Fluoroscope, Rig
from fluoropose.simulate.fluoroscope import SimulatedFluoroscope
from fluoropose.simulate.laboratory import Laboratory
from fluoropose.simulate.truth import FILE_FROM_WORLD

__all__ = ["CalibrationErrors", "compare_calibration"]


@dataclass(frozen=True)
class CalibrationErrors:
    """Errors of a calibrated rig.

    A calibration finds image planes up to a turn and a shift in the plane, which no image can tell; errors are counted
    after that.

    Attributes
    ----------
    world_from_files
        The calibrated world's pose of the world in which the truth's files are written.
    angle_deg
        Absolute error of the angle between the two optical axes.
    source_mm
        Per view, distance between the found and the true source, seen from its own image plane.
    distortion_px
        Per view, RMS over the field of the distance between undistorted and true positions, ideal pixels.
    """

    world_from_files: Pose
    angle_deg: float
    source_mm: tuple[float, ...]
    distortion_px: tuple[float, ...]


def compare_calibration(rig: Rig, laboratory: Laboratory) -> CalibrationErrors:
    """Compare a rig with the laboratory whose images it was calibrated from."""
    pairs = list(zip(rig.fluoroscopes, laboratory.fluoroscopes, strict=True))
    places = [_found_from_true_plane(found, true) for found, true in pairs]
    sources = [
        place.apply(_source_in_plane(true.view.source, _plane(true))[None])[0]
        - _source_in_plane(found.view.source, _plane(found))
        for (found, true), (place, _) in zip(pairs, places, strict=True)
    ]
    angles = [np.arccos(np.clip(a.normal @ b.normal, -1, 1)) for a, b in (rig.views, [f.view for _, f in pairs])]
    # The true world is view 1's true plane, and so is the calibrated one, up to the turn and shift within it.
    return CalibrationErrors(
        world_from_files=places[0][0] * FILE_FROM_WORLD.inverse(),
        angle_deg=float(np.degrees(abs(angles[0] - angles[1]))),
        source_mm=tuple(float(np.linalg.norm(s)) for s in sources),
        distortion_px=tuple(rms for _, rms in places),
    )


def _plane(fluoroscope: Fluoroscope | SimulatedFluoroscope) -> Pose:
    """Return world_from_plane: origin at the image's centre, x along u, z away from the source."""
    view = fluoroscope.view
    x = view.u_step / np.linalg.norm(view.u_step)
    return Pose(np.column_stack([x, np.cross(view.normal, x), view.normal]), view.centre)


def _source_in_plane(source: NDArray[np.float64], world_from_plane: Pose) -> NDArray[np.float64]:
    return np.asarray(world_from_plane.inverse().apply(source[None])[0])


def _found_from_true_plane(found: Fluoroscope, true: SimulatedFluoroscope) -> tuple[Pose, float]:
    """Return the turn and shift in the plane that take true to found positions, and what they leave (RMS, pixels)."""
    ticks = np.arange(-true.warp.radius_mm, true.warp.radius_mm, 4.0)
    plane = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
    plane = plane[np.hypot(plane[:, 0], plane[:, 1]) < 0.98 * true.warp.radius_mm]
    pitch, centre = found.view.pixel_pitch_mm[0], (np.array(found.view.size_px) - 1) / 2
    seen = (found.ideal_from_recorded(true.recorded_from_plane(plane)) - centre) * pitch
    # In complex numbers the best turn is the phase of the correlation.
    a, b = plane @ [1, 1j], seen @ [1, 1j]
    turn = np.angle(np.vdot(a - a.mean(), b - b.mean()))
    shift = b.mean() - np.exp(1j * turn) * a.mean()
    rest = np.abs(np.exp(1j * turn) * a + shift - b) / pitch
    place = Pose.exp([0, 0, turn], [shift.real, shift.imag, 0])
    return place, float(np.sqrt(np.mean(rest**2)))
