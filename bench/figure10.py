"""The paper's Figure 10 rebuilt: errors of triangulated landmarks by scenario, style of the pictures and segmentation.

python bench/figure10.py --data DIR --out FILE.json [--frames A:B] [--quick | --small] [--work DIR]

Styles: "raw", "translated", "translated_small" (distilled), "equalised", "matched" and "fourier" show frames, as they
are or translated by the CycleGAN or without training, to a network that has seen plain radiographs alone, as the
paper's; "randomised" shows them as they are to one that has seen radiographs in random styles. Segmentation: the
skull's "true" shadow or the "predicted" one; the results without any stand apart. No pose is refined. --small: sets
and networks that two processor cores can bear.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from figure10_networks import Networks, ready_networks
from figure10_picture import save_chart, save_translations
from fluoropose._files import write_text
from fluoropose.bone import Bone
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose
from fluoropose.io.frames import attenuating, frame_range, open_frames
from fluoropose.registration.evaluate import read_reference
from fluoropose.registration.registrar import Registrar
from fluoropose.registration.summary import Environment, summarise
from fluoropose.rig import Rig
from fluoropose.silhouette import field_mask, silhouette
from lab_head import TRIALS, convert_world, ready_laboratory
from trial_bench import Arguments, console

FULL = "networks trained as in the paper"
SMALL = "SMALL RUN: short trainings of small networks on two cores, not the paper's; see bench/README.md"
PAPER = {
    "walking": {"degrees": [3.9, 2.1], "mm": [4.6, 2.2]},
    "flexion_extension": {"degrees": [8.9], "mm": [11.9]},
    "lateral_bending": {"degrees": [14.1], "mm": [12.4]},
    "axial_rotation": {"degrees": [8.9], "mm": [8.0]},
}
_AT_ONCE = 6  # pairs
_ALSO_WHOLE = ("raw", "translated", "randomised")  # also without segmentation


def main() -> None:
    arguments = Arguments.parse(__doc__.splitlines()[0])
    folder = arguments.work / "head"
    calibration = ready_laboratory(arguments.data, folder)
    networks = ready_networks(arguments, folder)
    rig, bone = Rig.load(folder / "rig.json"), Bone.load(folder / "skull.h5")
    truth = arguments.data / "lab_head" / "truth"
    world_from_truth = convert_world(calibration.plates[0], truth / "rig.json")
    scenarios = {name: Scenario.load(arguments, name, rig, bone, world_from_truth) for name in TRIALS}
    rows = [row for name, one in scenarios.items() for row in measured(name, one, networks, rig, bone)]
    document = {
        "what": "Triangulation of landmarks alone (refine = false); errors as in the paper's Eq. 3 and beyond",
        "small": arguments.small,
        "training": networks.told,
        "paper": PAPER,
        "rows": [row for row in rows if row["segmentation"] != "none"],
        "rows_without_segmentation": [row for row in rows if row["segmentation"] == "none"],
        "translation_gain": gains(rows),
        "environment": Environment.here().model_dump(),
    }
    write_text(arguments.out, json.dumps(document, indent=1) + "\n")
    save_chart(arguments.out.with_suffix(".png"), rows, PAPER, SMALL if arguments.small else FULL)
    save_translations(
        arguments.out.with_name(arguments.out.stem + "_styles.png"),
        {name: one.pairs[0] for name, one in scenarios.items()},
        rig.fluoroscopes,
        {name: translator for name, (_, translator) in networks.styles.items() if name != "randomised"},
        networks.facts.preprocessing,
        networks.facts.size,
    )
    console.print(f"written: {arguments.out}")


@dataclass(frozen=True, eq=False)
class Scenario:
    """A trial's frame pairs, bright = attenuating, where the skull truly was, and its shadows (h, w)."""

    pairs: list[list[NDArray[np.float32]]]
    truth: list[Pose]
    masks: list[list[NDArray[np.bool_]]]

    @classmethod
    def load(cls, arguments: Arguments, name: str, rig: Rig, bone: Bone, world_from_truth: Pose) -> Scenario:
        """Read a trial of the laboratory."""
        frames = arguments.data / "lab_head" / "trials" / name
        sources = [open_frames(frames / f"view{k + 1}") for k in range(len(rig.fluoroscopes))]
        reference = read_reference(arguments.data / "lab_head" / "truth" / name / "world_from_ct.csv")
        pairs, truth, masks = [], [], []
        for i in frame_range(arguments.frames, len(sources[0])):
            pairs.append([attenuating(source.read(i), source.bits, "bright_air") for source in sources])
            truth.append(world_from_truth * reference[int(sources[0].name(i))] * bone.bone_from_source.inverse())
            placed = truth[-1].apply(bone.vertices)
            masks.append([silhouette(s, placed, bone.faces) & field_mask(s) for s in rig.fluoroscopes])
        return cls(pairs, truth, masks)


def measured(scenario: str, trial: Scenario, networks: Networks, rig: Rig, bone: Bone) -> Iterator[dict[str, Any]]:
    """Register one scenario in every style, with every segmentation; yields the rows."""
    for style, (bundle, translator) in networks.styles.items():
        registrar = Registrar(rig, bone, bundle, translator=translator)
        for segmentation in ("true", "predicted", *(["none"] if style in _ALSO_WHOLE else [])):
            segmenter = networks.segmenter if segmentation == "predicted" else None
            masks = trial.masks if segmentation == "true" else None
            found = poses(replace(registrar, segmenter=segmenter), trial.pairs, masks)
            errors = pose_errors(found, trial.truth, bone.landmarks_mm)
            summary = summarise(len(found), int(errors.failed.sum()), errors=errors)
            row = {"scenario": scenario, "style": style, "segmentation": segmentation}
            yield row | summary.model_dump(exclude={"environment"})
            console.print(line(row | summary.model_dump()), markup=False, highlight=False, soft_wrap=True)


def poses(
    registrar: Registrar,
    pairs: Sequence[Sequence[NDArray[np.float32]]],
    masks: Sequence[Sequence[NDArray[np.bool_]]] | None,
) -> list[Pose | None]:
    found: list[Pose | None] = []
    for i in range(0, len(pairs), _AT_ONCE):
        some = None if masks is None else masks[i : i + _AT_ONCE]
        found += [one.world_from_bone for one in registrar.register(pairs[i : i + _AT_ONCE], masks=some)]
    return found


def gains(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Say per scenario and segmentation how many times smaller the median mTRE is translated than raw."""
    medians = {
        (row["scenario"], row["segmentation"], row["style"]): row["mtre_mm"]["median"] for row in rows if row["mtre_mm"]
    }
    return [
        {"scenario": scenario, "segmentation": segmentation, "raw_over_translated_mtre": raw / translated}
        for (scenario, segmentation, style), raw in medians.items()
        if style == "raw" and (translated := medians.get((scenario, segmentation, "translated")))
    ]


def line(row: Mapping[str, Any]) -> str:
    """Return a row as a line of text."""
    said = f"{row['scenario']:18} {row['style']:12} {row['segmentation']:10} failed {row['failed']:2} of {row['pairs']}"
    degrees, mm = row["rotation_error_deg"], row["translation_error_mm"]
    if degrees is None:
        return said
    return f"{said}  {degrees['mean']:6.2f} ± {degrees['sd']:5.2f}°  {mm['mean']:6.2f} ± {mm['sd']:5.2f} mm"


if __name__ == "__main__":
    main()
