"""Files of poses, read back the way their programs read them."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fluoropose.errors import FileFormatError, InputError
from fluoropose.registration.poses_file import COLUMNS, PoseRow, read_poses
from fluoropose.registration.registration import Status
from fluoropose.streaming.c3d import Motion, write_c3d
from fluoropose.streaming.frame import Output
from fluoropose.streaming.sinks import Callback
from fluoropose.streaming.sinks.binary import C3dFile, ParquetFile
from fluoropose.streaming.sinks.export import export_poses
from fluoropose.streaming.sinks.named import open_table
from fluoropose.streaming.sinks.tables import AutoscoperTable, OpenSimTable, PosesTable, Table, XmalabTable
from knowing_network import make_bone
from outputs import OUTPUTS, POSES, output


def finished(table: Table) -> None:
    for one in OUTPUTS:
        table.write(one)
    assert not table.path.exists()
    table.close()
    assert [file.name for file in table.path.parent.iterdir()] == [table.path.name]


def written(table: Table) -> str:
    finished(table)
    return table.path.read_text()


def test_poses_csv_is_read_back(tmp_path: Path) -> None:
    written(PosesTable(tmp_path / "poses.csv"))
    rows = read_poses(tmp_path / "poses.csv")
    assert [row.frame for row in rows] == [0, 1, 3, 4]
    assert [row.source for row in rows] == ["network", "prediction", "network", "network"]
    assert [row.status for row in rows] == [Status.OK, Status.OK, Status.FAILED, Status.OK]
    assert [row.hypothesis for row in rows] == ["view1", "none", "none", "view1"]
    assert [row.n_visible for row in rows] == [5, 0, 0, 5]
    assert rows[2].reason == "view 2: blank"
    assert rows[3].time_s == pytest.approx(4 / 30)
    for row, pose in zip([rows[0], rows[1], rows[3]], POSES, strict=True):
        assert row.world_from_bone is not None
        np.testing.assert_allclose(row.world_from_bone.matrix, pose.matrix, atol=1e-9)
        np.testing.assert_allclose(row.covariance, 2 * np.eye(6))


@pytest.mark.parametrize("suffix", ["mot", "sto"])
def test_opensim_reads_angles_and_metres(tmp_path: Path, suffix: str) -> None:
    lines = written(OpenSimTable(tmp_path / f"head.{suffix}", "left skull")).splitlines()
    degrees = suffix == "mot"
    assert lines[:6] == [
        "head",
        "version=1",
        "nRows=3",  # the third of four pairs has no pose
        "nColumns=7",
        f"inDegrees={'yes' if degrees else 'no'}",
        "endheader",
    ]
    assert lines[6].split("\t") == ["time", *(f"left_skull_{c}" for c in ("rx", "ry", "rz", "tx", "ty", "tz"))]
    values = np.array([[float(cell) for cell in line.split("\t")] for line in lines[7:]])
    np.testing.assert_allclose(values[:, 0], [0, 1 / 30, 4 / 30])
    for row, pose in zip(values, POSES, strict=True):
        # Body-fixed XYZ: SciPy's intrinsic "XYZ".
        rotation = Rotation.from_euler("XYZ", row[1:4], degrees=degrees).as_matrix()
        np.testing.assert_allclose(rotation, pose.rotation, atol=1e-9)
        np.testing.assert_allclose(1000 * row[4:], pose.translation_mm, atol=1e-9)


def test_opensim_tells_frames_of_a_clock_that_counts_from_1970_apart(tmp_path: Path) -> None:
    times_s = [1_764_333_549.123456 + k / 250 for k in range(3)]
    rows = [PoseRow(k, time_s, Status.OK, world_from_bone=POSES[k]) for k, time_s in enumerate(times_s)]
    export_poses(rows, [str(tmp_path / "head.sto")], make_bone())
    found = [float(line.split("\t")[0]) for line in (tmp_path / "head.sto").read_text().splitlines()[7:]]
    np.testing.assert_allclose(found, times_s, rtol=0, atol=1e-5)


def test_an_opensim_file_ends_where_the_clock_is_set_back(tmp_path: Path) -> None:
    def row(frame: int, time_s: float) -> PoseRow:
        return PoseRow(frame, time_s, Status.OK, world_from_bone=POSES[0])

    table = OpenSimTable(tmp_path / "head.mot", "skull")
    table.add(row(0, 8.0))
    table.add(row(1, 8.5))
    for time_s in (8.5, 0.25):
        with pytest.raises(InputError, match=rf"head\.mot: expected a time after 8\.5 s, found pair 2 at {time_s} s"):
            table.add(row(2, time_s))
    table.close()
    again = OpenSimTable(tmp_path / "head.mot", "skull", resume=True)
    with pytest.raises(InputError, match=r"expected a time after 8\.5 s"):
        again.add(row(2, 0.25))
    again.close()
    lines = (tmp_path / "head.mot").read_text().splitlines()
    assert lines[2] == "nRows=2"
    assert [float(line.split("\t")[0]) for line in lines[7:]] == [8.0, 8.5]


def test_autoscoper_reads_matrices_by_row(tmp_path: Path) -> None:
    lines = written(AutoscoperTable(tmp_path / "head.tra")).splitlines()
    assert lines[2:4] == [",".join(["NaN"] * 16)] * 2  # pair 2 did not come, pair 3 has no pose
    for line, pose in zip([lines[0], lines[1], lines[4]], POSES, strict=True):
        np.testing.assert_allclose(np.array(line.split(","), float).reshape(4, 4), pose.matrix, atol=1e-12)


def test_xmalab_has_named_matrices_by_column(tmp_path: Path) -> None:
    rows = list(csv.DictReader(written(XmalabTable(tmp_path / "head.csv", "skull")).splitlines()))
    assert [row["Frame"] for row in rows] == ["1", "2", "4", "5"]
    assert list(rows[0])[1:5] == ["skull_R11", "skull_R12", "skull_R13", "skull_01"]
    assert set(list(rows[2].values())[1:]) == {"NaN"}
    for row, pose in zip([rows[0], rows[1], rows[3]], POSES, strict=True):
        shift = [float(row[f"skull_T{axis}"]) for axis in "XYZ"]
        np.testing.assert_allclose(shift, pose.translation_mm, atol=1e-9)
        values = np.array(list(row.values())[1:], float).reshape(4, 4)
        np.testing.assert_allclose(values.T, pose.matrix, atol=1e-9)


def test_other_programs_count_a_trials_frames_from_its_first(tmp_path: Path) -> None:
    numbers = (1, 2, 3, 5, 6, 7)  # of the frames' files, of which one is missing
    rows = [PoseRow(number, 0.1 * number, Status.OK, world_from_bone=POSES[0]) for number in (3, 6)]
    export_poses(rows, [str(tmp_path / "a.tra"), f"xmalab:{tmp_path / 'a.csv'}"], make_bone(), numbers)
    lines = (tmp_path / "a.tra").read_text().splitlines()
    assert [line.startswith("NaN") for line in lines] == [True, True, False, True, False]
    assert [line.split(",")[0] for line in (tmp_path / "a.csv").read_text().splitlines()[1:]] == ["3", "5"]
    for name in ("b.tra", "xmalab:b.csv"):
        table = open_table(name.replace("b.", f"{tmp_path}/b."), make_bone(), numbers)
        with pytest.raises(InputError, match=r"b\.\w+: expected pairs of the trial, 1 to 7, found 4"):
            table.add(replace(rows[0], frame=4))
        table.discard()


def test_parquet_has_the_columns_of_poses_csv_with_their_types(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
    finished(ParquetFile(tmp_path / "poses.parquet"))
    table = parquet.read_table(tmp_path / "poses.parquet")
    assert tuple(table.column_names) == COLUMNS
    columns = table.to_pydict()
    assert columns["frame"] == [0, 1, 3, 4]
    assert columns["status"] == ["ok", "ok", "failed", "ok"]
    assert columns["reason"][2] == "view 2: blank"
    assert columns["n_visible"] == [5, 0, 0, 5]
    assert columns["tx_mm"] == [0.0, 1.0, None, 2.0]
    assert columns["cov_00"] == [2.0, 2.0, None, 2.0]
    assert columns["qw"][3] == pytest.approx(POSES[2].quaternion[0])
    assert table.schema.metadata[b"fluoropose"].startswith(b"# fluoropose-poses version")


def test_c3d_has_landmarks_and_six_channels_at_a_steady_rate(tmp_path: Path) -> None:
    import SimpleITK  # noqa: F401  # beside which ezc3d cannot write

    ezc3d = pytest.importorskip("ezc3d", reason="C3D needs ezc3d")
    bone = make_bone()
    finished(C3dFile(tmp_path / "poses.c3d", bone))
    file = ezc3d.c3d(str(tmp_path / "poses.c3d"))
    parameters, points, channels = file["parameters"], file["data"]["points"], file["data"]["analogs"]
    assert parameters["POINT"]["RATE"]["value"][0] == pytest.approx(30.0)
    assert parameters["POINT"]["UNITS"]["value"] == ["mm"]
    assert tuple(parameters["POINT"]["LABELS"]["value"]) == bone.landmark_names
    assert parameters["ANALOG"]["LABELS"]["value"] == ["RX", "RY", "RZ", "TX", "TY", "TZ"]
    assert parameters["ANALOG"]["RATE"]["value"][0] == pytest.approx(30.0)
    assert points.shape == (4, len(bone.landmarks_mm), 5)  # pair 2 never came, pair 3 has no pose
    assert channels.shape == (1, 6, 5)
    residuals = file["data"]["meta_points"]["residuals"][0]
    assert (residuals[:, [0, 1, 4]] == 0).all()
    assert (residuals[:, [2, 3]] == -1).all()
    assert np.isnan(channels[..., [2, 3]]).all()
    for frame, pose in zip([0, 1, 4], POSES, strict=True):
        # float32 in the file: 2e-5 of 300 mm.
        np.testing.assert_allclose(points[:3, :, frame].T, pose.apply(bone.landmarks_mm), atol=1e-4)
        np.testing.assert_allclose(channels[0, :, frame], [*pose.euler_zyx_deg, *pose.translation_mm], atol=1e-4)


def test_what_ezc3d_says_is_passed_on(tmp_path: Path) -> None:
    pytest.importorskip("ezc3d", reason="C3D needs ezc3d")
    motion = Motion(30.0, np.zeros((3, 2, 4)), ("a",), np.zeros((1, 4)), ("RX",), ("deg",))
    with pytest.raises(OSError, match=r"a.c3d: ezc3d: ValueError: .*same length"):
        write_c3d(str(tmp_path / "a.c3d"), motion)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [([0], "a rate needs two pairs or more, found 1"), ([0, 1, 0], "numbers start anew"), ([0, 10**7], "no rate")],
)
def test_c3d_without_a_steady_rate_is_refused_and_keeps_its_rows(
    tmp_path: Path, numbers: list[int], message: str
) -> None:
    pytest.importorskip("ezc3d", reason="C3D needs ezc3d")
    table = C3dFile(tmp_path / "poses.c3d", make_bone())
    for number in numbers:
        table.write(output(number, POSES[0]))
    with pytest.raises(InputError, match=message):
        table.close()
    assert [path.name for path in tmp_path.iterdir()] == [".partial.poses.c3d"]
    assert len(table.partial.read_text().splitlines()) == len(numbers)


def test_c3d_does_not_even_out_times_with_a_gap(tmp_path: Path) -> None:
    pytest.importorskip("ezc3d", reason="C3D needs ezc3d")
    times_s = [0.0, 1 / 30, 2 / 30, 1.1, 1.1 + 1 / 30]  # numbers go on, time leaps: no rate is right for both
    rows = [PoseRow(k, time_s, Status.OK, world_from_bone=POSES[0]) for k, time_s in enumerate(times_s)]
    with pytest.raises(InputError, match=r"c3d: no rate: .* pair 2 would be taken at 0\.5667 s, but was at 0\.06667 s"):
        export_poses(rows, [str(tmp_path / "poses.c3d")], make_bone())
    jittered = [replace(row, time_s=row.frame / 30 + 0.01 * (row.frame % 2)) for row in rows]
    export_poses(jittered, [str(tmp_path / "poses.c3d")], make_bone())
    assert (tmp_path / "poses.c3d").exists()


def test_a_table_that_is_not_finished_leaves_its_rows_but_not_its_name(tmp_path: Path) -> None:
    table = PosesTable(tmp_path / "poses.csv")
    table.write(OUTPUTS[0])
    table._file.close()  # as when the program is killed
    (left,) = tmp_path.iterdir()
    assert left.name == ".partial.poses.csv"
    assert left.read_text().startswith("0,0,ok")


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("name", ["a.csv", "a.mot", "a.sto", "xmalab.csv"])
def test_a_table_goes_on_where_an_earlier_run_stopped(tmp_path: Path, name: str, killed: bool) -> None:
    def opened(folder: str, resume: bool) -> Table:
        path = tmp_path / folder / name
        if name == "a.csv":
            return PosesTable(path, resume=resume)
        kind = XmalabTable if name == "xmalab.csv" else OpenSimTable
        return kind(path, "skull", resume=resume)

    whole, first = opened("whole", False), opened("halves", True)  # nothing to go on with is no error
    for one in OUTPUTS:
        whole.write(one)
    whole.close()
    for one in OUTPUTS[:2]:
        first.write(one)
    if killed:
        first._file.write(first.line(OUTPUTS[3].row)[:7])  # cut off in the middle of a row
        first._file.close()
    else:
        first.close()
    second = opened("halves", True)
    for one in OUTPUTS[2:]:
        second.write(one)
    second.close()
    assert (tmp_path / "halves" / name).read_text() == (tmp_path / "whole" / name).read_text()
    assert [path.name for path in (tmp_path / "halves").iterdir()] == [name]


def test_a_table_with_another_head_is_not_continued(tmp_path: Path) -> None:
    written(OpenSimTable(tmp_path / "a.mot", "skull"))
    with pytest.raises(FileFormatError, match=r"a.mot: cannot be continued: it has another head"):
        OpenSimTable(tmp_path / "a.mot", "femur", resume=True)


def test_a_table_whose_last_line_an_editor_left_open_is_continued(tmp_path: Path) -> None:
    written(PosesTable(tmp_path / "a.csv"))
    whole = (tmp_path / "a.csv").read_text()
    (tmp_path / "a.csv").write_text("\ufeff" + whole.rstrip("\n"), encoding="utf-8")
    more = PosesTable(tmp_path / "a.csv", resume=True)
    more.write(output(5, POSES[0]))
    more.close()
    assert [row.frame for row in read_poses(tmp_path / "a.csv")] == [0, 1, 3, 4, 5]


def test_pairs_that_leap_do_not_fill_the_disk(tmp_path: Path) -> None:
    table = AutoscoperTable(tmp_path / "a.tra")
    table.write(OUTPUTS[0])
    with pytest.raises(InputError, match=r"a\.tra: expected a pair 1 or some later one, found 1000000000"):
        table.write(output(1_000_000_000, POSES[0]))
    table.close()
    assert (tmp_path / "a.tra").read_text().count("\n") == 1


def test_files_that_need_times_say_so(tmp_path: Path) -> None:
    rows = [PoseRow(k, float("nan"), Status.OK, world_from_bone=pose) for k, pose in enumerate(POSES)]
    for name, needs in (("a.mot", "expected times, found none"), ("a.c3d", "no rate: a trial has times")):
        with pytest.raises(InputError, match=needs):
            export_poses(rows, [str(tmp_path / name)], make_bone())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["smooth:a.csv", "ring:a.csv", "zmq:a.mot", "a.xlsx", "xmalab:", "lsl"])
def test_export_takes_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=rf"^files: expected FILE\.csv, .* or xmalab:FILE\.csv, found '{text}'"):
        export_poses([], [text], make_bone())
    assert list(tmp_path.iterdir()) == []


def test_export_sorts_and_leaves_an_interrupted_stream_its_rows(tmp_path: Path) -> None:
    rows = [PoseRow(k, k / 30, Status.OK, world_from_bone=POSES[k]) for k in (0, 2, 1)]
    export_poses(rows, [str(tmp_path / "a.csv")], make_bone())
    assert [row.frame for row in read_poses(tmp_path / "a.csv")] == [0, 1, 2]
    stream = PosesTable(tmp_path / "b.csv")
    stream.write(OUTPUTS[0])
    with pytest.raises(InputError, match=r"b\.csv: a stream to it was interrupted: resume it, or .*partial\.b\.csv"):
        export_poses(rows, [str(tmp_path / "b.csv")], make_bone())
    stream.close()
    assert len(read_poses(tmp_path / "b.csv")) == 1


def test_a_callback_is_called() -> None:
    found: list[Output] = []
    sink = Callback(found.append)
    sink.write(OUTPUTS[0])
    sink.close()
    assert found == [OUTPUTS[0]]
