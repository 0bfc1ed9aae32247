"""A laboratory with a head: calibrated, the skull built, four trials registered, and all of it compared with the truth.

python bench/lab_head.py --data DIR --out bench/results/lab_head.json [--frames A:B] [--bundle FILE] [--quick]
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from fluoropose.bone import Bone
from fluoropose.bone_model.build import build_bone, read_bone_config
from fluoropose.calibration import PlateCalibration, RigCalibration, calibrate
from fluoropose.geometry import Pose
from fluoropose.registration.trial import Trial
from fluoropose.rig import Rig
from lab_head_config import lab_head_calibration_toml
from lab_head_truth import calibration_errors
from scenario import Scenario
from trial_bench import Arguments, console, registered, trained, write_results

HERE = Path(__file__).parent
TRIALS = ("walking", "flexion_extension", "lateral_bending", "axial_rotation")


def main() -> None:
    arguments = Arguments.parse(__doc__.splitlines()[0])
    laboratory, folder = arguments.data / "lab_head", arguments.work / "head"
    calibration = ready_laboratory(arguments.data, folder)
    bundle = trained(arguments, HERE / "configs/head_train.toml", folder)
    truth = laboratory / "truth"
    world_from_truth = convert_world(calibration.plates[0], truth / "rig.json")
    summaries = {}
    for name in TRIALS:
        frames = laboratory / "trials" / name
        trial = Trial(
            rig=folder / "rig.json",
            bone=folder / "skull.h5",
            bundle=bundle,
            frames=(frames / "view1", frames / "view2"),
            times=frames / "times.csv",
            out=folder / name,
        )
        summaries[name] = registered(trial, arguments, truth / name / "world_from_ct.csv", world_from_truth)
    errors = calibration_errors(calibration.rig, truth / "rig.json")
    write_results(arguments.out, "Laboratory with a head", summaries, {"calibration": errors})


def ready_laboratory(data: Path, folder: Path) -> RigCalibration:
    """Calibrate the laboratory and build the skull: rig.json and skull.h5 in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    calibration = calibrate(lab_head_calibration_toml(data, folder / "calibration.toml"), folder / "rig.json")
    console.print("building the skull")
    build_bone(read_bone_config(HERE / "configs/skull_bone.toml", data)).save(folder / "skull.h5")
    return calibration


def lab_scenario(data: Path, name: str, span: str | None, rig: Rig, bone: Bone, world_from_truth: Pose) -> Scenario:
    """Read the pairs "A:B" of one of ``TRIALS`` with the truth."""
    laboratory = data / "lab_head"
    frames = [laboratory / "trials" / name / view for view in ("view1", "view2")]
    return Scenario.load(frames, laboratory / "truth" / name / "world_from_ct.csv", span, rig, bone, world_from_truth)


def convert_world(plate: PlateCalibration, truth_rig: Path) -> Pose:
    """Return ``world_from_truth``, exactly: the true plate's turn and place tie the two worlds together.

    The truth's world is view 1's image plane with y up and z towards the source; ours has y down and z away from it.
    """
    true = json.loads(truth_rig.read_text(encoding="utf-8"))["views"][0]["plate"]
    beads = np.column_stack([plate.index, np.ones(len(plate.index))])
    along, _, origin_px = np.linalg.lstsq(beads, plate.ideal_px, rcond=None)[0]
    middle_px = (np.array(plate.size_px) - 1) / 2
    turn = np.degrees(np.arctan2(along[1], along[0])) + true["rotation_deg"]
    turn = (turn + 45) % 90 - 45  # a square grid does not say which of its axes is the first
    flipped_from_truth = Pose.from_euler_zyx_deg([180.0, 0.0, 0.0], np.zeros(3))
    true_origin = flipped_from_truth.apply([[*true["offset_mm"], 0.0]])[0]
    our_origin = np.array([*((origin_px - middle_px) * plate.pitch_mm), 0.0])
    rotation = Pose.from_euler_zyx_deg([0.0, 0.0, turn], np.zeros(3)).rotation
    return Pose(rotation, our_origin - rotation @ true_origin) * flipped_from_truth


if __name__ == "__main__":
    main()
