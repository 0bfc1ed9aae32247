"""The tool with four beads that ties the two views together, and where it was held."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.simulate.fluoroscope import SimulatedFluoroscope
from fluoropose.simulate.plate import MU_ACRYLIC, MU_STEEL

__all__ = ["AlignmentTool", "ToolBead", "placements"]

_SUBSAMPLES = 4


@dataclass(frozen=True)
class ToolBead:
    """A steel bead: its name, diameter and centre in the tool's frame, mm."""

    name: str
    diameter_mm: float
    centre_mm: tuple[float, float, float]


@dataclass(frozen=True)
class AlignmentTool:
    """Steel beads of different sizes in acrylic balls, each pair joined by an acrylic rod.

    Parameters
    ----------
    beads
        Four or more.
    ball_diameter_mm, rod_diameter_mm
        Of the acrylic; zero leaves it out.
    """

    beads: tuple[ToolBead, ...] = (
        ToolBead("A", 3.0, (0.0, 0.0, 0.0)),
        ToolBead("B", 4.0, (112.6, -0.9, 1.4)),
        ToolBead("C", 5.0, (55.2, 98.3, -1.7)),
        ToolBead("D", 6.0, (58.9, 33.7, 92.1)),
    )
    ball_diameter_mm: float = 12.0
    rod_diameter_mm: float = 6.0

    @property
    def centres_mm(self) -> NDArray[np.float64]:
        """(n, 3) bead centres in the tool's frame."""
        return np.array([bead.centre_mm for bead in self.beads])

    def line_integral(self, fluoroscope: SimulatedFluoroscope, world_from_tool: Pose) -> NDArray[np.float32]:
        """Return what the recorded pixels (h, w) see of the tool."""
        shape = (fluoroscope.view.height, fluoroscope.view.width)
        directions = _rays(fluoroscope, fluoroscope.pixel_plane_mm.reshape(-1, 2))
        source = fluoroscope.view.source
        centres = world_from_tool.apply(self.centres_mm)
        acrylic = np.zeros(len(directions))
        ball, rod = self.ball_diameter_mm / 2, self.rod_diameter_mm / 2
        for k, a in enumerate(centres):
            acrylic += _sphere_chord(source, directions, a, ball)
            for b in centres[k + 1 :]:
                along = (b - a) / np.linalg.norm(b - a)
                acrylic += _rod_chord(source, directions, a + ball * along, b - ball * along, rod)
        steel = np.zeros(shape)
        for bead, centre in zip(self.beads, centres, strict=True):
            steel += self._bead(fluoroscope, centre, bead.diameter_mm / 2)
        return np.asarray(MU_ACRYLIC * acrylic.reshape(shape) + steel, dtype=np.float32)

    def _bead(
        self, fluoroscope: SimulatedFluoroscope, centre: NDArray[np.float64], radius: float
    ) -> NDArray[np.float64]:
        """Return the attenuation (h, w) a bead adds to the acrylic it replaces; the mean of the signal per pixel."""
        height, width = fluoroscope.view.height, fluoroscope.view.width
        image = np.zeros((height, width))
        at = fluoroscope.recorded_from_plane(fluoroscope.plane_from_world(centre[None]))[0]
        reach = 3 * radius / fluoroscope.pitch_mm + 2
        u0, v0 = (int(max(0, np.floor(c - reach))) for c in at)
        u1, v1 = (int(min(n, np.ceil(c + reach) + 1)) for c, n in zip(at, (width, height), strict=True))
        if u0 >= u1 or v0 >= v1:
            return image
        steps = (np.arange(_SUBSAMPLES) + 0.5) / _SUBSAMPLES - 0.5
        u = (np.arange(u0, u1)[:, None] + steps).ravel()
        v = (np.arange(v0, v1)[:, None] + steps).ravel()
        pixels = np.stack(np.meshgrid(u, v), axis=-1).reshape(-1, 2)
        directions = _rays(fluoroscope, fluoroscope.plane_from_recorded(pixels))
        chord = _sphere_chord(fluoroscope.view.source, directions, centre, radius)
        signal = np.exp(-(MU_STEEL - MU_ACRYLIC) * chord).reshape(v1 - v0, _SUBSAMPLES, u1 - u0, _SUBSAMPLES)
        image[v0:v1, u0:u1] = -np.log(signal.mean(axis=(1, 3)))
        return image


def placements(
    tool: AlignmentTool,
    fluoroscopes: tuple[SimulatedFluoroscope, ...],
    isocentre: NDArray[np.float64],
    count: int,
    rng: np.random.Generator,
) -> tuple[Pose, ...]:
    """Hold the tool in ``count`` random poses near the isocentre so that every view shows every bead freely.

    Returns ``world_from_tool`` per placement. Raises InputError where the tool does not fit into the fields.
    """
    middle = tool.centres_mm.mean(axis=0)
    found: list[Pose] = []
    for _ in range(2000 * count):
        turn = Rotation.random(rng=rng).as_matrix()
        pose = Pose(turn, isocentre + rng.uniform(-25, 25, 3) - turn @ middle)
        if all(_shows(f, tool, pose) for f in fluoroscopes):
            found.append(pose)
        if len(found) == count:
            return tuple(found)
    raise InputError(f"tool: found only {len(found)} of {count} placements in which all views show all beads")


def _shows(fluoroscope: SimulatedFluoroscope, tool: AlignmentTool, world_from_tool: Pose) -> bool:
    plane = fluoroscope.plane_from_world(world_from_tool.apply(tool.centres_mm))
    apart = np.linalg.norm(plane[:, None] - plane[None], axis=2)[~np.eye(len(plane), dtype=bool)]
    return bool(np.hypot(plane[:, 0], plane[:, 1]).max() < 0.9 * fluoroscope.warp.radius_mm and apart.min() > 25)


def _rays(fluoroscope: SimulatedFluoroscope, plane_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return unit directions (n, 3) from the source to points (n, 2) mm of the image plane."""
    points = fluoroscope.view.pixel_to_world(plane_mm / fluoroscope.pitch_mm + fluoroscope.centre_px)
    rays = points - fluoroscope.view.source
    return np.asarray(rays / np.linalg.norm(rays, axis=1, keepdims=True))


def _sphere_chord(
    source: NDArray[np.float64], directions: NDArray[np.float64], centre: NDArray[np.float64], radius: float
) -> NDArray[np.float64]:
    away = centre - source
    along = directions @ away
    return np.asarray(2 * np.sqrt(np.maximum(radius**2 - (away @ away - along**2), 0)))


def _rod_chord(
    source: NDArray[np.float64],
    directions: NDArray[np.float64],
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    radius: float,
) -> NDArray[np.float64]:
    """Return the lengths (n,) mm of rays inside the cylinder from ``a`` to ``b``: its tube cut by its end planes."""
    length = float(np.linalg.norm(b - a))
    axis = (b - a) / length
    along, start = directions @ axis, float((source - a) @ axis)
    across = directions - along[:, None] * axis
    offset = (source - a) - start * axis
    # |offset + t across| = radius
    p, q = (across**2).sum(axis=1), across @ offset
    root = q**2 - p * (offset @ offset - radius**2)
    half = np.sqrt(np.maximum(root, 0))
    p = np.maximum(p, 1e-12)
    slope = np.where(np.abs(along) > 1e-12, along, 1e-12)
    ends = np.sort(np.stack([-start / slope, (length - start) / slope]), axis=0)
    enter, leave = np.maximum((-q - half) / p, ends[0]), np.minimum((-q + half) / p, ends[1])
    return np.where(root > 0, np.maximum(leave - enter, 0), 0.0)
