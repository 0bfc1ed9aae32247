"""The real knee: geometry proved, then 150 frame pairs registered without a start pose, and compared.

python bench/real_knee.py --data DIR --out bench/results/real_knee.json [--frames A:B] [--bundle FILE] [--quick]
                          [--styles [--small]]

What triangulated landmarks alone reach is measured as well, by default on frames 100 to 149; and the tibial tray is
searched below the femoral component. --styles: the landmarks alone in every style of bench/figure10.py; the CycleGAN's
X-rays are frames 0 to 99 (configs/knee_style.toml). --small: trainings that two processor cores can bear.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track

from fluoropose.bone import Bone
from fluoropose.bone_model.build import build_bone, read_bone_config
from fluoropose.calibration.field import with_fields
from fluoropose.evaluation import iou
from fluoropose.io.frames import frame_range, open_frames
from fluoropose.io.mayacam import read_mayacam_rig
from fluoropose.io.stored_frame import attenuating
from fluoropose.learning.config import Moving, load_config
from fluoropose.registration.evaluate import read_reference
from fluoropose.registration.poses_file import read_poses
from fluoropose.registration.registrar import Registrar
from fluoropose.registration.trial import Trial
from fluoropose.rig import Fluoroscope, Rig
from fluoropose.silhouette import silhouette
from knee_tray import Tray, overlap
from scenario import Scenario, landmark_row, line
from style_networks import Networks, ready_networks
from trial_bench import Arguments, console, registered, trained, write_results

HERE = Path(__file__).parent
UNSEEN = "100:150"  # frames that no network's training uses


def main() -> None:
    arguments = Arguments.parse(__doc__.splitlines()[0])
    knee, folder = arguments.data / "knee_biplane", arguments.work / "knee"
    folder.mkdir(parents=True, exist_ok=True)
    frames = (knee / "cam1", knee / "cam2")
    rig = read_mayacam_rig([knee / "mayacam2_cam1.txt", knee / "mayacam2_cam2.txt"])
    rig = with_fields(rig, [open_frames(path) for path in frames])
    rig.save(folder / "rig.json")
    for name in ("femur", "tibia"):
        console.print(f"building the {name}")
        build_bone(read_bone_config(HERE / f"configs/knee_{name}_bone.toml", arguments.data)).save(
            folder / f"{name}.h5"
        )
    femur, tray = Bone.load(folder / "femur.h5"), Bone.load(folder / "tibia.h5")
    geometry = prove_geometry(knee, rig, femur, arguments.frames)
    config = HERE / "configs/knee_train.toml"
    reference = knee / "world_from_femur.csv"
    if arguments.styles:
        networks = ready_networks(arguments, folder, "knee")
    else:
        networks = Networks.randomised(trained(arguments, config, folder))
    span = arguments.frames or UNSEEN
    alone = list(landmark_rows(networks, Scenario.load(frames, reference, span, rig, femur), rig, femur))
    trial = Trial(
        rig=folder / "rig.json", bone=folder / "femur.h5", bundle=networks.path, frames=frames, out=folder / "flexion"
    )
    summary = registered(trial, arguments, reference)
    write_results(
        arguments.out,
        "Real knee, femoral component",
        {"flexion": summary},
        {"geometry": geometry},
        tibial_tray=tray_overlap(trial, rig, tray, load_config(config).dataset.moving[0], knee),
        landmarks_alone={"frames": span, "trained": networks.told, "rows": alone},
    )


def landmark_rows(networks: Networks, scenario: Scenario, rig: Rig, bone: Bone) -> Iterator[dict[str, Any]]:
    """Triangulate landmarks alone in every style, with every segmentation; yields the rows."""
    for style, (bundle, translator) in networks.styles.items():
        for segmentation in ("none", *(["predicted"] if networks.segmenter else []), "true"):
            segmenter = networks.segmenter if segmentation == "predicted" else None
            registrar = Registrar(rig, bone, bundle, segmenter=segmenter, translator=translator)
            row: dict[str, Any] = {"style": style, "segmentation": segmentation}
            row |= landmark_row(registrar, scenario, segmentation == "true")
            yield row
            console.print(line(row, "style", "segmentation"), markup=False, highlight=False, soft_wrap=True)


def tray_overlap(trial: Trial, rig: Rig, tray: Bone, joint: Moving, knee: Path) -> dict[str, Any]:
    """Find the tibial tray below every femoral component that was found, and compare its shadow with the masks."""
    search = Tray(rig, tray, joint)
    sources = [open_frames(path) for path in trial.frames]
    found, numbers = [], []
    for row in track(read_poses(trial.out / "poses.csv"), "the tibial tray", console=console):
        pair = [attenuating(source.read(row.frame), source.bits, trial.polarity) for source in sources]
        refined = None if row.world_from_bone is None else search.found(pair, row.world_from_bone)
        found.append(None if refined is None else refined.world_from_bone)
        numbers.append(row.frame)
    return overlap(rig, tray, found, [knee / f"cam{k}_tibia_mask" for k in (1, 2)], numbers)


def prove_geometry(knee: Path, rig: Rig, bone: Bone, frames: str | None) -> dict[str, Any]:
    """Project the implant with the reference poses and compare with the given masks.

    Raises
    ------
    SystemExit
        If a camera's mean overlap is below 0.99: nothing that follows would mean anything.
    """
    reference = read_reference(knee / "world_from_femur.csv")
    found: dict[str, list[list[float]]] = {"as_drawn": [], "pixel_centres": []}
    for k, scope in enumerate(rig.fluoroscopes, start=1):
        masks = sorted((knee / f"cam{k}_femur_mask").glob("*.png"))
        drawn, exact = [], []
        for path in (masks[i] for i in frame_range(frames, len(masks))):
            world_from_bone = reference[int(path.stem)] * bone.bone_from_source.inverse()
            placed, mask = world_from_bone.apply(bone.vertices), np.asarray(Image.open(path)) > 0
            drawn.append(iou(as_the_masks_were_drawn(scope, placed, bone.faces), mask))
            exact.append(iou(silhouette(scope, placed, bone.faces), mask))
        found["as_drawn"].append(drawn)
        found["pixel_centres"].append(exact)
    means = [float(np.mean(values)) for values in found["as_drawn"]]
    if min(means) < 0.99:
        raise SystemExit(f"the projected implant does not cover the masks: mean IoU {means}, expected at least 0.99")
    return {
        "iou_per_camera_masks_drawn_alike": means,
        "smallest": float(np.min(found["as_drawn"])),
        "iou_per_camera_pixel_centre_rule": [float(np.mean(values)) for values in found["pixel_centres"]],
    }


def as_the_masks_were_drawn(
    scope: Fluoroscope, vertices_world_mm: NDArray[np.float64], faces: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Rasterise like the program that drew the masks: corners rounded down to whole pixels, edges included.

    That rule was found by trying rules; it makes shadows half a pixel larger, and displaced by half a pixel to the
    upper left, compared with the rule "pixel centres in the shadow". The geometry is the same.
    """
    corners = np.floor(scope.project(vertices_world_mm)[faces]).astype(np.int32)
    mask = np.zeros((scope.view.height, scope.view.width), np.uint8)
    for triangle in corners:
        cv2.fillConvexPoly(mask, triangle, 1)
    return mask.astype(bool)


if __name__ == "__main__":
    main()
