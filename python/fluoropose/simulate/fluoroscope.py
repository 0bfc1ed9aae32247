"""A source, intensifier and camera as they truly are: where recorded pixels come from, and what they record."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.geometry import View
from fluoropose.rig import CircularField
from fluoropose.simulate.chain import Exposure, ImageChain, Recorder
from fluoropose.simulate.intensifier import IntensifierWarp

__all__ = ["SimulatedFluoroscope"]


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
    chain: ImageChain = field(default_factory=ImageChain)

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
        """Record a frame of a beam of one energy; bright is unattenuated.

        Parameters
        ----------
        line_integral
            (h, w) attenuation integrated along the ray of each RECORDED pixel (see ``warp_image``), dimensionless.
        exposure
            The X-ray output.
        rng
            Where noise comes from.
        """
        return self.recorder.store(self.recorder.expose(self.signal(line_integral), exposure, rng), rng)

    def signal(self, line_integral: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the signal (h, w) expected per unit of open field; outside the field it is glare alone."""
        expected = (self.view.height, self.view.width)
        if line_integral.shape != expected:
            raise InputError(f"line_integral: expected an image of {expected}, found {line_integral.shape}")
        return self.recorder.signal(np.exp(-line_integral.astype(np.float32)))  # Beer-Lambert

    @cached_property
    def recorder(self) -> Recorder:
        """What the chain makes of the beam."""
        return Recorder((self.view.height, self.view.width), self.pitch_mm, self.field, self.chain)

    @cached_property
    def _lookup(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        ideal = self.pixel_plane_mm / self.pitch_mm + self.centre_px
        return ideal[..., 0].astype(np.float32), ideal[..., 1].astype(np.float32)
