"""A bone among tissue and another bone, seen with distortion in a round field, and poses off the true one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from drr_scenes import affine
from fluoropose.bone import Bone
from fluoropose.distortion import Distortion
from fluoropose.drr import Renderer
from fluoropose.geometry import Pose, View
from fluoropose.refinement import FixedView, fixed_view, moved
from fluoropose.rig import CircularField, Fluoroscope, Rig
from fluoropose.volume import Volume

Image = NDArray[np.float32]
SIDE = 320
TRUTH = Pose.from_euler_zyx_deg([12.0, -25.0, 40.0], [6.0, -4.0, -330.0])


@cache
def bone() -> Bone:
    """A lopsided lump with holes, 60 mm long."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, 61)] * 3, indexing="ij")
    outside = (x / 0.55) ** 2 + (y / 0.7) ** 2 + (z / 0.9) ** 2
    lump = (outside < 1) | ((x - 0.5) ** 2 + (y + 0.2) ** 2 + (z - 0.5) ** 2 < 0.09)
    for centre, radius in (((0.1, 0.2, 0.3), 0.22), ((-0.2, -0.3, -0.2), 0.25), ((0.15, 0.1, -0.55), 0.18)):
        lump &= sum((a - c) ** 2 for a, c in zip((x, y, z), centre, strict=True)) > radius**2
    mu = np.where(lump, gaussian_filter(lump.astype(np.float32), 0.7), 0) * np.float32(0.03)
    points = np.argwhere(lump)[::7, ::-1] - 30.0
    return Bone(
        name="lump",
        volume=Volume(mu, affine((1.0, 1.0, 1.0), mu.shape)),
        mask=lump,
        vertices=points,
        faces=np.array([[0, 1, 2]], np.int32),
        landmarks_mm=points[[0, 50, 200, 500]],
        landmark_names=("a", "b", "c", "d"),
        symmetric_pairs=np.empty((0, 2), np.intp),
        bone_from_source=Pose.identity(),
    )


@cache
def implant(parts: int = 1) -> Bone:
    """A plate of metal with a keel and a peg, as large as the bone, in voxels of 1 mm or ``parts`` times smaller."""
    z, y, x = np.meshgrid(*[(np.arange(244, dtype=np.float32) - 121.5) / 122] * 3, indexing="ij")
    tray = (np.abs(z) < 0.12) & (np.abs(x) < 0.7) & (np.abs(y) < 0.5)
    tray |= (np.abs(x - 0.1) < 0.1) & (np.abs(y + 0.2) < 0.14) & (z > 0) & (z < 0.8)
    tray |= (np.abs(x + 0.5) < 0.12) & (np.abs(y - 0.2) < 0.12) & (z > -0.5) & (z < 0)
    side, block = 61 * parts, 4 // parts
    share = tray.reshape(side, block, side, block, side, block).mean(axis=(1, 3, 5), dtype=np.float32)
    volume = Volume(share * np.float32(0.5), affine((1 / parts,) * 3, share.shape))
    return replace(bone(), volume=volume, mask=share > 0.5)


@cache
def rig() -> Rig:
    turn = Pose.from_euler_zyx_deg([0.0, 80.0, 0.0], [0.0, 0.0, 0.0])
    place = Pose(turn.rotation, np.array([0.0, 0.0, -330.0]) + turn.rotation @ np.array([0.0, 0.0, 330.0]))
    grid = np.stack(np.meshgrid(*[np.linspace(0, SIDE - 1, 15)] * 2), axis=-1).reshape(-1, 2)
    away = (grid - SIDE / 2) / (SIDE / 2)
    barrel = grid + 6 * away * (away**2).sum(axis=1, keepdims=True)
    distortion = Distortion.fit(barrel, grid, 5)
    field = CircularField(SIDE / 2, SIDE / 2, SIDE / 2 - 4)
    views = [View.from_sdd((SIDE, SIDE), 1000.0, 0.6, 0.6, 3.0, -5.0, p) for p in (None, place)]
    return Rig(tuple(Fluoroscope(view, distortion, field) for view in views))


@dataclass(frozen=True)
class Scene:
    """What else is in the frames, and how noisy they are."""

    tissue: float = 0.0
    other: float = 0.0
    noise: float = 0.0


def frames(scene: Scene, pose: Pose = TRUTH) -> list[Image]:
    """Recorded frames, bright = attenuating; the other bone is the same lump elsewhere, as dense as ``other`` says."""
    rng = np.random.default_rng(4)
    renderer = Renderer(bone().volume)
    elsewhere = Pose(Pose.from_euler_zyx_deg([80.0, 20.0, 10.0], np.zeros(3)).rotation, [22.0, 30.0, -350.0])
    found = []
    for scope in rig().fluoroscopes:
        line = renderer.render(scope.view, pose) + np.float32(scene.other) * renderer.render(scope.view, elsewhere)
        v, u = np.mgrid[:SIDE, :SIDE].astype(np.float32)
        line += scene.tissue * (1 + gaussian_filter(rng.normal(size=line.shape), 25) * 25)
        at = scope.ideal_from_recorded(np.column_stack([u.ravel(), v.ravel()])).astype(np.float32)
        recorded = _sampled(line.astype(np.float32), at)
        signal = 0.9 * np.exp(-recorded) + scene.noise * rng.normal(size=line.shape)
        signal[np.hypot(u - SIDE / 2, v - SIDE / 2) > SIDE / 2 - 4] = 0
        found.append((1 - np.clip(signal, 0, 1)).astype(np.float32))
    return found


def _sampled(image: Image, at: NDArray[np.float32]) -> Image:
    import cv2

    at = at.reshape(SIDE, SIDE, 2)
    return np.asarray(cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))


def off(turn_deg: float, shift_mm: float, seed: int = 0) -> Pose:
    rng = np.random.default_rng(seed)
    axis, along = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
    return moved(TRUTH, np.concatenate([np.radians(turn_deg) * axis, shift_mm * along]))


def error(pose: Pose) -> tuple[float, float]:
    return float(np.degrees(pose.angle_to(TRUTH))), float(np.linalg.norm(pose.translation_mm - TRUTH.translation_mm))


TISSUE = Scene(tissue=0.6, noise=0.01)
CROWDED = Scene(tissue=0.6, other=1.0, noise=0.01)


def windows(scene: Scene, near: Pose) -> list[FixedView]:
    return [
        fixed_view(scope, frame, near.apply(bone().vertices), 128)
        for scope, frame in zip(rig().fluoroscopes, frames(scene), strict=True)
    ]
