"""What becomes of the beam behind the body: from its primary signal to the stored numbers of a frame."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import with_config

from fluoropose._checks import positive
from fluoropose.errors import InputError
from fluoropose.rig import CircularField

__all__ = ["Exposure", "ImageChain", "Recorder"]

_LEAST_LAG = 1e-4  # share of the signal below which what is left of a former frame no longer counts


@with_config(extra="forbid")
@dataclass(frozen=True)
class Exposure:
    """The X-ray output of one recording.

    Attributes
    ----------
    open_field
        Gain: the signal of the unattenuated beam as a share of white; above 1 it saturates.
    quanta
        Mean number of quanta that one pixel detects in the unattenuated beam; without it there is no quantum noise.
    pulse_s
        Duration of a pulse, whose signal the frame integrates: what moves blurs. Zero stops all motion.
    instants
        Poses that the integral over the pulse is made of, evenly spread in it.
    drift_per_s
        Relative change of the tube's output per second, counted from the first frame.
    """

    open_field: float = 1.0
    quanta: float | None = None
    pulse_s: float = 0.0
    instants: int = 5
    drift_per_s: float = 0.0

    def __post_init__(self) -> None:
        positive("open_field", self.open_field)
        if self.quanta is not None:
            positive("quanta", self.quanta)
        if not 0 <= self.pulse_s <= 1:
            raise InputError(f"pulse_s: expected 0 to 1 s, found {self.pulse_s}")
        if not 1 <= self.instants <= 100:
            raise InputError(f"instants: expected 1 to 100, found {self.instants}")
        if not np.isfinite(self.drift_per_s):
            raise InputError(f"drift_per_s: expected a finite number, found {self.drift_per_s}")

    @property
    def instants_s(self) -> tuple[float, ...]:
        """Times of the poses in a pulse against its middle, s."""
        if self.pulse_s == 0:
            return (0.0,)
        return tuple(self.pulse_s * ((i + 0.5) / self.instants - 0.5) for i in range(self.instants))

    def output(self, time_s: float) -> float:
        """Return the tube's output at ``time_s`` relative to that at 0; raises InputError where nothing is left."""
        output = 1 + self.drift_per_s * time_s
        if output <= 0:
            raise InputError(f"drift_per_s: at {time_s:g} s the tube's output would be {output:.3g} of the first")
        return output


@with_config(extra="forbid")
@dataclass(frozen=True)
class ImageChain:
    """What screen, optics and camera do to the signal; each effect is off at its default.

    Attributes
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
    lag_s
        Time constant with which the light of former frames decays in screen and camera.
    electronic_noise
        Standard deviation of the camera's noise as a share of white.
    gamma
        The recorded value is the signal to this power.
    bits
        8 to 16 that carry signal; more than 8 are stored in 16.
    """

    scatter_share: float = 0.0
    scatter_width_mm: float = 30.0
    blur_mm: float = 0.0
    glare_share: float = 0.0
    glare_width_mm: float = 15.0
    vignetting: float = 0.0
    heel: tuple[float, float] = (0.0, 0.0)
    lag_s: float = 0.0
    electronic_noise: float = 0.0
    gamma: float = 1.0
    bits: int = 8

    def __post_init__(self) -> None:
        for name in ("scatter_share", "glare_share", "vignetting"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}: expected a share of 0 to below 1, found {getattr(self, name)}")
        for name in ("blur_mm", "lag_s", "electronic_noise"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InputError(f"{name}: expected a finite number >= 0, found {getattr(self, name)}")
        for name in ("scatter_width_mm", "glare_width_mm", "gamma"):
            positive(name, getattr(self, name))
        if not np.abs(self.heel).max() < 1:
            raise InputError(f"heel: expected two numbers between -1 and 1, found {self.heel}")
        if self.bits not in range(8, 17):
            raise InputError(f"bits: expected 8 to 16, found {self.bits}")

    def lag_weights(self, interval_s: float) -> tuple[float, ...]:
        """Return the shares of a frame's light that come from itself, from the frame before, and so on; sum 1."""
        if self.lag_s == 0:
            return (1.0,)
        left = np.exp(-positive("interval_s", interval_s) / self.lag_s)
        if left > 0.9:
            raise InputError(f"lag_s: expected at most nine times the frame interval, {interval_s:g} s")
        shares = left ** np.arange(max(1, int(np.ceil(np.log(_LEAST_LAG) / np.log(left)))) if left > 0 else 1)
        return tuple(float(share) for share in shares / shares.sum())


@dataclass(frozen=True, eq=False)
class Recorder:
    """An image chain with the size of what it records.

    Attributes
    ----------
    shape
        (h, w) of the recorded image.
    pitch_mm
        Of its pixels on the image plane.
    field
        The disc that carries signal; None: all of the image does.
    chain
        What happens to the signal.
    """

    shape: tuple[int, int]
    pitch_mm: float
    field: CircularField | None
    chain: ImageChain

    def signal(self, primary: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the signal (h, w) expected per unit of open field; outside the field it is glare alone.

        ``primary``: (h, w) share of the beam's signal that the body lets through to each recorded pixel.
        """
        if primary.shape != self.shape:
            raise InputError(f"primary: expected an image of {self.shape}, found {primary.shape}")
        chain = self.chain
        signal = primary
        if chain.scatter_share > 0:
            signal = signal + chain.scatter_share * self._spread(1 - primary, chain.scatter_width_mm)
        if chain.blur_mm > 0:
            signal = _blurred(signal, chain.blur_mm / self.pitch_mm)
        signal = signal * self._shading
        if chain.glare_share > 0:
            signal = (1 - chain.glare_share) * signal + chain.glare_share * self._spread(signal, chain.glare_width_mm)
        return np.asarray(signal, dtype=np.float32)

    def expose(
        self, signal: NDArray[np.float32], exposure: Exposure, rng: np.random.Generator, time_s: float = 0.0
    ) -> NDArray[np.float32]:
        """Return the light (h, w), share of white, that an exposure makes of the ``signal`` (h, w), with its quanta."""
        gain = exposure.open_field if exposure.drift_per_s == 0 else exposure.open_field * exposure.output(time_s)
        light = signal * np.float32(gain)
        if exposure.quanta is not None:
            per_unit = exposure.quanta / exposure.open_field
            light = rng.poisson(light * per_unit).astype(np.float32) / np.float32(per_unit)
        return light

    def store(self, light: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Return what the camera stores of the light (h, w), share of white."""
        chain = self.chain
        if chain.electronic_noise > 0:
            light = light + rng.normal(0.0, chain.electronic_noise, light.shape).astype(np.float32)
        white = 2**chain.bits - 1
        value = np.rint(np.clip(light, 0, 1) ** np.float32(chain.gamma) * white)
        return np.asarray(value, dtype=np.uint8) if chain.bits == 8 else np.asarray(value, dtype=np.uint16)

    @cached_property
    def _shading(self) -> NDArray[np.float32]:
        """(h, w) heel effect, vignetting and the edge of the field, which a pixel may straddle."""
        height, width = self.shape
        field = self.field or CircularField((width - 1) / 2, (height - 1) / 2, min(width, height) / 2)
        v, u = np.indices(self.shape, dtype=np.float64)
        x, y = (u - field.u) / field.radius, (v - field.v) / field.radius
        share = np.hypot(x, y)
        edge = np.clip((1 - share) * field.radius + 0.5, 0, 1) if self.field is not None else np.ones(self.shape)
        beam = 1 + self.chain.heel[0] * x + self.chain.heel[1] * y
        fall = np.clip(1 - self.chain.vignetting * share**2, 0, None)
        return np.asarray(np.clip(beam, 0, None) * fall * edge, dtype=np.float32)

    def _spread(self, image: NDArray[np.float32], width_mm: float) -> NDArray[np.float32]:
        """Blur widely; on a coarser grid, where nothing of so wide a Gaussian is lost."""
        sigma = width_mm / self.pitch_mm
        step = max(1, min(int(sigma // 6), min(image.shape) // 8))
        small = cv2.resize(image, None, fx=1 / step, fy=1 / step, interpolation=cv2.INTER_AREA)
        spread = _blurred(np.asarray(small), sigma / step)
        height, width = image.shape
        return np.asarray(cv2.resize(spread, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.float32)


def _blurred(image: NDArray[np.float32], sigma_px: float) -> NDArray[np.float32]:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE), dtype=np.float32)
