"""Image distortion as a bivariate polynomial, in both directions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.polynomial import chebyshev
from numpy.typing import ArrayLike, NDArray

from fluoropose import _core
from fluoropose._checks import finite_array, positive
from fluoropose.errors import InputError

__all__ = ["Distortion", "PlanePolynomial", "leave_out_residuals"]

_MODEL = "chebyshev"


@dataclass(frozen=True, eq=False)
class PlanePolynomial:
    """A map of the image plane: u' and v' as polynomials of u and v of total degree ``order``.

    The coordinates are scaled to the disc that encloses the fitted points, and the terms are the products
    ``T_i(x) T_j(y)``, ``i + j <= order``, of Chebyshev polynomials (sorted by i, then by j), so that high orders stay
    well conditioned. Outside the disc the map is continued linearly along the radius; value and first derivatives are
    continuous on the rim.

    Parameters
    ----------
    order
        Total degree, 1 to 15.
    centre
        (2,) pixels, of the disc.
    radius
        Pixels, of the disc.
    coefficients
        (2, (order + 1) (order + 2) / 2) pixels, rows u' and v'.

    Raises
    ------
    InputError
        If a shape does not fit the order or a number is not finite.
    """

    order: int
    centre: NDArray[np.float64]
    radius: float
    coefficients: NDArray[np.float64]

    def __post_init__(self) -> None:
        order = _checked_order(self.order)
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "centre", _frozen(finite_array("centre", self.centre, (2,))))
        object.__setattr__(self, "radius", positive("radius", self.radius))
        terms = (order + 1) * (order + 2) // 2
        object.__setattr__(self, "coefficients", _frozen(finite_array("coefficients", self.coefficients, (2, terms))))

    @classmethod
    def fit(cls, points: NDArray[np.float64], images: NDArray[np.float64], order: int) -> PlanePolynomial:
        """Fit by least squares the map that takes ``points`` (n, 2) to ``images`` (n, 2), pixels."""
        centre, radius = _enclosing_disc(points)
        matrix = _design(points, centre, radius, order)
        coefficients, _, rank, _ = np.linalg.lstsq(matrix, images, rcond=1e-10)
        if rank < matrix.shape[1]:
            raise InputError(
                f"order: the {len(points)} points determine only {rank} of the {matrix.shape[1]} terms of order "
                f"{order}; use a lower order, or beads that cover more of the field"
            )
        return cls(order, centre, radius, np.asarray(coefficients.T, dtype=np.float64))

    def __call__(self, points: ArrayLike) -> NDArray[np.float64]:
        """Map points (n, 2) pixels to (n, 2) pixels; NaN goes to NaN."""
        return np.asarray(self._compiled(_points("points", points)))

    @cached_property
    def _compiled(self) -> Any:
        return _core.PlanePolynomial(self.order, self.centre, self.radius, self.coefficients)

    def to_dict(self) -> dict[str, Any]:
        """Return what ``from_dict`` reads, ready for JSON."""
        return {
            "order": self.order,
            "centre": self.centre.tolist(),
            "radius": self.radius,
            "coefficients": self.coefficients.tolist(),
        }


@dataclass(frozen=True, eq=False)
class Distortion:
    """How the pixels of recorded frames differ from the pixels of an ideal flat image plane.

    ``ideal_from_recorded`` is the model; ``recorded_from_ideal`` is its inverse, for which the polynomial fitted in
    that direction is only the start of Newton's method. The two directions therefore agree to rounding error wherever
    the model can be inverted.

    Outside the discs that enclose the fitted points both directions are continued linearly along the radius. Where the
    model folds over, far outside, ``recorded_from_ideal`` is NaN. NaN in gives NaN out.

    Parameters
    ----------
    forward
        The model, ideal pixels from recorded pixels.
    backward
        Recorded pixels from ideal pixels, approximately.
    """

    forward: PlanePolynomial
    backward: PlanePolynomial

    @classmethod
    def fit(cls, recorded_px: ArrayLike, ideal_px: ArrayLike, order: int = 5) -> Distortion:
        """Fit to beads seen at ``recorded_px`` that lie at ``ideal_px``.

        Parameters
        ----------
        recorded_px, ideal_px
            (n, 2) pixels, at least as many beads as the polynomial has terms.
        order
            Total degree of the polynomial, 1 to 15 (Zhou et al. 2021, section 2.4, use 5).

        Raises
        ------
        InputError
            If the beads are too few or too badly spread for the order, or the fitted map folds over among them.
        """
        recorded, ideal = _pairs(recorded_px, ideal_px, order)
        result = cls(PlanePolynomial.fit(recorded, ideal, order), PlanePolynomial.fit(ideal, recorded, order))
        round_trip = result.recorded_from_ideal(result.ideal_from_recorded(recorded))
        if not np.allclose(round_trip, recorded, atol=1e-3):
            raise InputError(
                f"recorded_px, ideal_px: the fitted polynomial of order {order} folds over; the beads are mismatched, "
                "mirrored, or too few for this order"
            )
        return result

    @cached_property
    def _compiled(self) -> Any:
        return _core.Distortion(self.forward._compiled, self.backward._compiled)

    @property
    def order(self) -> int:
        """Total degree of the polynomial."""
        return self.forward.order

    def ideal_from_recorded(self, pixels: ArrayLike) -> NDArray[np.float64]:
        """Undistort recorded pixels (n, 2) to ideal pixels (n, 2)."""
        return np.asarray(self._compiled.ideal_from_recorded(_points("pixels", pixels)))

    def recorded_from_ideal(self, pixels: ArrayLike) -> NDArray[np.float64]:
        """Distort ideal pixels (n, 2) to recorded pixels (n, 2)."""
        return np.asarray(self._compiled.recorded_from_ideal(_points("pixels", pixels)))

    def residuals(self, recorded_px: ArrayLike, ideal_px: ArrayLike) -> NDArray[np.float64]:
        """Return (n, 2) ideal pixels: where recorded beads are placed minus where they lie."""
        return self.ideal_from_recorded(recorded_px) - _points("ideal_px", ideal_px)

    def undistort_image(self, image: NDArray[Any], size_px: tuple[int, int] | None = None) -> NDArray[Any]:
        """Resample a recorded image onto the ideal pixel grid, bilinearly.

        Parameters
        ----------
        image
            (h, w) uint8, uint16 or float32; float64 comes back as float32.
        size_px
            (width, height) of the ideal image; the recorded size by default.

        Returns
        -------
        (height, width); 0 where the recorded image does not reach.
        """
        picture = np.asarray(image)
        if picture.ndim != 2:
            raise InputError(f"image: expected shape (h, w), found {picture.shape}")
        if picture.dtype == np.float64:
            picture = picture.astype(np.float32)
        if picture.dtype not in (np.uint8, np.uint16, np.float32):
            raise InputError(f"image: expected uint8, uint16 or float32, found {picture.dtype}")
        width, height = size_px or (picture.shape[1], picture.shape[0])
        map_u, map_v = self._sampling(width, height)
        return np.asarray(cv2.remap(picture, map_u, map_v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT))

    def _sampling(self, width: int, height: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the recorded u and v, each (height, width), of every ideal pixel; remembered for a whole trial."""
        size = (width, height)
        if size not in self._samplings:
            v, u = np.mgrid[:height, :width]
            recorded = self.recorded_from_ideal(np.column_stack([u.ravel(), v.ravel()]))
            maps = np.nan_to_num(recorded.T, nan=-10.0).astype(np.float32).reshape(2, height, width)
            self._samplings[size] = (maps[0], maps[1])
        return self._samplings[size]

    @cached_property
    def _samplings(self) -> dict[tuple[int, int], tuple[NDArray[np.float32], NDArray[np.float32]]]:
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Return what ``from_dict`` reads, ready for JSON."""
        return {
            "model": _MODEL,
            "ideal_from_recorded": self.forward.to_dict(),
            "recorded_from_ideal": self.backward.to_dict(),
        }

    @classmethod
    def from_dict(cls, document: dict[str, Any]) -> Distortion:
        """Rebuild from ``to_dict``'s form; raises InputError naming the field that is wrong or missing."""
        if not isinstance(document, dict) or document.get("model") != _MODEL:
            raise InputError(f'distortion: expected "model": "{_MODEL}"')
        return cls(_polynomial(document, "ideal_from_recorded"), _polynomial(document, "recorded_from_ideal"))


def leave_out_residuals(recorded_px: ArrayLike, ideal_px: ArrayLike, order: int = 5) -> NDArray[np.float64]:
    """Return for each bead how far the fit to all OTHER beads misses it: (n, 2) ideal pixels.

    The fit is linear, so leaving bead i out multiplies its residual by 1 / (1 - h_ii), h the hat matrix; no refit is
    needed. Infinite where the other beads do not determine the polynomial.
    """
    recorded, ideal = _pairs(recorded_px, ideal_px, order)
    q, _ = np.linalg.qr(_design(recorded, *_enclosing_disc(recorded), order))
    residuals = q @ (q.T @ ideal) - ideal
    remainder = 1 - np.einsum("ij,ij->i", q, q)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(remainder > 1e-12, residuals / remainder, np.inf)


def _polynomial(document: dict[str, Any], name: str) -> PlanePolynomial:
    try:
        return PlanePolynomial(**document[name])
    except KeyError as error:
        raise InputError(f"distortion: missing field {name!r}") from error
    except TypeError as error:
        raise InputError(f"distortion.{name}: {error}") from error
    except InputError as error:
        raise InputError(f"distortion.{name}.{error}") from error


def _pairs(recorded_px: ArrayLike, ideal_px: ArrayLike, order: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    recorded = finite_array("recorded_px", recorded_px, (None, 2))
    ideal = finite_array("ideal_px", ideal_px, (len(recorded), 2))
    degree = _checked_order(order)
    terms = (degree + 1) * (degree + 2) // 2
    if len(recorded) < terms:
        raise InputError(f"recorded_px: expected at least {terms} beads for order {degree}, found {len(recorded)}")
    return recorded, ideal


def _enclosing_disc(points: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    centre, radius = cv2.minEnclosingCircle(points.astype(np.float32)[:, None, :])
    if radius <= 0:
        raise InputError("points: expected distinct beads")
    return np.asarray(centre, dtype=np.float64), float(radius)


def _design(points: NDArray[np.float64], centre: NDArray[np.float64], radius: float, order: int) -> NDArray[np.float64]:
    x, y = ((points - centre) / radius).T
    products = chebyshev.chebvander2d(x, y, [order, order]).reshape(len(points), order + 1, order + 1)
    kept = np.add.outer(np.arange(order + 1), np.arange(order + 1)) <= order
    return np.asarray(products[:, kept])


def _checked_order(order: int) -> int:
    limit = int(_core.max_polynomial_order)
    if isinstance(order, bool) or not isinstance(order, (int, np.integer)) or not 1 <= order <= limit:
        raise InputError(f"order: expected an integer from 1 to {limit}, found {order!r}")
    return int(order)


def _points(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """Return points (n, 2) as float64; unlike ``finite_array`` NaN is let through."""
    try:
        points = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: expected numbers of shape (n, 2), found {type(value).__name__}") from error
    if points.ndim != 2 or points.shape[1] != 2:
        raise InputError(f"{name}: expected shape (n, 2), found {points.shape}")
    return points


def _frozen(array: NDArray[np.float64]) -> NDArray[np.float64]:
    copy = array.copy()
    copy.flags.writeable = False
    return copy
