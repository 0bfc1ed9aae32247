"""The bead plate on the intensifier's face that image distortion is measured with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import positive
from fluoropose.simulate.fluoroscope import SimulatedFluoroscope

__all__ = ["MU_ACRYLIC", "MU_STEEL", "Plate", "PlateBeads"]

MU_STEEL = 0.9  # 1/mm near 60 keV
MU_ACRYLIC = 0.0225  # 1/mm near 60 keV
_SUBSAMPLES = 4  # rays per pixel and direction: a bead is only a few pixels wide


@dataclass(frozen=True, eq=False)
class PlateBeads:
    """Beads of a plate: grid indices (n, 2) int, centres (n, 2) mm on the image plane, diameters (n,) mm."""

    index: NDArray[np.int64]
    plane_mm: NDArray[np.float64]
    diameter_mm: NDArray[np.float64]


@dataclass(frozen=True)
class Plate:
    """An acrylic plate with steel beads on a square grid, lying in the image plane.

    Parameters
    ----------
    spacing_mm, bead_diameter_mm
        Of the grid.
    origin_bead_diameter_mm
        Of the one larger bead at the grid's origin.
    thickness_mm
        Of the acrylic.
    turn_deg
        From the image plane's x axis (along u) to the grid's first axis, towards y (along v).
    offset_mm
        (x, y) of the grid's origin on the image plane, from the centre of the field.
    missing
        Grid indices (i, j) of the beads that fell out.
    """

    spacing_mm: float = 10.0
    bead_diameter_mm: float = 2.0
    origin_bead_diameter_mm: float = 4.0
    thickness_mm: float = 10.0
    turn_deg: float = 0.0
    offset_mm: tuple[float, float] = (0.0, 0.0)
    missing: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        for name in ("spacing_mm", "bead_diameter_mm", "origin_bead_diameter_mm"):
            positive(name, getattr(self, name))

    @property
    def _axes(self) -> NDArray[np.float64]:
        """(2, 2) rows: the grid's axes on the image plane."""
        c, s = np.cos(np.radians(self.turn_deg)), np.sin(np.radians(self.turn_deg))
        return np.array([[c, s], [-s, c]])

    def beads(self, radius_mm: float) -> PlateBeads:
        """Return the beads that are there, with centres within ``radius_mm`` of the field's centre."""
        reach = int(np.ceil((radius_mm + np.hypot(*self.offset_mm)) / self.spacing_mm))
        steps = np.arange(-reach, reach + 1)
        index = np.stack(np.meshgrid(steps, steps, indexing="ij"), axis=-1).reshape(-1, 2)
        plane = index * self.spacing_mm @ self._axes + self.offset_mm
        gone = {tuple(m) for m in self.missing}
        there = np.array([(i, j) not in gone for i, j in index.tolist()])
        keep = there & (np.hypot(plane[:, 0], plane[:, 1]) <= radius_mm)
        diameter = np.where((index == 0).all(axis=1), self.origin_bead_diameter_mm, self.bead_diameter_mm)
        return PlateBeads(index[keep], plane[keep], diameter[keep])

    def line_integral(self, fluoroscope: SimulatedFluoroscope) -> NDArray[np.float32]:
        """Return what the recorded pixels (h, w) see of the plate; the mean is taken of the signal in each pixel."""
        height, width = fluoroscope.view.height, fluoroscope.view.width
        signal = np.zeros((height, width))
        steps = (np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5
        v, u = np.indices((height, width), dtype=np.float64)
        pixels = np.column_stack([u.ravel(), v.ravel()])
        # Within a pixel the warp is a shift to far better than a bead's radius: map the centres, then step.
        centres = fluoroscope.pixel_plane_mm.reshape(-1, 2)
        along_u = fluoroscope.plane_from_recorded(pixels + np.array([0.5, 0.0])) - centres
        along_v = fluoroscope.plane_from_recorded(pixels + np.array([0.0, 0.5])) - centres
        for dv in steps:
            for du in steps:
                chord = self._chord(centres + 2 * du * along_u + 2 * dv * along_v)
                signal += np.exp(-MU_STEEL * chord).reshape(height, width)
        mean = np.maximum(signal / _SUBSAMPLES**2, 1e-12)
        return np.asarray(MU_ACRYLIC * self.thickness_mm - np.log(mean), dtype=np.float32)

    def _chord(self, plane_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the length in steel (n,) mm of rays that meet the plane at (n, 2) mm, nearly at right angles."""
        grid = (plane_mm - np.asarray(self.offset_mm)) @ self._axes.T / self.spacing_mm
        index = np.rint(grid)
        away = ((grid - index) * self.spacing_mm) ** 2
        origin = (index == 0).all(axis=1)
        radius = np.where(origin, self.origin_bead_diameter_mm, self.bead_diameter_mm) / 2
        for i, j in self.missing:
            radius[(index[:, 0] == i) & (index[:, 1] == j)] = 0.0
        return np.asarray(2 * np.sqrt(np.maximum(radius**2 - away.sum(axis=1), 0)))
