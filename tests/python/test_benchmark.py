"""The table of what this machine renders, and what is shipped to compare it with."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fluoropose import benchmark
from fluoropose.benchmark import DrrTimes, measure_drr, shipped_drr
from fluoropose.cli import app
from fluoropose.errors import FileFormatError


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sizes that take no time."""
    monkeypatch.setattr(benchmark, "VOLUMES", (16,))
    monkeypatch.setattr(benchmark, "DETECTORS", (16, 32))
    monkeypatch.setattr(benchmark, "SECONDS", 0.0)


@pytest.mark.usefixtures("small")
def test_every_method_and_size_has_a_time() -> None:
    said: list[str] = []
    times = measure_drr(said.append)
    assert [row.what for row in times.rows] == [
        (method, "cpu", 16, pixels) for method in ("ray_cast", "shear_warp") for pixels in (16, 32)
    ]
    assert all(row.milliseconds > 0 for row in times.rows)
    assert len(said) == 4


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("told", "threads"), [("3", 3), ("3,1", 3), ("", os.cpu_count())])
def test_threads_are_those_that_openmp_was_told(monkeypatch: pytest.MonkeyPatch, told: str, threads: int) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", told)
    assert measure_drr().threads == threads


def test_what_is_shipped_covers_what_is_measured() -> None:
    shipped = shipped_drr()
    assert {(row.volume, row.detector) for row in shipped.rows} == {
        (volume, detector) for volume in benchmark.VOLUMES for detector in benchmark.DETECTORS
    }
    assert {row.method for row in shipped.rows} == {"ray_cast", "shear_warp"}
    assert shipped.environment.cpu


@pytest.mark.usefixtures("small")
def test_the_command_shows_times_beside_those_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = measure_drr()
    known = there.rows[-1].model_copy(update={"milliseconds": 123.45})
    monkeypatch.setattr(benchmark, "shipped_drr", lambda: there.model_copy(update={"rows": (known,)}))
    result = CliRunner().invoke(app, ["bench", "drr", "--out", str(tmp_path / "times.json")], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    lines = [line for line in result.output.splitlines() if "16^3" in line]
    assert ["123.45" in line for line in lines] == [False, False, False, True]
    assert DrrTimes.read(tmp_path / "times.json").rows[-1].what == known.what


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    path.write_text(json.dumps({"threads": 1}))
    with pytest.raises(FileFormatError, match=r"times\.json: environment: "):
        DrrTimes.read(path)
    with pytest.raises(FileFormatError, match="none\\.json"):
        DrrTimes.read(tmp_path / "none.json")
