"""poses.csv, summary.json and the comparison with a reference file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluoropose.errors import FileFormatError, InputError
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose
from fluoropose.registration.evaluate import evaluate, read_reference
from fluoropose.registration.poses_file import COLUMNS, PoseRow, read_poses, write_poses
from fluoropose.registration.registration import Status
from fluoropose.registration.summary import Summary, summarise

_ANGLE = st.floats(-3.1, 3.1)
_LENGTH = st.floats(-2000, 2000)


def _row(frame: int, pose: Pose, **more: object) -> PoseRow:
    return PoseRow(frame, frame / 30, Status.OK, world_from_bone=pose, **more)  # type: ignore[arg-type]


@given(st.tuples(_ANGLE, _ANGLE, _ANGLE), st.tuples(_LENGTH, _LENGTH, _LENGTH), st.integers(0, 10**6))
def test_any_pose_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, omega: tuple[float, ...], v: tuple[float, ...], frame: int
) -> None:
    path = tmp_path_factory.mktemp("poses") / "poses.csv"
    pose = Pose.exp(omega, v)
    write_poses(path, [_row(frame, pose)])
    (back,) = read_poses(path)
    assert back.world_from_bone is not None
    assert back.frame == frame
    np.testing.assert_allclose(back.world_from_bone.matrix, pose.matrix, atol=1e-8)


def test_every_field_survives_the_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    root = rng.normal(size=(6, 6))
    rows = [
        _row(
            3,
            Pose.exp([0.1, 0.2, 0.3], [1, 2, 3]),
            hypothesis="view1+view2",
            cost=1.25,
            n_visible=31,
            source="manual",
            covariance=root @ root.T,
            likeness=0.75,
        ),
        PoseRow.failed(4, float("nan"), "blank frame,\n view 1"),
        _row(1, Pose.identity()),
    ]
    write_poses(tmp_path / "poses.csv", rows)
    back = read_poses(tmp_path / "poses.csv")
    assert [row.frame for row in back] == [3, 4, 1]
    assert (back[0].hypothesis, back[0].cost, back[0].n_visible, back[0].source) == ("view1+view2", 1.25, 31, "manual")
    assert back[0].time_s == pytest.approx(0.1)
    np.testing.assert_allclose(back[0].covariance, root @ root.T, rtol=1e-10)
    assert back[1].status is Status.FAILED
    assert back[1].reason == "blank frame, view 1"
    assert back[1].world_from_bone is None
    assert np.isnan(back[1].time_s)
    assert back[2].covariance is None
    assert back[0].likeness == 0.75
    assert np.isnan(back[2].likeness)


def test_times_of_a_clock_that_counts_from_1970_keep_their_frames_apart(tmp_path: Path) -> None:
    times_s = [1_764_333_549.123456 + k / 250 for k in range(5)]
    rows = [replace(_row(k, Pose.identity()), time_s=time_s) for k, time_s in enumerate(times_s)]
    write_poses(tmp_path / "poses.csv", rows)
    back = [row.time_s for row in read_poses(tmp_path / "poses.csv")]
    np.testing.assert_allclose(back, times_s, rtol=0, atol=1e-5)


def test_files_of_the_first_version_are_read(tmp_path: Path) -> None:
    write_poses(tmp_path / "poses.csv", [_row(2, Pose.exp([0.1, 0.2, 0.3], [1, 2, 3]), likeness=0.75, cost=2.5)])
    lines = [line.split(",") for line in (tmp_path / "poses.csv").read_text().splitlines()[1:]]
    at = lines[0].index("likeness")
    old = [",".join(cells[:at] + cells[at + 1 :]) for cells in lines]
    (tmp_path / "old.csv").write_text("\n".join(["# fluoropose-poses version 1; older", *old]) + "\n")
    (back,) = read_poses(tmp_path / "old.csv")
    assert (back.cost, back.source) == (2.5, "network")
    assert np.isnan(back.likeness)


def test_first_line_names_format_and_version(tmp_path: Path) -> None:
    write_poses(tmp_path / "poses.csv", [])
    first, second = (tmp_path / "poses.csv").read_text().splitlines()
    assert first.startswith("# fluoropose-poses version 2;")
    assert second == ",".join(COLUMNS)
    assert read_poses(tmp_path / "poses.csv") == []


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "line 1"),
        (lambda text: text.replace("version 2", "version 3"), "version"),
        (lambda text: text.replace("qw,qx", "qx,qw", 1), "line 2"),
        (lambda text: text[: text.rindex(",none")], "line 3"),
        (lambda text: text.replace("\n7,", "\nseven,"), "frame"),
        (lambda text: text.replace(",ok,", ",fine,"), "status"),
        (lambda text: text.replace(",ok,,1,", ",ok,,0.5,"), "unit quaternion"),
        (lambda text: text.replace(",ok,,1,", ",ok,,nan,"), "qw"),
        (lambda text: text.replace(",ok,,1,", ",ok,,,"), "qw"),
        (lambda text: text.replace(",ok,", ",failed,"), "reason"),
        (lambda text: text + text.splitlines()[-1] + "\n", "line 4.*twice"),
    ],
)  # fmt: skip
def test_damaged_files_are_refused_by_line_and_field(tmp_path: Path, damage: object, message: str) -> None:
    path = tmp_path / "poses.csv"
    write_poses(path, [_row(7, Pose.identity())])
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    with pytest.raises(FileFormatError, match=message) as caught:
        read_poses(path)
    assert str(path) in str(caught.value)


def test_a_missing_or_binary_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="absent"):
        read_poses(tmp_path / "absent.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(FileFormatError, match="binary"):
        read_poses(tmp_path / "binary.csv")
    with pytest.raises(FileFormatError, match="absent"):
        read_reference(tmp_path / "absent.csv")


def test_rows_that_contradict_themselves_are_refused() -> None:
    with pytest.raises(InputError, match="world_from_bone"):
        PoseRow(0, 0.0, Status.OK)
    with pytest.raises(InputError, match="world_from_bone"):
        PoseRow(0, 0.0, Status.FAILED, "why", Pose.identity())
    with pytest.raises(InputError, match="reason"):
        PoseRow(0, 0.0, Status.FAILED)
    with pytest.raises(InputError, match="covariance"):
        _row(0, Pose.identity(), covariance=np.eye(5))


# --- summary.json -----------------------------------------------------------------------------------------------------

_FIELDS = [
    *("pairs", "failed", "rotation_error_deg", "translation_error_mm", "geodesic_error_deg", "translation_norm_mm"),
    *("mtre_mm", "iou", "success_rate", "seconds", "seconds_per_pair", "environment"),
]


def test_summary_has_exactly_the_agreed_fields(tmp_path: Path) -> None:
    moved = [Pose.exp([0, 0, 0], [0, 0, z]) for z in (1.0, 2.0, 3.0, 10.0)]
    errors = pose_errors([*moved, None], [Pose.identity()] * 5, np.eye(3))
    summarise(5, 1, errors=errors, iou=[0.5, 0.7], seconds=2.0).write(tmp_path / "summary.json")
    document = json.loads((tmp_path / "summary.json").read_text())
    assert list(document) == _FIELDS
    assert (document["pairs"], document["failed"], document["seconds_per_pair"]) == (5, 1, 0.4)
    assert document["translation_norm_mm"] == {
        "mean": pytest.approx(4.0),
        "sd": pytest.approx(np.sqrt((9 + 4 + 1 + 36) / 3)),
        "median": pytest.approx(2.5),
        "p95": pytest.approx(3.0 + 0.85 * 7.0),
        "max": pytest.approx(10.0),
    }
    assert document["mtre_mm"]["max"] == pytest.approx(10.0)
    assert document["iou"]["mean"] == pytest.approx(0.6)
    assert document["success_rate"] == {"value": 0.6, "deg": 5.0, "mm": 5.0}
    assert set(document["environment"]) == {"machine", "cpu", "python", "torch", "fluoropose", "commit", "date"}
    assert Summary.read(tmp_path / "summary.json").pairs == 5


def test_summary_without_reference_has_the_same_fields_empty(tmp_path: Path) -> None:
    summarise(5, 2).write(tmp_path / "summary.json")
    document = json.loads((tmp_path / "summary.json").read_text())
    assert list(document) == _FIELDS
    assert all(document[name] is None for name in _FIELDS[2:-1])


def test_summary_of_failures_only_has_no_statistics_but_a_rate() -> None:
    summary = summarise(2, 2, errors=pose_errors([None, None], [Pose.identity()] * 2))
    assert summary.geodesic_error_deg is None
    assert summary.success_rate is not None
    assert summary.success_rate.value == 0.0


def test_summary_refuses_counts_that_disagree(tmp_path: Path) -> None:
    errors = pose_errors([None], [Pose.identity()])
    with pytest.raises(InputError, match="errors"):
        summarise(1, 0, errors=errors)
    with pytest.raises(InputError, match="failed"):
        summarise(1, 2)
    (tmp_path / "summary.json").write_text('{"pairs": "many"}')
    with pytest.raises(FileFormatError, match=r"summary\.json: pairs"):
        Summary.read(tmp_path / "summary.json")


# --- evaluate ---------------------------------------------------------------------------------------------------------


def _write_matrices(path: Path, poses: dict[int, Pose]) -> None:
    header = "frame," + ",".join(f"m{i}{j}" for i in range(4) for j in range(4))
    lines = [f"{frame:04d}," + ",".join(f"{x:.12g}" for x in pose.matrix.ravel()) for frame, pose in poses.items()]
    path.write_text("\n".join([header, *lines]) + "\n")


def test_evaluate_against_matrices_in_another_bone_frame_and_world(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    truth = {frame: Pose.exp(rng.normal(0, 1, 3), rng.normal(0, 100, 3)) for frame in range(6)}
    bone_from_ct, world_from_lab = Pose.exp([0, 0, 0], [5, -80, -1500]), Pose.exp([3.0, 0.1, 0], [4, 5, 6])
    _write_matrices(tmp_path / "truth.csv", {f: world_from_lab.inverse() * p * bone_from_ct for f, p in truth.items()})
    offset = Pose.exp([0, 0, 0], [0, 3.0, 0])
    rows = [_row(frame, offset * pose) for frame, pose in truth.items() if frame != 4]
    write_poses(tmp_path / "poses.csv", [*rows, PoseRow.failed(4, 0.1, "blank frame"), PoseRow.failed(99, 9, "late")])

    known = evaluate(tmp_path / "poses.csv", tmp_path / "truth.csv", landmarks_mm=np.eye(3) * 50,
                     bone_from_reference_bone=bone_from_ct, world_from_reference=world_from_lab)  # fmt: skip
    assert known.frames == (0, 1, 2, 3, 5, 4)
    assert known.frames_without_reference == (99,)
    np.testing.assert_allclose(known.errors.translation_norm_mm[:5], 3.0, atol=1e-7)
    np.testing.assert_allclose(known.errors.geodesic_error_deg[:5], 0.0, atol=1e-6)
    assert known.summary.failed == 1
    assert known.summary.success_rate is not None
    assert known.summary.success_rate.value == pytest.approx(5 / 6)

    aligned = evaluate(tmp_path / "poses.csv", tmp_path / "truth.csv", landmarks_mm=np.eye(3) * 50,
                       bone_from_reference_bone=bone_from_ct, align=True)  # fmt: skip
    np.testing.assert_allclose(aligned.world_from_reference.matrix, (offset * world_from_lab).matrix, atol=1e-7)
    np.testing.assert_allclose(aligned.errors.translation_norm_mm[:5], 0.0, atol=1e-6)


def test_evaluate_against_another_poses_file(tmp_path: Path) -> None:
    write_poses(tmp_path / "a.csv", [_row(0, Pose.exp([0.1, 0, 0], [1, 0, 0])), _row(1, Pose.identity())])
    write_poses(tmp_path / "b.csv", [_row(0, Pose.identity()), PoseRow.failed(1, 0, "not matched by hand")])
    found = evaluate(tmp_path / "a.csv", tmp_path / "b.csv")
    assert found.frames == (0,)
    assert found.errors.geodesic_error_deg == pytest.approx([np.degrees(0.1)])


def test_evaluate_refuses_what_cannot_be_compared(tmp_path: Path) -> None:
    write_poses(tmp_path / "poses.csv", [_row(0, Pose.identity())])
    _write_matrices(tmp_path / "other.csv", {1: Pose.identity()})
    with pytest.raises(InputError, match="no frame in common"):
        evaluate(tmp_path / "poses.csv", tmp_path / "other.csv")
    _write_matrices(tmp_path / "same.csv", {0: Pose.identity()})
    with pytest.raises(InputError, match="align"):
        evaluate(tmp_path / "poses.csv", tmp_path / "same.csv", align=True)
    text = (tmp_path / "same.csv").read_text()
    for damage, message in [
        (text.replace("frame", "image"), "line 1"),
        (text.replace("0000,1,", "0000,2,"), "line 2.*rotation"),
        (text.replace("0000,1,", "0000,x,"), "line 2"),
        (text.replace("0000,1,", "0000,"), "line 2.*17 fields"),
        (text + text.splitlines()[1] + "\n", "line 3.*twice"),
    ]:
        (tmp_path / "bad.csv").write_text(damage)
        with pytest.raises(FileFormatError, match=message):
            read_reference(tmp_path / "bad.csv")


def test_reference_files_of_the_real_data_are_read(data_dir: Path) -> None:
    knee = read_reference(data_dir / "knee_biplane" / "world_from_femur.csv")
    head = read_reference(data_dir / "lab_head" / "truth" / "walking" / "world_from_ct.csv")
    assert sorted(knee) == list(range(150))
    assert sorted(head) == list(range(60))
    assert head[0].translation_mm == pytest.approx([28.247245436, -1560.087529461, 760.848014339])
