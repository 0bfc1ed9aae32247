"""From line integrals to a recorded frame: what happens between the X-ray source and the stored file."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import positive
from fluoropose.errors import InputError
from fluoropose.geometry import View
from fluoropose.rig import CircularField
from fluoropose.simulate.intensifier import IntensifierWarp

__all__ = ["Exposure", "ImageChain", "SimulatedFluoroscope"]


@dataclass(frozen=True)
class Exposure:
    """The X-ray output of one recording.

    Parameters
    ----------
    open_field
        Signal of the unattenuated beam as a share of white; above 1 it saturates.
    quanta
        Mean number of quanta that one pixel detects in the unattenuated beam; None leaves out quantum noise.
    """

    open_field: float = 1.0
    quanta: float | None = None

    def __post_init__(self) -> None:
        positive("open_field", self.open_field)
        if self.quanta is not None:
            positive("quanta", self.quanta)


@dataclass(frozen=True)
class ImageChain:
    """What screen, optics and camera do to the signal; each effect is off at its default.

    Parameters
    ----------
    scatter_share
        Share of the quanta removed from the beam that reach the screen as scatter.
    scatter_width_mm
        Standard deviation on the image plane of the Gaussian that spreads scatter.
    blur_mm
        Standard deviation on the image plane of the blur by focal spot and screen.
    glare_share, glare_width_mm
        Share of the light that the output window spreads, and how far (standard deviation).
    vignetting
        Loss of light at the rim of the field against its centre; it grows with the square of the radius.
    heel
        Relative change of the beam across the radius of the field, along u and along v (heel effect, a tilted plate).
    electronic_noise
        Standard deviation of the camera's noise as a share of white.
    gamma
        The recorded value is the signal to this power.
    bits
        8 or 16 per pixel.
    """

    scatter_share: float = 0.0
    scatter_width_mm: float = 30.0
    blur_mm: float = 0.0
    glare_share: float = 0.0
    glare_width_mm: float = 15.0
    vignetting: float = 0.0
    heel: tuple[float, float] = (0.0, 0.0)
    electronic_noise: float = 0.0
    gamma: float = 1.0
    bits: int = 8

    def __post_init__(self) -> None:
        for name in ("scatter_share", "glare_share", "vignetting"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}: expected a share of 0 to below 1, found {getattr(self, name)}")
        for name in ("blur_mm", "electronic_noise"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InputError(f"{name}: expected a finite number >= 0, found {getattr(self, name)}")
        for name in ("scatter_width_mm", "glare_width_mm", "gamma"):
            positive(name, getattr(self, name))
        if not np.abs(self.heel).max() < 1:
            raise InputError(f"heel: expected two numbers between -1 and 1, found {self.heel}")
        if self.bits not in (8, 16):
            raise InputError(f"bits: expected 8 or 16, found {self.bits}")


@dataclass(frozen=True, eq=False)
class SimulatedFluoroscope:
    """One source, intensifier and camera, as they truly are.

    Attributes
    ----------
    view
        The ideal view: flat image plane without distortion, square pixels. The field's centre is the image's centre.
    warp
        How the recorded image differs from it.
    chain
        What happens to the signal.
    """

    view: View
    warp: IntensifierWarp
    chain: ImageChain = ImageChain()

    def __post_init__(self) -> None:
        pitch_u, pitch_v = self.view.pixel_pitch_mm
        if (
            self.view.beam != "point"
            or abs(pitch_u - pitch_v) > 1e-9
            or abs(self.view.u_step @ self.view.v_step) > 1e-9
        ):
            raise InputError("view: expected a point source and square pixels")

    # --- geometry -----------------------------------------------------------------------------------------------

    @property
    def pitch_mm(self) -> float:
        """Pixel pitch at the centre, mm."""
        return self.view.pixel_pitch_mm[0]

    @property
    def centre_px(self) -> NDArray[np.float64]:
        """(2,) centre of the field, pixels; the same in ideal and recorded images."""
        return np.array([(self.view.width - 1) / 2, (self.view.height - 1) / 2])

    @property
    def field(self) -> CircularField:
        """The disc of the recorded image that carries signal."""
        radius = self.warp.radius_mm * self.warp.rim_magnification / self.pitch_mm
        return CircularField(float(self.centre_px[0]), float(self.centre_px[1]), radius)

    def recorded_from_plane(self, plane_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map points (n, 2) mm of the image plane (x along u, y along v, from the centre) to recorded pixels."""
        return self.warp.distort(plane_mm) / self.pitch_mm + self.centre_px

    def plane_from_recorded(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map recorded pixels (n, 2) to points (n, 2) mm of the image plane."""
        return self.warp.undistort((pixels - self.centre_px) * self.pitch_mm)

    def plane_from_world(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project world points (n, 3) mm to the image plane (n, 2) mm."""
        return (self.view.project(points_mm) - self.centre_px) * self.pitch_mm

    @cached_property
    def pixel_plane_mm(self) -> NDArray[np.float64]:
        """(h, w, 2) where on the image plane the signal of each recorded pixel comes from, mm."""
        v, u = np.indices((self.view.height, self.view.width), dtype=np.float64)
        plane = self.plane_from_recorded(np.column_stack([u.ravel(), v.ravel()]))
        return plane.reshape(self.view.height, self.view.width, 2)

    def warp_image(self, ideal: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample an image (h, w) of the ideal view on the recorded pixels (cubic; the rim is repeated outside)."""
        expected = (self.view.height, self.view.width)
        if ideal.shape != expected:
            raise InputError(f"ideal: expected an image of {expected}, found {ideal.shape}")
        x, y = self._lookup
        image = np.ascontiguousarray(ideal, dtype=np.float32)
        return np.asarray(cv2.remap(image, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))

    # --- signal -------------------------------------------------------------------------------------------------

    def record(
        self, line_integral: NDArray[np.float32], exposure: Exposure, rng: np.random.Generator
    ) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Record a frame; bright is unattenuated.

        Parameters
        ----------
        line_integral
            (h, w) attenuation integrated along the ray of each RECORDED pixel (see ``warp_image``), dimensionless.
        exposure
            The X-ray output.
        rng
            Where noise comes from.
        """
        signal = self.signal(line_integral) * np.float32(exposure.open_field)
        if exposure.quanta is not None:
            per_unit = exposure.quanta / exposure.open_field
            signal = rng.poisson(signal * per_unit).astype(np.float32) / np.float32(per_unit)
        chain = self.chain
        if chain.electronic_noise > 0:
            signal = signal + rng.normal(0.0, chain.electronic_noise, signal.shape).astype(np.float32)
        white = 2**chain.bits - 1
        value = np.rint(np.clip(signal, 0, 1) ** np.float32(chain.gamma) * white)
        return np.asarray(value, dtype=np.uint8) if chain.bits == 8 else np.asarray(value, dtype=np.uint16)

    def signal(self, line_integral: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the signal (h, w) expected per unit of open field; outside the field it is glare alone."""
        expected = (self.view.height, self.view.width)
        if line_integral.shape != expected:
            raise InputError(f"line_integral: expected an image of {expected}, found {line_integral.shape}")
        chain = self.chain
        primary = np.exp(-line_integral.astype(np.float32))  # Beer-Lambert
        signal = primary
        if chain.scatter_share > 0:
            signal = signal + chain.scatter_share * self._spread(1 - primary, chain.scatter_width_mm)
        if chain.blur_mm > 0:
            signal = _blurred(signal, chain.blur_mm / self.pitch_mm)
        signal = signal * self._shading
        if chain.glare_share > 0:
            signal = (1 - chain.glare_share) * signal + chain.glare_share * self._spread(signal, chain.glare_width_mm)
        return np.asarray(signal, dtype=np.float32)

    @cached_property
    def _lookup(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        ideal = self.pixel_plane_mm / self.pitch_mm + self.centre_px
        return ideal[..., 0].astype(np.float32), ideal[..., 1].astype(np.float32)

    @cached_property
    def _shading(self) -> NDArray[np.float32]:
        """(h, w) heel effect, vignetting and the edge of the field, which a pixel may straddle."""
        v, u = np.indices((self.view.height, self.view.width), dtype=np.float64)
        field = self.field
        x, y = (u - field.u) / field.radius, (v - field.v) / field.radius
        share = np.hypot(x, y)
        edge = np.clip((1 - share) * field.radius + 0.5, 0, 1)
        beam = 1 + self.chain.heel[0] * x + self.chain.heel[1] * y
        return np.asarray(np.clip(beam, 0, None) * (1 - self.chain.vignetting * share**2) * edge, dtype=np.float32)

    def _spread(self, image: NDArray[np.float32], width_mm: float) -> NDArray[np.float32]:
        """Blur widely; on a grid eight times coarser, where nothing of so wide a Gaussian is lost."""
        sigma = width_mm / self.pitch_mm
        step = max(1, int(sigma // 6))
        small = cv2.resize(image, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
        spread = _blurred(np.asarray(small), sigma / step)
        height, width = image.shape
        return np.asarray(cv2.resize(spread, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _blurred(image: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)
