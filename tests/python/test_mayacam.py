"""MayaCam 2.0 files: the real ones, round trips, and every way a file can be wrong."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from typer.testing import CliRunner

from fluoropose.cli import app
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import View
from fluoropose.io.mayacam import read_mayacam, read_mayacam_rig, write_mayacam
from fluoropose.rig import Rig
from strategies import views

GOOD = """image size
640,480

camera matrix
4000.5,0,310.25
0,4010,250.5
0,0,1

rotation
1,0,0
0,0,-1
0,1,0

translation
-12.5
20
1100
"""


def write(tmp_path: Path, text: str, name: str = "cam.txt") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def test_reads_every_number(tmp_path: Path) -> None:
    view = read_mayacam(write(tmp_path, GOOD))
    k, rotation, translation = view.to_krt()
    assert view.size_px == (640, 480)
    assert_allclose(k, [[4000.5, 0, 310.25], [0, 4010, 250.5], [0, 0, 1]], atol=1e-9)
    assert_allclose(rotation, [[1, 0, 0], [0, 0, -1], [0, 1, 0]], atol=1e-12)
    assert_allclose(translation, [-12.5, 20, 1100], atol=1e-9)
    # x_camera = (1, -3, 2) + t = (-11.5, 17, 1102)
    assert_allclose(
        view.project([[1, 2, 3]]), [[4000.5 * -11.5 / 1102 + 310.25, 4010 * 17 / 1102 + 250.5]], rtol=0, atol=1e-9
    )


def test_line_ends_blanks_and_a_byte_order_mark_do_not_matter(tmp_path: Path) -> None:
    windows = tmp_path / "windows.txt"
    windows.write_bytes(b"\xef\xbb\xbf" + GOOD.replace("\n", " \r\n").replace(",", ", ").encode())
    assert_allclose(
        read_mayacam(windows).projection_matrix, read_mayacam(write(tmp_path, GOOD)).projection_matrix, rtol=1e-15
    )


@given(view=views())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_round_trip(tmp_path: Path, view: View) -> None:
    write_mayacam(tmp_path / "view.txt", view)
    again = read_mayacam(tmp_path / "view.txt", sdd_mm=view.sdd_mm)
    for name in ("origin", "u_step", "v_step", "source"):
        assert_allclose(getattr(again, name), getattr(view, name), rtol=0, atol=1e-6, err_msg=name)


@pytest.mark.needs_data
@pytest.mark.parametrize(
    "pair",
    [
        ("knee_biplane/mayacam2_cam1.txt", "knee_biplane/mayacam2_cam2.txt"),
        (
            "fluoroscopy_autoscoper/Calibration/xr_calib_wrist_cam01.txt",
            "fluoroscopy_autoscoper/Calibration/xr_calib_wrist_cam02.txt",
        ),
        (
            "fluoroscopy_autoscoper/Calibration/xr_calib_left_knee_cam01.txt",
            "fluoroscopy_autoscoper/Calibration/xr_calib_left_knee_cam02.txt",
        ),
    ],
)
def test_real_files_project_as_opencv_and_are_written_back(
    data_dir: Path, tmp_path: Path, pair: tuple[str, str]
) -> None:
    rig = read_mayacam_rig([data_dir / name for name in pair])
    points = np.random.default_rng(1).uniform(-60, 60, (50, 3))
    for name, view in zip(pair, rig.views, strict=True):
        path = data_dir / name
        # Parsed here without our reader: K is on lines 5-7, R on 10-12, t on 15-17.
        lines = path.read_text().splitlines()
        k, rotation = (np.array([line.split(",") for line in lines[i : i + 3]], dtype=float) for i in (4, 9))
        translation = np.array(lines[14:17], dtype=float)
        expected, _ = cv2.projectPoints(points, cv2.Rodrigues(rotation)[0], translation, k, None)
        assert_allclose(view.project(points), expected[:, 0], rtol=0, atol=1e-6)
        write_mayacam(tmp_path / "again.txt", view)
        assert_allclose(read_mayacam(tmp_path / "again.txt").project(points), expected[:, 0], rtol=0, atol=1e-6)


@pytest.mark.needs_data
def test_the_knee_rig_stands_as_its_description_says(data_dir: Path) -> None:
    first, second = read_mayacam_rig([data_dir / f"knee_biplane/mayacam2_cam{i}.txt" for i in (1, 2)]).views
    assert np.degrees(np.arccos(first.normal @ second.normal)) == pytest.approx(70.3, abs=0.05)
    assert np.linalg.norm(first.source - second.source) == pytest.approx(1500, abs=60)


# --- units --------------------------------------------------------------------------------------------------------


@pytest.mark.needs_data
@pytest.mark.parametrize(("unit", "per_mm"), [("cm", 0.1), ("m", 0.001)])
def test_units_are_converted_when_told_and_refused_when_not(
    data_dir: Path, tmp_path: Path, unit: str, per_mm: float
) -> None:
    paths = [data_dir / f"knee_biplane/mayacam2_cam{i}.txt" for i in (1, 2)]
    scaled = []
    for path in paths:
        head, tail = path.read_text().split("translation\n")
        numbers = [repr(float(x) * per_mm) for x in tail.split()]
        scaled.append(write(tmp_path, head + "translation\n" + "\n".join(numbers), path.name))
    with pytest.raises(FileFormatError, match=r'read with unit="mm": distance between the sources .* millimetres'):
        read_mayacam_rig(scaled)
    converted = read_mayacam_rig(scaled, unit=unit)
    for a, b in zip(converted.views, read_mayacam_rig(paths).views, strict=True):
        assert_allclose(a.projection_matrix, b.projection_matrix, rtol=1e-9)


def test_an_unknown_unit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unit: expected one of mm, cm, m, found 'inch'"):
        read_mayacam(write(tmp_path, GOOD), unit="inch")


# --- broken files -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("rotation\n", "", r"camera matrix: expected 3 line\(s\) of 3 number\(s\)"),
        ("translation\n-12.5\n20\n1100\n", "", 'expected a section "translation", found none'),
        ("640,480", "640,480,3", r"image size: expected 1 line\(s\) of 2"),
        ("640,480", "640.5,480", "size_px: expected a whole number"),
        ("640,480", "0,480", "size_px: expected a positive number"),
        ("4000.5,0,310.25", "4000.5,0", r"camera matrix: expected 3 line\(s\) of 3"),
        ("4000.5,0,310.25", "-4000.5,0,310.25", "camera_matrix: expected upper triangular with positive focal"),
        ("4000.5", "nan", "camera matrix: expected finite numbers"),
        ("1,0,0\n0,0,-1", "1,0,0\n0,0,1", "rotation: expected a proper rotation"),
        ("1,0,0\n0,0,-1", "1.1,0,0\n0,0,-1", "rotation: expected a proper rotation"),
        ("-12.5", "minus twelve", "line 15: expected comma-separated numbers or one of .* found 'minus twelve'"),
        ("image size\n", "1,2\nimage size\n", "line 1: expected comma-separated numbers or one of"),
        ("translation\n", "rotation\n", 'line 14: section "rotation" is repeated'),
        ("1100\n", "", r"translation: expected 3 line\(s\) of 1"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in GOOD
    with pytest.raises(FileFormatError, match=message) as caught:
        read_mayacam(write(tmp_path, GOOD.replace(old, new, 1)))
    assert "cam.txt" in str(caught.value)


@given(
    content=st.one_of(st.binary(max_size=200), st.text(max_size=200).map(str.encode)),
    end=st.integers(0, GOOD.index("1100")),
)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_other_bytes_and_truncated_files_are_refused(tmp_path: Path, content: bytes, end: int) -> None:
    for broken in (content, GOOD[:end].encode()):
        (tmp_path / "broken.txt").write_bytes(broken)
        with pytest.raises(FileFormatError, match=r"broken\.txt"):
            read_mayacam(tmp_path / "broken.txt")


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"nowhere\.txt"):
        read_mayacam(tmp_path / "nowhere.txt")


def test_a_parallel_beam_cannot_be_written(tmp_path: Path) -> None:
    beam = View(64, 64, [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], "parallel")
    with pytest.raises(InputError, match="parallel beam"):
        write_mayacam(tmp_path / "beam.txt", beam)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.needs_data
def test_the_command_line_makes_a_rig(data_dir: Path, tmp_path: Path) -> None:
    files = [str(data_dir / f"knee_biplane/mayacam2_cam{i}.txt") for i in (1, 2)]
    result = CliRunner().invoke(app, ["mayacam", *files, "--out", str(tmp_path / "rig.json")])
    assert result.exit_code == 0, result.output
    for a, b in zip(Rig.load(tmp_path / "rig.json").views, read_mayacam_rig(files).views, strict=True):
        assert_allclose(a.projection_matrix, b.projection_matrix, rtol=1e-12)
    refused = CliRunner().invoke(app, ["mayacam", *files, "--unit", "inch"])
    assert refused.exit_code == 2
    assert "--unit: expected one of" in refused.output
