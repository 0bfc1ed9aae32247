"""The joint between two bones that trained networks find in simulated X-rays, against the truth.

    python bench/joints_networks.py --data DATA --out bench/results/joints.json [--quick] [--work DIR]

Skull and neck in the trials of simulated_head.py, femur and tibia in the squat of configs/simulated_knee.toml, of the
bones that real_knee.py makes. Each bone is registered by itself and every pair from nowhere, by landmarks alone and
refined, as ``fluoropose register`` does; a trial at a camera's rate is also followed and filtered, by landmarks alone.
The networks are small ones (half the paper's width, sets and trainings that two cores can bear); those that are not
there are trained. The results go beside those of joints.py, whose landmarks are the truth's.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.progress import track

from fluoropose._files import write_text
from fluoropose.bone import Bone
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose
from fluoropose.io.frames import frame_range
from fluoropose.io.stored_frame import attenuating
from fluoropose.joint import Joint
from fluoropose.learning.bundle import Bundle
from fluoropose.learning.config import load_config
from fluoropose.learning.dataset import make_dataset
from fluoropose.learning.training.landmarks import train_landmarks
from fluoropose.registration.evaluate import read_reference
from fluoropose.registration.summary import Environment
from fluoropose.registration.trial import Trial, TrialFrames, load_trial
from fluoropose.rig import Rig
from fluoropose.simulate.trial.config import read_simulation
from fluoropose.simulate.trial.write import write_simulation
from fluoropose.tracking import Tracker
from fluoropose.tracking.joint_tracker import JointTracker
from joints import Motion, head, joint_errors, knee, spread
from simulated_head import simulated, trained
from style_networks import placed, set_path
from trial_bench import Arguments, console, from_scratch
from trial_bench import trained as trained_knee

CONFIGS = Path(__file__).parent / "configs"
_FOLLOWED_S = 0.05  # between pairs, at most, where a filter is of use
Pairs = list[tuple[Pose | None, Pose | None]]


@dataclass(frozen=True)
class Recorded:
    """Trials of two bones in the folder of a simulation, with the networks that find them.

    Attributes
    ----------
    folder
        As ``write_simulation`` leaves it.
    bundles
        By the name of the bone's file, the proximal one first.
    motions
        By trial; of them only bones and joint count, poses and times are the folder's.
    """

    folder: Path
    bundles: dict[str, Path]
    motions: dict[str, Motion]

    def truth(self, trial: str) -> list[tuple[Pose, Pose]]:
        """Return world_from_bone of both bones in every pair."""
        files = [self.folder / f"truth/{trial}/world_from_{bone}.csv" for bone in self.bundles]
        one, other = (read_reference(file) for file in files)
        return [(one[number], other[number]) for number in sorted(one)]

    def trial(self, name: str, bone: str, *, refine: bool) -> Trial:
        """Return what registers one bone of a trial."""
        out = self.folder / f"results/{name}_{bone}_{'refined' if refine else 'landmarks'}"
        changes = {"bundle": self.bundles[bone], "out": out, "refine": refine}
        return load_trial(self.folder / f"{name}_{bone}.toml").model_copy(update=changes)


def simulated_knee(arguments: Arguments) -> Recorded:
    """Record the squat where it is not there yet."""
    parts, folder = arguments.work / "knee", arguments.work / "simulated_knee"
    config = read_simulation(CONFIGS / "simulated_knee.toml")
    assert config.knee is not None
    bones = {
        body: segment.model_copy(update={"bone": parts / segment.bone.name})
        for body, segment in (("femur", config.knee.femur), ("tibia", config.knee.tibia))
    }
    subject = config.knee.model_copy(update=bones)
    write_simulation(config.model_copy(update={"rig": parts / "rig.json", "knee": subject}), folder, console)
    bundles = {
        "femur": _ready(
            parts / f"landmarks{arguments.ending}.fpbundle",
            lambda: trained_knee(arguments, CONFIGS / "knee_train.toml", parts),
        ),
        "tibia": _network(arguments, "simulated_tibia_train.toml", parts, "tibia_landmarks"),
    }
    return Recorded(folder, bundles, knee(parts))


def simulated_neck(arguments: Arguments) -> Recorded:
    """Record the trials of the head where they are not there yet."""
    folder = arguments.work / "simulated_head"
    simulated(arguments, folder)
    bundles = {
        "skull": _ready(folder / f"landmarks{arguments.ending}.fpbundle", lambda: trained(arguments, folder)),
        "neck": _network(arguments, "simulated_neck_train.toml", folder, "neck_landmarks"),
    }
    return Recorded(folder, bundles, head(arguments.work / "head"))


def _ready(bundle: Path, train: Callable[[], Path]) -> Path:
    return bundle if bundle.exists() else train()


def _network(arguments: Arguments, name: str, folder: Path, samples: str) -> Path:
    """Train a network whose configuration is that of a small run, where it is not there yet."""
    bundle = folder / f"{samples}{arguments.ending}.fpbundle"
    config = placed(load_config(CONFIGS / name), folder, replace(arguments, small=False))
    return _ready(
        bundle, lambda: train_landmarks(make_dataset(config, set_path(folder, samples, arguments)), bundle, config)
    )


def measured(recorded: Recorded, name: str, arguments: Arguments) -> dict[str, Any]:
    """Return the errors of a trial's joint, and of each bone, by method."""
    joint, truth = recorded.motions[name].joint, recorded.truth(name)
    chosen = frame_range(arguments.frames, len(truth))
    truth = [truth[k] for k in chosen]
    row: dict[str, Any] = {"pairs": len(truth)}
    for method, refine in (("landmarks", False), ("refined", True)):
        of_bones = [_poses(recorded.trial(name, bone, refine=refine), arguments) for bone in recorded.bundles]
        row[method] = compared(recorded, joint, list(zip(*of_bones, strict=True)), truth)
    trials = [recorded.trial(name, bone, refine=False) for bone in recorded.bundles]
    times = TrialFrames.open(trials[0]).times_s
    if times[1] - times[0] <= _FOLLOWED_S:
        row["filtered"] = compared(recorded, joint, list(followed(trials, joint, chosen)), truth)
    for method in ("landmarks", "filtered", "refined"):
        if method in row:
            degrees, mm = (row[method][f"relative_{key}"]["median"] for key in ("rotation_deg", "translation_mm"))
            missing = row[method]["without_both"]
            console.print(f"{name}, {method}: {degrees:.2f} degrees, {mm:.2f} mm, {missing} of {len(truth)} not found")
    return row


def _poses(trial: Trial, arguments: Arguments) -> list[Pose | None]:
    return [row.world_from_bone for row in from_scratch(trial, arguments).rows]


def followed(trials: Sequence[Trial], joint: Joint, chosen: range) -> Iterator[tuple[Pose | None, Pose | None]]:
    """Follow both bones through the frames of a trial; yields the filtered poses."""
    rig, frames = Rig.load(trials[0].rig), TrialFrames.open(trials[0])
    trackers = [Tracker(Bone.load(trial.bone), rig, Bundle.load(trial.bundle), refine_ms=0) for trial in trials]
    both = JointTracker(trackers[0], trackers[1], joint)
    for k in track(chosen, f"following {trials[0].out.name}", console=console):
        pair = [attenuating(one.read(k), one.bits, trials[0].polarity) for one in frames.sources]
        found = both.push(pair[0], pair[1], frames.times_s[k])
        yield found.proximal.world_from_bone, found.distal.world_from_bone


def compared(recorded: Recorded, joint: Joint, found: Pairs, truth: Sequence[tuple[Pose, Pose]]) -> dict[str, Any]:
    """Return the joint's errors with those of the bones beside them."""
    row = joint_errors(joint, found, truth)
    for k, bone in enumerate(recorded.bundles):
        off = pose_errors([poses[k] for poses in found], [poses[k] for poses in truth])
        row[bone] = {
            "without": int(off.failed.sum()),
            "rotation_deg": spread(off.geodesic_error_deg),
            "translation_mm": spread(off.translation_norm_mm),
        }
    return row


def main() -> None:
    arguments = replace(Arguments.parse(__doc__.splitlines()[0]), small=True)
    scenes = {
        "femur and tibia": simulated_knee(arguments),
        "skull and neck": simulated_neck(arguments),
    }
    document = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    document["networks"] = {
        "small": True,
        "training": {
            bone: {"parameters": network.parameters} | network.training
            for scene in scenes.values()
            for bone, path in scene.bundles.items()
            for network in [Bundle.load(path).landmarks.facts]
        },
        "trials": {
            f"{bones}, {name}": measured(scene, name, arguments)
            for bones, scene in scenes.items()
            for name in scene.motions
        },
        "environment": Environment.here().model_dump(mode="json"),
    }
    write_text(arguments.out, json.dumps(document, indent=1) + "\n")
    console.print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
