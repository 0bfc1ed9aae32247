"""What the peers render, as bench/drr_runners.py wrote it, and what each of them offers to bench/peers/worker.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Job", "Project", "timed"]

# Milliseconds of the clock and of the processor (all threads; NaN where unknown), and image (v, u), of a view's number.
Project = Callable[[int], tuple[float, float, NDArray[np.float32]]]


@dataclass
class Job:
    """The volume's axes are the frame's axes; all lengths are mm."""

    mu: NDArray[np.float32]  # (nz, ny, nx) 1/mm
    spacing: float
    origin: NDArray[np.float64]  # (3,) centre of the first voxel
    pixels: int  # the images are square
    source: NDArray[np.float64]  # (views, 3)
    corner: NDArray[np.float64]  # (views, 3) centre of pixel (0, 0)
    u_step: NDArray[np.float64]  # (views, 3) from pixel to pixel
    v_step: NDArray[np.float64]
    step: NDArray[np.float64]  # (views,) wanted between the samples along a ray
    threads: int
    folder: Path

    @classmethod
    def load(cls, folder: Path) -> Job:
        """Read what bench/drr_peers.py wrote."""
        with np.load(folder / "job.npz") as f:
            numbers = {"spacing": float(f["spacing"]), "pixels": int(f["pixels"]), "threads": int(f["threads"])}
            arrays = {n: f[n] for n in ("mu", "origin", "source", "corner", "u_step", "v_step", "step")}
        return cls(**arrays, **numbers, folder=folder)  # type: ignore[arg-type]

    def centre(self, view: int) -> NDArray[np.float64]:
        """(3,) the middle of the detector, where the central ray ends."""
        middle = self.corner[view] + (self.pixels - 1) / 2 * (self.u_step[view] + self.v_step[view])
        return np.asarray(middle)

    def sdd(self, view: int) -> float:
        """Length of the central ray."""
        return float(np.linalg.norm(self.centre(view) - self.source[view]))

    def frame(self, view: int, u_sign: int, v_sign: int) -> NDArray[np.float64]:
        """(4, 4) camera frame at the source: x along +-u, y along +-v, z along the central ray."""
        matrix = np.eye(4)
        columns = (u_sign * self.u_step[view], v_sign * self.v_step[view], self.centre(view) - self.source[view])
        for i, column in enumerate(columns):
            matrix[:3, i] = column / np.linalg.norm(column)
        matrix[:3, 3] = self.source[view]
        return matrix

    def inside(self, view: int, targets: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) shares of the rays from source to targets (n, 3) at which they enter and leave the volume."""
        low = self.origin - self.spacing / 2
        high = low + self.spacing * np.array(self.mu.shape[::-1])
        with np.errstate(divide="ignore"):
            ends = np.stack([low - self.source[view], high - self.source[view]])[:, None] / (
                targets - self.source[view]
            )
        return ends.min(axis=0).max(axis=1), ends.max(axis=0).min(axis=1)

    def corners(self, view: int) -> NDArray[np.float64]:
        """(4, 3) the detector's corner pixels."""
        last = self.pixels - 1
        ends = [(0, 0), (0, last), (last, 0), (last, last)]
        return np.array([self.corner[view] + u * self.u_step[view] + v * self.v_step[view] for u, v in ends])


def timed(call: Callable[[], Any]) -> tuple[float, float, Any]:
    """Return the milliseconds of the clock and of the processor that a call takes, and its result."""
    start, start_processor = time.perf_counter(), time.process_time()
    result = call()
    return 1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - start_processor), result
