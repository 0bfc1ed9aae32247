"""The paper's Figure 10 rebuilt: errors of triangulated landmarks by scenario, style of the pictures and segmentation.

python bench/figure10.py --data DIR --out FILE.json [--frames A:B] [--quick | --small] [--work DIR]

Styles: "raw", "translated", "translated_small" (distilled), "equalised", "matched" and "fourier" show frames, as they
are or translated by the CycleGAN or without training, to a network that has seen plain radiographs alone, as the
paper's; "randomised" shows them as they are to one that has seen radiographs in random styles. "radiographs" are no
frames but plain radiographs of the true poses: what the plain network would make of a perfect translation.
Segmentation: the skull's "true" shadow or the "predicted" one; the results without any stand apart. No pose is refined.
--small: sets and networks that two processor cores can bear.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from figure10_picture import save_chart, save_translations
from fluoropose._files import write_text
from fluoropose.bone import Bone
from fluoropose.learning.config import LearningConfig, load_config
from fluoropose.registration.registrar import Registrar
from fluoropose.registration.summary import Environment
from fluoropose.rig import Rig
from lab_head import TRIALS, convert_world, lab_scenario, ready_laboratory
from plain_frames import plain_frames
from scenario import Scenario, landmark_row, line
from style_networks import CONFIGS, Networks, ready_networks
from trial_bench import Arguments, console

_CHARTED = {
    "plain": "plain radiographs",
    "landmarks": "random styles",
    "translate": "CycleGAN",
    "segment": "segmentation",
}
PAPER = {
    "walking": {"degrees": [3.9, 2.1], "mm": [4.6, 2.2]},
    "flexion_extension": {"degrees": [8.9], "mm": [11.9]},
    "lateral_bending": {"degrees": [14.1], "mm": [12.4]},
    "axial_rotation": {"degrees": [8.9], "mm": [8.0]},
}
_ALSO_WHOLE = ("raw", "translated", "randomised")  # also without segmentation


def main() -> None:
    arguments = Arguments.parse(__doc__.splitlines()[0])
    folder = arguments.work / "head"
    calibration = ready_laboratory(arguments.data, folder)
    networks = ready_networks(arguments, folder, "head")
    rig, bone = Rig.load(folder / "rig.json"), Bone.load(folder / "skull.h5")
    truth = arguments.data / "lab_head" / "truth"
    world_from_truth = convert_world(calibration.plates[0], truth / "rig.json")
    scenarios = {
        name: lab_scenario(arguments.data, name, arguments.frames, rig, bone, world_from_truth) for name in TRIALS
    }
    plain = load_config(CONFIGS / "head_plain.toml")
    rows = [
        row
        for name, one in scenarios.items()
        for row in (*measured(name, one, networks, rig, bone), perfect(name, one, networks, rig, bone, plain))
    ]
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
    save_chart(arguments.out.with_suffix(".png"), rows, PAPER, title(networks.told))
    save_translations(
        arguments.out.with_name(arguments.out.stem + "_styles.png"),
        {name: one.pairs[0] for name, one in scenarios.items()},
        rig.fluoroscopes,
        {name: translator for name, (_, translator) in networks.styles.items() if name != "randomised"},
        networks.facts.preprocessing,
        networks.facts.size,
    )
    console.print(f"written: {arguments.out}")


def title(told: Mapping[str, Mapping[str, float]]) -> str:
    """Say how large the networks are and how long they were trained."""
    sizes = []
    for name, one in told.items():
        bundle, network = name.split(": ")
        charted = _CHARTED.get(bundle.split("_")[0] if network == "landmarks" else network)
        if charted:
            sizes.append(f"{charted} {one['parameters'] / 1e6:.1f} M weights, {one['epochs']:.0f} epochs")
    return (
        "; ".join(sizes) + "\n(the paper: about 11 M weights; CycleGAN 40 epochs of 6,525 X-rays and 6,716 radiographs)"
    )


def measured(scenario: str, trial: Scenario, networks: Networks, rig: Rig, bone: Bone) -> Iterator[dict[str, Any]]:
    """Register one scenario in every style, with every segmentation; yields the rows."""
    for style, (bundle, translator) in networks.styles.items():
        registrar = Registrar(rig, bone, bundle, translator=translator)
        for segmentation in ("true", "predicted", *(["none"] if style in _ALSO_WHOLE else [])):
            segmenter = networks.segmenter if segmentation == "predicted" else None
            row: dict[str, Any] = {"scenario": scenario, "style": style, "segmentation": segmentation}
            row |= landmark_row(replace(registrar, segmenter=segmenter), trial, segmentation == "true")
            yield row
            said = line(row, "scenario", "style", "segmentation")
            console.print(said, markup=False, highlight=False, soft_wrap=True)


def perfect(
    scenario: str, trial: Scenario, networks: Networks, rig: Rig, bone: Bone, plain: LearningConfig
) -> dict[str, Any]:
    """Register plain radiographs of a scenario's poses in place of its frames; returns the row.

    Cut out along the skull's true shadow, since the neck is not bent in them.
    """
    body = plain.dataset.moving[0]
    head = bone.volume.extended(body.towards, body.extend_mm)
    ideal = replace(trial, pairs=list(plain_frames(head, rig, trial.truth, plain.style.gamma[0])))
    registrar = Registrar(rig, bone, networks.styles["raw"][0])
    row = {"scenario": scenario, "style": "radiographs", "segmentation": "true"} | landmark_row(registrar, ideal, True)
    said = line(row, "scenario", "style", "segmentation")
    console.print(said, markup=False, highlight=False, soft_wrap=True)
    return row


def gains(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Say per scenario and segmentation how many times smaller the median mTRE is than of frames as they are.

    Of frames translated, and of plain radiographs, than which no translation does better.
    """
    medians = {
        (row["scenario"], row["segmentation"], row["style"]): row["mtre_mm"]["median"] for row in rows if row["mtre_mm"]
    }
    return [
        {"scenario": scenario, "segmentation": segmentation}
        | {
            f"raw_over_{other}_mtre": raw / medians[scenario, segmentation, other]
            for other in ("translated", "radiographs")
            if (scenario, segmentation, other) in medians
        }
        for (scenario, segmentation, style), raw in medians.items()
        if style == "raw"
    ]


if __name__ == "__main__":
    main()
