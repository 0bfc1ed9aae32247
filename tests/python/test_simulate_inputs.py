"""What a simulation refuses, and what is committed of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluoropose._toml import read_toml
from fluoropose.bone import Bone
from fluoropose.errors import FileFormatError, FluoroposeError, InputError
from fluoropose.geometry import Pose, View
from fluoropose.learning.config import StyleConfig, load_config
from fluoropose.rig import Fluoroscope, Rig
from fluoropose.simulate.chain import ImageChain
from fluoropose.simulate.trial.camera import Camera
from fluoropose.simulate.trial.config import Style, read_simulation
from fluoropose.simulate.trial.write import write_simulation
from toy_learning import toy_rig
from toy_simulation import HEAD, KNEE, write_toy_simulation

CONFIGS = Path(__file__).resolve().parents[2] / "bench" / "configs"


def flat() -> Rig:
    return toy_rig(distorted=False)


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            HEAD.replace("[style.chain]", "[style.chain]\ngama = 2"),
            r"style\.chain\.gama: unknown key, did you mean 'gamma'",
        ),
        (HEAD.replace("bits = 16", "bits = 20"), "bits: expected 8 to 16, found 20"),
        (HEAD.replace("period_s = 1", "period_s = 0"), r"trials\.1\.neck\.period_s"),
        (HEAD.replace("range_deg = [-30, 30]", "range_deg = [30, -30]"), "range_deg: expected -90 <= least"),
        (HEAD.replace('name = "nodding"', 'name = "still"'), "trials: expected different names"),
        (HEAD.replace('name = "nodding"', 'name = "../up"'), "name: expected letters"),
        (HEAD.replace("[[1, 0, 0], [0, 0, -1], [0, 1, 0]]", "[[1, 0, 0], [0, 2, 0], [0, 0, 1]]"), "rotation"),
        (HEAD.replace("[style]", "style_file = 's.toml'\n[style]"), "style_file, style: expected at most one"),
        (HEAD + "[trials.walking]\n", "walking, neck, knee: expected at most one"),
        (KNEE.replace("[trials.knee]", "[trials.walking]\n[trials.knee]"), "walking, neck, knee"),
        (KNEE.replace("inner_radius_mm = 4", "inner_radius_mm = 9"), "inner_radius_mm: expected less"),
        (KNEE.replace('"cobalt_chromium"', '"gold"'), r"knee\.femur\.material"),
        (KNEE.replace('"tibia.h5"', '"femur.h5"'), "femur, tibia: expected bone files with different names"),
        (KNEE.replace("[knee]\n", "[other]\n"), "other: unknown key"),
    ],
)
def test_refuses_configurations(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "simulation.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError, match=message) as caught:
        read_simulation(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rig.json", "nowhere.json", r"nowhere\.json"),
        ("skull.h5", "nowhere.h5", r"nowhere\.h5"),
        ("[head.neck]", "[head.neck]\ntowards = [0, 0, 0]", "towards: expected a direction"),
        ("beyond_mm = [0, 0, -28]", "beyond_mm = [0, 0, -200]", "beyond_mm, towards: expected bones of the neck"),
        ('"vertebra.h5"', '"vertebra.h5", "vertebra.h5"', "expected bone files with different names"),
        ("[style]", "[style]\nbeam = { filtration_mm = { Xx = 1.0 } }", "filtration_mm: Xx"),
    ],
)
def test_refuses_files_that_do_not_fit(tmp_path: Path, old: str, new: str, message: str) -> None:
    path = write_toy_simulation(tmp_path, HEAD.replace(old, new))
    with pytest.raises(FluoroposeError, match=message):
        write_simulation(read_simulation(path), tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.png"))


def test_refuses_a_bone_of_another_ct(tmp_path: Path) -> None:
    path = write_toy_simulation(tmp_path, HEAD)
    stray = replace(Bone.load(tmp_path / "vertebra.h5"), bone_from_source=Pose(np.eye(3), np.array([500.0, 0, 0])))
    stray.save(tmp_path / "vertebra.h5")
    with pytest.raises(InputError, match="vertebra: expected a bone of the skull's CT"):
        write_simulation(read_simulation(path), tmp_path / "out")


def test_refuses_views_it_cannot_simulate() -> None:
    view = flat().views[0]
    parallel = View(view.width, view.height, view.origin, view.u_step, view.v_step, np.array([0.0, 0, 1]), "parallel")
    with pytest.raises(InputError, match="point source"):
        Camera(Fluoroscope(parallel), ImageChain())


# --- what is committed ------------------------------------------------------------------------------------------------


def test_the_test_style_lies_outside_what_networks_for_heads_are_trained_on() -> None:
    style = read_toml(CONFIGS / "test_style.toml", Style)
    assert style.method == "ray_cast"
    assert style.beam is not None
    trained = [StyleConfig(), *(load_config(path).style for path in sorted(CONFIGS.glob("*_train.toml")))]
    assert len(trained) >= 3
    for ranges in trained:
        assert style.chain.gamma < ranges.gamma[0]
        assert style.chain.vignetting > ranges.shading[1]
    assert style.chain.glare_share > load_config(CONFIGS / "head_train.toml").style.glare[1]


@pytest.mark.parametrize("name", ["simulated_head", "simulated_knee"])
def test_committed_simulations_are_valid(name: str) -> None:
    config = read_simulation(CONFIGS / f"{name}.toml")
    assert config.read_style().beam is not None
    if config.head is not None:
        kinds = {trial.neck.kind if trial.neck else "walking" for trial in config.trials}
        assert kinds == {"walking", "flexion_extension", "lateral_bending", "axial_rotation"}
