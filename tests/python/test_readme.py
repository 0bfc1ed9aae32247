"""The README says what is so."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.main import get_command

from fluoropose._toml import read_toml
from fluoropose.calibration.config import CalibrationConfig
from fluoropose.cli import app
from fluoropose.learning.config import load_config
from fluoropose.registration.trial import load_trial

_ROOT = Path(__file__).resolve().parents[2]
_TEXT = (_ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```", _TEXT, re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def test_the_python_example_is_short_and_finds_the_pose(capsys: pytest.CaptureFixture[str]) -> None:
    example = blocks("python")[0]
    scope: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), scope)
    assert said(capsys) in _TEXT
    found, truth = scope["found"].world_from_bone, scope["truth"]  # type: ignore[attr-defined]
    assert np.abs(found.matrix - truth.matrix).max() < 1e-3  # type: ignore[attr-defined]
    assert len([line for line in example.splitlines() if line and "import" not in line]) <= 10


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What an example printed, as the README shows it."""
    return f"It prints `{capsys.readouterr().out.strip()}`"


def test_the_renderer_s_example_has_a_gradient(capsys: pytest.CaptureFixture[str]) -> None:
    scope: dict[str, object] = {}
    exec(compile(blocks("python")[1], "README.md", "exec"), scope)
    assert said(capsys) in _TEXT
    image, pose = scope["image"], scope["pose"]
    assert isinstance(image, torch.Tensor)
    assert isinstance(pose, torch.Tensor)
    assert image.max() > 0.4
    assert pose.grad is not None
    # Closer to the source everything grows.
    assert pose.grad[2, 3] < 0


def test_every_command_and_option_exists() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    inline = re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", _TEXT, flags=re.DOTALL))
    used = re.findall(
        r"\bfluoropose ([a-z]+)(.*)", "\n".join([*(" ".join(code.split()) for code in inline), *blocks("sh")])
    )
    assert {name for name, _ in used} >= {"calibrate", "mayacam", "bone", "dataset", "train", "register", "evaluate"}
    for name, rest in used:
        command = commands[name]
        if hasattr(command, "commands"):  # a group, such as train
            command = command.commands[rest.split()[0]]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        assert set(re.findall(r"--[a-z-]+", rest)) <= known, f"fluoropose {name}{rest}"


def test_every_file_it_names_exists() -> None:
    names = re.findall(r"\]\(([\w./-]+)\)", _TEXT) + re.findall(r"\b(bench/[\w/]+\.(?:py|toml))", _TEXT)
    assert [name for name in names if not (_ROOT / name).exists()] == []


def test_the_trial_in_it_is_valid(tmp_path: Path) -> None:
    (script,) = (block for block in blocks("sh") if "<<END" in block)
    trial = tmp_path / "flexion.toml"
    trial.write_text(script.split("<<END\n")[1].split("END\n")[0].replace("$DATA", str(tmp_path)))
    assert load_trial(trial).out == tmp_path / "flexion"


def test_the_smaller_training_in_it_is_valid(tmp_path: Path) -> None:
    (command,) = re.findall(r"^sed .*$", _TEXT, re.MULTILINE)
    target = tmp_path / "small.toml"
    subprocess.run(command.replace("> out/knee/small.toml", f"> {target}"), shell=True, check=True, cwd=_ROOT)
    full = load_config(_ROOT / "bench" / "configs" / "knee_train.toml").training
    assert load_config(target).training == full.model_copy(update={"epochs": 6, "width": 32})


def test_its_first_step_for_the_head_writes_the_calibration(data_dir: Path, tmp_path: Path) -> None:
    (command,) = re.findall(r"`python (bench/lab_head_config\.py[^`]*)`", _TEXT)
    words = command.replace("$DATA", str(data_dir)).replace("out/head", str(tmp_path)).split()
    subprocess.run([sys.executable, *words], check=True, cwd=_ROOT)
    assert len(read_toml(tmp_path / "calibration.toml", CalibrationConfig).views) == 2


def test_the_calibration_in_it_is_valid(tmp_path: Path) -> None:
    (text,) = blocks("toml")
    path = tmp_path / "calibration.toml"
    path.write_text(text)
    assert read_toml(path, CalibrationConfig).views[0].plate == tmp_path / "calibration" / "plate_view1.png"


def test_its_tables_are_those_of_the_results() -> None:
    script = [sys.executable, str(_ROOT / "bench" / "readme_tables.py"), "--check"]
    assert subprocess.run(script, check=False).returncode == 0
