"""Whole trials, end to end: rendered frames, a fitted network, damaged frames, interruptions, poses from people."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import nn

from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose
from fluoropose.learning.bundle import StyleFacts, add_networks
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.refinement import Refiner
from fluoropose.registration.poses_file import PoseRow, read_poses, write_poses
from fluoropose.registration.refined import refined_row, rescued_row
from fluoropose.registration.register import register_trial
from fluoropose.registration.registration import Status
from fluoropose.registration.summary import Summary
from fluoropose.registration.trial import Checks
from trial_laboratory import SIDE, SIZE, Laboratory, errors, owner_of


@pytest.fixture
def broken_lab(lab: Laboratory, tmp_path: Path) -> Laboratory:
    """A copy whose frames may be damaged."""
    return replace(lab, folder=Path(shutil.copytree(lab.folder, tmp_path / "copy")))


# --- the main job -----------------------------------------------------------------------------------------------------


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


def test_on_the_processor_the_small_translation_is_taken(broken_lab: Laboratory, tmp_path: Path) -> None:
    path = broken_lab.folder / "bone.fpbundle"
    facts = StyleFacts(size=SIZE, preprocessing=Preprocessing(), training={})
    networks = {"translate": (nn.Threshold(9.0, 0.0), facts), "translate_small": (nn.Identity(), facts)}
    add_networks(path, owner_of(broken_lab.bone, broken_lab.rig), networks)  # type: ignore[arg-type]
    plain = register_trial(broken_lab.trial(tmp_path / "plain", refine=False))
    found = register_trial(broken_lab.trial(tmp_path / "found", refine=False, translation=True))
    np.testing.assert_allclose(errors(broken_lab, found.rows), errors(broken_lab, plain.rows), atol=1e-6)


def test_a_gpu_that_fails_is_warned_of(lab: Laboratory, tmp_path: Path) -> None:
    """PyTorch's device "meta" never gives anything back."""
    with pytest.warns(UserWarning, match=r"bone\.fpbundle: meta failed, the processor goes on"):
        found = register_trial(lab.trial(tmp_path / "meta", refine=False), device="meta")
    expected = register_trial(lab.trial(tmp_path / "cpu", refine=False))
    np.testing.assert_array_equal(errors(lab, found.rows), errors(lab, expected.rows))


def test_a_pose_that_cannot_be_refined_stays_and_says_why(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    pose = lab.truth[0]
    row = PoseRow(0, 0.0, Status.OK, world_from_bone=pose)
    refiner, pair = Refiner(lab.rig, lab.bone), lab.pair(0)
    found = refiner.refine(pair, pose)
    with monkeypatch.context() as patch:
        patch.setattr(refiner, "refine", lambda frames, start: replace(found, value=found.value_at_start))
        kept = refined_row(row, pair, refiner, Checks())
    assert kept.reason.startswith("not refined: the images did not become more alike")
    out_of_field = replace(row, world_from_bone=Pose(pose.rotation, pose.translation_mm + [900.0, 0, 0]))
    outside = refined_row(out_of_field, pair, refiner, Checks())
    assert outside.reason.startswith("not refined: points_mm: expected some in the field")
    for one, before in ((kept, row), (outside, out_of_field)):
        assert one.world_from_bone is before.world_from_bone
        assert (one.status, one.source) == (Status.OK, "network")
    failed = PoseRow.failed(1, 0.0, "blank")
    assert refined_row(failed, pair, refiner, Checks()) is failed
    assert rescued_row(failed, pose, [np.zeros((SIDE, SIDE), np.float32)] * 2, refiner, Checks()) is failed


def test_a_pose_that_the_frames_do_not_show_is_none(lab: Laboratory) -> None:
    row = PoseRow(0, 0.0, Status.OK, world_from_bone=lab.truth[0])
    empty = [np.zeros((SIDE, SIDE), np.float32)] * 2
    failed = refined_row(row, empty, Refiner(lab.rig, lab.bone), Checks())
    assert failed.world_from_bone is None
    assert failed.status is Status.FAILED
    assert "gradient correlation nan and nan in the views" in failed.reason


def test_where_landmarks_disagree_the_frames_decide(lab: Laboratory, tmp_path: Path) -> None:
    strict = {"max_residual_mm": 0.01}
    alone = register_trial(lab.trial(tmp_path / "alone", checks=strict, refine=False)).rows
    assert {row.status for row in alone} == {Status.FAILED}
    assert all(row.reason.startswith("the views do not agree") for row in alone)
    found = register_trial(lab.trial(tmp_path / "found", checks=strict)).rows
    assert {(row.status, row.source, row.reason) for row in found} == {(Status.OK, "network+refinement", "")}
    assert (errors(lab, found).max(axis=0) < [0.1, 0.04]).all()  # as where they agree
    unlike = register_trial(
        lab.trial(tmp_path / "unlike", checks=strict | {"min_likeness": 0.9999, "min_peak_fit": 1.0})
    ).rows
    assert [row.reason for row in unlike] == [row.reason for row in alone]


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


# --- resuming ---------------------------------------------------------------------------------------------------------


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


# --- poses from people ------------------------------------------------------------------------------------------------


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
