"""Rig: the way of a point to a recorded pixel, saving and loading, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from fluoropose.distortion import Distortion
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose, View
from fluoropose.rig import CircularField, Fluoroscope, Rig
from strategies import lengths, views

_POINTS = np.array([[0.0, 0, -400], [30, -20, -500], [-60, 45, -300]])


def pincushion() -> Distortion:
    """A mild intensifier distortion of a 640 x 480 image: recorded pixels lie up to 5 px further out."""
    u, v = np.meshgrid(np.linspace(0, 639, 20), np.linspace(0, 479, 15))
    ideal = np.column_stack([u.ravel(), v.ravel()])
    offset = ideal - [319.5, 239.5]
    radius_squared = (offset**2).sum(axis=1, keepdims=True) / 400**2
    return Distortion.fit(ideal + 0.0125 * offset * radius_squared, ideal, order=5)


def lab_rig() -> Rig:
    first = View.from_sdd((640, 480), 1200, 0.4, 0.4, 3, -2)
    about_isocentre = Pose(np.eye(3), [0, 0, -400]) * Pose.exp([0, 1.3, 0], [0, 0, 0]) * Pose(np.eye(3), [0, 0, 400])
    second = View.from_sdd((640, 480), 1250, 0.4, 0.4, -5, 1, about_isocentre)
    return Rig((Fluoroscope(first, pincushion(), CircularField(320, 240, 230.5)), Fluoroscope(second)))


def test_recorded_pixels_are_distorted_and_come_back() -> None:
    rig = lab_rig()
    distorted, plain = rig.fluoroscopes
    ideal = distorted.view.project(_POINTS)
    recorded = distorted.project(_POINTS)
    assert np.abs(recorded - ideal).max() > 1
    assert_allclose(distorted.ideal_from_recorded(recorded), ideal, atol=1e-6)
    assert_array_equal(plain.project(_POINTS), rig.views[1].project(_POINTS))


def test_sees_only_what_lies_in_the_image_and_in_its_field() -> None:
    view = View.from_sdd((640, 480), 1200, 0.4, 0.4, 0, 0)
    round_field = Fluoroscope(view, None, CircularField(320, 240, 200))
    pixels = [[320, 240], [520, 240], [520.1, 240], [-1, 240], [np.nan, 240]]
    assert round_field.sees(pixels).tolist() == [True, True, False, False, False]
    assert Fluoroscope(view).sees(pixels).tolist() == [True, True, True, False, False]


def test_what_the_recorded_image_does_not_reach_is_not_seen() -> None:
    scope = Fluoroscope(View.from_sdd((640, 480), 1200, 0.4, 0.4, 3, -2), pincushion())
    pixels = np.array([[320.0, 240], [2, 2], [637, 240], [600, 240]])
    recorded = scope.recorded_from_ideal(pixels)
    assert recorded[1].max() < -0.5
    assert recorded[2, 0] > 639.5
    assert scope.sees(pixels).tolist() == [True, False, False, True]
    # Nor by a circle that reaches past the image's edge.
    assert Fluoroscope(scope.view, scope.distortion, CircularField(320, 240, 500)).sees(pixels).tolist() == [
        *(True, False, False, True)
    ]


def test_the_field_is_a_disc_of_recorded_pixels() -> None:
    view = View.from_sdd((640, 480), 1200, 0.4, 0.4, 0, 0)
    fluoroscope = Fluoroscope(view, pincushion(), CircularField(319.5, 239.5, 200))
    # The intensifier moves this pixel outwards by 0.0125 * 199 * (199 / 400)^2 = 0.6 px, still in; 199.6 is moved out.
    assert fluoroscope.sees([[319.5 + 199, 239.5], [319.5 + 199.6, 239.5]]).tolist() == [True, False]


def test_the_whole_is_the_field_or_else_all_of_the_image() -> None:
    view = View.from_sdd((640, 480), 1200, 0.4, 0.4, 0, 0)
    field = Fluoroscope(view, field=CircularField(319.5, 239.5, 200)).whole
    assert (field.left_px, field.top_px, field.side_px) == (120, 40, 400)
    image = Fluoroscope(view).whole
    assert (image.left_px, image.top_px, image.side_px) == (0, -80, 640)


def test_a_point_behind_the_source_is_not_seen() -> None:
    fluoroscope = lab_rig().fluoroscopes[0]
    pixels = fluoroscope.project(np.array([[0.0, 0, -3000]]))
    assert np.isnan(pixels).all()
    assert not fluoroscope.sees(fluoroscope.view.project([[0.0, 0, -3000]])).any()


# --- files --------------------------------------------------------------------------------------------------------


def test_save_and_load(tmp_path: Path) -> None:
    rig = lab_rig()
    rig.save(tmp_path / "rig.json")
    again = Rig.load(tmp_path / "rig.json")
    for a, b in zip(again.fluoroscopes, rig.fluoroscopes, strict=True):
        assert_array_equal(a.project(_POINTS), b.project(_POINTS))
        assert a.field == b.field
    assert [path.name for path in tmp_path.iterdir()] == ["rig.json"]


@given(view=views(), field=st.builds(CircularField, lengths(-99, 2e3), lengths(-99, 2e3), lengths(1, 2e3)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_single_view_round_trips_exactly(tmp_path: Path, view: View, field: CircularField) -> None:
    Rig((Fluoroscope(view, None, field),)).save(tmp_path / "one.json")
    (again,) = Rig.load(tmp_path / "one.json").fluoroscopes
    for name in ("origin", "u_step", "v_step", "source"):
        assert_array_equal(getattr(again.view, name), getattr(view, name))
    assert (again.view.size_px, again.field) == (view.size_px, field)


def _set(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        place: Any = document
        for key in path[:-1]:
            place = place[key]
        if value is ...:
            del place[path[-1]]
        else:
            place[path[-1]] = value

    return change


_FIRST = ("fluoroscopes", 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("format", value="something"), "format: expected 'fluoropose-rig', found 'something'"),
        (_set("version", value=99), "version: expected 1, found 99"),
        (_set("units", value="cm"), "units: expected 'mm', found 'cm'"),
        (_set("colour", value="red"), r"the file: unknown field\(s\) colour"),
        (_set("fluoroscopes", value=...), r"the file: missing field\(s\) fluoroscopes"),
        (_set("fluoroscopes", value={}), "fluoroscopes: expected a list"),
        (_set("fluoroscopes", value=[]), "fluoroscopes: expected at least one"),
        (_set(*_FIRST, value=7), r"fluoroscopes\[0\]: expected an object with distortion, field, .*view, found 7"),
        (_set(*_FIRST, "field", value=...), r"fluoroscopes\[0\]: missing field\(s\) field"),
        (_set(*_FIRST, "field", "radius", value=-1), r"fluoroscopes\[0\]: radius: expected a positive number"),
        (_set(*_FIRST, "field", "u", value="left"), r"fluoroscopes\[0\]: u, v: expected numbers"),
        (_set(*_FIRST, "view", "source", value=...), r"fluoroscopes\[0\].view: missing field\(s\) source"),
        (_set(*_FIRST, "view", "origin", value=[1, 2]), r"fluoroscopes\[0\]: origin: expected shape \(3,\)"),
        (_set(*_FIRST, "view", "origin", value=[1, 2, None]), r"fluoroscopes\[0\]: origin: expected"),
        (_set(*_FIRST, "view", "width", value=640.5), r"fluoroscopes\[0\]: width: expected a whole number"),
        (_set(*_FIRST, "distortion", value={"model": "?"}), r"fluoroscopes\[0\]: distortion: expected"),
        (_set(*_FIRST, "distortion", "ideal_from_recorded", value=3), r"fluoroscopes\[0\]: distortion"),
    ],
)
def test_a_wrong_field_is_named(tmp_path: Path, change: Callable[[dict[str, Any]], None], message: str) -> None:
    path = tmp_path / "rig.json"
    lab_rig().save(path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    with pytest.raises(FileFormatError, match=message) as caught:
        Rig.load(path)
    assert str(path) in str(caught.value)


@given(content=st.binary(max_size=200), length=st.integers(0, 3000))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_other_bytes_and_truncated_files_are_refused(tmp_path: Path, content: bytes, length: int) -> None:
    whole = tmp_path / "whole.json"
    if not whole.exists():
        lab_rig().save(whole)
    for broken in (content, whole.read_bytes()[:length]):
        (tmp_path / "broken.json").write_bytes(broken)
        with pytest.raises(FileFormatError, match=r"broken\.json"):
            Rig.load(tmp_path / "broken.json")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match=r"nowhere\.json"):
        Rig.load(tmp_path / "nowhere.json")


# --- refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit_mm", [10.0, 1000.0, 1e-3])
def test_a_rig_in_another_unit_is_refused(unit_mm: float) -> None:
    fluoroscopes = []
    for view in lab_rig().views:
        lengths_mm = (view.origin, view.u_step, view.v_step, view.source)
        fluoroscopes.append(Fluoroscope(View(view.width, view.height, *(x / unit_mm for x in lengths_mm))))
    with pytest.raises(InputError, match="are the numbers millimetres"):
        Rig(tuple(fluoroscopes))


def test_bad_arguments_are_named() -> None:
    view = lab_rig().views[0]
    with pytest.raises(InputError, match="fluoroscopes: expected at least one"):
        Rig(())
    with pytest.raises(InputError, match="expected Fluoroscope, found View"):
        Rig((view,))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="distance between the sources of views 1 and 2"):
        Rig((Fluoroscope(view), Fluoroscope(view)))
    with pytest.raises(InputError, match="radius: expected a positive number"):
        CircularField(0, 0, 0)
    with pytest.raises(InputError, match="u, v: expected finite"):
        CircularField(np.nan, 0, 10)
    with pytest.raises(InputError, match=r"pixels: expected shape \(n, 2\)"):
        CircularField(0, 0, 10).contains([1.0, 2.0])
