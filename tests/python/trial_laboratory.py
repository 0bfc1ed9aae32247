"""A small laboratory for tests of whole trials: a lopsided bone, two views, frames, and a network fitted to them.

The network is real, if plain: ridge regression from a coarse picture of the whole field to the landmarks, fitted to
rendered radiographs and exported like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import marching_cubes

from fluoropose.bone import Bone
from fluoropose.drr import Renderer
from fluoropose.geometry import Pose, View
from fluoropose.learning.bundle import LandmarkFacts, Owner, RigFacts, add_networks
from fluoropose.learning.preprocess import Preprocessing, crop_frame, lit_pixels
from fluoropose.registration.poses_file import PoseRow
from fluoropose.registration.trial import Trial
from fluoropose.rig import CircularField, Fluoroscope, Rig
from fluoropose.volume import Volume

SIDE = 160  # px of the frames
SIZE = 64  # px of the network's crops
CENTRE = np.array([0.0, 0.0, -300.0])


@dataclass(frozen=True)
class Laboratory:
    """Files in ``folder`` and the truth of its 20 frame pairs."""

    folder: Path
    rig: Rig
    bone: Bone
    truth: tuple[Pose, ...]

    def trial(self, out: Path, **changes: object) -> Trial:
        """A trial of all frames that writes to ``out``."""
        fields: dict[str, object] = {
            "rig": self.folder / "rig.json",
            "bone": self.folder / "bone.h5",
            "bundle": self.folder / "bone.fpbundle",
            "frames": (self.folder / "view1", self.folder / "view2"),
            "frame_rate_hz": 30.0,
            "out": out,
        }
        return Trial.model_validate(fields | changes)

    def pair(self, number: int) -> list[NDArray[np.float32]]:
        """A pair of frames, bright = attenuating."""
        views = [self.folder / f"view{k}" / f"{number:04d}.png" for k in (1, 2)]
        return [1 - np.asarray(Image.open(view), dtype=np.float32) / 65535 for view in views]

    def toml(self, path: Path, out: Path) -> Path:
        """The same trial as a file."""
        f = self.folder
        path.write_text(
            f'rig = "{f}/rig.json"\nbone = "{f}/bone.h5"\nbundle = "{f}/bone.fpbundle"\n'
            f'frames = ["{f}/view1", "{f}/view2"]\nframe_rate_hz = 30\nout = "{out}"\n'
        )
        return path


def build(folder: Path) -> Laboratory:
    rng = np.random.default_rng(42)
    rig, bone = _rig(), _bone()
    rig.save(folder / "rig.json")
    bone.save(folder / "bone.h5")
    renderer = Renderer(bone.volume)
    pictures: list[list[NDArray[np.float32]]] = [[], []]
    labels: list[list[NDArray[np.float64]]] = [[], []]
    for _ in range(260):
        pose = _pose(rng.uniform(-1, 1, 6))
        for k, scope in enumerate(rig.fluoroscopes):
            region = scope.whole
            crop = crop_frame(recorded(renderer, scope, pose), region, SIZE)
            pictures[k].append(Preprocessing().apply(crop, lit_pixels(scope, region, SIZE)))
            px = region.from_frame(scope.project(pose.apply(bone.landmarks_mm)), SIZE)
            labels[k].append(2 * (px + 0.5) / SIZE - 1)
    facts = LandmarkFacts(size=SIZE, preprocessing=Preprocessing(), crop_margin=None, training={})
    owner = owner_of(bone, rig)
    add_networks(folder / "bone.fpbundle", owner, {"landmarks": (_fitted(pictures, labels), facts)})
    truth = tuple(_pose(0.7 * np.sin(np.array([1, 1.3, 0.7, 1.1, 0.9, 0.5]) * t)) for t in np.linspace(0, 5, 20))
    for k, scope in enumerate(rig.fluoroscopes):
        (folder / f"view{k + 1}").mkdir()
        for i, pose in enumerate(truth):
            signal = 1 - recorded(renderer, scope, pose)
            stored = np.round(signal * 65535).astype(np.uint16)
            Image.fromarray(stored).save(folder / f"view{k + 1}" / f"{i:04d}.png")
    return Laboratory(folder, rig, bone, truth)


def _rig() -> Rig:
    first = View.from_sdd((SIDE, SIDE), 900.0, 1.2, 1.2, 0.0, 0.0)
    turn = Pose.from_euler_zyx_deg([0.0, 70.0, 0.0], [0.0, 0.0, 0.0])
    second = View.from_sdd(
        (SIDE, SIDE), 900.0, 1.2, 1.2, 0.0, 0.0, Pose(turn.rotation, CENTRE - turn.rotation @ CENTRE)
    )
    field = CircularField(SIDE / 2, SIDE / 2, SIDE / 2 - 2)
    return Rig((Fluoroscope(first, field=field), Fluoroscope(second, field=field)))


def _bone() -> Bone:
    z, y, x = np.meshgrid(*[np.arange(-34.0, 35.0, 2.0)] * 3, indexing="ij")

    def ball(centre: tuple[float, float, float], radii: tuple[float, float, float]) -> NDArray[np.bool_]:
        at = [(a - c) / r for a, c, r in zip((x, y, z), centre, radii, strict=True)]
        return np.asarray(sum(a**2 for a in at) < 1)

    mask = ball((0, 0, -8), (12, 12, 24)) | ball((14, 0, 18), (14, 9, 9)) | ball((-15, 5, 20), (11, 11, 8))
    mask |= ball((0, -16, 0), (6, 12, 6))
    place = np.diag([2.0, 2.0, 2.0, 1.0])
    place[:3, 3] = -34.0
    points, faces, _, _ = marching_cubes(np.pad(mask, 1).astype(np.float32), 0.5)
    vertices = (points[:, ::-1] - 1) * 2.0 - 34.0
    landmarks = vertices[_spread(vertices, 14)]
    return Bone(
        name="lopsided bone",
        volume=Volume((0.035 * mask).astype(np.float32), place),
        mask=mask,
        vertices=vertices,
        faces=faces[:, ::-1].astype(np.int32),
        landmarks_mm=landmarks,
        landmark_names=tuple(f"p{i}" for i in range(14)),
        symmetric_pairs=np.empty((0, 2), np.intp),
        bone_from_source=Pose.identity(),
    )


def _spread(points: NDArray[np.float64], count: int) -> list[int]:
    chosen = [0]
    while len(chosen) < count:
        distances = np.linalg.norm(points[:, None] - points[chosen], axis=2).min(axis=1)
        chosen.append(int(np.argmax(distances)))
    return chosen


def _pose(amounts: NDArray[np.float64]) -> Pose:
    return Pose.from_euler_zyx_deg(8 * amounts[:3], CENTRE + 8 * amounts[3:])


def recorded(renderer: Renderer, scope: Fluoroscope, pose: Pose) -> NDArray[np.float32]:
    """Bright = attenuating, full scale 1; black outside the field; the open beam a little below saturation."""
    signal = 0.9 * np.exp(-renderer.render(scope.view, pose))
    v, u = np.mgrid[:SIDE, :SIDE]
    assert scope.field is not None
    signal[np.hypot(u - scope.field.u, v - scope.field.v) > scope.field.radius] = 0
    return np.asarray(1 - signal, dtype=np.float32)


class _Ridge(torch.nn.Module):
    def __init__(self, weights: torch.Tensor, offsets: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("weights", weights)  # (views, 2 n, features)
        self.register_buffer("offsets", offsets)  # (views, 2 n)

    def forward(self, crops: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        coarse = torch.nn.functional.avg_pool2d(crops, 4).flatten(1)
        flat = torch.einsum("bf,bof->bo", coarse, self.weights[views]) + self.offsets[views]
        return flat.reshape(flat.shape[0], -1, 2)


def _fitted(pictures: list[list[NDArray[np.float32]]], labels: list[list[NDArray[np.float64]]]) -> torch.nn.Module:
    weights, offsets = [], []
    for images, points in zip(pictures, labels, strict=True):
        blocks = np.stack(images).reshape(len(images), SIZE // 4, 4, SIZE // 4, 4)
        features, targets = blocks.mean(axis=(2, 4)).reshape(len(images), -1), np.stack(points).reshape(len(images), -1)
        at, to = features.mean(axis=0), targets.mean(axis=0)
        gram = (features - at) @ (features - at).T + 0.05 * np.eye(len(images))
        slope = (features - at).T @ np.linalg.solve(gram, targets - to)
        weights.append(slope.T)
        offsets.append(to - at @ slope)
    return _Ridge(
        torch.tensor(np.stack(weights), dtype=torch.float32), torch.tensor(np.stack(offsets), dtype=torch.float32)
    )


def owner_of(bone: Bone, rig: Rig) -> Owner:
    return Owner(
        bone_name=bone.name,
        bone_fingerprint=bone.fingerprint,
        landmark_names=bone.landmark_names,
        views=len(rig.fluoroscopes),
        rig=RigFacts.of(rig),
    )


def errors(lab: Laboratory, rows: tuple[PoseRow, ...]) -> np.ndarray:
    """Angles (degrees) and distances (mm) to the truth, (n, 2); every row must have a pose."""
    found = []
    for row, truth in zip(rows, lab.truth, strict=True):
        assert row.world_from_bone is not None, row.reason
        shift = row.world_from_bone.translation_mm - truth.translation_mm
        found.append((np.degrees(truth.angle_to(row.world_from_bone)), np.linalg.norm(shift)))
    return np.array(found)
