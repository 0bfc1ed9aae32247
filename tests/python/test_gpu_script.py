"""What bench/gpu.sh does around its steps, with stand-ins for the driver's program and for Python."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

DRIVER = """#!/bin/sh
echo 9.0
"""
# One file's tests fail, another has none; the first benchmark fails, and the next never ends.
PYTHON = """#!/bin/sh
case "$*" in
  "-m pytest"*test_drr_cuda.py) echo "one failed"; exit 1 ;;
  "-m pytest"*test_conftest.py) exit 5 ;;
  "-m pytest"*) echo "passed" ;;
  *drr_gpu.py*) exit 3 ;;
  *drr_kernels.py*) exec sleep 60 ;;
  *) exit 0 ;;
esac
"""


def run(folder: Path, **told: str) -> subprocess.CompletedProcess[str]:
    """Run it without data."""
    place = {**os.environ, "PYTHON": str(folder / "python"), "PATH": f"{folder}:/usr/bin:/bin", **told}
    command = [ROOT / "bench" / "gpu.sh", folder / "out", folder / "no_data"]
    return subprocess.run(command, env=place, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in (("nvidia-smi", DRIVER), ("python", PYTHON)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    return tmp_path


def test_a_step_that_fails_stops_no_other(folder: Path) -> None:
    done = run(folder, STEPS="tests drr refinement training")
    assert done.returncode == 1
    steps = dict(line.split(",")[::2] for line in (folder / "out" / "steps.csv").read_text().splitlines()[1:])
    assert steps == {"tests": "123", "drr": "3", "refinement": "0", "training": "0", "figure10": "-"}
    told = (folder / "out" / "tests.log").read_text()
    assert "one failed" in told
    assert told.count("passed") > 5


def test_steps_are_cut_short_where_time_is_up(folder: Path) -> None:
    run(folder, STEPS="kernels training", SECONDS_LEFT="7")
    steps = (folder / "out" / "steps.csv").read_text().splitlines()[1:]
    assert steps[0].startswith("kernels,")
    assert steps[0].endswith(",124")
    assert steps[1] == "training,0,-"


def test_what_is_missing_is_named(folder: Path) -> None:
    assert "STEPS: expected some of build tests" in run(folder, STEPS="test").stderr
    (folder / "nvidia-smi").unlink()
    for tool in ("bash", "dirname", "realpath"):  # and no other folder, which may hold the real one
        (folder / tool).symlink_to(shutil.which(tool) or "")
    done = run(folder, PATH=str(folder))
    assert done.returncode == 1
    assert done.stderr == "no nvidia-smi: expected a machine with an NVIDIA GPU and its driver\n"
    assert not (folder / "out").exists()
