"""A head made by code: skull with jaw and teeth, soft tissue, air spaces and the upper neck, no patient's data.

Axes are DICOM's LPS: x to the left, y to the back, z to the crown; millimetres from a point between the ears.
The anatomy is drawn after common adult dimensions and is symmetric about x = 0 but for what `asymmetries` adds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoropose.simulate.solids import Grid, Solid, Vector, capsule, ellipsoid, mirrored, slab, tube
from fluoropose.volume import Volume

__all__ = ["Head", "head"]

# Linear attenuation in 1/mm near 60 keV, where the spectrum of a 70 kVp fluoroscope behind a head has its weight.
AIR, SOFT, BRAIN = 0.0, 0.0205, 0.0210
SPONGY, CORTICAL, PETROUS, ENAMEL, AMALGAM = 0.034, 0.052, 0.060, 0.080, 0.300

_GRID = Grid(origin_mm=(-83.85, -118.0, -158.0), spacing_mm=1.3, shape=(218, 176, 130))


@dataclass(frozen=True)
class Part:
    """A solid of one attenuation (1/mm), drawn over what was there; ``bone`` parts count to the skull or the jaw."""

    solid: Solid
    mu: float
    bone: bool = False


@dataclass(frozen=True, eq=False)
class Head:
    """The drawn head.

    Attributes
    ----------
    grid
        Where the voxels lie, mm.
    mu
        (nz, ny, nx) float32 attenuation, 1/mm.
    bone_share
        (nz, ny, nx) float32 share of each voxel that belongs to cranium or mandible.
    """

    grid: Grid
    mu: NDArray[np.float32]
    bone_share: NDArray[np.float32]

    @property
    def volume(self) -> Volume:
        """The attenuation in the head's frame."""
        place = np.diag([self.grid.spacing_mm] * 3 + [1.0])
        place[:3, 3] = self.grid.origin_mm
        return Volume(self.mu, place)

    @property
    def bone_points_mm(self) -> NDArray[np.float64]:
        """(n, 3) centres of the voxels that are bone."""
        voxels = np.argwhere(self.bone_share > 0.5)[:, ::-1]
        return np.asarray(voxels * self.grid.spacing_mm + np.asarray(self.grid.origin_mm))


def head(grid: Grid = _GRID, *, asymmetric: bool = True) -> Head:
    """Draw the head on ``grid``; ``asymmetric`` False leaves out what tells left from right."""
    mu = np.zeros(grid.shape, dtype=np.float32)
    bone_share = np.zeros(grid.shape, dtype=np.float32)
    symmetric = (*_soft_tissue(), *_neck(), *_vault(), *_base(), *_face(), *_jaw(), *_teeth())
    for part in (*symmetric, *(asymmetries() if asymmetric else ())):
        window, share = grid.share(part.solid)
        mu[window] += share * (np.float32(part.mu) - mu[window])
        bone_share[window] += share * (np.float32(part.bone) - bone_share[window])
    return Head(grid, mu, bone_share)


def _both(solid: Solid, mu: float, bone: bool = True) -> Iterator[Part]:
    yield Part(solid | mirrored(solid), mu, bone)


def _soft_tissue() -> Iterator[Part]:
    yield Part(capsule((0, 22, -45), (0, 34, -180), 54, 60), SOFT)
    yield Part(ellipsoid((0, 4, 34), (79, 99, 86)), SOFT)
    yield Part(ellipsoid((0, -42, -38), (66, 58, 76)), SOFT)
    yield Part(ellipsoid((0, -101, -28), (13, 15, 17)), SOFT)
    yield from _both(ellipsoid((79, 12, -14), (5, 14, 28)), SOFT, bone=False)
    yield Part(tube([(0, -92, -36), (0, -40, -34), (0, -2, -44), (0, 2, -180)], 8), AIR)


def _neck() -> Iterator[Part]:
    """Draw the vertebrae C1 to C4, which move with this head but are no part of its bone."""
    for level in range(4):
        y, z = 16 + 2.0 * level, -56 - 18.0 * level
        yield Part(ellipsoid((0, y, z), (10, 8, 7.5)), SPONGY)
        yield from _both(ellipsoid((17, y + 7, z), (8, 8, 7)), CORTICAL, bone=False)
        yield from _both(capsule((16, y + 14, z), (0, y + 31, z - 4), 3.5), CORTICAL, bone=False)
    yield Part(capsule((0, 14, -56), (0, 15, -48), 5), CORTICAL)


def _vault() -> Iterator[Part]:
    above_base = slab((0, 0, -20), (0, -0.12, -1), np.inf)
    yield Part(ellipsoid((0, 5, 34), (72, 91, 78)) & above_base, CORTICAL, bone=True)
    yield Part(ellipsoid((0, 5, 34), (70, 89, 76)) & above_base, SPONGY, bone=True)
    yield Part(ellipsoid((0, 5, 34), (67.5, 86.5, 73.5)) & above_base, CORTICAL, bone=True)
    yield Part(ellipsoid((0, 5, 34), (65.5, 84, 71.5)) & above_base, BRAIN)
    yield Part(capsule((0, 87, -7), (0, 84, -2), 6), CORTICAL, bone=True)
    yield from _both(capsule((0, 86, 0), (48, 60, -2), 4), CORTICAL)


def _base() -> Iterator[Part]:
    floor = ellipsoid((0, 5, 34), (71, 90, 77))
    yield Part(floor & slab((0, 0, -20), (0, -0.12, -1), 5), CORTICAL, bone=True)
    yield Part(ellipsoid((0, 38, -24), (44, 31, 18)) - ellipsoid((0, 38, -17), (40, 27, 20)), CORTICAL, bone=True)
    yield Part(ellipsoid((0, 33, -36), (15, 18, 14)), SOFT)
    yield Part(capsule((0, -14, -14), (0, 10, -32), 6), CORTICAL, bone=True)
    yield Part(ellipsoid((0, -16, -6), (8, 6, 5)), SOFT)
    yield from _both(capsule((14, 2, -20), (56, 26, -14), 8, 11), PETROUS)
    yield from _both(ellipsoid((58, 27, -34), (11, 13, 19)), CORTICAL)
    yield from _both(ellipsoid((58, 26, -31), (6, 8, 11)), SPONGY)
    yield from _both(capsule((50, 8, -18), (82, 10, -18), 3.5), AIR, bone=False)
    yield from _both(ellipsoid((16, 30, -43), (6, 11, 6)), CORTICAL)
    yield from _both(capsule((52, 22, -32), (62, 30, -44), 3.2), AIR, bone=False)
    yield Part(capsule((0, -16, -8), (0, -44, -6), 9), SPONGY, bone=True)
    yield Part(ellipsoid((0, -30, -16), (10, 14, 8)), AIR)


def _face() -> Iterator[Part]:
    yield from _both(ellipsoid((31, -66, -10), (27, 26, 24)), CORTICAL)
    yield from _both(ellipsoid((31, -70, -10), (21, 24, 18)), SOFT, bone=False)
    yield Part(ellipsoid((0, -85, 8), (13, 8, 9)), CORTICAL, bone=True)
    yield from _both(capsule((6, -92, 8), (50, -74, 12), 6, 5), CORTICAL)
    yield from _both(ellipsoid((14, -86, 20), (9, 4, 9)), AIR, bone=False)
    yield Part(ellipsoid((0, -60, -44), (35, 30, 20)), SPONGY, bone=True)
    yield from _both(ellipsoid((21, -58, -34), (11, 16, 14)), AIR, bone=False)
    yield Part(ellipsoid((0, -70, -28), (12, 26, 20)), AIR)
    yield Part(ellipsoid((0, -66, -30), (1.6, 26, 22)), CORTICAL, bone=True)
    yield Part(capsule((0, -89, 4), (0, -98, -16), 5, 4), CORTICAL, bone=True)
    yield Part(ellipsoid((0, -60, -54), (32, 30, 4)), CORTICAL, bone=True)
    yield from _both(capsule((32, -72, -32), (60, -50, -26), 8, 7), CORTICAL)
    yield from _both(tube([(60, -50, -26), (69, -22, -23), (66, 12, -19)], 3.6), CORTICAL)
    yield from _both(capsule((14, -26, -28), (15, -24, -54), 4), CORTICAL)


def _jaw() -> Iterator[Part]:
    half: list[Vector] = [(0, -84, -92), (20, -77, -91), (36, -54, -87), (44, -30, -82), (48, -10, -76)]
    upper: list[Vector] = [(0, -82, -81), (20, -74, -80), (35, -52, -77), (43, -30, -74)]
    yield from _both(tube(half, 7), CORTICAL)
    yield from _both(tube(upper, 6.5), CORTICAL)
    yield from _both(tube(half, 4), SPONGY)
    yield Part(ellipsoid((0, -89, -94), (14, 5, 7)), CORTICAL, bone=True)
    ramus = capsule((47, -14, -72), (50, -6, -30), 17, 13) & slab((48.5, -10, -50), (1, 0.03, -0.06), 8)
    yield from _both(ramus, CORTICAL)
    yield from _both(ellipsoid((52, 2, -23), (9, 5, 5)), CORTICAL)
    yield from _both(capsule((51, 0, -34), (52, 2, -24), 4.5), CORTICAL)
    yield from _both(capsule((47, -18, -42), (48, -21, -24), 5, 2.5), CORTICAL)


def _arch(count: int) -> Iterator[tuple[float, float, float]]:
    """Yield x, y mm and a size factor of the ``count`` teeth of one half of a dental arch, front to back."""
    for tooth in range(count):
        angle = np.radians(7.0 + 11.0 * tooth)
        yield 31 * float(np.sin(angle)), -44 - 40 * float(np.cos(angle)) ** 1.2, 1.0 + 0.06 * tooth


def _teeth() -> Iterator[Part]:
    for x, y, size in _arch(7):
        yield from _both(capsule((x, y, -52), (x, y, -61), 1.8, 2.8 * size), ENAMEL)
        yield from _both(capsule((x, y + 1, -65.5), (x, y + 1, -75), 2.8 * size, 1.8), ENAMEL)


def asymmetries() -> Iterator[Part]:
    """Draw what tells the left side from the right: no skull is its own mirror image."""
    teeth = list(_arch(7))
    x, y, size = teeth[5]
    yield Part(capsule((x, y, -55), (x, y, -66), 3.2 * size), SOFT)  # a lost upper left molar
    x, y, size = teeth[4]
    yield Part(ellipsoid((-x, y + 1, -68), (3.4 * size, 3.4 * size, 2.6)), AMALGAM, bone=True)  # a filling, right
    x, y, size = teeth[6]
    yield Part(ellipsoid((x, y + 1, -70), (3.0 * size, 3.0 * size, 2.4)), AMALGAM, bone=True)  # and one at the left
    yield Part(ellipsoid((16, -85, 27), (13, 4, 11)), AIR)  # the left frontal sinus reaches higher
    yield Part(ellipsoid((-21, -58, -40), (9, 11, 9)), SOFT)  # the right maxillary sinus is half filled
    yield Part(ellipsoid((-58, 28, -38), (5, 6, 9)), AIR)  # more mastoid cells at the right
    yield Part(ellipsoid((57, 36, -36), (9, 9, 17)), CORTICAL, bone=True)  # a broader left mastoid process
    yield Part(capsule((-22, 74, 34), (-30, 70, 52), 9) - ellipsoid((0, 5, 34), (66, 84.5, 72)), CORTICAL, bone=True)
    yield Part(ellipsoid((36, 62, 62), (11, 11, 11)) & ellipsoid((0, 5, 34), (69, 88, 75)), SOFT)  # a thin place
    yield Part(capsule((58, -60, -27), (66, -38, -25), 6.5), CORTICAL, bone=True)  # the left cheek stands out
