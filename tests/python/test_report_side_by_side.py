"""Several runs of one trial side by side."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fluoropose.cli import app
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose
from fluoropose.registration.poses_file import PoseRow, write_poses
from fluoropose.registration.register import REFERENCE
from fluoropose.registration.registration import Status
from fluoropose.registration.trial import Trial, load_trial
from fluoropose.report.page import write_page
from fluoropose.report.side_by_side import side_by_side_section
from fluoropose.rig import Rig
from toy_learning import toy_bone, toy_rig

FRAMES = 5
TRUTH = Pose.from_euler_zyx_deg([0, 0, 0], [0, 0, -400])
TURNED = Pose.from_euler_zyx_deg([0, 0, 3], [0, 4, -400])


def poses(path: Path, pose: Pose | None) -> None:
    """Write the same pose for all frames; without one the last frame fails."""
    rows = [PoseRow(i, 0.1 * i, Status.OK, world_from_bone=pose or TRUTH) for i in range(FRAMES)]
    if pose is None:
        rows[-1] = PoseRow.failed(FRAMES - 1, 0.1 * (FRAMES - 1), "no bone")
    path.parent.mkdir(exist_ok=True)
    write_poses(path, rows)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two registered trials of the same frames; "raw" is 3 degrees and 4 mm off, "translated" fails once."""
    toy_bone().save(tmp_path / "bone.h5")
    toy_rig().save(tmp_path / "rig.json")
    rng = np.random.default_rng(1)
    for view in ("view1", "view2"):
        (tmp_path / view).mkdir()
        for i in range(FRAMES):
            Image.fromarray(rng.integers(0, 255, (200, 200)).astype(np.uint8)).save(tmp_path / view / f"{i}.png")
    named = {}
    for name, pose in {"raw": TURNED, "translated": None}.items():
        named[name] = tmp_path / f"{name}.toml"
        named[name].write_text(
            f'rig = "rig.json"\nbone = "bone.h5"\nbundle = "x"\nframes = ["view1", "view2"]\nout = "{name}"\n'
            "frame_rate_hz = 10\n"
        )
        poses(tmp_path / name / "poses.csv", pose)
    poses(tmp_path / "raw" / REFERENCE, TRUTH)
    return named


@pytest.fixture
def trials(files: dict[str, Path]) -> dict[str, Trial]:
    return {name: load_trial(path) for name, path in files.items()}


def test_three_moments_show_the_reference_and_every_run(trials: dict[str, Trial]) -> None:
    section = side_by_side_section(trials)
    captions = [picture.caption for picture in section.pictures]
    assert captions == ["0%: frame 0, 0.000 s", "50%: frame 2, 0.200 s", "100%: frame 4, 0.400 s"]
    titles = [axes.get_title() for axes in section.pictures[0].figure.axes]
    assert titles == ["reference", "raw: 3.00°, 4.00 mm", "translated: 0.00°, 0.00 mm"] * 2
    last = section.pictures[-1].figure.axes
    assert [axes.get_title() for axes in last][2] == "translated: failed"
    # The found outline and the dashed reference; of a failed pair the reference alone.
    assert len(last[1].lines) == 2 * len(last[2].lines) == 2 * len(last[0].lines)
    assert section.table[1:] == [
        ("raw", "5", "0", "3.00", "4.00", section.table[1][5], "100.0%"),
        ("translated", "5", "1", "0.00", "0.00", "0.00", "80.0%"),
    ]
    assert 3.0 < float(section.table[1][5]) < 5.0  # 4 mm, and 3 degrees of landmarks up to 50 mm away


def test_a_cycle_is_part_of_the_frames(trials: dict[str, Trial]) -> None:
    section = side_by_side_section(trials, "1:4")
    assert [picture.caption[:14] for picture in section.pictures] == [
        "0%: frame 1, 0",
        "50%: frame 2, ",
        "100%: frame 3,",
    ]
    assert section.table[2][1:3] == ("3", "0")


def test_without_a_reference_there_are_no_errors(trials: dict[str, Trial]) -> None:
    (trials["raw"].out / REFERENCE).unlink()
    section = side_by_side_section(trials)
    assert section.table == []
    assert [axes.get_title() for axes in section.pictures[0].figure.axes] == ["raw", "translated"] * 2


def test_the_command_writes_one_page(files: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "both.html"
    arguments = ["report", "trials", *map(str, files.values()), "--frames", "0:3", "--out", str(page)]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    text = page.read_text()
    assert text.count("data:image/png") == 3
    assert "raw, translated" in text


def test_trials_that_do_not_belong_together_are_refused(trials: dict[str, Trial], tmp_path: Path) -> None:
    raw, translated = trials.values()
    one, two = raw.frames
    told = f"frames: expected the same in all trials, found {two}, {one} in moved and {one}, {two} in raw"
    with pytest.raises(InputError, match=f"^{re.escape(told)}$"):
        side_by_side_section({"raw": raw, "moved": translated.model_copy(update={"frames": raw.frames[::-1]})})
    Rig(toy_rig(distorted=False).fluoroscopes).save(tmp_path / "other.json")
    with pytest.raises(
        InputError, match=r"^rig: expected .*, found \S*other.json in recalibrated and \S*rig.json in raw$"
    ):
        side_by_side_section({"raw": raw, "recalibrated": raw.model_copy(update={"rig": tmp_path / "other.json"})})
    with pytest.raises(FileFormatError, match=r"poses.csv: not there yet; register the trial first"):
        side_by_side_section({"raw": raw, "new": raw.model_copy(update={"out": tmp_path / "new"})})


def test_two_files_of_one_name_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    again = tmp_path / "more" / "raw.toml"
    again.write_text(files["raw"].read_text().replace('"rig.json"', '"../rig.json"'))
    result = CliRunner().invoke(app, ["report", "trials", str(files["raw"]), str(again)])
    assert result.exit_code == 2
    assert "expected files of different names, found raw.toml, raw.toml" in " ".join(result.stderr.split())


def test_runs_without_a_common_frame_are_refused(trials: dict[str, Trial]) -> None:
    for trial, frame in zip(trials.values(), (0, 3), strict=True):
        write_poses(trial.out / "poses.csv", [PoseRow(frame, 0.1 * frame, Status.OK, world_from_bone=TRUTH)])
    with pytest.raises(InputError, match="trials: no frame in common among raw, translated"):
        side_by_side_section(trials)


def test_a_frame_that_cannot_be_read_is_black(trials: dict[str, Trial]) -> None:
    (trials["raw"].frames[1] / "4.png").write_bytes(b"no picture")
    last = side_by_side_section(trials).pictures[-1].figure.axes
    shown = [np.asarray(axes.images[0].get_array()).any() for axes in last]
    assert shown == [True] * 3 + [False] * 3


def test_names_are_no_formulas(trials: dict[str, Trial], tmp_path: Path) -> None:
    named = {"raw $\\foo$": trials["raw"], "translated": trials["translated"]}
    write_page(tmp_path / "page.html", "", "", [side_by_side_section(named)])
