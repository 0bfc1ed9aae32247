"""What is made of registered trials: comparison, report, command line."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from fluoropose.cli import app
from fluoropose.errors import ConfigError, FluoroposeError, InputError
from fluoropose.geometry import Pose
from fluoropose.registration.poses_file import PoseRow, read_poses, write_poses
from fluoropose.registration.register import register_trial
from fluoropose.registration.registration import Status
from fluoropose.registration.summary import Summary
from fluoropose.registration.trial import load_trial
from fluoropose.report.compare import compare_poses, overlap, record_comparison
from trial_laboratory import Laboratory, errors


@pytest.fixture
def broken_lab(lab: Laboratory, tmp_path: Path) -> Laboratory:
    """A copy whose frames may be damaged."""
    return replace(lab, folder=Path(shutil.copytree(lab.folder, tmp_path / "copy")))


# --- evaluation and report --------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Collects what a page would load, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.text = ""
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loaded += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]

    def handle_data(self, data: str) -> None:
        self.text += data


def reference_file(lab: Laboratory, path: Path) -> Path:
    write_poses(
        path, [PoseRow(i, i / 30, Status.OK, world_from_bone=p, source="truth") for i, p in enumerate(lab.truth)]
    )
    return path


def test_comparison_fills_the_summary_and_the_report(lab: Laboratory, tmp_path: Path) -> None:
    trial = lab.trial(tmp_path / "out")
    rows = register_trial(trial).rows
    summary = record_comparison(trial, compare_poses(trial, reference_file(lab, tmp_path / "truth.csv")))
    assert summary.geodesic_error_deg is not None
    assert summary.geodesic_error_deg.max == pytest.approx(errors(lab, rows)[:, 0].max(), abs=1e-6)
    assert summary.iou is not None
    assert 0.85 < summary.iou.mean < 1
    assert summary.seconds is not None
    assert Summary.read(tmp_path / "out" / "summary.json") == summary
    document = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert set(document) == {
        *("pairs", "failed", "rotation_error_deg", "translation_error_mm", "geodesic_error_deg"),
        *("translation_norm_mm", "mtre_mm", "iou", "success_rate", "seconds", "seconds_per_pair", "environment"),
    }


def test_overlap_of_a_pose_with_itself_is_whole(lab: Laboratory) -> None:
    away = Pose(lab.truth[0].rotation, lab.truth[0].translation_mm + [60.0, 0, 0])
    assert overlap(lab.rig, lab.bone, lab.truth[0], lab.truth[0]) == 1
    assert overlap(lab.rig, lab.bone, lab.truth[0], away) < 0.3


def test_the_report_loads_nothing_and_tells_what_failed(broken_lab: Laboratory, tmp_path: Path) -> None:
    (broken_lab.folder / "view2" / "0004.png").write_bytes(b"no image")
    toml = broken_lab.toml(tmp_path / "walking.toml", tmp_path / "out")
    result = CliRunner().invoke(app, ["register", str(toml)])
    assert result.exit_code == 0, result.output
    assert "19 of 20 pairs have a pose" in result.output
    text = (tmp_path / "out" / "report.html").read_text()
    page = Page(text)
    assert "http" not in text
    assert "url(" not in text
    assert page.loaded
    assert all(link.startswith("data:image/jpeg;base64,") for link in page.loaded)
    assert "script" not in page.tags
    assert page.tags.count("path") > 20
    assert "frame 0004: cannot be read" in page.text
    assert "lopsided bone" in page.text


def test_odd_names_cannot_break_the_page(lab: Laboratory, tmp_path: Path) -> None:
    trial = lab.trial(tmp_path / "<b>out & about")
    write_poses(tmp_path / "m.csv", [PoseRow.failed(0, 0.0, "<script>alert(1)</script>", source="manual")])
    result = register_trial(trial.model_copy(update={"manual_poses": tmp_path / "m.csv"}), "0:2")
    from fluoropose.report import write_report

    write_report(tmp_path / "report.html", trial, result.rows, result.summary)
    page = Page((tmp_path / "report.html").read_text())
    assert "script" not in page.tags
    assert "b" in page.tags  # the tiles' own
    assert "<script>alert(1)</script>" in page.text


# --- the command line -------------------------------------------------------------------------------------------------


def test_evaluate_and_report_on_the_command_line(lab: Laboratory, tmp_path: Path) -> None:
    toml = lab.toml(tmp_path / "walking.toml", tmp_path / "out")
    runner = CliRunner()
    assert runner.invoke(app, ["register", str(toml), "--frames", "0:6"]).exit_code == 0
    reference = reference_file(lab, tmp_path / "truth.csv")
    result = runner.invoke(app, ["evaluate", str(toml), "--reference", str(reference), "--limit-deg", "10"])
    assert result.exit_code == 0, result.output
    assert "within 10 degrees and 5 mm" in result.output
    report = tmp_path / "out" / "report.html"
    assert 'class="reference"' in report.read_text()
    report.unlink()
    assert runner.invoke(app, ["report", str(toml)]).exit_code == 0
    assert 'class="reference"' in report.read_text()
    # Registered anew, the poses have not been compared with anything.
    assert runner.invoke(app, ["register", str(toml), "--frames", "0:6"]).exit_code == 0
    assert 'class="reference"' not in report.read_text()
    assert runner.invoke(app, ["report", str(toml)]).exit_code == 0
    assert 'class="reference"' not in report.read_text()


def test_evaluate_compares_what_a_stream_wrote_and_leaves_the_registered_poses_numbers_alone(
    lab: Laboratory, tmp_path: Path
) -> None:
    toml = lab.toml(tmp_path / "walking.toml", tmp_path / "out")
    live, reference = tmp_path / "out" / "live.csv", reference_file(lab, tmp_path / "truth.csv")
    runner, asked = CliRunner(), ["evaluate", str(toml), "--reference", str(reference), "--poses", str(live)]
    assert runner.invoke(app, ["register", str(toml), "--frames", "0:2"]).exit_code == 0
    assert runner.invoke(app, ["stream", str(toml), "--fast"]).exit_code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    result = runner.invoke(app, asked)
    assert result.exit_code == 0, result.output
    assert "20 of 20 pairs have a pose" in result.output
    largest = errors(lab, read_poses(live)).max(axis=0)
    for name, value in zip(("geodesic angle, degrees", "distance of the origin, mm"), largest, strict=True):
        assert re.search(rf"{name} .* {value:.3f} ", result.output), result.output
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before


def test_a_trial_without_any_pose_is_no_success(lab: Laboratory, tmp_path: Path) -> None:
    toml = lab.toml(tmp_path / "walking.toml", tmp_path / "out")
    toml.write_text(toml.read_text() + "[checks]\nmin_likeness = 1.0\nmin_peak_fit = 1.0\n")
    result = CliRunner().invoke(app, ["register", str(toml), "--frames", "0:2"])
    assert result.exit_code == 1
    assert "0 of 2 pairs have a pose" in result.output
    assert "2 failed, most often like this: the bone's radiographs are unlike the frames" in result.output


def test_evaluating_before_registering_says_so(lab: Laboratory, tmp_path: Path) -> None:
    toml = lab.toml(tmp_path / "walking.toml", tmp_path / "out")
    reference = reference_file(lab, tmp_path / "truth.csv")
    result = CliRunner().invoke(app, ["evaluate", str(toml), "--reference", str(reference)])
    assert result.exit_code == 2
    assert "poses.csv: expected a poses file, such as fluoropose register writes" in result.output


def test_without_a_rate_times_are_unknown_and_charts_count_frames(lab: Laboratory, tmp_path: Path) -> None:
    trial = lab.trial(tmp_path / "out").model_copy(update={"frame_rate_hz": None})
    result = register_trial(trial, "3:5")
    assert [row.frame for row in result.rows] == [3, 4]
    assert np.isnan([row.time_s for row in result.rows]).all()
    from fluoropose.report import write_report

    write_report(tmp_path / "report.html", trial, result.rows, result.summary)
    text = (tmp_path / "report.html").read_text()
    assert ">frame 3: " in text
    assert " s</text>" not in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["register", "nowhere.toml"], "error: nowhere.toml: cannot be read: No such file or directory"),
        (["register", "{tmp}/bad.toml"], "bad.toml: frame_rate: unknown key, did you mean 'frame_rate_hz'?"),
        (["bone", "nowhere.toml"], "error: nowhere.toml: cannot be read"),
        (["dataset", "nowhere.toml"], "error: nowhere.toml: "),
        (["train", "landmarks", "nowhere.h5"], "error: nowhere.h5: "),
        (["evaluate", "{tmp}/good.toml", "--reference", "r.csv"], "poses.csv: "),
        (["report", "{tmp}/good.toml"], "poses.csv: "),
        (
            ["register", "{tmp}/good.toml", "--frames", "5"],
            "error: --frames: expected A:B (from A, up to but without B)",
        ),
        (["register", "{tmp}/good.toml", "--frames", "90:"], "error: --frames: expected A:B with frames between 0 and"),
        (
            ["register", "{tmp}/good.toml", "--device", "toaster"],
            "error: --device: expected cpu, cuda or cuda:N, found",
        ),
        (["register", "{tmp}/rig.toml"], "rig.toml: rig: {tmp}/rigg.json does not exist"),
        (["register", "{tmp}/times.toml"], "times.toml: times: {tmp}/t.csv does not exist; manual_poses: {tmp}/m.csv"),
        (["bone", "{tmp}/bone.toml"], "mesh.path: {tmp}/b.stl does not exist; relative paths start at"),
        (["template", "fish"], "error: KIND: expected one of calibration, bone"),
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    lab: Laboratory, tmp_path: Path, arguments: list[str], message: str
) -> None:
    good = lab.toml(tmp_path / "good.toml", tmp_path / "out").read_text()
    (tmp_path / "bad.toml").write_text(good + "frame_rate = 3\n")
    (tmp_path / "rig.toml").write_text(good.replace(f"{lab.folder}/rig.json", f"../{tmp_path.name}/rigg.json"))
    clock = 'times = "t.csv"\nmanual_poses = "m.csv"\n'
    (tmp_path / "times.toml").write_text(good.replace("frame_rate_hz = 30\n", clock))
    (tmp_path / "bone.toml").write_text('name = "b"\n[mesh]\npath = "b.stl"\nattenuation_per_mm = 1.0\n')
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message.format(tmp=tmp_path) in result.stderr
    assert "Traceback" not in result.output
    assert not result.stdout.strip()  # no bar of what was not begun
    assert len(result.stderr.strip().splitlines()) == 1
    shown = CliRunner().invoke(app, ["--debug", *arguments])
    assert isinstance(shown.exception, FluoroposeError)


def test_where_every_pair_fails_it_says_what_to_check(lab: Laboratory, tmp_path: Path) -> None:
    trial = lab.toml(tmp_path / "trial.toml", tmp_path / "out")
    trial.write_text(trial.read_text() + "refine = false\n[checks]\nmin_landmarks = 500\n")
    result = CliRunner().invoke(app, ["register", str(trial), "--frames", "0:2"])
    assert result.exit_code == 1
    lines = result.output.splitlines()
    assert lines[-1] == "no pair has a pose: check polarity, the order of the frames' folders, bone and rig"
    assert lines[-2].startswith("2 failed, most often like this: ")
    assert "0 of 2 pairs have a pose" in lines


def test_help_teaches_the_order_of_the_commands() -> None:
    text = CliRunner().invoke(app, ["--help"]).output
    steps = ["fluoropose calibrate", "fluoropose bone", "fluoropose dataset", "fluoropose train", "fluoropose register"]
    places = [text.index(step) for step in steps]
    assert places == sorted(places)
    assert 'bundle = "skull.fpbundle"' in text
    assert CliRunner().invoke(app, ["--version"]).output.strip()


def test_a_mended_frame_is_registered_by_a_rerun(broken_lab: Laboratory, tmp_path: Path) -> None:
    frame = broken_lab.folder / "view1" / "0001.png"
    whole = frame.read_bytes()
    frame.write_bytes(whole[:200])
    trial = broken_lab.trial(tmp_path / "out", refine=False)
    assert [row.status for row in register_trial(trial, "0:3").rows] == [Status.OK, Status.FAILED, Status.OK]
    frame.write_bytes(whole)
    again = register_trial(trial, "0:3")
    assert again.resumed == 2
    assert [row.status for row in again.rows] == [Status.OK] * 3


def test_failed_pairs_that_a_rerun_leaves_out_stay_failed(broken_lab: Laboratory, tmp_path: Path) -> None:
    (broken_lab.folder / "view1" / "0003.png").write_bytes(b"no image")
    trial = broken_lab.trial(tmp_path / "out", refine=False)
    first = register_trial(trial, "0:5")
    again = register_trial(trial, "0:2")
    assert again.resumed == 2
    assert [(row.frame, row.status) for row in again.rows] == [(row.frame, row.status) for row in first.rows]
    assert (again.summary.pairs, again.summary.failed) == (5, 1)
    assert read_poses(trial.out / "poses.csv")[3].reason == first.rows[3].reason


def test_a_rerun_goes_on_from_wherever_it_is_called(broken_lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = broken_lab.folder
    toml = broken_lab.toml(folder / "walking.toml", folder / "out")
    toml.write_text(toml.read_text().replace(f"{folder}/", ""))
    monkeypatch.chdir(folder)
    assert register_trial(load_trial("walking.toml"), "0:3").resumed == 0
    assert register_trial(load_trial(toml), "0:3").resumed == 3
    monkeypatch.chdir(folder.parent)
    assert register_trial(load_trial(Path(folder.name) / "walking.toml"), "0:3").resumed == 3
    assert register_trial(load_trial(folder.rename(folder.parent / "moved") / "walking.toml"), "0:3").resumed == 3


def test_kept_rows_have_the_times_that_the_trial_has_now(lab: Laboratory, tmp_path: Path) -> None:
    times = tmp_path / "times.csv"
    trial = lab.trial(tmp_path / "out", refine=False, frame_rate_hz=None, times=times)
    for rate_hz in (30, 250):
        times.write_text("frame,time_s\n" + "".join(f"{k},{k / rate_hz}\n" for k in range(20)))
        found = register_trial(trial, "0:3")
        assert [row.time_s for row in found.rows] == pytest.approx([0, 1 / rate_hz, 2 / rate_hz])
    assert found.resumed == 3


def test_swapped_views_are_noticed(lab: Laboratory, tmp_path: Path) -> None:
    trial = lab.trial(tmp_path / "out")
    swapped = trial.model_copy(update={"frames": trial.frames[::-1]})
    # Residuals of 8.5 to 10 mm, where 8 are allowed; in the first pair the likeness, 0.38, tells instead.
    rows = register_trial(swapped, "1:5").rows
    assert [row.status for row in rows] == [Status.FAILED] * 4
    assert all(row.reason for row in rows)


def test_a_pose_whose_radiographs_are_unlike_the_frames_fails(lab: Laboratory, tmp_path: Path) -> None:
    strict = register_trial(lab.trial(tmp_path / "out", checks={"min_likeness": 1.0, "min_peak_fit": 1.0}), "0:3")
    assert [row.status for row in strict.rows] == [Status.FAILED] * 3
    for row in strict.rows:
        assert row.world_from_bone is None
        assert 0.4 < row.likeness < 1
        said = (
            r"the bone's radiographs are unlike the frames: gradient correlation [01]\.\d\d and [01]\.\d\d in the views"
        )
        assert re.match(said, row.reason)


def test_rows_that_something_else_wrote_are_not_taken_over(lab: Laboratory, tmp_path: Path) -> None:
    toml = lab.toml(tmp_path / "walking.toml", tmp_path / "out")
    runner = CliRunner()
    assert runner.invoke(app, ["register", str(toml), "--frames", "0:4"]).exit_code == 0
    assert "4 pairs were there" in runner.invoke(app, ["register", str(toml), "--frames", "0:4"]).output
    poses = tmp_path / "out" / "poses.csv"
    streamed = runner.invoke(app, ["stream", str(toml), "--fast", "--sink", str(poses)])
    assert streamed.exit_code == 0, streamed.output
    again = runner.invoke(app, ["register", str(toml), "--frames", "0:4"])
    assert "were there" not in again.output
    assert {row.source for row in read_poses(poses)} == {"network+refinement"}


def test_a_stream_leaves_registered_poses_alone(lab: Laboratory, tmp_path: Path) -> None:
    toml = lab.toml(tmp_path / "walking.toml", tmp_path / "out")
    runner = CliRunner()
    assert runner.invoke(app, ["register", str(toml), "--frames", "0:2"]).exit_code == 0
    before = (tmp_path / "out" / "poses.csv").read_bytes()
    assert runner.invoke(app, ["stream", str(toml), "--fast"]).exit_code == 0
    assert (tmp_path / "out" / "poses.csv").read_bytes() == before
    assert len(read_poses(tmp_path / "out" / "live.csv")) == 20


def test_frames_of_another_rig_are_refused_before_anything_is_written(lab: Laboratory, tmp_path: Path) -> None:
    frames = []
    for view in (1, 2):
        shutil.copytree(lab.folder / f"view{view}", folder := tmp_path / f"small{view}")
        for file in folder.iterdir():
            Image.fromarray(np.zeros((80, 90), np.uint16)).save(file)
        frames.append(folder)
    with pytest.raises(ConfigError, match=r"frames: .*small1: expected 160 x 160 px, as view 1 .* found 90 x 80"):
        register_trial(lab.trial(tmp_path / "out", frames=tuple(frames)))
    assert not (tmp_path / "out").exists()


def test_a_reference_in_another_frame_of_the_bone_is_warned_of(lab: Laboratory, tmp_path: Path) -> None:
    trial = lab.trial(tmp_path / "out")
    register_trial(trial, "0:4")
    ct = replace(lab.bone, bone_from_source=Pose.exp([0, 0, 0.02], [1.5, 0, -1.0]))
    ct.save(tmp_path / "bone.h5")
    rows = [
        PoseRow(k, 0.0, Status.OK, world_from_bone=pose * ct.bone_from_source, source="manual")
        for k, pose in enumerate(lab.truth)
    ]
    write_poses(tmp_path / "ct.csv", rows)
    measured = trial.model_copy(update={"bone": tmp_path / "bone.h5"})
    with pytest.warns(
        UserWarning, match=r"ct\.csv: [\d.]+ mm from the poses found, 0\.0\d+ mm if .*: try with --source"
    ):
        compare_poses(measured, tmp_path / "ct.csv")
    compare_poses(measured, tmp_path / "ct.csv", source_frame=True)  # no warning, or it would be an error here
    own = [replace(row, world_from_bone=lab.truth[row.frame]) for row in rows]
    write_poses(tmp_path / "own.csv", own)
    with pytest.warns(UserWarning, match=r"own\.csv: .* if it moves the bone by its own frame: try without"):
        compare_poses(measured, tmp_path / "own.csv", source_frame=True)


def test_poses_set_by_hand_in_the_results_are_not_written_over(lab: Laboratory, tmp_path: Path) -> None:
    trial, poses = lab.trial(tmp_path / "out"), tmp_path / "out" / "poses.csv"
    register_trial(trial, "0:3")
    rows = read_poses(poses)
    edited = replace(rows[1], world_from_bone=lab.truth[1], source="manual")
    write_poses(poses, [rows[0], edited, rows[2]])
    before = poses.read_bytes()
    with pytest.raises(InputError, match=r"poses\.csv: frame 1 was set by hand, .* as manual_poses in the trial"):
        register_trial(trial, "0:3")
    assert poses.read_bytes() == before
    by_hand = tmp_path / "manual.csv"
    write_poses(by_hand, [edited])
    kept = register_trial(trial.model_copy(update={"manual_poses": by_hand}), "0:3").rows
    assert [row.source for row in kept] == ["network+refinement", "manual", "network+refinement"]


def test_folders_with_brackets_are_shown_as_they_are(lab: Laboratory, tmp_path: Path) -> None:
    out = tmp_path / "knee [left]"
    write_poses(out / "poses.csv", [PoseRow(0, 0.0, Status.OK, world_from_bone=lab.truth[0])])
    toml = lab.toml(tmp_path / "walking.toml", out)
    result = CliRunner().invoke(app, ["export", str(toml), str(out / "w.mot")])
    assert result.exit_code == 0, result.output
    assert f"{out / 'w.mot'}\n" in result.output  # in one piece, however long it is
