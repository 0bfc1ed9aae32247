"""Trials whose files do not fit each other: bones, rigs, masks, networks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError
from typer.testing import CliRunner

from fluoropose.cli import app
from fluoropose.errors import FileFormatError, InputError
from fluoropose.registration.register import register_trial
from fluoropose.rig import Rig
from fluoropose.silhouette import field_mask
from trial_laboratory import SIDE, Laboratory


def test_wrong_inputs_stop_before_anything_is_written(lab: Laboratory, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(FileFormatError, match=r"each of the 2 views of .*rig\.json, found 1"):
        register_trial(lab.trial(out, frames=(lab.folder / "view1",)))
    with pytest.raises(FileFormatError, match=r"nothing\.json"):
        register_trial(lab.trial(out, rig=tmp_path / "nothing.json"))
    other = replace(lab.bone, landmarks_mm=lab.bone.landmarks_mm + 1.0)
    other.save(tmp_path / "other.h5")
    with pytest.raises(InputError, match=r"bone\.fpbundle: trained for bone 'lopsided bone'"):
        register_trial(lab.trial(out, bone=tmp_path / "other.h5"))
    assert not out.exists()


@pytest.mark.filterwarnings("always:.*another calibration")
def test_a_rig_calibrated_anew_is_warned_of_in_one_line(lab: Laboratory, tmp_path: Path) -> None:
    first, second = lab.rig.fluoroscopes
    assert first.field is not None
    wider = replace(first, field=replace(first.field, radius=first.field.radius * 1.005))
    Rig((wider, second)).save(tmp_path / "rig.json")
    text = lab.toml(tmp_path / "trial.toml", tmp_path / "out").read_text()
    text = text.replace(f"{lab.folder}/rig.json", str(tmp_path / "rig.json")) + "refine = false\n"
    (tmp_path / "trial.toml").write_text(text)
    result = CliRunner().invoke(app, ["register", str(tmp_path / "trial.toml"), "--frames", "0:2"])
    assert result.exit_code == 0, result.output
    said = [line for line in result.stderr.splitlines() if line.startswith("warning: ")]
    assert len(said) == 1
    assert "trained for another calibration: view 1: field 0.5% wider; this can be used" in said[0]
    assert said[0].endswith(": a network bears up to 5 degrees between views and 10% of fields and distances")


def test_tubes_that_fire_in_turn_are_warned_of(lab: Laboratory, tmp_path: Path) -> None:
    first, second = lab.rig.fluoroscopes
    Rig((first, replace(second, pulse_offset_s=-0.008))).save(tmp_path / "rig.json")
    trial = lab.trial(tmp_path / "out", rig=tmp_path / "rig.json", refine=False)
    with pytest.warns(UserWarning, match=r"rig\.json: its tubes fire up to 8 ms apart, and pairs are registered as if"):
        register_trial(trial, "0:1")


def with_masks(lab: Laboratory, folder: Path, name: str = "mask_{:04d}") -> tuple[Path, Path]:
    """Masks of all frames: where the beam does not go through freely, inside the field."""
    folders = folder / "masks1", folder / "masks2"
    for k, (out, scope) in enumerate(zip(folders, lab.rig.fluoroscopes, strict=True)):
        out.mkdir(parents=True)
        for path in (lab.folder / f"view{k + 1}").iterdir():
            signal = np.asarray(Image.open(path)).astype(float) / 65535
            mask = (signal < 0.89) & field_mask(scope)
            Image.fromarray(np.uint8(255 * mask)).save(out / f"{name.format(int(path.stem))}.png")
    return folders


def test_masks_are_found_by_number_and_a_pair_without_one_fails(lab: Laboratory, tmp_path: Path) -> None:
    masks = with_masks(lab, tmp_path)
    (masks[0] / "mask_0003.png").unlink()
    Image.fromarray(np.zeros((SIDE, SIDE), np.uint8)).save(masks[1] / "mask_0004.png")
    Image.fromarray(np.ones((10, 20), np.uint8)).save(masks[1] / "mask_0005.png")
    trial = lab.trial(tmp_path / "out", segmentation="given", masks=masks, refine=False)
    reasons = {row.frame: row.reason for row in register_trial(trial, "2:8").rows}
    assert re.fullmatch(r"view 1: no mask in .*masks1", reasons[3])
    assert reasons[4] == "view 2: mask mask_0004 is empty"
    assert reasons[5] == f"view 2: mask mask_0005: expected {SIDE} x {SIDE} pixels, found 20 x 10 pixels"
    assert not any("mask" in reasons[frame] for frame in (2, 6, 7))


def test_masks_of_other_frames_are_refused(lab: Laboratory, tmp_path: Path) -> None:
    masks = with_masks(lab, tmp_path, "other_9{:04d}")
    trial = lab.trial(tmp_path / "out", segmentation="given", masks=masks)
    with pytest.raises(FileFormatError, match=r"masks1: expected masks of the frames in .*view1"):
        register_trial(trial)
    with pytest.raises(ValidationError, match='expected 0 sources with segmentation = "none", found 2'):
        lab.trial(tmp_path / "out", masks=masks)
    with pytest.raises(ValidationError, match='expected 2 sources with segmentation = "given", found 0'):
        lab.trial(tmp_path / "out", segmentation="given")


def test_networks_that_the_bundle_lacks_are_named(lab: Laboratory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bone\.fpbundle: expected a segmentation network.*fluoropose train segment"):
        register_trial(lab.trial(tmp_path / "out", segmentation="predicted"))
    with pytest.raises(InputError, match=r"bone\.fpbundle: expected a translation network.*fluoropose train style"):
        register_trial(lab.trial(tmp_path / "out", translation=True))
    assert not (tmp_path / "out").exists()
