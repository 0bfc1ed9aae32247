"""What the networks of a head's bundle are worth on the laboratory's frames, which they have never seen.

python bench/networks.py --data DIR --bundle FILE --out bench/results/networks.json [--segment FILE] [--frames A:B]

Per network its size, its time and the numbers of its training: log10 MSE of the landmarks on the training and on the
test samples (the paper: -4.86 and -2.96), IoU of the masks. Then, on the frames of the four trials: IoU of predicted
with true masks, predicted against actual deviations of the landmarks, and the errors of poses from landmarks alone:
without segmentation, with predicted and with true masks, landmarks weighed equally and by their predicted deviations.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from fluoropose._files import write_text
from fluoropose.bone import Bone
from fluoropose.calibration import calibrate
from fluoropose.evaluation import iou
from fluoropose.learning.bundle import Bundle
from fluoropose.registration.registrar import Registrar
from fluoropose.registration.summary import Environment
from lab_head import TRIALS, convert_world, lab_scenario
from lab_head_config import lab_head_calibration_toml
from scenario import Scenario, landmark_row

BINS = 5
console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="holds lab_head")
    parser.add_argument("--bundle", type=Path, required=True, help="networks of the head")
    parser.add_argument("--segment", type=Path, help="bundle with the segmentation network, where it is another one")
    parser.add_argument("--frames", help="A:B, only these pairs of each trial")
    parser.add_argument(
        "--work", type=Path, default=Path("out"), help="holds head/skull.h5, which bench/lab_head.py makes"
    )
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    arguments = parser.parse_args()
    bundle = Bundle.load(arguments.bundle)
    segments = Bundle.load(arguments.segment or arguments.bundle)
    folder = arguments.work / "head"
    calibration = calibrate(lab_head_calibration_toml(arguments.data, folder / "calibration.toml"), folder / "rig.json")
    rig, bone = calibration.rig, Bone.load(folder / "skull.h5")
    segments.require(bone, rig)
    truth = arguments.data / "lab_head/truth"
    world_from_truth = convert_world(calibration.plates[0], truth / "rig.json")
    registrar = Registrar(rig, bone, bundle, segmenter=segments.segment)
    rows, masks, deviations = [], {}, []
    for name in TRIALS:
        scenario = lab_scenario(arguments.data, name, arguments.frames, rig, bone, world_from_truth)
        if registrar.segmenter is not None:
            masks[name] = mask_overlap(registrar, scenario)
            console.print(name, masks[name])
        deviations.append(landmark_errors(registrar, scenario))
        for row in pose_rows(name, registrar, scenario):
            rows.append(row)
            console.print(row["trial"], row["segmentation"], row["weights"], row["failed"], row["mtre_mm"])
    document = {
        "networks": {**told(bundle), **{k: v for k, v in told(segments).items() if k == "segment"}},
        "mask_iou": masks,
        "deviations_px": reliability(np.concatenate(deviations)),
        "poses": rows,
        "environment": Environment.here().model_dump(),
    }
    write_text(arguments.out, json.dumps(document, indent=1) + "\n")
    console.print(f"written: {arguments.out}")


def told(bundle: Bundle) -> dict[str, Any]:
    """Return per network its size, its time on one thread (ms per view) and the numbers of its training."""
    found: dict[str, Any] = {}
    torch.set_num_threads(1)
    for name, facts in bundle.manifest.networks.named().items():
        module = bundle.module(name)
        crops = torch.zeros(2, 1, facts.size, facts.size)
        inputs = (crops, torch.tensor([0, 1])) if name == "landmarks" else (crops,)
        times = []
        with torch.inference_mode():
            for _ in range(20):
                begun = time.process_time()
                module(*inputs)
                times.append((time.process_time() - begun) * 1e3 / 2)
        found[name] = {
            "parameters": bundle.parameters[name],
            "processor_ms_per_view": float(np.median(times)),
            "training": facts.training,
        }
    return found


def mask_overlap(registrar: Registrar, scenario: Scenario) -> dict[str, float]:
    """Return IoU of predicted and true masks in crops of the whole field: mean, median, least."""
    fields = [scope.whole for scope in registrar.rig.fluoroscopes]
    found = []
    for pair, masks in zip(scenario.pairs, scenario.masks, strict=True):
        sight = registrar.sight
        predicted, given = (sight.found(sight.look([pair], [fields], 1, m)).masks for m in (None, [masks]))
        assert predicted is not None
        assert given is not None
        found += [iou(a, b) for a, b in zip(predicted, given, strict=True)]
    return {"mean": float(np.mean(found)), "median": float(np.median(found)), "min": float(np.min(found))}


def landmark_errors(registrar: Registrar, scenario: Scenario) -> NDArray[np.float64]:
    """Return (m, 2), per landmark seen in a whole-field crop: predicted standard deviation and error, crop px."""
    plain = Registrar(registrar.rig, registrar.bone, registrar.bundle)
    scopes = registrar.rig.fluoroscopes
    fields = [scope.whole for scope in scopes]
    size = registrar.bundle.landmarks.facts.size
    found = []
    for pair, pose in zip(scenario.pairs, scenario.truth, strict=True):
        (seen,) = plain.sight.see(plain.sight.look([pair], [fields]))
        for k, (scope, field) in enumerate(zip(scopes, fields, strict=True)):
            true = scope.project(pose.apply(registrar.bone.landmarks_mm))
            error = np.linalg.norm(seen.px[k] - true, axis=1)
            found.append(np.column_stack([seen.sd_px[k], error])[np.isfinite(error)] * size / field.side_px)
    return np.concatenate(found)


def reliability(values: NDArray[np.float64]) -> list[dict[str, float]]:
    """Return predicted and actual deviations per axis, px of the crop, from the surest fifth to the least sure one."""
    rows = []
    for part in np.array_split(values[np.argsort(values[:, 0], kind="stable")], BINS):
        sd, error = part.T
        rows.append(
            {
                "predicted": float(np.sqrt(np.mean(sd**2))),
                "actual": float(np.sqrt(np.mean(error**2) / 2)),
                "actual_median_distance": float(np.median(error)),
                "landmarks": len(part),
            }
        )
    return rows


def pose_rows(trial: str, registrar: Registrar, scenario: Scenario) -> Iterator[dict[str, Any]]:
    deviations = registrar.bundle.landmarks.facts.deviations
    segmentations = ("none", "predicted", "true") if registrar.segmenter is not None else ("none", "true")
    for segmentation, weighted in product(segmentations, (False, True) if deviations else (False,)):
        segmenter = registrar.segmenter if segmentation == "predicted" else None
        one = Registrar(registrar.rig, registrar.bone, registrar.bundle, segmenter=segmenter, weighted=weighted)
        row = {"trial": trial, "segmentation": segmentation, "weights": "deviations" if weighted else "equal"}
        yield row | landmark_row(one, scenario, segmentation == "true")


if __name__ == "__main__":
    main()
