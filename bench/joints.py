"""Joint angles and translations of two bones followed at once, against the truth of simulated motions.

    python bench/joints.py --knee out/knee --head out/head --out bench/results/joints.json

The motions are those of ``configs/simulated_knee.toml`` (femur and tibia, a squat) and ``configs/simulated_head.toml``
(skull and neck, walking and the ends of motion). The landmarks are NOT a network's: they are the truth's, each with a
normal error that is a share of the crop's side, of which the tracker is told nothing. What is measured is all that
comes after: triangulation, hypotheses, filter, and the joint with its standard deviations. Errors of a network are not
independent of each other; expect it to do worse than these do at the same root mean square.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from fluoropose._files import write_text
from fluoropose.bone import Bone
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose
from fluoropose.joint import Joint, JointMotion, anatomical_frame
from fluoropose.learning.bundle import Bundle, LandmarkFacts, Landmarks
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.region import Region
from fluoropose.registration.sight import Found, Look, Sight
from fluoropose.registration.summary import Environment
from fluoropose.rig import Rig
from fluoropose.simulate.trial.config import Segment, TrialConfig, read_simulation
from fluoropose.simulate.trial.head import HeadScene
from fluoropose.simulate.trial.knee import KneeScene
from fluoropose.tracking import Tracker
from fluoropose.tracking.joint_tracker import JointTracker, TrackedJoint

HERE = Path(__file__).parent
NOISE_SHARES = (0.008, 0.016)  # 1 and 2 pixels of 128, per axis; log10 MSE -3.6 and -3.0 (the paper's network: -2.96)
SIZE = 128


@dataclass
class KnownLandmarks:
    """Stands for a landmark network, and for its bundle; it knows where the bone is.

    Attributes
    ----------
    rig, bone
        Whose landmarks.
    noise_share
        Standard deviation of their errors per axis, as a share of the crop's side.
    pose
        ``world_from_bone``; to be set before it is asked.
    """

    rig: Rig
    bone: Bone
    noise_share: float
    pose: Pose = field(default_factory=Pose.identity)
    facts: LandmarkFacts = field(
        default_factory=lambda: LandmarkFacts(size=SIZE, preprocessing=Preprocessing(), training={}, crop_margin=1.25)
    )
    path: Path = Path("the truth")

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(1)

    @property
    def landmarks(self) -> KnownLandmarks:
        """Itself, as of a bundle."""
        return self

    def require(self, bone: Bone, rig: Rig) -> None:
        """Fit every bone and rig."""

    def seen(self, windows: Sequence[Region], views: Sequence[int]) -> Landmarks:
        """Answer with the truth and errors, in pixels of the crops of these windows."""
        placed = self.pose.apply(self.bone.landmarks_mm)
        px = np.stack(
            [
                window.from_frame(self.rig.fluoroscopes[view].project(placed), SIZE)
                for window, view in zip(windows, views, strict=True)
            ]
        )
        return Landmarks(px + self._rng.normal(0, self.noise_share * SIZE, px.shape), np.full(px.shape[:2], np.nan))


class Knowing(Sight):
    """Asks the truth in place of the networks."""

    def found(self, look: Look, lap: Callable[[str], None] | None = None) -> Found:
        """Find the landmarks."""
        views = np.tile(np.repeat(np.arange(len(self.rig.fluoroscopes)), look.looks), look.pairs)
        return Found(cast(KnownLandmarks, self.bundle).seen(look.windows, views.tolist()), None)


def tracker_of(known: KnownLandmarks) -> Tracker:
    """Make a tracker that sees known landmarks."""
    bundle = cast(Bundle, known)
    tracker = Tracker(known.bone, known.rig, bundle, refine_ms=0, proven=False)
    tracker._registrar.__dict__["sight"] = Knowing(known.rig, bundle)  # where the property keeps it
    return tracker


@dataclass(frozen=True, eq=False)
class Motion:
    """Two bones that move, with the joint between them."""

    rig: Rig
    bones: tuple[Bone, Bone]
    joint: Joint
    truth: list[tuple[Pose, Pose]]
    rate_hz: float

    def followed(self, noise_share: float) -> list[TrackedJoint]:
        """Follow both bones; the frames show noise, which nobody looks at."""
        known = [KnownLandmarks(self.rig, bone, noise_share) for bone in self.bones]
        trackers = JointTracker(tracker_of(known[0]), tracker_of(known[1]), self.joint)
        rng = np.random.default_rng(2)
        frames = [rng.uniform(0.2, 0.8, (view.height, view.width)).astype(np.float32) for view in self.rig.views]
        found = []
        for k, poses in enumerate(track(self.truth, f"noise {noise_share:g}")):
            known[0].pose, known[1].pose = poses
            found.append(trackers.push(frames[0], frames[1], k / self.rate_hz))
        return found


def knee(folder: Path) -> dict[str, Motion]:
    """Return the squat."""
    config = read_simulation(HERE / "configs" / "simulated_knee.toml")
    assert config.knee is not None
    parts = [
        segment.model_copy(update={"bone": folder / segment.bone.name})
        for segment in (config.knee.femur, config.knee.tibia)
    ]
    scene = KneeScene(config.knee.model_copy(update={"femur": parts[0], "tibia": parts[1]}), config.place)
    bones = (scene.bones["femur"], scene.bones["tibia"])
    joint = Joint(_anatomical(bones[0], parts[0]), _anatomical(bones[1], parts[1]), config.knee.side)
    rig = Rig.load(folder / "rig.json")
    return {
        trial.name: Motion(rig, bones, joint, _truth(scene, trial, ("femur", "tibia")), trial.frame_rate_hz)
        for trial in config.trials
    }


def _anatomical(bone: Bone, segment: Segment) -> Pose:
    points = np.array([segment.right, segment.left, segment.proximal, segment.distal])
    return anatomical_frame(*bone.bone_from_source.apply(points))


def head(folder: Path) -> dict[str, Motion]:
    """Return the head's trials; the joint is between the occipital condyles, both frames alike when nothing moves."""
    config = read_simulation(HERE / "configs" / "simulated_head.toml")
    assert config.head is not None
    assert config.head.neck is not None
    neck = config.head.neck.model_copy(update={"bones": (folder / "neck.h5",)})
    scene = HeadScene(config.head.model_copy(update={"bone": folder / "skull.h5", "neck": neck}), config.place)
    skull, spine = scene.bones["skull"], scene.bones["neck"]
    frame = Pose(np.diag([-1.0, -1.0, 1.0]), np.asarray(neck.joint_mm))  # right, forward and up in the patient's axes
    joint = Joint(frame, spine.bone_from_source * skull.bone_from_source.inverse() * frame, "right")
    rig = Rig.load(folder / "rig.json")
    return {
        trial.name: Motion(rig, (skull, spine), joint, _truth(scene, trial, ("skull", "neck")), 30.0)
        for trial in (_at_30_hz(one) for one in config.trials)
    }


def _at_30_hz(trial: TrialConfig) -> TrialConfig:
    """Return a trial with as many pairs as a camera would take in its time."""
    frames = round(trial.frames * 30.0 / trial.frame_rate_hz)
    return trial.model_copy(update={"frame_rate_hz": 30.0, "frames": frames})


def _truth(scene: KneeScene | HeadScene, trial: TrialConfig, names: tuple[str, str]) -> list[tuple[Pose, Pose]]:
    poses = [scene.truth(scene.bodies(trial, k / trial.frame_rate_hz)) for k in range(trial.frames)]
    return [(one[names[0]], one[names[1]]) for one in poses]


def errors(motion: Motion, found: Sequence[TrackedJoint]) -> dict[str, Any]:
    """Compare pairs by themselves and filtered with the truth."""
    truth = [np.array(astuple(motion.joint.motion(*poses))) for poses in motion.truth]
    alone = [(one.proximal.registration.world_from_bone, one.distal.registration.world_from_bone) for one in found]
    filtered = [(one.proximal.world_from_bone, one.distal.world_from_bone) for one in found]
    named = {"pairs by themselves": alone, "filtered": filtered}
    table = {name: joint_errors(motion.joint, poses, motion.truth) for name, poses in named.items()}
    known = [k for k, one in enumerate(found) if one.motion is not None]
    differences = np.array([_wrapped(np.array(_numbers(found[k].motion)) - truth[k]) for k in known])
    claimed = np.array([_numbers(found[k].deviations) for k in known])
    table["filtered"]["components"] = {
        one.name: {
            "rms": float(np.sqrt(np.mean(differences[:, k] ** 2))),
            "claimed_sd": float(np.sqrt(np.mean(claimed[:, k] ** 2))),
        }
        for k, one in enumerate(fields(JointMotion))
    }
    return {"pairs": len(found), **table}


def joint_errors(
    joint: Joint, found: Sequence[tuple[Pose | None, Pose | None]], truth: Sequence[tuple[Pose, Pose]]
) -> dict[str, Any]:
    """Compare the distal anatomical frame in the proximal one, where both bones were found, with the truth."""
    both = [None if one is None or other is None else _relative(joint, one, other) for one, other in found]
    off = pose_errors(both, [_relative(joint, *poses) for poses in truth])
    return {"without_both": int(off.failed.sum())} | {
        "relative_rotation_deg": spread(off.geodesic_error_deg),
        "relative_translation_mm": spread(off.translation_norm_mm),
    }


def _numbers(motion: JointMotion | None) -> tuple[float, ...]:
    assert motion is not None
    return astuple(motion)


def _wrapped(change: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.concatenate([(change[:3] + 180) % 360 - 180, change[3:]])


def _relative(joint: Joint, proximal: Pose, distal: Pose) -> Pose:
    """Return the distal anatomical frame in the proximal one."""
    return (proximal * joint.proximal_from_anatomical).inverse() * distal * joint.distal_from_anatomical


def spread(values: NDArray[np.float64]) -> dict[str, float]:
    """Return median and 95th percentile of what is not NaN."""
    return {"median": float(np.nanmedian(values)), "p95": float(np.nanpercentile(values, 95))}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--knee", type=Path, help="folder with rig.json, femur.h5 and tibia.h5 (real_knee.py)")
    parser.add_argument("--head", type=Path, help="folder with rig.json, skull.h5 and neck.h5 (simulated_head.toml)")
    arguments = parser.parse_args()
    motions: dict[str, Motion] = {}
    if arguments.knee is not None:
        motions |= {f"femur and tibia, {name}": one for name, one in knee(arguments.knee).items()}
    if arguments.head is not None:
        motions |= {f"skull and neck, {name}": one for name, one in head(arguments.head).items()}
    document = {
        "landmarks": "the truth's, with independent normal errors per axis, as a share of the crop's side",
        "noise": {
            f"{share:g}": {name: errors(motion, motion.followed(share)) for name, motion in motions.items()}
            for share in NOISE_SHARES
        },
        "environment": Environment.here().model_dump(mode="json"),
    }
    if arguments.out.exists():  # joints_networks.py's
        document |= {key: value for key, value in json.loads(arguments.out.read_text()).items() if key == "networks"}
    write_text(arguments.out, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
