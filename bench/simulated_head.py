"""A head on a bending neck, simulated: its skull by landmarks alone and refined, to the end of the neck's range.

python bench/simulated_head.py --data DIR --out bench/results/simulated_head.json [--small | --quick] [--work DIR]

The X-rays are this project's own (configs/simulated_head.toml), in a style that was fixed before any network was
trained and lies outside of what networks are trained on (configs/test_style.toml). In the trial "end_range" little but
the jaw or the occiput is in view. The network's poses reach as far as the trials' (configs/simulated_head_train.toml).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from fluoropose._files import write_text
from fluoropose.bone import Bone
from fluoropose.bone_model.build import build_bone, read_bone_config
from fluoropose.geometry import Pose
from fluoropose.learning.bundle import Bundle
from fluoropose.learning.config import load_config
from fluoropose.learning.dataset import make_dataset
from fluoropose.learning.training.landmarks import train_landmarks
from fluoropose.registration.registrar import Registrar
from fluoropose.registration.summary import Environment
from fluoropose.registration.trial import Trial
from fluoropose.rig import Rig
from fluoropose.simulate.trial.config import SimulationConfig, read_simulation
from fluoropose.simulate.trial.write import write_simulation
from lab_head import ready_laboratory
from scenario import Scenario, landmark_row, line
from style_networks import placed, set_path
from trial_bench import Arguments, console, registered

CONFIGS = Path(__file__).parent / "configs"


def main() -> None:
    arguments = Arguments.parse(__doc__.splitlines()[0])
    folder = arguments.work / "simulated_head"
    trials = [trial.name for trial in simulated(arguments, folder).trials]
    bundle = arguments.bundle or trained(arguments, folder)
    document = {
        "what": "The skull of a simulated head: landmarks alone, then refined; without segmentation",
        "small": arguments.small or arguments.quick,
        "training": Bundle.load(bundle).manifest.networks.named()["landmarks"].training,
        "rows": [row for name in trials for row in measured(name, folder, bundle, arguments)],
        "environment": Environment.here().model_dump(),
    }
    write_text(arguments.out, json.dumps(document, indent=1) + "\n")
    console.print(f"written: {arguments.out}")


def simulated(arguments: Arguments, folder: Path) -> SimulationConfig:
    """Record the trials into ``folder`` where they are not there yet, of the bones and the rig of the laboratory."""
    head = arguments.work / "head"
    if not (head / "skull.h5").exists():
        ready_laboratory(arguments.data, head)
    if not (head / "neck.h5").exists():
        build_bone(read_bone_config(CONFIGS / "neck_bone.toml", arguments.data)).save(head / "neck.h5")
    config = read_simulation(CONFIGS / "simulated_head.toml")
    assert config.head is not None
    assert config.head.neck is not None
    neck = config.head.neck.model_copy(update={"bones": (head / "neck.h5",)})
    subject = config.head.model_copy(update={"bone": head / "skull.h5", "neck": neck})
    config = config.model_copy(update={"rig": head / "rig.json", "head": subject})
    write_simulation(config, folder, console)
    return config


def trained(arguments: Arguments, folder: Path) -> Path:
    """Make the set and train the network where they are not there yet; returns the bundle."""
    config = placed(load_config(CONFIGS / "simulated_head_train.toml"), folder, arguments)
    samples = make_dataset(config, set_path(folder, "landmarks", arguments))
    return train_landmarks(samples, folder / f"landmarks{arguments.ending}.fpbundle", config)


def measured(name: str, folder: Path, bundle: Path, arguments: Arguments) -> Iterator[dict[str, Any]]:
    """Register one trial by landmarks alone and with refinement; yields a row of each."""
    rig, bone = Rig.load(folder / "rig.json"), Bone.load(folder / "skull.h5")
    frames = (folder / f"trials/{name}/view1", folder / f"trials/{name}/view2")
    truth = folder / f"truth/{name}/world_from_skull.csv"
    # The truth is that of the bone's own frame.
    scenario = Scenario.load(frames, truth, arguments.frames, rig, replace(bone, bone_from_source=Pose.identity()))
    row: dict[str, Any] = {"trial": name, "method": "landmarks"}
    row |= landmark_row(Registrar(rig, bone, Bundle.load(bundle)), scenario, true_masks=False)
    yield row
    trial = Trial(
        rig=folder / "rig.json",
        bone=folder / "skull.h5",
        bundle=bundle,
        frames=frames,
        bit_depth=12,
        times=folder / f"trials/{name}/times.csv",
        out=folder / "results" / name,
    )
    summary = registered(trial, arguments, truth, source_frame=False)
    refined = {"trial": name, "method": "refined"} | summary.model_dump(exclude={"environment", "iou"})
    yield refined
    for one in (row, refined):
        console.print(line(one, "trial", "method"), markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    main()
