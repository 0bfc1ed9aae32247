"""The round field of an image intensifier, found in an image without an object or in a trial's frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import least_squares
from skimage.filters import threshold_otsu
from skimage.measure import label, regionprops

from fluoropose.errors import InputError
from fluoropose.io.frames import FrameSource
from fluoropose.io.stored_frame import Polarity, attenuating
from fluoropose.rig import CircularField, Rig

__all__ = ["find_field", "with_fields"]

_FRAMES = 30  # enough of a motion for every part of the field to be lit once

_ROUND = 0.02  # largest RMS deviation of the rim from a circle, as a share of the radius


def find_field(image: NDArray[np.float64]) -> CircularField | None:
    """Find the circular field in an image (h, w) that is bright where nothing is in the beam.

    The rim is the half-way crossing between the dark surround and the bright field; parts of the circle may lie outside
    the image.

    Returns
    -------
    The circle in recorded pixels, or None where the whole image carries signal.

    Raises
    ------
    InputError
        If there is no bright region, or if it is neither round nor the whole image.
    """
    if image.ndim != 2:
        raise InputError(f"image: expected shape (h, w), found {image.shape}")
    if not np.isfinite(image).all() or np.ptp(image) <= 0:
        raise InputError("image: expected an image of the open field, found one without contrast")
    smooth = ndimage.gaussian_filter(image.astype(np.float64), 1.0)
    corners = np.concatenate([c.ravel() for c in (smooth[:8, :8], smooth[:8, -8:], smooth[-8:, :8], smooth[-8:, -8:])])
    if np.median(corners) > 0.5 * np.percentile(smooth, 95):
        return None
    regions = regionprops(label(smooth > threshold_otsu(smooth)))
    largest = max(regions, key=lambda region: region.area)
    if largest.area < 0.1 * image.size:
        raise InputError(f"image: expected a field that fills the image, found one of {largest.area:.0f} pixels")
    # Round holes (beads, dust) do not matter: only the outer rim is used.
    rows, columns = np.nonzero(largest.image_filled)
    start = np.array([columns.mean(), rows.mean(), np.sqrt(largest.area_filled / np.pi)])
    start[:2] += largest.bbox[1], largest.bbox[0]
    rim = _rim(smooth, start)
    fit = least_squares(lambda p: np.hypot(*(rim - p[:2]).T) - p[2], start, loss="soft_l1", f_scale=1.0)
    deviation = np.abs(np.hypot(*(rim - fit.x[:2]).T) - fit.x[2])
    if np.median(deviation) > _ROUND * fit.x[2]:
        raise InputError(
            f"image: expected a round field, found a bright region whose rim is {np.median(deviation):.1f} px from the "
            f"best circle of radius {fit.x[2]:.1f} px"
        )
    return CircularField(float(fit.x[0]), float(fit.x[1]), float(fit.x[2]))


def with_fields(rig: Rig, frames: Sequence[FrameSource], polarity: Polarity = "bright_air") -> Rig:
    """Return the rig with the circular fields that its frames show: what is lit in any of thirty frames of a trial.

    Calibrations of other programs (MayaCam) do not tell the field.

    Raises
    ------
    InputError
        If the numbers of views differ, or frames have another size than their view or show no field.
    FileFormatError
        If a frame cannot be read.
    """
    if len(frames) != len(rig.fluoroscopes):
        raise InputError(f"frames: expected {len(rig.fluoroscopes)} sources, one per view, found {len(frames)}")
    scopes = []
    for scope, source in zip(rig.fluoroscopes, frames, strict=True):
        chosen = np.unique(np.linspace(0, len(source) - 1, _FRAMES).round().astype(int))
        signal = np.max([1 - attenuating(source.read(int(i)), source.bits, polarity) for i in chosen], axis=0)
        if signal.shape[::-1] != scope.view.size_px:
            raise InputError(
                f"{source.path}: expected frames of {scope.view.width} x {scope.view.height} pixels, "
                f"found {signal.shape[1]} x {signal.shape[0]}"
            )
        try:
            scopes.append(replace(scope, field=find_field(signal)))
        except InputError as error:
            raise InputError(f"{source.path}: {error}") from error
    return Rig(tuple(scopes))


def _rim(smooth: NDArray[np.float64], guess: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points (n, 2) where the brightness falls to half on its way out from the middle, inside the image."""
    u0, v0, radius = guess
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    distance = np.arange(0.7 * radius, 1.4 * radius, 0.25)
    u = u0 + distance * np.cos(angles)[:, None]
    v = v0 + distance * np.sin(angles)[:, None]
    profiles = ndimage.map_coordinates(smooth, [v, u], order=1, mode="constant", cval=np.nan)
    begun = ~np.isnan(profiles[:, :8]).any(axis=1)  # the image may end before the rim
    profiles, angles = profiles[begun], angles[begun]
    level = np.median(profiles[:, :8], axis=1, keepdims=True) / 2
    below = profiles < level
    first = np.argmax(below, axis=1)
    reached = below.any(axis=1) & (first > 0)
    reached &= ~np.isnan(np.take_along_axis(profiles, first[:, None], axis=1)[:, 0])
    if reached.sum() < 30:
        raise InputError("image: expected the rim of a round field inside the image, found too little of it")
    k, ray = first[reached], np.flatnonzero(reached)
    high, low = profiles[ray, k - 1], profiles[ray, k]
    where = distance[k - 1] + 0.25 * (high - level[ray, 0]) / (high - low)
    return np.column_stack([u0 + where * np.cos(angles[ray]), v0 + where * np.sin(angles[ray])])
