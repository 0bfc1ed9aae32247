"""What a parallel beam in place of a point source costs (Zhou et al. 2021, 4.1): two sets of the same poses.

python bench/parallel_beam.py --data DIR --out bench/results/parallel_beam.json [--small | --quick] [--work DIR]

Both networks learn from plain radiographs of the head (configs/head_plain.toml); of one of them radiographs and labels
are as a parallel beam through the bone's origin makes them. Both then see the same frame pairs, rendered by ray casting
from the rig's point sources at poses that neither has seen; their landmarks are triangulated with the same rig and not
refined. --small: fewer samples and narrower networks, which two cores can bear.
"""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np

from fluoropose._files import write_text
from fluoropose.bone import Bone
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose
from fluoropose.learning.bundle import Bundle
from fluoropose.learning.config import LearningConfig, load_config
from fluoropose.learning.dataset import make_dataset
from fluoropose.learning.scene import draw_pose
from fluoropose.learning.training.landmarks import train_landmarks
from fluoropose.registration.registrar import Registrar
from fluoropose.registration.summary import Environment, summarise
from fluoropose.rig import Rig
from lab_head import ready_laboratory
from plain_frames import plain_frames
from trial_bench import Arguments, console

Beam = Literal["point", "parallel"]
BEAMS: tuple[Beam, ...] = ("point", "parallel")
CONFIG = Path(__file__).parent / "configs" / "head_plain.toml"
_SEED = 2021  # of the poses that are registered; the sets' own is another
_AT_ONCE = 10  # pairs


def main() -> None:
    arguments = Arguments.parse(__doc__.splitlines()[0])
    folder = arguments.work / "head"
    if not (folder / "skull.h5").exists():
        ready_laboratory(arguments.data, folder)
    rig, bone = Rig.load(folder / "rig.json"), Bone.load(folder / "skull.h5")
    configs = {beam: sized(load_config(CONFIG), folder, beam, arguments) for beam in BEAMS}
    bundles = {beam: trained(config, folder, beam, arguments) for beam, config in configs.items()}
    poses = [
        draw_pose(configs["point"].dataset.pose, np.random.default_rng([_SEED, i])) for i in range(pairs(arguments))
    ]
    found: dict[Beam, list[Pose | None]] = {beam: [] for beam in BEAMS}
    frames = plain_frames(bone.volume, rig, poses, configs["point"].style.gamma[0])
    while batch := list(islice(frames, _AT_ONCE)):
        for beam, bundle in bundles.items():
            found[beam] += [one.world_from_bone for one in Registrar(rig, bone, bundle).register(batch)]
    document = {
        "what": "Landmarks alone, triangulated from the same point-source frames, by the beam learned from",
        "small": arguments.small or arguments.quick,
        "samples": configs["point"].dataset.count - configs["point"].dataset.test_count,
        "width": configs["point"].training.width,
        "training": {beam: bundle.manifest.networks.named()["landmarks"].training for beam, bundle in bundles.items()},
        "rows": [{"learned_from": beam} | errors(found[beam], poses, bone) for beam in BEAMS],
        "environment": Environment.here().model_dump(),
    }
    write_text(arguments.out, json.dumps(document, indent=1) + "\n")
    console.print(document["rows"])
    console.print(f"written: {arguments.out}")


def pairs(arguments: Arguments) -> int:
    """Return how many pairs are registered."""
    return 10 if arguments.quick else 200


def sized(config: LearningConfig, folder: Path, beam: Beam, arguments: Arguments) -> LearningConfig:
    """Take bone and rig from ``folder``, one beam, and as much to learn as is asked for."""
    data: dict[str, Any] = {"bone": folder / "skull.h5", "rig": folder / "rig.json", "beam": beam}
    training: dict[str, Any] = {}
    if arguments.small:
        data |= {"count": 3000, "test_count": 200}
        training = {"epochs": 16, "width": 16, "batch": 32}
    if arguments.quick:
        data |= {"count": 200, "test_count": 20}
        training = {"epochs": 1, "width": 8}
    return config.model_copy(
        update={
            "dataset": config.dataset.model_copy(update=data),
            "training": config.training.model_copy(update=training),
        }
    )


def trained(config: LearningConfig, folder: Path, beam: Beam, arguments: Arguments) -> Bundle:
    """Make the set and train; what is there from an earlier run of the same size is used, or gone on with."""
    name = f"{beam}_{'quick' if arguments.quick else 'small' if arguments.small else 'full'}"
    samples = make_dataset(config, folder / f"{name}.h5")
    return Bundle.load(train_landmarks(samples, folder / f"{name}.fpbundle", config))


def errors(found: list[Pose | None], truth: list[Pose], bone: Bone) -> dict[str, Any]:
    """Return the usual summary's fields."""
    errors = pose_errors(found, truth, bone.landmarks_mm)
    summary = summarise(len(found), int(errors.failed.sum()), errors=errors)
    return summary.model_dump(exclude={"environment", "seconds", "seconds_per_pair", "iou"})


if __name__ == "__main__":
    main()
