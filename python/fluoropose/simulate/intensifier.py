"""How an image intensifier bends the image: no polynomial, so that a fitted polynomial is tested honestly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import finite_array, positive
from fluoropose.errors import InputError

__all__ = ["IntensifierWarp"]


@dataclass(frozen=True)
class IntensifierWarp:
    """The smooth, invertible map from the flat image plane to the recorded image, both in mm about the field's centre.

    Three causes, each off at zero: the curved input screen stretches the rim (pincushion); a magnetic field along the
    axis turns the image by an amount that grows with the radius (S-shape); a field across it shifts one region.

    Parameters
    ----------
    radius_mm
        Radius of the active field on the image plane.
    screen_half_angle_deg
        Angle of the curved screen between its centre and its rim; the rim is magnified by tan(angle) / angle.
    turn_deg
        Turn of the rim against the centre.
    shift_mm
        (x, y) displacement at ``shift_centre_mm``; it fades as a Gaussian of standard deviation ``shift_width_mm``.
    shift_centre_mm, shift_width_mm
        Where that is and how far it reaches.
    """

    radius_mm: float
    screen_half_angle_deg: float = 0.0
    turn_deg: float = 0.0
    shift_mm: tuple[float, float] = (0.0, 0.0)
    shift_centre_mm: tuple[float, float] = (0.0, 0.0)
    shift_width_mm: float = 50.0

    def __post_init__(self) -> None:
        positive("radius_mm", self.radius_mm)
        positive("shift_width_mm", self.shift_width_mm)
        if not 0 <= self.screen_half_angle_deg <= 45:
            raise InputError(f"screen_half_angle_deg: expected 0 to 45 degrees, found {self.screen_half_angle_deg}")
        if not abs(self.turn_deg) <= 20:
            raise InputError(f"turn_deg: expected at most 20 degrees, found {self.turn_deg}")
        # The steepest slope of a Gaussian is exp(-1/2) / width; below one the shift cannot fold the image.
        if not np.hypot(*self.shift_mm) * np.exp(-0.5) < 0.5 * self.shift_width_mm:
            raise InputError("shift_mm: expected less than 0.8 shift_width_mm, or the image would fold")

    @property
    def rim_magnification(self) -> float:
        """How much larger the recorded radius of the field is than ``radius_mm``."""
        angle = np.radians(self.screen_half_angle_deg)
        return float(np.tan(angle) / angle) if angle > 0 else 1.0

    def distort(self, ideal_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points (n, 2) mm of the image plane to the recorded image."""
        points = finite_array("ideal_mm", ideal_mm, (None, 2))
        return self._swirl(points + self._shift(points))

    def undistort(self, recorded_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points (n, 2) mm of the recorded image to the image plane, within 1e-9 mm."""
        target = self._unswirl(finite_array("recorded_mm", recorded_mm, (None, 2)))
        points = target
        for _ in range(60):  # a contraction by at least 1/2 per round, far more with usual shifts
            points, previous = target - self._shift(points), points
            if np.abs(points - previous).max(initial=0.0) < 1e-10:
                break
        return points

    def _shift(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        away = ((points - np.asarray(self.shift_centre_mm)) ** 2).sum(axis=1, keepdims=True)
        return np.asarray(np.exp(-away / (2 * self.shift_width_mm**2)) * np.asarray(self.shift_mm))

    def _swirl(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        angle = np.radians(self.screen_half_angle_deg)
        share = np.hypot(points[:, 0], points[:, 1]) / self.radius_mm
        # Beyond the pole of the tangent there is no screen; those points lie far outside the field.
        reach = np.minimum(share * angle, np.radians(80.0))
        stretch = np.where(reach > 1e-9, np.tan(reach) / np.maximum(share * angle, 1e-12), 1.0)
        return _turned(points * stretch[:, None], self._turn(share))

    def _unswirl(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        angle = np.radians(self.screen_half_angle_deg)
        recorded = np.hypot(points[:, 0], points[:, 1]) / self.radius_mm
        share = np.arctan(recorded * angle) / angle if angle > 0 else recorded
        shrink = np.where(recorded > 1e-9, share / np.maximum(recorded, 1e-12), 1.0)
        return _turned(points * shrink[:, None], -self._turn(share))

    def _turn(self, share: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.radians(self.turn_deg) * np.sin(np.pi / 2 * np.minimum(share**2, 1.5)))


def _turned(points: NDArray[np.float64], angle: NDArray[np.float64]) -> NDArray[np.float64]:
    c, s = np.cos(angle), np.sin(angle)
    return np.column_stack([c * points[:, 0] - s * points[:, 1], s * points[:, 0] + c * points[:, 1]])
