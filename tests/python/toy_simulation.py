"""A small head with a neck, a knee of balls, and simulations of them: seconds, not minutes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from fluoropose.bone import Bone
from fluoropose.geometry import Pose
from fluoropose.io.ct import MU_WATER_PER_MM
from fluoropose.volume import Volume
from toy_learning import toy_bone, toy_rig

__all__ = ["HEAD", "KNEE", "toy_head", "toy_vertebra", "write_toy_simulation"]

_SPACING_MM = 3.0
_BONE_HU, _SOFT_HU = 1200.0, 40.0

PLACE = """
[place]
rotation = [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
centre_mm = [0, 0, -400]
"""

HEAD = (
    """
rig = "rig.json"
seed = 3
[style]
method = "shear_warp"
[style.chain]
bits = 16
[head]
bone = "skull.h5"
[head.neck]
beyond_mm = [0, 0, -28]
joint_mm = [0, 0, -25]
root_mm = [0, 0, -60]
transition_mm = 20
bones = ["vertebra.h5"]
"""
    + PLACE
    + """
[[trials]]
name = "still"
frames = 1
[[trials]]
name = "nodding"
frames = 3
frame_rate_hz = 4
[trials.neck]
kind = "flexion_extension"
range_deg = [-30, 30]
period_s = 1
"""
)

KNEE = (
    """
rig = "rig.json"
[knee]
side = "left"
[knee.femur]
bone = "femur.h5"
material = "cobalt_chromium"
right = [30, 0, 0]
left = [-30, 0, 0]
proximal = [0, 0, 20]
distal = [0, 0, 0]
[[knee.femur.around]]
from_mm = [0, 0, 10]
to_mm = [0, 0, 60]
radius_mm = 25
[[knee.femur.around]]
from_mm = [0, 0, 10]
to_mm = [0, 0, 60]
radius_mm = 8
inner_radius_mm = 4
material = "cortical_bone"
[knee.tibia]
bone = "tibia.h5"
material = "titanium"
right = [30, 0, 0]
left = [-30, 0, 0]
proximal = [0, 0, 0]
distal = [0, 0, -20]
"""
    + PLACE
    + """
[[trials]]
name = "squat"
frames = 4
frame_rate_hz = 2
[trials.knee]
flexion_deg = [0, 80]
period_s = 3
distraction_mm = 40
"""
)


def toy_head() -> Bone:
    """A ball of bone with a jaw, a column of bone below it, and flesh round both; x left, y back, z up."""
    axis = np.arange(-20, 16) * _SPACING_MM
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    skull = (np.hypot(np.hypot(x, y), z) < 22) | (np.hypot(np.hypot(x - 6, y + 22), z + 14) < 9)
    column = (np.hypot(x, y - 4) < 7) & (z < -27)
    flesh = (np.hypot(np.hypot(x, y), z) < 32) | ((np.hypot(x, y) < 24) & (z < 0))
    hu = np.where(skull | column, _BONE_HU, np.where(flesh, _SOFT_HU, -1000))
    affine = np.diag([_SPACING_MM] * 3 + [1.0])
    affine[:3, 3] = axis[0]
    volume = Volume((MU_WATER_PER_MM * (1 + hu / 1000)).astype(np.float32), affine)
    return replace(toy_bone("skull"), volume=volume, mask=skull)


def toy_vertebra() -> Bone:
    """The column as a bone of its own, from the same CT, with its origin 40 mm below the skull's."""
    head = toy_head()
    column = (head.volume.mu > 0.03) & ~head.mask
    down = Pose(np.eye(3), np.array([0.0, 0.0, 40.0]))
    place = down.matrix @ head.volume.bone_from_voxel
    points = np.array([[5.0, 0, 0], [-5, 0, 0], [0, 8, 0], [0, 0, 10], [0, 0, -10]])
    return replace(
        head,
        volume=Volume(head.volume.mu, place),
        mask=column,
        landmarks_mm=points,
        landmark_names=tuple("abcde"),
        bone_from_source=down,
    )


def write_toy_simulation(folder: Path, text: str) -> Path:
    """Write all files that the texts name into a folder; returns the configuration's path."""
    toy_rig().save(folder / "rig.json")
    toy_head().save(folder / "skull.h5")
    toy_vertebra().save(folder / "vertebra.h5")
    for name in ("femur", "tibia"):
        lump = toy_bone(name)
        replace(lump, volume=lump.isolated).save(folder / f"{name}.h5")
    path = folder / "simulation.toml"
    path.write_text(text, encoding="utf-8")
    return path
