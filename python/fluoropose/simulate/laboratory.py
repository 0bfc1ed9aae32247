"""A dual-fluoroscopy laboratory: what its papers say, and how its machines really stand."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fluoropose._checks import positive
from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.rig import Fluoroscope, Rig
from fluoropose.simulate.alignment_tool import AlignmentTool, placements
from fluoropose.simulate.chain import Exposure, ImageChain
from fluoropose.simulate.fluoroscope import SimulatedFluoroscope
from fluoropose.simulate.intensifier import IntensifierWarp
from fluoropose.simulate.plate import Plate

__all__ = ["Installation", "Laboratory", "Nominal", "install"]


_MARGIN_PX = 4  # of the image beyond the field, at either side
_LEAST_SIZE_PX = 64  # for a plate's beads to be some pixels wide


@dataclass(frozen=True)
class Nominal:
    """What drawings and data sheets say; the truth differs (see ``Installation``).

    Distances in mm. ``source_to_isocentre_mm`` is where the axes meet; the subject stands there.
    """

    image_size_px: int = 640
    intensifier_diameter_mm: float = 356.0
    angle_between_axes_deg: float = 78.0
    source_to_intensifier_mm: tuple[float, float] = (1150.0, 1200.0)
    source_to_isocentre_mm: tuple[float, float] = (800.0, 830.0)
    frame_rate_hz: float = 30.0

    def __post_init__(self) -> None:
        positive("intensifier_diameter_mm", self.intensifier_diameter_mm)
        positive("frame_rate_hz", self.frame_rate_hz)
        if self.image_size_px < _LEAST_SIZE_PX:
            raise InputError(f"image_size_px: expected at least {_LEAST_SIZE_PX}, found {self.image_size_px}")
        for far, near in zip(self.source_to_intensifier_mm, self.source_to_isocentre_mm, strict=True):
            if not 0 < near < far:
                raise InputError(f"source_to_isocentre_mm: expected between 0 and {far} mm, found {near}")

    @property
    def pitch_mm(self) -> float:
        """Pixel pitch with which the field just fills the image, mm."""
        return self.intensifier_diameter_mm / (self.image_size_px - 2 * _MARGIN_PX)

    @property
    def isocentre(self) -> NDArray[np.float64]:
        """(3,) world mm, where the axes would meet."""
        return np.array([0.0, 0.0, self.source_to_isocentre_mm[0] - self.source_to_intensifier_mm[0]])

    @property
    def rig(self) -> Rig:
        """The rig if all were as on paper: no distortion, and axes through the isocentre and the images' centres."""
        return Rig(tuple(Fluoroscope(self._view(i, _Placement(), self.pitch_mm)) for i in range(2)))

    def _view(self, index: int, error: _Placement, pitch_mm: float) -> View:
        """Return view ``index``; view 1's plane makes the world frame (x along u, y along v, z off the source)."""
        far, near = self.source_to_intensifier_mm[index], self.source_to_isocentre_mm[index]
        if index == 0:
            place = Pose.identity()
        else:
            angle = -np.radians(self.angle_between_axes_deg + error.angle_deg)
            turn = Rotation.from_rotvec([0.0, angle, 0.0]) * Rotation.from_rotvec(np.radians(error.tilt_deg))
            rotation = turn.as_matrix()
            place = Pose(rotation, self.isocentre + rotation @ [0, 0, far - near] + error.offset_mm)
        size = (self.image_size_px, self.image_size_px)
        return View.from_sdd(size, far + error.distance_mm, pitch_mm, pitch_mm, *error.principal_point_mm, place)


@dataclass(frozen=True)
class _Placement:
    """How one view differs from paper, mm and degrees; angle, tilt and offset are those of view 2 against view 1."""

    distance_mm: float = 0.0
    principal_point_mm: tuple[float, float] = (0.0, 0.0)
    angle_deg: float = 0.0
    tilt_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)


@dataclass(frozen=True)
class Installation:
    """How far the machines stand off the paper: standard deviations of normal errors, and the effects in the image.

    All zero, with ``Exposure()``s and a default ``ImageChain``, gives perfect pinhole views.
    """

    distance_mm: float = 3.0
    principal_point_mm: float = 3.0
    angle_deg: float = 0.5
    tilt_deg: float = 1.5
    offset_mm: float = 4.0
    screen_half_angle_deg: float = 22.0
    turn_deg: float = 2.5
    shift_mm: float = 1.2
    plate_turn_deg: float = 1.5
    plate_offset_mm: float = 2.5
    missing_beads: int = 6
    chain: ImageChain = field(
        default_factory=lambda: ImageChain(
            scatter_share=0.015,
            scatter_width_mm=40.0,
            blur_mm=0.35,
            glare_share=0.05,
            glare_width_mm=20.0,
            vignetting=0.25,
            heel=(0.06, -0.08),
            electronic_noise=0.004,
            gamma=0.6,
        )
    )
    calibration_exposure: Exposure = field(default_factory=lambda: Exposure(open_field=0.85, quanta=3000.0))
    trial_exposure: Exposure = field(default_factory=lambda: Exposure(open_field=4.0, quanta=30000.0))


@dataclass(frozen=True, eq=False)
class Laboratory:
    """Everything as it truly is. The world frame is that of view 1's image plane: x along u, y along v.

    Attributes
    ----------
    nominal, installation
        What this laboratory was made from.
    fluoroscopes, plates
        The true machines, and the plate as it lay on each.
    tool, world_from_tool
        The alignment tool, and where it was held.
    """

    nominal: Nominal
    installation: Installation
    fluoroscopes: tuple[SimulatedFluoroscope, ...]
    plates: tuple[Plate, ...]
    tool: AlignmentTool
    world_from_tool: tuple[Pose, ...]


def install(
    nominal: Nominal | None = None,
    installation: Installation | None = None,
    *,
    placement_count: int = 6,
    seed: int = 0,
) -> Laboratory:
    """Set up a laboratory; the same arguments give the same one."""
    nominal, installation = nominal or Nominal(), installation or Installation()
    rng = np.random.default_rng(seed)
    fluoroscopes = tuple(_fluoroscope(nominal, installation, index, rng) for index in range(2))
    plates = tuple(_plate(nominal, installation, rng) for _ in range(2))
    tool = AlignmentTool()
    held = placements(tool, fluoroscopes, nominal.isocentre, placement_count, rng)
    return Laboratory(nominal, installation, fluoroscopes, plates, tool, held)


def _fluoroscope(
    nominal: Nominal, installation: Installation, index: int, rng: np.random.Generator
) -> SimulatedFluoroscope:
    error = _Placement(
        distance_mm=rng.normal() * installation.distance_mm,
        principal_point_mm=_pair(rng.normal(size=2) * installation.principal_point_mm),
        angle_deg=rng.normal() * installation.angle_deg,
        tilt_deg=_triple(rng.normal(size=3) * installation.tilt_deg),
        offset_mm=_triple(rng.normal(size=3) * installation.offset_mm),
    )
    radius = nominal.intensifier_diameter_mm / 2
    around = rng.uniform(0, 2 * np.pi)
    warp = IntensifierWarp(
        radius_mm=radius,
        screen_half_angle_deg=installation.screen_half_angle_deg * rng.uniform(0.85, 1.0),
        turn_deg=installation.turn_deg * float(rng.choice([-1, 1])) * rng.uniform(0.7, 1.0),
        shift_mm=_pair(installation.shift_mm * np.array([np.cos(around), np.sin(around)])),
        shift_centre_mm=_pair(rng.uniform(-0.5, 0.5, 2) * radius),
        shift_width_mm=0.35 * radius,
    )
    # The optics are set so that the recorded field, which the curved screen enlarges, fills the image.
    view = nominal._view(index, error, nominal.pitch_mm * warp.rim_magnification)
    return SimulatedFluoroscope(view, warp, installation.chain)


def _plate(nominal: Nominal, installation: Installation, rng: np.random.Generator) -> Plate:
    reach = int(0.6 * nominal.intensifier_diameter_mm / 2 / 10.0)
    missing = [tuple(rng.integers(-reach, reach + 1, 2)) for _ in range(installation.missing_beads)]
    return Plate(
        turn_deg=installation.plate_turn_deg * float(rng.uniform(-1, 1)),
        offset_mm=_pair(rng.normal(size=2) * installation.plate_offset_mm),
        missing=tuple((int(i), int(j)) for i, j in missing if (i, j) != (0, 0)),
    )


def _pair(values: NDArray[np.float64]) -> tuple[float, float]:
    a, b = (float(v) for v in values)
    return a, b


def _triple(values: NDArray[np.float64]) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c
