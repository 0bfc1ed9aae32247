"""Three strides of the demo's head, all frame pairs different: what ``soak.py`` and ``tracking.py`` follow.

The frames of 1,024 x 1,024 pixels are simulated and their rig calibrated once, with the demo's laboratory and skull,
and kept in a folder: rig.json and bone.h5, 1.6 MB, whose making takes the longest, and frames.npy, 382 MB.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from fluoropose._files import atomic_path, write_text
from fluoropose.bone import Bone
from fluoropose.calibration import calibrate
from fluoropose.demo.run import calibration_toml
from fluoropose.demo.skull import Geometry, demo_bone
from fluoropose.demo.truth import compare_calibration
from fluoropose.drr import Renderer
from fluoropose.geometry import Pose
from fluoropose.rig import Rig
from fluoropose.simulate.folder import write_calibration
from fluoropose.simulate.laboratory import Laboratory, Nominal, install
from fluoropose.simulate.motion import Walking
from fluoropose.simulate.phantom import head
from fluoropose.simulate.truth import FILE_FROM_WORLD

__all__ = ["PAIRS", "RATE_HZ", "SIZE_PX", "Loop", "simulated"]

PAIRS, STRIDES, RATE_HZ, SIZE_PX = 91, 3, 30.0, 1024  # 91 and 3 share no factor: no two pairs are alike
SEED = 2021


@dataclass
class Loop:
    """What is played again and again."""

    rig: Rig
    bone: Bone
    truth: tuple[Pose, ...]
    frames: Path  # (pairs, views, h, w) uint16


def simulated(work: Path, console: Console) -> Loop:
    """Return the loop; made in ``work`` where it is not there yet."""
    laboratory = install(Nominal(image_size_px=SIZE_PX), seed=SEED)
    x, y, z = (float(v) for v in laboratory.nominal.isocentre)
    walking = Walking(centre_mm=(x, y, z), strides_per_s=STRIDES * RATE_HZ / PAIRS)
    poses = [walking.world_from_head(k / RATE_HZ) for k in range(PAIRS)]
    frames = work / "frames.npy"
    if not (work / "rig.json").exists():
        _calibrated(work, laboratory, console)
    if not (work / "bone.h5").exists():
        demo_bone(head(), Geometry.shipped()).save(work / "bone.h5")
    if not frames.exists():
        with atomic_path(frames) as temporary:
            np.save(temporary, _exposed(laboratory, poses, console))
    rig, bone = Rig.load(work / "rig.json"), Bone.load(work / "bone.h5")
    world = compare_calibration(rig, laboratory).world_from_files * FILE_FROM_WORLD
    return Loop(rig, bone, tuple(world * pose * bone.bone_from_source.inverse() for pose in poses), frames)


def _calibrated(work: Path, laboratory: Laboratory, console: Console) -> None:
    with console.status("calibration"):
        write_calibration(work, laboratory, np.random.default_rng(SEED))
        write_text(work / "calibration.toml", calibration_toml(laboratory))
        calibrate(work / "calibration.toml", work / "rig.json")


def _exposed(laboratory: Laboratory, poses: list[Pose], console: Console) -> NDArray[np.uint16]:
    """Return all frames (pairs, views, h, w), whatever depth the simulated camera has as 16 bits."""
    drawn, exposure = head(), laboratory.installation.trial_exposure
    renderer = Renderer(drawn.volume)

    def frame(k: int, number: int) -> NDArray[np.uint16]:
        fluoroscope = laboratory.fluoroscopes[number]
        seen = fluoroscope.warp_image(renderer.render(fluoroscope.view, poses[k]))
        stored = fluoroscope.record(seen, exposure, np.random.default_rng([SEED, k, number]))
        return np.left_shift(stored, 16 - 8 * stored.itemsize, dtype=np.uint16)

    frames = np.empty((len(poses), len(laboratory.fluoroscopes), SIZE_PX, SIZE_PX), np.uint16)

    def expose(k: int) -> None:
        for number in range(frames.shape[1]):
            frames[k, number] = frame(k, number)

    expose(0)  # what is computed once for all, before the threads
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(track(threads.map(expose, range(1, len(poses))), "exposing", len(poses) - 1, console=console))
    return frames
