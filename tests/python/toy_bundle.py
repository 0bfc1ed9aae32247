"""A small bundle for the tests: what networks are told of, and networks that do next to nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from fluoropose.geometry import Pose
from fluoropose.learning.bundle import LandmarkFacts, Owner, SegmentFacts, StyleFacts, add_networks
from fluoropose.learning.landmark_net import LandmarkNet
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.rig import CircularField, Rig
from toy_learning import toy_bone, toy_rig
from trial_laboratory import owner_of

N, SIZE = 7, 64
FACTS = LandmarkFacts(
    size=SIZE, preprocessing=Preprocessing(floor=0.05), crop_margin=1.3, training={"test_log10_mse": -2.5}
)
MASKS = SegmentFacts(size=SIZE, preprocessing=Preprocessing(), training={"test_iou": 0.9})
STYLES = StyleFacts(size=SIZE, preprocessing=Preprocessing(), training={})


class Scaled(nn.Module):
    """Stands for a network from picture to picture."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, crops: torch.Tensor) -> torch.Tensor:
        return crops * self.factor


def toy_owner() -> Owner:
    return owner_of(toy_bone(), toy_rig())


def toy_network() -> LandmarkNet:
    torch.manual_seed(3)
    return LandmarkNet(N, 2, SIZE, width=16).eval()


def write_bundle(folder: Path) -> Path:
    """Write a bundle of the toy's landmark network alone."""
    path = folder / "toy.fpbundle"
    add_networks(path, toy_owner(), {"landmarks": (toy_network(), FACTS)})
    return path


def crops(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-1, 1, (count, SIZE, SIZE)).astype(np.float32)


def turned_rig(degrees: float, grown: float = 1.0) -> Rig:
    """The toy rig with its second view turned about the bone's usual place, and wider fields."""
    first, second = toy_rig().fluoroscopes
    turn = Pose.from_euler_zyx_deg([0, degrees, 0], [0, 0, 0]).rotation
    place = np.array([0, 0, -400.0])
    view = second.view
    moved = replace(
        view,
        origin=place + turn @ (view.origin - place),
        source=place + turn @ (view.source - place),
        u_step=turn @ view.u_step,
        v_step=turn @ view.v_step,
    )
    assert first.field is not None
    field = CircularField(first.field.u, first.field.v, first.field.radius * grown)
    return Rig((replace(first, field=field), replace(second, view=moved)))
