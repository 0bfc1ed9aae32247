"""Make the network that the package ships: ``make demo-bundle``; about twenty minutes on two cores.

The network is trained for the nominal rig, the one on paper; the demo then registers frames of the true one.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from fluoropose.bone import Bone
from fluoropose.demo.skull import Geometry, demo_bone
from fluoropose.learning.config import DatasetConfig, LearningConfig, PoseRange, StyleConfig, TrainingConfig
from fluoropose.learning.dataset import make_dataset
from fluoropose.learning.training.landmarks import train_landmarks
from fluoropose.simulate.laboratory import Nominal
from fluoropose.simulate.motion import Walking
from fluoropose.simulate.phantom import head

__all__ = ["learning_config", "train_demo"]


def learning_config(bone_path: Path, rig_path: Path, count: int = 6000, epochs: int = 24) -> LearningConfig:
    """Return how the shipped network learns: poses about upright standing, three times as wide as walking moves."""
    upright = Walking(_triple(Nominal().isocentre), nod_deg=0, turn_deg=0, lean_deg=0, sideways_mm=0, up_mm=0)
    pose = upright.world_from_head(0.0) * Bone.load(bone_path).bone_from_source.inverse()
    x, y, z = (_triple(row) for row in pose.rotation)
    return LearningConfig(
        dataset=DatasetConfig(
            bone=bone_path,
            rig=rig_path,
            count=count,
            test_count=max(count // 30, 1),
            segmented_share=0.1,
            seed=1,
            whole_field_share=0.35,
            margin=(1.1, 1.5),
            shift=0.05,
            pose=PoseRange(
                rotation=(x, y, z),
                centre_mm=_triple(pose.translation_mm),
                range_mm=(45.0, 35.0, 45.0),
                tilt_deg=(14.0, 14.0, 16.0),
            ),
        ),
        style=StyleConfig(
            bone=(0.85, 1.2),
            surroundings=(0.8, 1.25),
            turn_deg=6.0,
            tissue=(0.0, 0.5),
            limbs=1,
            shafts=0,
            beads=0,
            scatter=(0.0, 0.08),
            exposure=(2.0, 8.0),
            gamma=(0.4, 1.2),
        ),
        training=TrainingConfig(width=32, stored="float16", epochs=epochs, patience=epochs, crop_margin=1.25),
    )


def train_demo(out: Path, work: Path, count: int = 6000, epochs: int = 24) -> Path:
    """Place the landmarks, render the set, train, and write bundle and landmarks to the folder ``out``.

    Interrupted, a rerun with the same ``work`` folder goes on.
    """
    work.mkdir(parents=True, exist_ok=True)
    bone_path, rig_path, set_path = work / "bone.h5", work / "rig.json", work / "set.h5"
    if not set_path.exists():
        drawn = head()
        geometry = Geometry.of(drawn)
        geometry.save(work)
        demo_bone(drawn, geometry).save(bone_path)
        Nominal().rig.save(rig_path)
    config = learning_config(bone_path, rig_path, count, epochs)
    if not set_path.exists():
        make_dataset(config, set_path)
    bundle = train_landmarks(set_path, work / "demo.fpbundle", config, work / "training")
    out.mkdir(parents=True, exist_ok=True)
    for name in (bundle.name, "demo_skull.npz"):
        (out / name).write_bytes((work / name).read_bytes())
    return out / bundle.name


def _triple(values: np.ndarray) -> tuple[float, float, float]:
    a, b, c = (float(v) for v in values)
    return a, b, c


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for bundle and landmarks")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "fluoropose-demo", help="scratch")
    arguments = parser.parse_args()
    print(train_demo(arguments.out, arguments.work))
