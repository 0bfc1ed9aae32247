"""Registered poses in the files of other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from fluoropose.cli import app
from fluoropose.registration.poses_file import read_poses
from trial_laboratory import Laboratory


def test_registered_poses_go_to_files_of_other_programs(lab: Laboratory, tmp_path: Path) -> None:
    toml, runner = lab.toml(tmp_path / "walking.toml", tmp_path / "out"), CliRunner()
    assert runner.invoke(app, ["register", str(toml), "--frames", "2:5"]).exit_code == 0
    names = [str(tmp_path / name) for name in ("w.mot", "w.tra")] + [f"xmalab:{tmp_path / 'w.csv'}"]
    result = runner.invoke(app, ["export", str(toml), *names])
    assert result.exit_code == 0, result.output
    assert "3 of 3 pairs have a pose" in result.output
    rows = read_poses(tmp_path / "out" / "poses.csv")
    tracked = [[float(x) for x in line.split(",")] for line in (tmp_path / "w.tra").read_text().splitlines()]
    assert np.isnan(tracked[:2]).all()  # Autoscoper's first line is of the first frame
    found = [row.world_from_bone.matrix for row in rows if row.world_from_bone is not None]
    np.testing.assert_allclose(np.reshape(tracked[2:], (3, 4, 4)), found)
    assert [line.split(",")[0] for line in (tmp_path / "w.csv").read_text().splitlines()] == ["Frame", "3", "4", "5"]
    assert "nRows=3" in (tmp_path / "w.mot").read_text()
    refused = runner.invoke(app, ["export", str(toml), str(tmp_path / "w.c3d"), str(tmp_path / "w.xyz")])
    assert refused.exit_code == 2
    assert not any(file.name.startswith(".partial") for file in tmp_path.iterdir())
