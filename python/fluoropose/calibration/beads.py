"""Steel beads in fluoroscopy images: where they are, to a few hundredths of a pixel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.optimize import leastsq
from scipy.special import erf

from fluoropose.errors import InputError
from fluoropose.rig import CircularField

__all__ = ["Bead", "BeadImage", "find_beads", "measure_bead"]

_MARGIN_PX = 6.0  # how far beyond a bead's rim its background is looked at
_LEVELS = 0.5, 1.1  # of what lies in the beam beside the beads, such as the acrylic of a plate
_BLUR_PX = 1.0  # first guess of the blur (standard deviation)

PixelMap = Callable[[NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Bead:
    """One bead: centre (u, v), radius and blur (standard deviation), pixels; share of the light that it takes away.

    ``misfit`` is the RMS difference between the image round the bead and its model, relative to the background.
    """

    u: float
    v: float
    radius: float
    blur: float
    contrast: float
    misfit: float


@dataclass(frozen=True, eq=False)
class BeadImage:
    """An image freed from vignetting: its brightness relative to the open field, about 1 where nothing is in the beam.

    ``relative`` is (h, w) float64, NaN outside ``inside``, the (h, w) mask of the field.
    """

    relative: NDArray[np.float64]
    inside: NDArray[np.bool_]

    @classmethod
    def from_images(
        cls, image: NDArray[np.float64], flat: NDArray[np.float64] | None, field: CircularField | None
    ) -> BeadImage:
        """Divide an image (h, w), bright where nothing is in the beam, by the flat-field image.

        Parameters
        ----------
        image
            (h, w) brightness.
        flat
            (h, w) brightness without any object, at whatever exposure; None: a wide median of the image itself stands
            in for it.
        field
            The round part of the image that carries signal; None: all of it.
        """
        if image.ndim != 2:
            raise InputError(f"image: expected shape (h, w), found {image.shape}")
        if flat is not None and flat.shape != image.shape:
            raise InputError(f"flat: expected the image's shape {image.shape}, found {flat.shape}")
        v, u = np.mgrid[: image.shape[0], : image.shape[1]]
        inside = np.ones(image.shape, dtype=bool)
        if field is not None:
            inside = np.hypot(u - field.u, v - field.v) <= field.radius
        # A slight blur keeps the flat's own noise out; vignetting is far smoother than that.
        open_field = _wide_median(image, inside) if flat is None else ndimage.gaussian_filter(flat, 1.0)
        inside &= open_field > 0.1 * np.median(open_field[inside])
        relative = np.full(image.shape, np.nan)
        relative[inside] = image[inside] / open_field[inside]
        level = float(np.median(relative[inside]))
        if not _LEVELS[0] < level < _LEVELS[1]:  # automatic brightness: the flat-field image is of another exposure
            relative /= level
        return cls(relative, inside)


def find_beads(image: BeadImage, min_contrast: float) -> NDArray[np.float64]:
    """Find dark round spots: (n, 3) of u, v and radius in recorded pixels, good to about half a pixel.

    A spot must stay compact and round over a range of thresholds, and take away at least ``min_contrast`` of the light;
    rods and other long shadows do not.
    """
    # 8 bits at twice the size: the detector wants bytes, and contours of a bead of 2 px radius would be too coarse.
    shade = np.where(image.inside, np.clip(image.relative, 0, 1.2), 1.0) * 200
    doubled = cv2.resize(shade.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    settings = cv2.SimpleBlobDetector.Params()
    settings.minThreshold, settings.maxThreshold, settings.thresholdStep = 10, 200 * (1 - 0.5 * min_contrast), 5
    settings.minRepeatability, settings.minDistBetweenBlobs = 3, 4
    settings.filterByColor, settings.blobColor = True, 0
    settings.filterByArea, settings.minArea, settings.maxArea = True, 12, doubled.size / 40
    settings.filterByCircularity, settings.minCircularity = True, 0.7
    settings.filterByInertia, settings.minInertiaRatio = True, 0.5
    settings.filterByConvexity, settings.minConvexity = True, 0.85
    spots = cv2.SimpleBlobDetector.create(settings).detect(doubled)
    found = np.array([(*spot.pt, spot.size / 2) for spot in spots], dtype=np.float64).reshape(-1, 3)
    found = np.column_stack([(found[:, :2] + 0.5) / 2 - 0.5, found[:, 2] / 2])
    return found[[_contrast(image, spot) >= min_contrast for spot in found]]


def measure_bead(
    image: BeadImage, u: float, v: float, radius: float, harmonics: int, ideal_from_recorded: PixelMap | None = None
) -> Bead | None:
    """Fit a blurred opaque disc on an uneven background to the image round (u, v).

    The background round the bead is a Fourier series in the direction, each term linear in the distance: so many
    ``harmonics`` follow rods that end at the bead. Where the distortion is known, the fit is made in ideal pixels:
    over a large bead an image intensifier's distortion is not linear, which shifts the bead's apparent centre.

    Parameters
    ----------
    image
        The image, relative to the open field.
    u, v, radius
        First guess, recorded pixels.
    harmonics
        0 for an even background, 4 for beads held by rods.
    ideal_from_recorded
        Takes recorded pixels (n, 2) to ideal pixels (n, 2); the result is then in ideal pixels.

    Returns
    -------
    The bead, or None where it does not lie wholly inside the field or the fit makes no sense.
    """
    pixels, brightness = _surroundings(image, u, v, radius)
    if not len(pixels):
        return None
    centre = np.array([[u, v]])
    if ideal_from_recorded is not None:
        pixels, centre = ideal_from_recorded(pixels), ideal_from_recorded(centre)
    x, y = (pixels - centre).T

    def design(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        du, dv, disc_radius, blur = parameters
        return _bead_terms(x - du, y - dv, disc_radius, blur, harmonics)

    # Brightness enters linearly, so the search runs over centre, radius and blur alone (variable projection).
    def misfit(parameters: NDArray[np.float64]) -> NDArray[np.float64]:
        terms = design(parameters)
        return np.asarray(terms @ _solve(terms, brightness) - brightness)

    # MINPACK itself: for a thousand small fits least_squares would spend most of the time on its own bookkeeping.
    start = np.array([0.0, 0.0, radius, _BLUR_PX])
    fitted, _, info, _, status = leastsq(misfit, start, full_output=True, ftol=1e-7, xtol=1e-5, maxfev=200)
    du, dv, disc_radius, blur = fitted
    dark, bright = _solve(design(fitted), brightness)[:2]
    if status not in (1, 2, 3) or np.hypot(du, dv) > radius or not 0.5 < disc_radius / radius < 2 or bright <= 0:
        return None
    rms = float(np.sqrt(np.mean(info["fvec"] ** 2)) / bright)
    return Bead(
        float(centre[0, 0] + du),
        float(centre[0, 1] + dv),
        float(disc_radius),
        abs(float(blur)),
        float(1 - dark / bright),
        rms,
    )


def _surroundings(
    image: BeadImage, u: float, v: float, radius: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixels (n, 2) round a bead and their brightness (n,); none where the field cuts the bead off."""
    reach = radius + _MARGIN_PX
    rows, columns = image.relative.shape
    top, left = max(int(v - reach), 0), max(int(u - reach), 0)
    vv, uu = np.mgrid[top : min(int(v + reach) + 2, rows), left : min(int(u + reach) + 2, columns)]
    distance = np.hypot(uu - u, vv - v)
    inside = image.inside[vv, uu]
    core = distance <= radius + 2 * _BLUR_PX
    whole = core[inside].sum() == core.sum() >= 0.95 * np.pi * (radius + 2 * _BLUR_PX) ** 2
    near = inside & (distance <= reach)
    if not whole or near.sum() < 0.6 * np.pi * reach**2:
        return np.zeros((0, 2)), np.zeros(0)
    return np.column_stack([uu[near], vv[near]]).astype(np.float64), image.relative[vv[near], uu[near]]


def _bead_terms(
    x: NDArray[np.float64], y: NDArray[np.float64], radius: float, blur: float, harmonics: int
) -> NDArray[np.float64]:
    """Return the brightness terms (n, m) round a bead at the origin: its dark disc, then the background outside it."""
    distance = np.hypot(x, y)
    disc = 0.5 * (1 - erf((distance - radius) / (np.sqrt(2) * blur)))
    angle = np.arctan2(y, x)
    waves = [np.ones_like(x)]
    for k in range(1, harmonics + 1):
        waves += [np.cos(k * angle), np.sin(k * angle)]
    background = np.stack([*waves, *((distance - radius) / _MARGIN_PX * w for w in waves)], axis=1)
    return np.column_stack([disc, background * (1 - disc)[:, None]])


def _solve(terms: NDArray[np.float64], brightness: NDArray[np.float64]) -> NDArray[np.float64]:
    # A trace of damping: a term can vanish when the window is cut by the field.
    normal = terms.T @ terms
    return np.asarray(np.linalg.solve(normal + 1e-9 * np.trace(normal) * np.eye(len(normal)), terms.T @ brightness))


def _contrast(image: BeadImage, spot: NDArray[np.float64]) -> float:
    """Return how much darker the middle of a spot is than its surroundings; 0 outside the field."""
    u, v, radius = spot
    rows, columns = image.relative.shape
    row, column = round(v), round(u)
    if not (0 <= row < rows and 0 <= column < columns and image.inside[row, column]):
        return 0.0
    h = int(radius + _MARGIN_PX)
    around = image.relative[max(row - h, 0) : row + h + 1, max(column - h, 0) : column + h + 1]
    return float(1 - image.relative[row, column] / np.nanpercentile(around, 80))


def _wide_median(image: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return a smooth background that beads, a small share of the area, do not touch."""
    nearest = ndimage.distance_transform_edt(~inside, return_distances=False, return_indices=True)
    filled = image[tuple(nearest)]
    top = float(filled.max())
    if top <= 0:
        raise InputError("image: expected some brightness inside the field, found none")
    size = max(min(image.shape) // 16 * 2 + 1, 3)
    median = cv2.medianBlur((filled * (255 / top)).astype(np.uint8), size).astype(np.float64)
    return np.asarray(ndimage.gaussian_filter(median * (top / 255), size / 4))
