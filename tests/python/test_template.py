"""Templates of configurations: every key is in them, with the default that the model has."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from fluoropose._template import toml_template
from fluoropose._toml import Config, fields_of, table_of
from fluoropose.bone_model.build import BoneConfig
from fluoropose.calibration.config import CalibrationConfig
from fluoropose.cli import app
from fluoropose.learning.config import LearningConfig
from fluoropose.learning.translation.config import TranslationConfig
from fluoropose.registration.joint_trial import JointConfig
from fluoropose.registration.trial import Trial
from fluoropose.simulate.trial.config import SimulationConfig

MODELS: dict[str, type[Config]] = {
    "calibration": CalibrationConfig,
    "bone": BoneConfig,
    "learning": LearningConfig,
    "trial": Trial,
    "joint": JointConfig,
    "simulation": SimulationConfig,
    "style": TranslationConfig,
}
_KEY = re.compile(r"^#?(\w+) = (.*)$")


@pytest.mark.parametrize("kind", [kind for kind in MODELS if kind != "joint"])  # which has no defaults
def test_defaults_are_those_of_the_model(kind: str) -> None:
    lines = []
    for line in toml_template(MODELS[kind]).splitlines():
        entry = _KEY.match(line)
        if entry and not entry[2].startswith(" #"):  # a key with a value
            lines.append(f"{entry[1]} = {entry[2]}")
        elif re.match(r"^#?\[", line):
            lines.append(line.removeprefix("#"))
    document = tomllib.loads("\n".join(lines))
    assert compared(MODELS[kind], document) > 4


def compared(model: type[object], table: dict[str, object]) -> int:
    """Compare a table with the defaults of its model; returns the number of values compared."""
    count = 0
    for name, value in table.items():
        field = fields_of(model)[name]
        inner = table_of(field.annotation)
        if inner is None:
            assert to_lists(field.get_default(call_default_factory=True)) == value, name
            count += 1
        else:
            count += compared(inner[0], value[0] if isinstance(value, list) else value)  # type: ignore[arg-type]
    return count


def to_lists(value: object) -> object:
    return [to_lists(one) for one in value] if isinstance(value, tuple) else value


@pytest.mark.parametrize("kind", MODELS)
def test_every_key_is_there_and_required_ones_are_said_to_be(kind: str) -> None:
    text = toml_template(MODELS[kind])
    for name, field in MODELS[kind].model_fields.items():
        assert re.search(rf"^#?(?:{name} = |\[+{name}\]+$)", text, re.MULTILINE), name
        if field.is_required() and f"[{name}]" not in text:
            assert f"{name} =  # required" in text


def test_a_table_is_introduced_once() -> None:
    text = toml_template(BoneConfig)
    assert "# How its landmarks are placed.\n#[landmarks]\n" in text
    frame = "# The frame's origin lies halfway"  # more than what the table is
    assert toml_template(JointConfig).count(frame) == 2


@pytest.mark.parametrize("kind", MODELS)
def test_comments_speak_of_the_file_and_not_of_python(kind: str) -> None:
    comments = [line for line in toml_template(MODELS[kind]).splitlines() if line.startswith("# ")]
    assert comments
    assert not [line for line in comments if re.search(r"\bNone\b|(Config|Range)\b", line)]


def test_a_filled_template_is_accepted(tmp_path: Path) -> None:
    text = toml_template(Trial)
    for name, value in {"rig": '"r"', "bone": '"b"', "bundle": '"n"', "frames": '["a", "b"]', "out": '"o"'}.items():
        text = re.sub(rf"^{name} =  #", f"{name} = {value}  #", text, flags=re.MULTILINE)
    document = tomllib.loads(text)
    assert Trial.model_validate(document).polarity == "bright_air"
    with pytest.raises(ValidationError):
        Trial.model_validate({**document, "rig": 3})


def test_the_command_prints_or_writes_it(tmp_path: Path) -> None:
    runner = CliRunner()
    printed = runner.invoke(app, ["template", "trial"])
    assert printed.exit_code == 0
    assert printed.output == toml_template(Trial)
    assert runner.invoke(app, ["template", "fish"]).exit_code == 2
