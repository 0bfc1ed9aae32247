"""Whole trials, end to end: rendered frames, a fitted network, damaged frames, interruptions, report and CLI."""

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
from pydantic import ValidationError
from typer.testing import CliRunner

from fluoropose.cli import app
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose
from fluoropose.refinement import Refiner
from fluoropose.registration.poses_file import PoseRow, read_poses, write_poses
from fluoropose.registration.refined import refined_row
from fluoropose.registration.register import register_trial
from fluoropose.registration.registration import Status
from fluoropose.registration.summary import Summary
from fluoropose.report.compare import compare_trial, overlap
from fluoropose.rig import Rig
from fluoropose.silhouette import field_mask
from trial_laboratory import SIDE, Laboratory, build


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Laboratory:
    return build(tmp_path_factory.mktemp("laboratory"))


@pytest.fixture
def broken_lab(lab: Laboratory, tmp_path: Path) -> Laboratory:
    """A copy whose frames may be damaged."""
    return replace(lab, folder=Path(shutil.copytree(lab.folder, tmp_path / "copy")))


def errors(lab: Laboratory, rows: tuple[PoseRow, ...]) -> np.ndarray:
    found = []
    for row, truth in zip(rows, lab.truth, strict=True):
        assert row.world_from_bone is not None, row.reason
        shift = row.world_from_bone.translation_mm - truth.translation_mm
        found.append((np.degrees(truth.angle_to(row.world_from_bone)), np.linalg.norm(shift)))
    return np.array(found)


# --- the main job ---------------------------------------------------------------------------------------------------


def test_every_frame_gets_its_pose(lab: Laboratory, tmp_path: Path) -> None:
    result = register_trial(lab.trial(tmp_path / "out"))
    found = errors(lab, result.rows)
    # Measured: 0.018 degrees and 0.008 mm in the median, 0.042 degrees and 0.017 mm at most.
    assert (np.median(found, axis=0) < [0.04, 0.02]).all()
    assert (found.max(axis=0) < [0.1, 0.04]).all()
    assert [row.frame for row in result.rows] == list(range(20))
    assert result.rows[3].time_s == pytest.approx(0.1)
    assert {row.source for row in result.rows} == {"network+refinement"}
    assert {row.reason for row in result.rows} == {""}
    written = read_poses(tmp_path / "out" / "poses.csv")
    np.testing.assert_allclose(errors(lab, tuple(written)), found, atol=1e-6)
    summary = Summary.read(tmp_path / "out" / "summary.json")
    assert (summary.pairs, summary.failed, summary.geodesic_error_deg) == (20, 0, None)
    assert summary.seconds is not None
    assert summary.seconds_per_pair == pytest.approx(summary.seconds / 20)


def test_the_landmarks_alone_give_poses_too(lab: Laboratory, tmp_path: Path) -> None:
    result = register_trial(lab.trial(tmp_path / "out", refine=False))
    found = errors(lab, result.rows)
    # Measured with this network: 1.4 degrees and 0.11 mm in the median, 2.0 degrees and 0.31 mm at most.
    assert (np.median(found, axis=0) < [2.0, 0.2]).all()
    assert (found.max(axis=0) < [3.0, 0.6]).all()
    assert {row.source for row in result.rows} == {"network"}
    assert register_trial(lab.trial(tmp_path / "out")).resumed == 0


def test_a_pose_that_cannot_be_refined_stays_and_says_why(lab: Laboratory) -> None:
    pose = lab.truth[0]
    row = PoseRow(0, 0.0, Status.OK, world_from_bone=pose)
    refiner = Refiner(lab.rig, lab.bone)
    empty = [np.zeros((SIDE, SIDE), np.float32)] * 2
    kept = refined_row(row, empty, refiner, 0.4)
    assert kept.reason.startswith("not refined: the images did not become more alike")
    out_of_field = replace(row, world_from_bone=Pose(pose.rotation, pose.translation_mm + [900.0, 0, 0]))
    outside = refined_row(out_of_field, empty, refiner, 0.4)
    assert outside.reason.startswith("not refined: points_mm: expected some in the field")
    for one, before in ((kept, row), (outside, out_of_field)):
        assert one.world_from_bone is before.world_from_bone
        assert (one.status, one.source) == (Status.OK, "network")
    failed = PoseRow.failed(1, 0.0, "blank")
    assert refined_row(failed, empty, refiner, 0.4) is failed


def test_damaged_frames_are_failed_rows_and_the_rest_is_untouched(broken_lab: Laboratory, tmp_path: Path) -> None:
    clean = register_trial(broken_lab.trial(tmp_path / "clean")).rows
    view1, view2 = broken_lab.folder / "view1", broken_lab.folder / "view2"

    def overwrite(path: Path, pixels: np.ndarray) -> None:
        Image.fromarray(pixels.astype(np.uint16)).save(path)

    good = np.asarray(Image.open(view1 / "0002.png"))
    overwrite(view1 / "0002.png", np.zeros_like(good))
    overwrite(view2 / "0005.png", np.full_like(good, 65535))
    overwrite(view2 / "0007.png", good[:100])
    overwrite(view1 / "0011.png", 30000 + good // 500)
    cut = view2 / "0013.png"
    cut.write_bytes(cut.read_bytes()[:2000])
    overwrite(view1 / "0016.png", np.random.default_rng(0).integers(0, 65535, good.shape))
    result = register_trial(broken_lab.trial(tmp_path / "out"))
    failed = {row.frame: row.reason for row in result.rows if row.status is Status.FAILED}
    expected = {
        2: "view 1: constant: every pixel has the value 0",
        5: "view 2: saturated",
        7: "view 2: wrong size: expected 160 x 160 pixels, found 160 x 100",
        11: "view 1: blank",
        13: "view 2: .*frame 0013: cannot be read",
        16: "the views do not agree|too few|out of the field",
    }
    assert failed.keys() == expected.keys()
    for frame, reason in expected.items():
        assert re.match(reason, failed[frame]), failed[frame]
    for before, after in zip(clean, result.rows, strict=True):
        if after.status is Status.OK:
            assert before.world_from_bone is not None
            assert after.world_from_bone is not None
            np.testing.assert_allclose(before.world_from_bone.matrix, after.world_from_bone.matrix, atol=1e-3)
    assert Summary.read(tmp_path / "out" / "summary.json").failed == 6


# --- resuming -------------------------------------------------------------------------------------------------------


class Stopped(KeyboardInterrupt):
    pass


def test_an_interrupted_run_leaves_complete_files_and_goes_on(lab: Laboratory, tmp_path: Path) -> None:
    def stop_after_the_first_batch(done: int, total: int, failed: int) -> None:
        raise Stopped

    trial = lab.trial(tmp_path / "out")
    with pytest.raises(Stopped):
        register_trial(trial, progress=stop_after_the_first_batch)
    kept = read_poses(trial.out / "poses.csv")
    assert 0 < len(kept) < 20
    assert not list(trial.out.glob(".*partial*"))
    calls: list[tuple[int, int, int]] = []
    resumed = register_trial(trial, progress=lambda *numbers: calls.append(numbers))
    assert resumed.resumed == len(kept)
    assert calls[0][0] > len(kept)
    whole = register_trial(lab.trial(tmp_path / "whole"))
    assert len(resumed.rows) == 20
    # Kept rows went through the file, which rounds to 12 digits; batches of another size differ in the last bits.
    np.testing.assert_allclose(errors(lab, resumed.rows), errors(lab, whole.rows), atol=1e-2)


def test_changed_inputs_start_again(lab: Laboratory, tmp_path: Path) -> None:
    register_trial(lab.trial(tmp_path / "out"))
    assert register_trial(lab.trial(tmp_path / "out")).resumed == 20
    changed = lab.trial(tmp_path / "out", checks={"max_residual_mm": 7.5})
    assert register_trial(changed).resumed == 0


def test_a_damaged_poses_file_is_not_trusted(lab: Laboratory, tmp_path: Path) -> None:
    trial = lab.trial(tmp_path / "out")
    register_trial(trial, "0:3")
    path = trial.out / "poses.csv"
    path.write_text(path.read_text()[:-200])
    assert register_trial(trial, "0:3").resumed == 0


def test_chosen_frames_add_up(lab: Laboratory, tmp_path: Path) -> None:
    trial = lab.trial(tmp_path / "out")
    assert [row.frame for row in register_trial(trial, "4:6").rows] == [4, 5]
    assert [row.frame for row in register_trial(trial, "5:8").rows] == [4, 5, 6, 7]
    with pytest.raises(InputError, match="expected A:B"):
        register_trial(trial, "30:40")


# --- poses from people ----------------------------------------------------------------------------------------------


def test_start_poses_and_manual_poses_keep_their_provenance(lab: Laboratory, tmp_path: Path) -> None:
    by_hand = Pose.from_euler_zyx_deg([1.0, 2.0, 3.0], [4.0, 5.0, -300.0])
    write_poses(
        tmp_path / "manual.csv",
        [
            PoseRow(3, float("nan"), Status.OK, world_from_bone=by_hand, source="manual"),
            PoseRow.failed(4, 0.0, "hand in the beam", source="manual"),
        ],
    )
    write_poses(tmp_path / "start.csv", [PoseRow(6, 0.2, Status.OK, world_from_bone=lab.truth[6], source="manual")])
    trial = lab.trial(tmp_path / "out", start_poses=tmp_path / "start.csv", manual_poses=tmp_path / "manual.csv")
    rows = register_trial(trial, "2:8").rows
    refined = "network+refinement"
    assert [row.source for row in rows] == [refined, "manual", "manual", refined, "start+refinement", refined]
    assert rows[1].world_from_bone is not None
    np.testing.assert_allclose(rows[1].world_from_bone.matrix, by_hand.matrix, atol=1e-9)
    assert rows[1].time_s == pytest.approx(0.1)  # the trial's time, not the file's
    assert rows[2].reason == "hand in the beam"
    assert register_trial(trial, "2:8").resumed == 4  # what people set is read anew every time


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (PoseRow.failed(99, 0.0, "x", source="manual"), "frame 99: the trial has no such frame"),
        (PoseRow.failed(1, 0.0, "x"), r'manual\.csv: frame 1: source: expected "manual"'),
    ],
)
def test_wrong_manual_poses_are_named(lab: Laboratory, tmp_path: Path, row: PoseRow, message: str) -> None:
    write_poses(tmp_path / "manual.csv", [row])
    with pytest.raises(FileFormatError, match=message):
        register_trial(lab.trial(tmp_path / "out", manual_poses=tmp_path / "manual.csv"))


# --- inputs that do not fit -----------------------------------------------------------------------------------------


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
    assert "trained for another calibration: view 1: field 0.5% wider" in said[0]


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


# --- evaluation and report ------------------------------------------------------------------------------------------


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
    summary = compare_trial(trial, reference_file(lab, tmp_path / "truth.csv"))
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


# --- the command line -----------------------------------------------------------------------------------------------


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


def test_a_trial_without_any_pose_is_no_success(lab: Laboratory, tmp_path: Path) -> None:
    toml = lab.toml(tmp_path / "walking.toml", tmp_path / "out")
    toml.write_text(toml.read_text() + "[checks]\nmin_likeness = 1.0\n")
    result = CliRunner().invoke(app, ["register", str(toml), "--frames", "0:2"])
    assert result.exit_code == 1
    assert "0 of 2 pairs have a pose" in result.output
    assert "2 failed, most often like this: the bone's radiographs are unlike the frames" in result.output


def test_evaluating_before_registering_says_so(lab: Laboratory, tmp_path: Path) -> None:
    toml = lab.toml(tmp_path / "walking.toml", tmp_path / "out")
    reference = reference_file(lab, tmp_path / "truth.csv")
    result = CliRunner().invoke(app, ["evaluate", str(toml), "--reference", str(reference)])
    assert result.exit_code == 2
    assert "register the trial first" in result.output


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
    ],
)
def test_errors_are_one_line_and_exit_code_2(
    lab: Laboratory, tmp_path: Path, arguments: list[str], message: str
) -> None:
    good = lab.toml(tmp_path / "good.toml", tmp_path / "out").read_text()
    (tmp_path / "bad.toml").write_text(good + "frame_rate = 3\n")
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert len(result.stderr.strip().splitlines()) == 1
    shown = CliRunner().invoke(app, ["--debug", *arguments])
    assert isinstance(shown.exception, FileFormatError)


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


def test_swapped_views_are_noticed(lab: Laboratory, tmp_path: Path) -> None:
    trial = lab.trial(tmp_path / "out")
    swapped = trial.model_copy(update={"frames": trial.frames[::-1]})
    # Residuals of 8.5 to 10 mm, where 8 are allowed; in the first pair the likeness, 0.38, tells instead.
    rows = register_trial(swapped, "1:5").rows
    assert [row.status for row in rows] == [Status.FAILED] * 4
    assert all(row.reason for row in rows)


def test_a_pose_whose_radiographs_are_unlike_the_frames_fails(lab: Laboratory, tmp_path: Path) -> None:
    strict = register_trial(lab.trial(tmp_path / "out", checks={"min_likeness": 1.0}), "0:3")
    assert [row.status for row in strict.rows] == [Status.FAILED] * 3
    for row in strict.rows:
        assert row.world_from_bone is None
        assert 0.4 < row.likeness < 1
        assert re.match(r"the bone's radiographs are unlike the frames: gradient correlation [01]\.\d\d, ", row.reason)
