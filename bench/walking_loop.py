"""Three strides of the demo's head, all frame pairs different: what ``soak.py`` and ``tracking.py`` follow.

The frames of 1,024 x 1,024 pixels are simulated and their rig calibrated once, with the demo's laboratory and skull,
and kept in a folder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from fluoropose._files import atomic_path, write_text
from fluoropose.bone import Bone
from fluoropose.calibration import calibrate
from fluoropose.demo.run import calibration_toml
from fluoropose.demo.skull import Geometry, demo_bone
from fluoropose.demo.truth import compare_calibration
from fluoropose.geometry import Pose
from fluoropose.io.frames import open_frames
from fluoropose.rig import Rig
from fluoropose.simulate.folder import write_calibration, write_trial
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
    if not frames.exists():
        _simulate(work, laboratory, poses, console)
    rig, bone = Rig.load(work / "rig.json"), Bone.load(work / "bone.h5")
    world = compare_calibration(rig, laboratory).world_from_files * FILE_FROM_WORLD
    return Loop(rig, bone, tuple(world * pose * bone.bone_from_source.inverse() for pose in poses), frames)


def _simulate(work: Path, laboratory: Laboratory, poses: list[Pose], console: Console) -> None:
    rng, drawn = np.random.default_rng(SEED), head()
    with console.status("calibration"):
        write_calibration(work, laboratory, rng)
        write_text(work / "calibration.toml", calibration_toml(laboratory))
        calibrate(work / "calibration.toml", work / "rig.json")
    demo_bone(drawn, Geometry.shipped()).save(work / "bone.h5")
    write_trial(work, "loop", laboratory, drawn, [k / RATE_HZ for k in range(PAIRS)], poses, rng, console)
    views = [open_frames(work / "trials" / "loop" / f"view{k}") for k in (1, 2)]
    stored = np.array([[view.read(k) for view in views] for k in range(PAIRS)])
    # Whatever depth the simulated camera has, its frames travel as 16 bits.
    bits = views[0].bits or 16
    with atomic_path(work / "frames.npy") as temporary:
        np.save(temporary, stored.astype(np.uint16) << (16 - bits))
