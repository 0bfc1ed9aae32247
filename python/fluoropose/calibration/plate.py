"""From the image of a bead plate to the image's distortion and the size of an ideal pixel."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import positive
from fluoropose.calibration.beads import Bead, BeadImage, find_beads, measure_bead
from fluoropose.calibration.grid import match_grid
from fluoropose.distortion import Distortion, PlanePolynomial, leave_out_residuals
from fluoropose.errors import InputError
from fluoropose.rig import CircularField

__all__ = ["PlateCalibration", "calibrate_plate", "fit_plate"]

_MIN_CONTRAST = 0.15  # share of the light that a plate's bead takes away at least
_AUTO_ORDERS = range(3, 13)
_AUTO_SLACK = 1.02  # a lower order is preferred when it leaves no more than this times the smallest leave-out error
_OUTLIER_SIGMAS = 6.0
_OUTLIER_PX = 0.15  # beads are measured to 0.02 px; what misses by less than this is not worth rejecting


@dataclass(frozen=True, eq=False)
class PlateCalibration:
    """Distortion and pixel size of one view, with the beads they rest on.

    The ideal image has the recorded image's size. Its plane is the plate's, its axes are turned as the recorded image
    is on average over the field, and it is just fine enough that the recorded field fits into it.

    Attributes
    ----------
    distortion
        Between recorded and ideal pixels.
    size_px
        (width, height).
    pitch_mm
        Of an ideal pixel on the plate's plane.
    turn_deg
        From the ideal image's u axis to the plate's first axis, towards v.
    recorded_px, ideal_px
        (n, 2) beads used: where they were seen, and where they lie.
    index
        (n, 2) their column and row on the plate; (0, 0) is the larger origin bead where there is one.
    residuals_px, leave_out_px
        (n, 2) ideal pixels: what the fit misses each bead by, and what the fit to all other beads misses it by.
    found, rejected
        Spots found, and beads rejected as outliers.
    leave_out_by_order
        Pairs (order, RMS leave-out error in pixels), for choosing the order.
    """

    distortion: Distortion
    size_px: tuple[int, int]
    pitch_mm: float
    turn_deg: float
    recorded_px: NDArray[np.float64]
    ideal_px: NDArray[np.float64]
    index: NDArray[np.int64]
    residuals_px: NDArray[np.float64]
    leave_out_px: NDArray[np.float64]
    found: int
    rejected: int
    leave_out_by_order: tuple[tuple[int, float], ...]

    @property
    def leave_out_rms_px(self) -> float:
        """RMS length of the leave-out residuals, ideal pixels."""
        return _rms(self.leave_out_px)


def calibrate_plate(
    image: NDArray[np.float64],
    spacing_mm: float,
    order: int | None = 5,
    flat: NDArray[np.float64] | None = None,
    field: CircularField | None = None,
) -> PlateCalibration:
    """Measure distortion and pixel size from the image of a plate of steel beads on a square grid.

    Parameters
    ----------
    image
        (h, w), bright where nothing is in the beam.
    spacing_mm
        Of the grid.
    order
        Of the polynomial; None takes the lowest order whose leave-out error is within 2 % of the smallest.
    flat
        (h, w), the same without the plate.
    field
        The round part of the image that carries signal; None: all of it.

    Raises
    ------
    InputError
        If too few beads are found for the order, or they form no square grid.
    """
    prepared = BeadImage.from_images(image, flat, field)
    spots = find_beads(prepared, _MIN_CONTRAST)
    if len(spots) < 9:
        found = f"found {len(spots)} dark spots: are polarity and bit_depth right?"
        raise InputError(f"image: expected the beads of a plate, {found}")
    # Half a pixel of error in the first guess does not matter; an even background needs no harmonics, but without a
    # flat-field image the vignetting is still there.
    typical = float(np.median(spots[:, 2]))
    spots = spots[(spots[:, 2] > 0.4 * typical) & (spots[:, 2] < 3 * typical)]
    measured = [measure_bead(prepared, u, v, radius, 0 if flat is not None else 1) for u, v, radius in spots]
    beads = [bead for bead in measured if bead is not None and bead.contrast > _MIN_CONTRAST]
    if len(beads) < 9:
        raise InputError(f"image: expected the beads of a plate inside the field, found {len(beads)}")
    recorded = np.array([(bead.u, bead.v) for bead in beads])
    matched = match_grid(recorded)
    on_grid = matched[:, 2] == 1
    index = matched[on_grid, :2] - _origin(beads, matched)
    size_px = (image.shape[1], image.shape[0])
    return fit_plate(recorded[on_grid], index, spacing_mm, size_px, order, field, found=len(spots))


def fit_plate(
    recorded_px: NDArray[np.float64],
    index: NDArray[np.int64],
    spacing_mm: float,
    size_px: tuple[int, int],
    order: int | None = 5,
    field: CircularField | None = None,
    found: int | None = None,
) -> PlateCalibration:
    """Fit distortion and pixel size to beads seen at ``recorded_px`` (n, 2) that are (n, 2) ``index`` of the grid.

    The other parameters are those of ``calibrate_plate``; ``found`` is only reported.
    """
    spacing = positive("spacing_mm", spacing_mm)
    rejected = 0
    while True:
        ideal, pitch, turn = _ideal_grid(recorded_px, np.asarray(index * spacing, dtype=np.float64))
        chosen, by_order = _choose_order(recorded_px, ideal, order)
        left_out = np.linalg.norm(leave_out_residuals(recorded_px, ideal, chosen), axis=1)
        fitted = np.linalg.norm(PlanePolynomial.fit(recorded_px, ideal, chosen)(recorded_px) - ideal, axis=1)
        # With the leverage h, residuals shrink as 1 - h, leave-out residuals grow as 1 / (1 - h): fair is their mean.
        miss = np.sqrt(fitted * left_out)
        limit = max(_OUTLIER_SIGMAS / 1.18 * float(np.median(miss)), _OUTLIER_PX)
        # A gross error spoils its neighbours' fit: only the worst are rejected before the fit is made again.
        worst = miss > max(limit, 0.7 * float(miss.max()))
        if not worst.any():
            break
        rejected += int(worst.sum())
        recorded_px, index = recorded_px[~worst], index[~worst]
    distortion = Distortion.fit(recorded_px, ideal, chosen)
    overshoot = _overshoot(distortion, size_px, field)
    middle = (np.array(size_px) - 1) / 2
    if overshoot > 1:
        ideal, pitch = middle + (ideal - middle) / overshoot, pitch * overshoot
        distortion = Distortion.fit(recorded_px, ideal, chosen)
    return PlateCalibration(
        distortion,
        size_px,
        pitch,
        turn,
        recorded_px,
        ideal,
        index,
        distortion.residuals(recorded_px, ideal),
        leave_out_residuals(recorded_px, ideal, chosen),
        len(recorded_px) + rejected if found is None else found,
        rejected,
        by_order,
    )


def _origin(beads: list[Bead], matched: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the grid place of the one larger bead; (0, 0) where there is none, or several."""
    radii = np.array([bead.radius for bead in beads])
    large = np.flatnonzero((radii > 1.5 * np.median(radii)) & (matched[:, 2] == 1))
    return matched[large[0], :2] if len(large) == 1 else np.zeros(2, dtype=np.int64)


def _ideal_grid(
    recorded_px: NDArray[np.float64], plate_mm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float, float]:
    """Lay the plate by a similarity onto the recorded beads: ideal pixels (n, 2), pitch in mm, turn in degrees."""
    from_plate = plate_mm[:, 0] + 1j * plate_mm[:, 1]
    seen = recorded_px[:, 0] + 1j * recorded_px[:, 1]
    terms = np.column_stack([from_plate, np.ones(len(seen))])
    (scale, shift), *_ = np.linalg.lstsq(terms, seen, rcond=None)
    if not abs(scale) > 0:
        raise InputError("recorded_px: expected distinct beads")
    ideal = scale * from_plate + shift
    return np.column_stack([ideal.real, ideal.imag]), float(1 / abs(scale)), float(np.degrees(np.angle(scale)))


def _choose_order(
    recorded: NDArray[np.float64], ideal: NDArray[np.float64], order: int | None
) -> tuple[int, tuple[tuple[int, float], ...]]:
    # Twice as many beads as terms, or the leave-out error says little.
    fitting = [n for n in _AUTO_ORDERS if (n + 1) * (n + 2) <= len(recorded)]
    errors = tuple((n, _rms(leave_out_residuals(recorded, ideal, n))) for n in fitting)
    if order is not None:
        return order, errors
    if not errors:
        raise InputError(f"recorded_px: expected at least 20 beads to choose the order by, found {len(recorded)}")
    smallest = min(error for _, error in errors)
    return next(n for n, error in errors if error <= _AUTO_SLACK * smallest), errors


def _overshoot(distortion: Distortion, size_px: tuple[int, int], field: CircularField | None) -> float:
    """Return by how much the recorded field, undistorted, is larger than the ideal image; <= 1 where it fits."""
    limit = (np.array(size_px) - 1) / 2
    if field is None:
        t = np.linspace(-1, 1, 200)[:, None]
        one = np.ones_like(t)
        rim = limit + limit * np.vstack([np.hstack(side) for side in ((t, one), (t, -one), (one, t), (-one, t))])
    else:
        angle = np.linspace(0, 2 * np.pi, 720)
        rim = np.column_stack([field.u + field.radius * np.cos(angle), field.v + field.radius * np.sin(angle)])
        rim = np.clip(rim, 0, 2 * limit)
    return float((np.abs(distortion.ideal_from_recorded(rim) - limit) / limit).max())


def _rms(vectors: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(np.sum(vectors**2, axis=1))))
