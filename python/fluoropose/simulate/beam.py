"""The beam: which energies leave the tube and count on the screen, and how much of them materials let through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat
from scipy.optimize import nnls

from fluoropose._checks import finite_array
from fluoropose._toml import Config
from fluoropose.errors import InputError
from fluoropose.simulate.materials import CAESIUM_IODIDE, MATERIALS, PER_MM_AT_70_KEV, MaterialName, physics

__all__ = ["Beam", "Spectrum", "Tube"]

# Paths through which few lines must stand for the whole spectrum, mm; beyond, they remain a beam that hardens.
_LONGEST_MM = {"soft_tissue": 400.0, "water": 400.0, "cortical_bone": 120.0, "polyethylene": 400.0, "acrylic": 400.0}
_LONGEST_METAL_MM = 40.0
_DARKEST = np.float32(-80)  # the logarithm of nothing; smaller numbers are slow to compute with
_PIXELS_AT_ONCE = 1 << 15  # what a core's cache holds of all lines


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Lines that make up a beam's signal on the screen.

    Attributes
    ----------
    energies_kev
        (n,) of the lines.
    shares
        (n,) of the signal of the unattenuated beam; sum 1.
    """

    energies_kev: NDArray[np.float64]
    shares: NDArray[np.float64]

    def __post_init__(self) -> None:
        energies = finite_array("energies_kev", self.energies_kev, (None,))
        shares = finite_array("shares", self.shares, (len(energies),))
        if len(energies) == 0 or (energies <= 0).any():
            raise InputError("energies_kev: expected at least one positive energy")
        if (shares < 0).any() or not shares.sum() > 0:
            raise InputError("shares: expected none below zero and a positive sum")
        object.__setattr__(self, "energies_kev", energies)
        object.__setattr__(self, "shares", shares / shares.sum())

    @property
    def mean_kev(self) -> float:
        """Mean energy, keV."""
        return float(self.energies_kev @ self.shares)


class Tube(Config):
    """An X-ray tube in front of a caesium iodide screen that weighs quanta by their energy.

    Attributes
    ----------
    kvp
        Tube voltage, kV (peak).
    anode_angle_deg
        Of a tungsten anode.
    filtration_mm
        Thickness by filter material (chemical symbol), mm.
    air_mm
        Air between tube and screen, mm.
    screen_g_per_cm2
        Areal density of the screen: which share of the quanta it stops.
    """

    kvp: float = Field(default=70.0, ge=30, le=150)
    anode_angle_deg: float = Field(default=12.0, gt=0, le=45)
    filtration_mm: dict[str, PositiveFloat] = Field(default_factory=lambda: {"Al": 3.0})
    air_mm: float = Field(default=1000.0, ge=0)
    screen_g_per_cm2: PositiveFloat = 0.18

    def fluence(self) -> Spectrum:
        """Return the shares of quanta behind the filters (spekpy: Poludniowski et al., Medical Physics 48 (2021)).

        Raises
        ------
        InputError
            If spekpy is not installed or does not know a filter.
        """
        try:
            import spekpy
        except ImportError:
            raise physics("spekpy") from None
        tube = spekpy.Spek(kvp=self.kvp, th=self.anode_angle_deg, dk=0.5)
        for name, thickness in {**self.filtration_mm, "Air": self.air_mm}.items():
            try:
                tube.filter(name, thickness)
            except Exception as error:  # spekpy raises bare exceptions
                raise InputError(f"filtration_mm: {name}: expected a filter that spekpy knows: {error}") from error
        energies, quanta = tube.get_spectrum(edges=False)
        return Spectrum(energies[quanta > 0], quanta[quanta > 0])

    def spectrum(self) -> Spectrum:
        """Return the spectrum of the signal: quanta times the share the screen stops times their energy."""
        beam = self.fluence()
        thickness_mm = 10 * self.screen_g_per_cm2 / CAESIUM_IODIDE.density_g_per_cm3
        stopped = 1 - np.exp(-CAESIUM_IODIDE.attenuation_per_mm(beam.energies_kev) * thickness_mm)
        return Spectrum(beam.energies_kev, beam.shares * stopped * beam.energies_kev)


@dataclass(frozen=True, eq=False)
class Beam:
    """A beam through given materials.

    Attributes
    ----------
    shares
        (k,) of the signal at each energy; sum 1.
    per_mm
        (k, m) attenuation of every material at each energy, per unit of path (1/mm where the paths are mm).
    """

    shares: NDArray[np.float64]
    per_mm: NDArray[np.float64]

    @classmethod
    def of(cls, spectrum: Spectrum, materials: Sequence[MaterialName]) -> Beam:
        """Attenuate every line of ``spectrum`` by ``materials``."""
        unknown = [name for name in materials if name not in MATERIALS]
        if unknown:
            raise InputError(f"materials: expected some of {', '.join(MATERIALS)}, found {unknown[0]!r}")
        columns = [MATERIALS[name].attenuation_per_mm(spectrum.energies_kev) for name in materials]
        return cls(spectrum.shares, np.column_stack(columns)).with_few_lines([_longest(name) for name in materials])

    @classmethod
    def monochromatic(cls, materials: Sequence[MaterialName]) -> Beam:
        """Return a beam of 70 keV through ``materials``; needs none of the libraries."""
        return cls(np.ones(1), np.array([[PER_MM_AT_70_KEV[name] for name in materials]]))

    def transmission(self, paths: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the share of the signal (h, w) behind ``paths`` (m, h, w), mm in each material: Beer-Lambert.

        The sum over the lines of share exp(-sum over the materials of attenuation times path).
        """
        count = self.per_mm.shape[1]
        if paths.ndim != 3 or len(paths) != count:
            raise InputError(f"paths: expected ({count}, height, width), found {paths.shape}")
        per_mm, shares = self.per_mm.astype(np.float32), self.shares.astype(np.float32)
        flat = np.ascontiguousarray(paths, dtype=np.float32).reshape(count, -1)
        out = np.empty(flat.shape[1], dtype=np.float32)
        for start in range(0, flat.shape[1], _PIXELS_AT_ONCE):
            part = slice(start, start + _PIXELS_AT_ONCE)
            # Not by BLAS: so small a product is shared among threads that then wait for each other.
            depth = np.einsum("km,mn->kn", -per_mm, flat[:, part])
            out[part] = np.einsum("k,kn->n", shares, cv2.exp(np.maximum(depth, _DARKEST, out=depth)))
        return out.reshape(paths.shape[1:])

    def with_few_lines(self, longest: Sequence[float], tolerance: float = 1e-4) -> Beam:
        """Return a beam of few lines that materials of up to ``longest`` (m,) attenuate as they do this one.

        Lines are taken one by one, each where it helps most, and their shares fitted by non-negative least squares
        until the transmission is right within the relative ``tolerance`` on a grid of paths (or no line is left). What
        results is a beam too, and hardens, also beyond the paths that it was fitted to.
        """
        steps = min(40, 1 + round(4000 ** (1 / len(longest))))
        # Quadratic: the beam changes most in the first millimetres.
        ticks = [length * np.linspace(0, 1, steps) ** 2 for length in longest]
        paths = np.stack(np.meshgrid(*ticks, indexing="ij"), axis=-1).reshape(-1, len(ticks))
        depth = -paths @ self.per_mm.T
        lines = np.exp(depth - depth.max(axis=1, keepdims=True))
        lines /= (lines @ self.shares)[:, None]  # each row then asks for a sum of shares times lines of 1
        weight = np.where(paths.sum(axis=1) == 0, 10.0, 1.0)  # the open field counts most
        chosen: list[int] = []
        shares, rest = np.zeros(0), weight.copy()
        while np.abs(rest / weight).max() > tolerance and len(chosen) < len(self.shares):
            gain = np.abs((lines * weight[:, None]).T @ rest) / np.linalg.norm(lines * weight[:, None], axis=0)
            gain[chosen] = -1
            chosen.append(int(np.argmax(gain)))
            shares, _ = nnls(lines[:, chosen] * weight[:, None], weight)
            rest = weight - (lines[:, chosen] * weight[:, None]) @ shares
        kept = np.array(chosen)[shares > 0]
        return Beam(shares[shares > 0] / shares.sum(), self.per_mm[kept])


def _longest(name: MaterialName) -> float:
    return _LONGEST_MM.get(name, _LONGEST_METAL_MM)
