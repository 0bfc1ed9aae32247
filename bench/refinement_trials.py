"""Refinement of the head's and the knee's trials, from the poses of the landmark stage."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from fluoropose.bone import Bone
from fluoropose.bone_model.build import build_bone, read_bone_config
from fluoropose.calibration import calibrate
from fluoropose.calibration.field import with_fields
from fluoropose.geometry import Pose
from fluoropose.io.frames import open_frames
from fluoropose.io.mayacam import read_mayacam_rig
from fluoropose.io.stored_frame import attenuating
from fluoropose.refinement import Refiner
from fluoropose.registration.evaluate import read_reference
from fluoropose.registration.poses_file import read_poses
from fluoropose.registration.register import register_trial
from fluoropose.registration.trial import Checks, Trial
from fluoropose.rig import Rig
from lab_head import TRIALS, convert_world
from lab_head_config import lab_head_calibration_toml
from refinement_ledger import Ledger, Result, Stopwatch, of_refinement, row

__all__ = ["FAILURE_MM", "OpenTrial", "head_trials", "knee_trial", "two_view_rows"]

HERE = Path(__file__).parent
FAILURE_MM = 5.0
# Appearance and schedule were chosen on these pairs (and on the knee's first hundred); they stand in rows of their own.
DEVELOPED_ON = {"walking": range(12)}

Frames = list[NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class OpenTrial:
    """A trial with its reference poses and the landmark stage's own.

    ``folder`` holds rig.json, the bone (``bone_file``) and the network (landmarks.fpbundle).
    """

    name: str
    rig: Rig
    bone: Bone
    folder: Path
    bone_file: str
    views: tuple[Path, ...]
    truth: dict[int, Pose]

    def frames(self, number: int) -> Frames:
        """Read a pair, bright = attenuating."""
        sources = [open_frames(folder) for folder in self.views]
        return [attenuating(source.read(number), source.bits, "bright_air") for source in sources]

    @cached_property
    def landmark_poses(self) -> dict[int, Pose | None]:
        """Register the trial by landmarks alone, as far as that is not done."""
        out = self.folder / f"{self.name}_landmarks"
        rig, bone, bundle = (self.folder / name for name in ("rig.json", self.bone_file, "landmarks.fpbundle"))
        register_trial(Trial(rig=rig, bone=bone, bundle=bundle, frames=self.views, out=out, refine=False))
        return {pose.frame: pose.world_from_bone for pose in read_poses(out / "poses.csv")}


def head_trials(data: Path, work: Path) -> list[OpenTrial]:
    """Calibrate and build the skull, as far as that is not done."""
    folder, truth = work / "head", data / "lab_head/truth"
    folder.mkdir(parents=True, exist_ok=True)
    calibration = calibrate(lab_head_calibration_toml(data, folder / "calibration.toml"), folder / "rig.json")
    if not (folder / "skull.h5").exists():
        build_bone(read_bone_config(HERE / "configs/skull_bone.toml", data)).save(folder / "skull.h5")
    bone = Bone.load(folder / "skull.h5")
    world_from_truth = convert_world(calibration.plates[0], truth / "rig.json")
    found = []
    for name in TRIALS:
        frames = data / "lab_head/trials" / name
        views = (frames / "view1", frames / "view2")
        reference = read_reference(truth / name / "world_from_ct.csv")
        poses = {n: world_from_truth * pose * bone.bone_from_source.inverse() for n, pose in reference.items()}
        found.append(OpenTrial(name, calibration.rig, bone, folder, "skull.h5", views, poses))
    return found


def knee_trial(data: Path, work: Path) -> OpenTrial:
    """Read the calibration and build the implant, as far as that is not done."""
    knee, folder = data / "knee_biplane", work / "knee"
    folder.mkdir(parents=True, exist_ok=True)
    views = (knee / "cam1", knee / "cam2")
    rig = read_mayacam_rig([knee / "mayacam2_cam1.txt", knee / "mayacam2_cam2.txt"])
    rig = with_fields(rig, [open_frames(path) for path in views])
    rig.save(folder / "rig.json")
    if not (folder / "femur.h5").exists():
        build_bone(read_bone_config(HERE / "configs/knee_femur_bone.toml", data)).save(folder / "femur.h5")
    bone = Bone.load(folder / "femur.h5")
    reference = read_reference(knee / "world_from_femur.csv")
    poses = {n: pose * bone.bone_from_source.inverse() for n, pose in reference.items()}
    return OpenTrial("flexion", rig, bone, folder, "femur.h5", views, poses)


# --- from the landmark stage's poses --------------------------------------------------------------------------------


def two_view_rows(trials: Sequence[OpenTrial], ledger: Ledger) -> Iterator[dict[str, Any]]:
    """Refine every pair that has a landmark pose; one without it stays a failure."""
    done: dict[str, dict[str, list[Result]]] = {}
    for trial in trials:
        refiner = Refiner(trial.rig, trial.bone)
        for number in track(sorted(trial.truth), f"two views: {trial.name}"):
            developed = number in DEVELOPED_ON.get(trial.name, ())
            group = f"{trial.name} (developed on)" if developed else trial.name
            for method, result in _before_and_after(trial, refiner, number, ledger):
                done.setdefault(method, {}).setdefault(group, []).append(result)
    landmarks = trials[0].bone.landmarks_mm
    for method, groups in done.items():
        for group, results in groups.items():
            yield row("two_view", method, results, landmarks, failure_mm=FAILURE_MM, trial=group)
        unseen = [r for group, results in groups.items() if "developed" not in group for r in results]
        yield row("two_view", method, unseen, landmarks, failure_mm=FAILURE_MM, trial="all but those developed on")


def _before_and_after(trial: OpenTrial, refiner: Refiner, number: int, ledger: Ledger) -> list[tuple[str, Result]]:
    start, truth = trial.landmark_poses.get(number), trial.truth[number]

    def refined() -> Result:
        if start is None:
            return of_refinement(None, truth)
        frames = trial.frames(number)
        watch = Stopwatch()
        found = refiner.refine(frames, start)
        took = watch.read()
        kept = start if refiner.doubt(found, start) else found
        # As ``fluoropose register`` does: a bone that is nowhere in the frames has no pose.
        objection = refiner.objection(frames, kept, Checks().min_likeness, Checks().min_peak_fit)
        return of_refinement(None if objection else kept, truth, took)

    return [
        ("landmarks", of_refinement(start, truth)),
        ("landmarks, then our LM, 8 starts", ledger.get(f"{trial.name} {number} lm8", refined)),
    ]
