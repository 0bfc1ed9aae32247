"""A network that is known to be right, noisy or wrong, its bone and its rig."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoropose.bone import Bone
from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.learning.bundle import LandmarkFacts, LandmarkNetwork, Placed
from fluoropose.learning.bundle.placed import PROCESSOR
from fluoropose.learning.coordinates import normalised_from_px
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.region import Region
from fluoropose.rig import CircularField, Fluoroscope, Rig
from fluoropose.volume import Volume

SIZE = 128
TRUTH = Pose.from_euler_zyx_deg([8.0, -5.0, 12.0], [6.0, -9.0, -380.0])
FRAME = np.random.default_rng(3).uniform(0.1, 0.9, (400, 400)).astype(np.float32)  # what it does not look at


def make_rig() -> Rig:
    """Two views at right angles through a point 380 mm before the first plane, each with a round field."""
    first = View.from_sdd((400, 400), 1000.0, 0.75, 0.75, 0.0, 0.0)
    turn = Pose.from_euler_zyx_deg([0.0, 80.0, 0.0], [0.0, 0.0, 0.0])
    centre = np.array([0.0, 0.0, -380.0])
    place = Pose(turn.rotation, centre - turn.rotation @ centre)
    second = View.from_sdd((400, 400), 1000.0, 0.75, 0.75, 0.0, 0.0, place)
    return Rig(tuple(Fluoroscope(view, field=CircularField(200.0, 198.0, 195.0)) for view in (first, second)))


def make_bone() -> Bone:
    rng = np.random.default_rng(5)
    right = rng.uniform([4, -25, -30], [35, 25, 30], (8, 3))
    middle = rng.uniform([0, -25, -30], [0, 25, 30], (6, 3))
    points = np.vstack([right, right * [-1, 1, 1] + rng.normal(0, 1, (8, 3)), middle])
    points -= points.mean(axis=0)
    return Bone(
        name="made-up bone",
        volume=Volume(np.full((4, 4, 4), 0.02, np.float32), np.diag([20.0, 20.0, 20.0, 1.0])),
        mask=np.ones((4, 4, 4), bool),
        vertices=points,
        faces=np.array([[0, 1, 2]], np.int32),
        landmarks_mm=points,
        landmark_names=tuple(f"p{i}" for i in range(len(points))),
        symmetric_pairs=np.array([[i, i + 8] for i in range(8)]),
        bone_from_source=Pose.identity(),
    )


class AsItIs(Preprocessing):
    """Shows crops as they are, whatever they show."""

    def __call__(self, crops: Tensor, lit: Tensor) -> Tensor:
        return crops

    def check(self, crop: NDArray[np.float32], lit: NDArray[np.bool_]) -> None:
        pass

    def cut_out(self, images: Tensor, mask: Tensor) -> Tensor:
        return images


@dataclass
class KnowingNetwork:
    """Answers with the truth's projections, plus noise (px of the crop) and a mirror image in chosen views."""

    bone: Bone
    rig: Rig
    truth: Pose = TRUTH
    later: Pose | None = None  # the truth when view 2 is exposed, where that is another moment
    noise_px: float = 0.0
    mirrored: tuple[int, ...] = ()
    crop_margin: float | None = 1.4
    seen: list[list[Region]] = field(default_factory=lambda: [[]])
    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(11))
    path: Path = Path("knowing.fpbundle")
    deviations: bool = False
    device: torch.device = PROCESSOR

    @property
    def landmarks(self) -> LandmarkNetwork:
        facts = LandmarkFacts(
            size=SIZE, crop_margin=self.crop_margin, preprocessing=AsItIs(), training={}, deviations=self.deviations
        )
        return LandmarkNetwork(facts, 2, Placed(lambda device: self.answer, PROCESSOR, "knowing"))

    def require(self, bone: Bone, rig: Rig) -> None:
        if bone is not self.bone:
            raise InputError("trained for another bone")

    def crop(self, frame: NDArray[np.float32], region: Region, size: int) -> NDArray[np.float32]:
        assert frame is FRAME
        assert size == SIZE
        self.seen[-1].append(region)
        return np.zeros((size, size), np.float32)

    def answer(self, crops: Tensor, views: Tensor) -> Tensor:
        """Give out what a landmark network does."""
        regions = self.seen[-1]
        assert len(crops) == len(views) == len(regions)
        self.seen.append([])
        px = np.stack([self._px(region, int(view)) for region, view in zip(regions, views, strict=True)])
        return normalised_from_px(torch.from_numpy(px), SIZE)

    def _px(self, region: Region, view: int) -> NDArray[np.float64]:
        points = self.bone.landmarks_mm.copy()
        if view in self.mirrored:
            a, b = self.bone.symmetric_pairs.T
            points[np.concatenate([a, b])] = points[np.concatenate([b, a])]
        truth = self.truth if view == 0 or self.later is None else self.later
        px = region.from_frame(self.rig.fluoroscopes[view].project(truth.apply(points)), SIZE)
        return px + self.noise_px * self.rng.normal(size=px.shape)
