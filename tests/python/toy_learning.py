"""A small bone, rig and learning run for the tests: seconds, not minutes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from fluoropose.bone import Bone
from fluoropose.distortion import Distortion
from fluoropose.geometry import Pose, View
from fluoropose.rig import CircularField, Fluoroscope, Rig
from fluoropose.volume import Volume

__all__ = ["toy_bone", "toy_rig", "write_toy"]

CONFIG = """
[dataset]
bone = "bone.h5"
rig = "rig.json"
count = 12
test_count = 4
segmented_share = 0.25
size = 32
border = 6
whole_field_share = 0.5
[dataset.pose]
rotation = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
centre_mm = [0, 0, -400]
range_mm = [15, 15, 30]
axis = [0, 1, 0]
turn_deg = [-20, 20]
tilt_deg = [10, 10, 10]
[[dataset.moving]]
beyond_mm = [0, 25, 0]
pivot_mm = [0, 25, 0]
towards = [0, 1, 0]
tilt_deg = [20, 20, 20]
[style]
limbs = 1
shafts = 1
metal = 1
beads = 1
occluder_share = 0.5
[training]
epochs = 2
batch = 4
precision = "32-true"
"""


def toy_bone(name: str = "toy") -> Bone:
    """Two lumps and a rod, all different, with soft stuff below them."""
    axis = np.arange(-16, 17) * 3.0
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    big = np.hypot(np.hypot(x / 30, y / 20), z / 15) < 1
    small = np.hypot(np.hypot(x - 25, y + 15), z - 10) < 12
    rod = (np.hypot(x + 18, z) < 6) & (y < 0) & (y > -40)
    mask = big | small | rod
    soft = (y > 12) & (np.hypot(x, z) < 40) & ~mask
    mu = np.where(mask, 0.05, np.where(soft, 0.02, 0)).astype(np.float32)
    affine = np.diag([3.0, 3.0, 3.0, 1.0])
    affine[:3, 3] = -48
    landmarks = np.array([[-30.0, 0, 0], [30, 0, 0], [0, 20, 0], [25, -15, 20], [-18, -39, 0], [0, 0, 15], [0, 0, -15]])
    landmarks -= landmarks.mean(axis=0)
    tetrahedron = np.array([[0, 1, 4], [0, 4, 2], [1, 2, 4], [0, 2, 1]], dtype=np.int32)
    return Bone(
        name=name,
        volume=Volume(mu, affine),
        mask=mask,
        vertices=landmarks[[0, 1, 2, 3, 4]],
        faces=tetrahedron,
        landmarks_mm=landmarks,
        landmark_names=tuple(f"p{i}" for i in range(len(landmarks))),
        symmetric_pairs=np.array([[0, 1]]),
        bone_from_source=Pose.identity(),
    )


def toy_rig(distorted: bool = True) -> Rig:
    """Two views 70 degrees apart about the bone's usual place, the second one with pincushion distortion."""
    flat = View.from_sdd((200, 200), 1000, 1.0, 1.0, 2, -3)
    isocentre = np.array([0, 0, -400.0])
    turn = Rotation.from_euler("y", 70, degrees=True).as_matrix()
    side = View.from_sdd((200, 200), 1000, 1.0, 1.0, -4, 1, Pose(turn, isocentre - turn @ isocentre))
    v, u = np.mgrid[10:190:10, 10:190:10].reshape(2, -1).astype(np.float64)
    recorded = np.column_stack([u, v])
    centre = np.array([99.5, 99.5])
    radius = np.linalg.norm(recorded - centre, axis=1, keepdims=True)
    ideal = centre + (recorded - centre) * (1 - 0.05 * (radius / 100) ** 2)
    distortion = Distortion.fit(recorded, ideal) if distorted else None
    return Rig((Fluoroscope(flat, None, CircularField(99.5, 99.5, 95)), Fluoroscope(side, distortion, None)))


def write_toy(folder: Path, text: str = CONFIG) -> Path:
    """Write bone, rig and configuration into a folder; returns the configuration's path."""
    toy_bone().save(folder / "bone.h5")
    toy_rig().save(folder / "rig.json")
    path = folder / "run.toml"
    path.write_text(text, encoding="utf-8")
    return path
