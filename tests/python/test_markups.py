"""3D Slicer's markups, both formats and both coordinate systems."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fluoropose.errors import FileFormatError
from fluoropose.io.markups import read_markups, write_markups

_POINTS = np.array([[1.0, 2.0, 3.0], [-4.0, 5.5, -6.0]])


def document(system: str = "LPS", **point: object) -> dict[str, object]:
    points = [
        {"label": name, "position": p.tolist(), "positionStatus": "defined"} | point
        for name, p in zip(("a", "b"), _POINTS, strict=True)
    ]
    return {"markups": [{"type": "Fiducial", "coordinateSystem": system, "controlPoints": points}]}


def write(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "points.mrk.json"
    path.write_text(json.dumps(content))
    return path


def test_json_in_both_systems(tmp_path: Path) -> None:
    np.testing.assert_allclose(read_markups(write(tmp_path, document())).points_mm, _POINTS)
    ras = read_markups(write(tmp_path, document("RAS")))
    np.testing.assert_allclose(ras.points_mm, _POINTS * [-1, -1, 1])
    assert ras.names == ("a", "b")


@pytest.mark.parametrize(("system", "sign"), [("0", -1), ("RAS", -1), ("1", 1), ("LPS", 1)])
def test_fcsv(tmp_path: Path, system: str, sign: int) -> None:
    path = tmp_path / "points.fcsv"
    path.write_text(
        f"# Markups fiducial file version = 4.11\n# CoordinateSystem = {system}\n"
        "# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID\n"
        "1,1,2,3,0,0,0,1,1,1,0,a,,\n2,-4,5.5,-6,0,0,0,1,1,1,0,b,,\n"
    )
    markups = read_markups(path)
    assert markups.names == ("a", "b")
    np.testing.assert_allclose(markups.points_mm, _POINTS * [sign, sign, 1])


def test_a_mark_that_an_editor_put_first_does_not_matter(tmp_path: Path) -> None:
    for path in (write(tmp_path, document()), tmp_path / "points.fcsv"):
        if path.suffix == ".fcsv":
            path.write_text("# Markups fiducial file\n# CoordinateSystem = LPS\n1,1,2,3,0,0,0,1,1,1,0,a\n")
        path.write_text("\ufeff" + path.read_text(), encoding="utf-8")
        np.testing.assert_allclose(read_markups(path).points_mm[0], _POINTS[0])


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.floats(-1e4, 1e4)] * 3), min_size=1, max_size=40))
def test_round_trip(tmp_path: Path, points: list[tuple[float, ...]]) -> None:
    names = tuple(f"p{i}" for i in range(len(points)))
    write_markups(tmp_path / "out.mrk.json", names, points)
    markups = read_markups(tmp_path / "out.mrk.json")
    assert markups.names == names
    np.testing.assert_array_equal(markups.points_mm, points)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "3D Slicer markups"),
        ([], "3D Slicer markups"),
        ({"markups": []}, "found 0"),
        (document("XYZ"), "coordinate system"),
        (document(label="a"), "'a' twice"),
        (document(positionStatus="undefined"), "not been placed"),
        (document(position=[1, 2]), "position"),
        (document(position=[1, 2, float("nan")]), "NaN"),
    ],
)
def test_bad_json(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(FileFormatError, match=message) as caught:
        read_markups(write(tmp_path, content))
    assert "points.mrk.json" in str(caught.value)


def test_bad_fcsv(tmp_path: Path) -> None:
    path = tmp_path / "points.fcsv"
    path.write_text("# CoordinateSystem = LPS\n1,1,two,3\n")
    with pytest.raises(FileFormatError, match=r"points\.fcsv: point 1"):
        read_markups(path)
    with pytest.raises(FileFormatError, match="absent"):
        read_markups(tmp_path / "absent.fcsv")
