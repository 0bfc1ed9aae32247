"""How fast this machine renders radiographs, beside the machine whose results are shipped."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError
from scipy.ndimage import affine_transform

from fluoropose._files import write_text
from fluoropose.drr import Device, Method, Renderer
from fluoropose.errors import FileFormatError
from fluoropose.geometry import Pose, View
from fluoropose.registration.summary import Environment
from fluoropose.simulate.phantom import head
from fluoropose.volume import Volume

__all__ = ["DrrTime", "DrrTimes", "measure_drr", "shipped_drr"]

METHODS: tuple[Method, ...] = ("ray_cast", "shear_warp")
VOLUMES, DETECTORS = (128, 256), (128, 256, 512)  # sides
SECONDS = 0.4  # of each row, at least
FEWEST = 5  # repeats
_SHIPPED = "drr_times.json"
_SIDE_MM, _DETECTOR_MM, _SDD_MM = 290.0, 400.0, 1200.0
# Along the head's y, z and x and between them, where renderers walk the volume in different orders.
_POSES = tuple(
    Pose.from_euler_zyx_deg(theta, [0.0, 0.0, -350.0])
    for theta in ([80.0, 10.0, 20.0], [0.0, 0.0, 0.0], [30.0, 35.0, 50.0], [10.0, 88.0, -20.0])
)


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DrrTime(_Model):
    """Median time of one radiograph; ``volume`` and ``detector`` are sides in voxels and pixels."""

    method: Method
    device: Device
    volume: int
    detector: int
    milliseconds: float

    @property
    def what(self) -> tuple[str, str, int, int]:
        """What was timed."""
        return self.method, self.device, self.volume, self.detector


class DrrTimes(_Model):
    """The times of one machine; ``threads`` is what OpenMP was told, or the number of cores."""

    environment: Environment
    threads: int
    rows: tuple[DrrTime, ...]

    def write(self, path: str | Path) -> None:
        """Write as JSON, atomically."""
        write_text(path, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def read(cls, path: str | Path) -> DrrTimes:
        """Read what ``write`` wrote; raises FileFormatError naming the file and the field."""
        try:
            return cls.model_validate_json(Path(path).read_bytes())
        except OSError as error:
            raise FileFormatError(f"{path}: expected a file with times: {error}") from error
        except ValidationError as error:
            first = error.errors()[0]
            raise FileFormatError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error

    def like(self, row: DrrTime) -> float | None:
        """Return the milliseconds of this machine's row with the same method and sizes, None where there is none."""
        return next((r.milliseconds for r in self.rows if r.what == row.what), None)


def measure_drr(show: Callable[[str], object] = lambda _: None) -> DrrTimes:
    """Time both methods on a drawn head at several sizes; takes seconds.

    Parameters
    ----------
    show
        Called with what is being measured.
    """
    rows = []
    drawn = head().volume
    for side in VOLUMES:
        volume = _cube(drawn, side)
        for method in METHODS:
            renderer = Renderer(volume, method)
            for pixels in DETECTORS:
                show(f"{method}, {pixels} x {pixels} pixels of {side}^3 voxels")
                ms = round(_median_ms(renderer, pixels), 3)
                rows.append(DrrTime(method=method, device="cpu", volume=side, detector=pixels, milliseconds=ms))
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # of nested regions the outer one
    threads = int(told) if told.isdigit() else os.cpu_count() or 1
    return DrrTimes(environment=Environment.here(), threads=threads, rows=tuple(rows))


def shipped_drr() -> DrrTimes:
    """Return the times that come with the package, and with them the machine that they were measured on."""
    with as_file(files("fluoropose") / "data" / _SHIPPED) as path:
        return DrrTimes.read(path)


def _cube(drawn: Volume, side: int) -> Volume:
    """Sample a volume in a cube of ``side`` voxels around its centre."""
    spacing = _SIDE_MM / side
    bone_from_cube: NDArray[np.float64] = np.diag([spacing, spacing, spacing, 1.0])
    bone_from_cube[:3, 3] = drawn.centre - (side - 1) / 2 * spacing
    drawn_from_cube = np.linalg.inv(drawn.bone_from_voxel) @ bone_from_cube
    matrix, offset = drawn_from_cube[:3, :3][::-1, ::-1], drawn_from_cube[:3, 3][::-1]  # arrays are [z, y, x]
    mu = affine_transform(drawn.mu, matrix, offset, (side,) * 3, order=1)
    bone_from_cube[:3, 3] -= drawn.centre
    return Volume(np.clip(mu, 0, None), bone_from_cube)


def _median_ms(renderer: Renderer, pixels: int) -> float:
    """Return the median over rounds of the mean time over the poses."""
    pitch = _DETECTOR_MM / pixels
    view = View.from_sdd((pixels, pixels), _SDD_MM, pitch, pitch, 0.0, 0.0)
    rounds: list[float] = []
    for pose in _POSES:  # the first image of a direction may have to reorder the volume
        renderer.render(view, pose)
    until = time.perf_counter() + SECONDS
    while len(rounds) < FEWEST or time.perf_counter() < until:
        start = time.perf_counter()
        for pose in _POSES:
            renderer.render(view, pose)
        rounds.append(1e3 * (time.perf_counter() - start) / len(_POSES))
    return float(np.median(rounds))
