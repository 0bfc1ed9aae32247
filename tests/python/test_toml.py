"""Configurations: what is wrong with a value is told in plain words, with the file and the key."""

from __future__ import annotations

from pathlib import Path

import pytest

from fluoropose._template import toml_template
from fluoropose._toml import Config, read_toml, require_inputs
from fluoropose.bone_model.build import BoneConfig, read_bone_config
from fluoropose.errors import ConfigError, FileFormatError
from fluoropose.registration.joint_trial import JointConfig
from fluoropose.registration.trial import Trial, load_trial

TRIAL = {"rig": '"r"', "bone": '"b"', "bundle": '"n"', "frames": '["a", "b"]', "out": '"o"'}
JOINT = """
side = "left"
out = "knee.csv"
[proximal]
bone = "f.h5"
poses = "f.csv"
right = {right}
left = "l"
proximal = "p"
distal = "d"
[distal]
bone = "t.h5"
poses = "t.csv"
right = "r"
left = "l"
proximal = "p"
distal = "d"
"""


def problem(folder: Path, text: str, model: type[Config]) -> str:
    path = folder / "a.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(FileFormatError) as caught:
        read_toml(path, model)
    file, _, told = str(caught.value).partition(": ")
    assert file == str(path)
    return told


def trial_text(**changes: str) -> str:
    return "".join(f"{name} = {value}\n" for name, value in (TRIAL | changes).items())


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("frames", '"one/folder"', "frames: expected a list, found 'one/folder'"),
        ("frames", "[]", "frames: expected a list of at least 1, found []"),
        ("frames", "[1]", "frames.0: expected a file or folder, in quotes, found 1"),
        ("rig", "3", "rig: expected a file or folder, in quotes, found 3"),
        ("polarity", '"dark"', "polarity: expected 'bright_air' or 'bright_bone', found 'dark'"),
        ("translation", '"perhaps"', "translation: expected true or false, found 'perhaps'"),
        ("frame_rate_hz", '"fast"', "frame_rate_hz: expected a number, found 'fast'"),
        ("frame_rate_hz", "0", "frame_rate_hz: expected a number greater than 0, found 0"),
        ("bit_depth", "12.5", "bit_depth: expected a whole number, found 12.5"),
        ("bit_depth", "99", "bit_depth: expected a number of at most 32, found 99"),
        ("checks", "3", "checks: expected a table, found 3"),
        ("frames", "{ a = 1 }", "frames: expected a list, found a table"),
    ],
)
def test_a_wrong_value_is_told_in_plain_words(tmp_path: Path, key: str, value: str, told: str) -> None:
    assert problem(tmp_path, trial_text(**{key: value}), Trial).startswith(told)


@pytest.mark.parametrize(
    ("right", "told"),
    [
        ("3", "proximal.right: expected a list or text in quotes, found 3"),
        ("[1, 2]", "proximal.right: expected a longer list or text in quotes, found [1, 2]"),
    ],
)
def test_a_value_of_several_kinds_is_told_of_once(tmp_path: Path, right: str, told: str) -> None:
    assert problem(tmp_path, JOINT.format(right=right), JointConfig) == told


def test_too_many_numbers_are_told_of(tmp_path: Path) -> None:
    text = 'name = "skull"\n[ct]\npath = "ct.nii"\nkeep = [[1, 2, 3, 4]]\n'
    assert problem(tmp_path, text, BoneConfig) == "ct.keep.0: expected a list of at most 3, found [1, 2, 3, 4]"


def test_an_unfilled_template_says_which_keys_have_no_value(tmp_path: Path) -> None:
    text = toml_template(Trial)
    lines = {line.split(" = ")[0]: number for number, line in enumerate(text.splitlines(), start=1)}
    expected = ", ".join(f"{name} (line {lines[name]})" for name in TRIAL)
    assert problem(tmp_path, text, Trial) == f"no value yet for {expected}"
    assert "proximal.right (line " in problem(tmp_path, toml_template(JointConfig), JointConfig)


def test_inputs_that_do_not_exist_are_named_with_their_keys_but_not_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(trial_text(), encoding="utf-8")
    for there in ("n", "a"):
        (tmp_path / there).touch()
    with pytest.raises(ConfigError) as caught:
        require_inputs(load_trial(path))
    missing = [f"{key}: {tmp_path / TRIAL[key][1]} does not exist" for key in ("rig", "bone")]
    assert str(caught.value) == "; ".join([*missing, f"frames: {tmp_path / 'b'} does not exist"])
    with pytest.raises(ConfigError) as caught:
        require_inputs(load_trial(path), "rig", "frames")
    assert str(caught.value) == missing[1]


def test_inputs_in_tables_are_named_without_detours(tmp_path: Path) -> None:
    path = tmp_path / "bone.toml"
    path.write_text('name = "tray"\n[mesh]\npath = "../tray.stl"\nattenuation_per_mm = 0.3\n', encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        require_inputs(read_bone_config(path, tmp_path / "data"))
    assert str(caught.value) == f"mesh.path: {tmp_path / 'tray.stl'} does not exist"
