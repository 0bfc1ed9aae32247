"""What following a bone through time does to its poses, and how soon a lost one is found again.

    python bench/tracking.py --out bench/results/tracking.json [--knee out/knee --data DATA]

On the demo's walking head (``walking_loop.py``), and where there is a folder with a network for it (``real_knee.py``
makes it) on the real knee, without and with its segmentation:

- pairs registered by themselves from the whole field, and followed with as many looks, with one look, and smoothed;
- followed with one look, and refined by the images as finely as the time until the next pair allows on this machine;
- one look at a pair by itself, moved by as little as it is while following: an error that depends on the crop's place
  may be small, or large, just where the bone is in the middle;
- cold starts at every pair: how many pairs until a pose is within 5 degrees and 5 mm;
- the bone out of both views for a second, again and again: how many pairs after it is back, and what is claimed
  meanwhile.

The frames of a bone that is out of view are those of the moment, shifted sideways until no landmark is left in the
field, with the open beam beside them.
"""

from __future__ import annotations

import argparse
import json
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from fluoropose._files import write_text
from fluoropose.bone import Bone
from fluoropose.demo.run import BUNDLE
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose
from fluoropose.io.frames import open_frames
from fluoropose.io.stored_frame import attenuating
from fluoropose.learning.bundle import Bundle, SegmentNetwork
from fluoropose.registration.evaluate import read_reference
from fluoropose.registration.locate import circling
from fluoropose.registration.registrar import Registrar
from fluoropose.registration.summary import Environment
from fluoropose.rig import Rig
from fluoropose.tracking import Phase, Tracker
from fluoropose.tracking.smoother import smooth_trial
from walking_loop import RATE_HZ, simulated

WITHIN_DEG, WITHIN_MM = 5.0, 5.0
GIVE_UP = 15  # pairs
LOOKS = 4
REFINE_MS = 15.0  # at most
Frame = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Scene:
    """A trial with its truth."""

    rig: Rig
    bone: Bone
    bundle: Bundle
    truth: Sequence[Pose]
    read: Callable[[int], tuple[Frame, Frame]]
    rate_hz: float
    segmented: bool = False

    @property
    def segmenter(self) -> SegmentNetwork | None:
        """The bundle's, where it is to look first."""
        return self.bundle.asked(self.segmented, False)[0]

    def tracker(self, looks: int, refine_ms: float = 0.0) -> Tracker:
        """Make a tracker, of the landmarks' poses unless there is time to refine them."""
        return Tracker(self.bone, self.rig, self.bundle, looks=looks, segmenter=self.segmenter, refine_ms=refine_ms)

    def within(self, number: int, pose: Pose | None) -> bool:
        """Tell whether a pose is right enough."""
        return pose_errors([pose], [self.truth[number]]).success_rate(WITHIN_DEG, WITHIN_MM) == 1

    def without_bone(self, number: int) -> tuple[Frame, Frame]:
        """Return the pair with the bone shifted out of both fields."""
        first, second = (_shifted(frame) for frame in self.read(number))
        return first, second


def _shifted(frame: Frame) -> Frame:
    """Move a frame by nine tenths of its width; what comes in is the beam at its most open."""
    by = round(0.9 * frame.shape[1])
    moved = np.full_like(frame, float(np.quantile(frame, 0.01)))
    moved[:, by:] = frame[:, :-by]
    return moved


def walking(work: Path, console: Console) -> Scene:
    """Return the demo's head, simulated."""
    loop = simulated(work, console)
    frames = np.load(loop.frames, mmap_mode="r")
    with as_file(files("fluoropose") / "data" / BUNDLE) as shipped:
        bundle = Bundle.load(shipped)

    def read(number: int) -> tuple[Frame, Frame]:
        first, second = (attenuating(np.asarray(frames[number, view]), 16, "bright_air") for view in (0, 1))
        return first, second

    return Scene(loop.rig, loop.bone, bundle, loop.truth, read, RATE_HZ)


def knee(folder: Path, data: Path) -> Scene:
    """Return the real knee; the frame rate is not documented, 30 pairs a second are assumed."""
    bone = Bone.load(folder / "femur.h5")
    sources = [open_frames(data / "knee_biplane" / f"cam{k}") for k in (1, 2)]
    reference = read_reference(data / "knee_biplane" / "world_from_femur.csv")
    truth = [reference[number] * bone.bone_from_source.inverse() for number in sorted(reference)]

    def read(number: int) -> tuple[Frame, Frame]:
        first, second = (attenuating(source.read(number), source.bits, "bright_air") for source in sources)
        return first, second

    return Scene(Rig.load(folder / "rig.json"), bone, Bundle.load(folder / "landmarks.fpbundle"), truth, read, 30.0)


def accuracy(scene: Scene) -> dict[str, Any]:
    """Compare pairs by themselves with pairs followed, both forwards through the trial."""
    numbers, found = range(len(scene.truth)), {}
    for looks in (LOOKS, 1):
        registrar = Registrar(scene.rig, scene.bone, scene.bundle, looks=looks, segmenter=scene.segmenter)
        alone = [registrar.register([scene.read(k)])[0].world_from_bone for k in track(numbers, "frame by frame")]
        found[f"frame by frame, {_looks(looks)}"] = _errors(scene, alone)
        if looks == 1:
            found["frame by frame, 1 look, moved"] = _errors(scene, moved(scene, registrar, alone))
        tracker = scene.tracker(looks)
        tracked = [tracker.push(*scene.read(k), k / scene.rate_hz) for k in track(numbers, "followed")]
        found[f"followed, {_looks(looks)}"] = _errors(scene, [one.world_from_bone for one in tracked])
        smoothed = smooth_trial(tracked, tracker.motion)
        poses = [None if belief is None else belief.world_from_bone for belief in smoothed]
        found[f"smoothed, {_looks(looks)}"] = _errors(scene, poses)
    tracker = scene.tracker(1, REFINE_MS)
    tracked = [tracker.push(*scene.read(k), k / scene.rate_hz) for k in track(numbers, "followed, refined")]
    sides = Counter(one.refined_px for one in tracked)
    found["followed, refined, 1 look"] = _errors(scene, [one.world_from_bone for one in tracked]) | {
        "refined_px": {f"{side} px": sides[side] / len(tracked) for side in sorted(sides)}
    }
    return found


def moved(scene: Scene, registrar: Registrar, found: Sequence[Pose | None]) -> list[Pose | None]:
    """Return what one look shows from each of the three places from which following looks, all pairs thrice."""
    poses = []
    for number in range(3):
        for k, pose in enumerate(track(found, "moved")):
            windows = [circling(region, number) for region in registrar.regions(pose)]
            (seen,) = registrar.sight.see(registrar.sight.look([scene.read(k)], [windows]))
            poses.append(registrar.checked(registrar.solve(seen, None)).world_from_bone)
    return poses


def _looks(count: int) -> str:
    return f"{count} look{'s' if count > 1 else ''}"


def _errors(scene: Scene, poses: Sequence[Pose | None]) -> dict[str, Any]:
    truth = list(scene.truth) * (len(poses) // len(scene.truth))
    errors = pose_errors(poses, truth, scene.bone.landmarks_mm)
    named = {name: values for name, values in asdict(errors).items() if values is not None}
    return {
        "without_pose": int(errors.failed.sum()),
        "within_5_deg_5_mm": errors.success_rate(WITHIN_DEG, WITHIN_MM),
        **{
            name: {
                "mean": float(np.nanmean(values)),
                "median": float(np.nanmedian(values)),
                "p95": float(np.nanpercentile(values, 95)),
            }
            for name, values in named.items()
        },
    }


def cold_starts(scene: Scene) -> dict[str, Any]:
    """Begin at every pair anew; count the pairs until a pose is right."""
    tracker, needed = scene.tracker(1), []
    for start in track(range(len(scene.truth) - GIVE_UP), "cold starts"):
        tracker.forget()
        needed.append(_until_right(scene, tracker, start))
    return _counted(needed)


def out_of_view(scene: Scene, every: int = 9, before: int = 5) -> dict[str, Any]:
    """Follow for a moment, hide the bone for a second and bring it back, from every ninth pair on."""
    gone, needed, claimed, wrong = round(scene.rate_hz), [], 0, 0
    last = len(scene.truth) - before - gone - GIVE_UP
    starts = range(0, last, every)
    for start in track(starts, "out of view"):
        tracker = scene.tracker(1)
        for k in range(start, start + before):
            tracker.push(*scene.read(k), k / scene.rate_hz)
        back = start + before + gone
        for k in range(start + before, back):
            tracked = tracker.push(*scene.without_bone(k), k / scene.rate_hz)
            claimed += tracked.phase in (Phase.ACQUIRED, Phase.TRACKING)
            wrong += tracked.phase is Phase.COASTING
        needed.append(_until_right(scene, tracker, back))
    return {
        **_counted(needed),
        "pairs_out_of_view": gone * len(starts),
        "found_there": claimed,
        "predicted_there": wrong,
    }


def _until_right(scene: Scene, tracker: Tracker, start: int) -> int:
    for k in range(start, start + GIVE_UP):
        if scene.within(k, tracker.push(*scene.read(k), k / scene.rate_hz).world_from_bone):
            return k - start + 1
    return GIVE_UP + 1


def _counted(needed: Sequence[int]) -> dict[str, Any]:
    pairs = Counter(needed)
    return {
        "times": len(needed),
        "pairs_needed": {str(count): pairs[count] for count in sorted(pairs)},
        "within_3_pairs": sum(count <= 3 for count in needed) / len(needed),
    }


def measured(scene: Scene) -> dict[str, Any]:
    """Return all numbers of a scene."""
    return {
        "bundle": scene.bundle.path.name,
        "parameters": scene.bundle.parameters,
        "pairs": len(scene.truth),
        "accuracy": accuracy(scene),
        "cold_start": cold_starts(scene),
        "out_of_view_1_s": out_of_view(scene),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--work", type=Path, default=Path("out/soak"), help="where the walking loop is kept")
    parser.add_argument("--knee", type=Path, help="folder with rig.json, femur.h5 and landmarks.fpbundle")
    parser.add_argument("--data", type=Path, help="holds knee_biplane")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message=".*trained for another calibration")  # the demo's, on purpose
    scenes = {"simulated walking": walking(arguments.work, Console())}
    if arguments.knee is not None and arguments.data is not None:
        scenes["real knee"] = knee(arguments.knee, arguments.data)
        scenes["real knee, segmented"] = replace(scenes["real knee"], segmented=True)
    document = {
        "what": "poses of the landmarks; refined where that is said",
        "scenes": {name: measured(scene) for name, scene in scenes.items()},
        "environment": Environment.here().model_dump(mode="json"),
    }
    write_text(arguments.out, json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
