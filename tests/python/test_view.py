"""View: projection against OpenCV, conversions to and from, resampling, and what is refused."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from strategies import lengths, poses, vectors, views

# Points between 10 and 90 % of the way to the image plane, a few hundred mm beside the axis.
_RAYS = st.tuples(lengths(-200, 200), lengths(-200, 200), lengths(0.1, 0.9))


def assert_same_view(a: View, b: View) -> None:
    assert (a.width, a.height, a.beam) == (b.width, b.height, b.beam)
    for name in ("origin", "u_step", "v_step", "source"):
        assert_allclose(getattr(a, name), getattr(b, name), rtol=0, atol=1e-6, err_msg=name)


def points_along(view: View, rays: list[tuple[float, float, float]]) -> np.ndarray:
    """World points on the way from the source to points of the image plane."""
    aims = view.pixel_to_world([[u, v] for u, v, _ in rays])
    return view.source + (aims - view.source) * np.array([[share] for *_, share in rays])


def front_view(size_px: tuple[int, int] = (640, 480)) -> View:
    return View.from_sdd(size_px, 1200, 0.4, 0.5, 12, -7)


# --- projection ---------------------------------------------------------------------------------------------------


@given(views(), st.lists(_RAYS, min_size=1, max_size=8))
def test_projects_as_opencv(view: View, rays: list[tuple[float, float, float]]) -> None:
    points = points_along(view, rays)
    k, rotation, translation = view.to_krt()
    expected, _ = cv2.projectPoints(points, Rotation.from_matrix(rotation).as_rotvec(), translation, k, None)
    # Positions of up to 2,000 mm seen with up to 3e6 px per radian near the source: rounding stays below 1e-5 px.
    assert_allclose(view.project(points), expected[:, 0], rtol=1e-9, atol=1e-5)
    assert_allclose(view.project(points), [[u, v] for u, v, _ in rays], rtol=0, atol=1e-5)


@given(views(), st.lists(_RAYS, min_size=1, max_size=4))
def test_the_projection_matrix_projects(view: View, rays: list[tuple[float, float, float]]) -> None:
    points = points_along(view, rays)
    homogeneous = np.column_stack([points, np.ones(len(points))]) @ view.projection_matrix.T
    assert (homogeneous[:, 2] > 0).all()
    assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], view.project(points), rtol=1e-9, atol=1e-6)


@given(views(), lengths(-500, 500), lengths(-500, 500))
def test_pixels_and_points_on_the_plane_round_trip(view: View, u: float, v: float) -> None:
    on_plane = view.pixel_to_world([[u, v]])
    assert_allclose(view.pixel_from_plane_point(on_plane), [[u, v]], atol=1e-7)
    assert_allclose(view.project(on_plane), [[u, v]], atol=1e-6)


@given(views(), st.lists(_RAYS, min_size=1, max_size=4))
def test_points_behind_the_source_have_no_projection(view: View, rays: list[tuple[float, float, float]]) -> None:
    behind = 2 * view.source - points_along(view, rays)
    assert np.isnan(view.project(behind)).all()
    assert np.isnan(view.project(view.source[None])).all()


def test_geometry_of_a_known_view() -> None:
    view = front_view()
    assert view.sdd_mm == pytest.approx(1200)
    assert view.pixel_pitch_mm == pytest.approx((0.4, 0.5))
    assert_allclose(view.centre, 0, atol=1e-12)
    assert_allclose(view.normal, [0, 0, 1])
    assert_allclose(view.source, [12, -7, -1200])
    assert_allclose(view.principal_point_px, [319.5 + 12 / 0.4, 239.5 - 7 / 0.5])
    # Half-way between source and plane a point 10 mm off the axis lands 20 mm off it.
    assert_allclose(view.project([[12 + 10, -7, -600]]), view.principal_point_px[None] + [20 / 0.4, 0])
    assert_allclose(view.project(view.pixel_to_world([[0, 0]])), [[0, 0]], atol=1e-9)


# --- parallel beams -----------------------------------------------------------------------------------------------


@given(views(), vectors(300.0), lengths(-1000, 1000))
def test_a_parallel_beam_projects_along_its_direction(view: View, point: np.ndarray, along: float) -> None:
    direction = view.centre - view.source
    beam = View(view.width, view.height, view.origin, view.u_step, view.v_step, direction, "parallel")
    assert np.linalg.norm(beam.source) == pytest.approx(1)
    moved = beam.project([point, point + along * beam.source])
    assert_allclose(moved[0], moved[1], atol=1e-6)
    on_plane = beam.pixel_to_world([[3.0, 5.0]])
    assert_allclose(beam.project(on_plane + 250 * beam.source), [[3, 5]], atol=1e-6)


@given(views(), _RAYS, st.lists(st.tuples(lengths(-100, 100), lengths(-100, 100)), min_size=1), lengths(-100, 100))
def test_the_parallel_beam_at_a_point_agrees_with_the_source_about_it(
    view: View, ray: tuple[float, float, float], offsets: list[tuple[float, float]], along: float
) -> None:
    point = points_along(view, [ray])[0]
    beam = view.parallel_at(point)
    across = np.array([u * view.u_step + v * view.v_step for u, v in offsets])
    # Pixels of 0.05 to 2 mm, magnified up to 10 times: rounding of positions of 2,000 mm stays below 1e-5 px.
    assert_allclose(beam.project(point + across), view.project(point + across), rtol=1e-9, atol=1e-5)
    assert_allclose(beam.project([point + along * beam.source]), view.project(point[None]), rtol=1e-9, atol=1e-5)
    with pytest.raises(InputError, match="in front of a point source"):
        beam.parallel_at(point)
    with pytest.raises(InputError, match="in front of a point source"):
        view.parallel_at(2 * view.source - point)


@given(views(), _RAYS, vectors(3.0), vectors(300.0))
def test_a_view_that_moves_with_the_points_sees_them_where_they_were(
    view: View, ray: tuple[float, float, float], turn: np.ndarray, shift: np.ndarray
) -> None:
    motion, points = Pose.exp(turn, shift), points_along(view, [ray])
    beam = View(view.width, view.height, view.origin, view.u_step, view.v_step, view.centre - view.source, "parallel")
    for one in (view, beam):
        assert_allclose(one.moved(motion).project(motion.apply(points)), one.project(points), rtol=1e-9, atol=1e-4)


def test_a_parallel_beam_has_no_pinhole_camera() -> None:
    beam = View(64, 64, [0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], "parallel")
    assert beam.sdd_mm == np.inf
    for ask in (beam.to_krt, beam.to_sdd, lambda: beam.principal_point_px):
        with pytest.raises(InputError, match="parallel beam"):
            ask()


# --- conversions --------------------------------------------------------------------------------------------------


@given(views())
def test_krt_round_trip(view: View) -> None:
    k, rotation, translation = view.to_krt()
    assert_same_view(View.from_krt(k, rotation, translation, view.size_px, view.sdd_mm), view)


@given(views(), lengths(-3, 3).filter(lambda s: abs(s) > 1e-3))
def test_projection_matrix_round_trip_at_any_scale_and_sign(view: View, scale: float) -> None:
    p = scale * view.projection_matrix
    again = View.from_projection_matrix(p, view.size_px, view.sdd_mm)
    # The decomposition inverts twice a matrix whose entries span five decades: measured below 1e-5 mm.
    for name in ("origin", "u_step", "v_step", "source"):
        assert_allclose(getattr(again, name), getattr(view, name), rtol=0, atol=1e-4, err_msg=name)


@given(
    lengths(300, 3000),
    lengths(0.05, 2),
    lengths(0.05, 2),
    lengths(-100, 100),
    lengths(-100, 100),
    poses(),
)
def test_sdd_round_trip(sdd: float, delx: float, dely: float, x0: float, y0: float, place: Pose) -> None:
    view = View.from_sdd((512, 384), sdd, delx, dely, x0, y0, place)
    geometry = view.to_sdd()
    assert_allclose(geometry[:5], (sdd, delx, dely, x0, y0), rtol=0, atol=1e-6)
    assert_allclose(geometry.world_from_plane.matrix, place.matrix, rtol=0, atol=1e-7)
    assert_same_view(View.from_sdd(view.size_px, *geometry), view)


@given(views(), lengths(-0.2, 0.2))
def test_skewed_pixels_survive_krt_and_are_refused_by_sdd(view: View, skew: float) -> None:
    assume(abs(skew) > 1e-3)
    k, rotation, translation = view.to_krt()
    k[0, 1] = skew * k[1, 1]
    skewed = View.from_krt(k, rotation, translation, view.size_px, view.sdd_mm)
    assert_allclose(skewed.to_krt()[0], k, rtol=1e-9, atol=1e-6)
    with pytest.raises(InputError, match="rectangular pixels"):
        skewed.to_sdd()


def test_moving_the_plane_does_not_move_projections() -> None:
    k, rotation, translation = front_view().to_krt()
    near = View.from_krt(k, rotation, translation, (640, 480), sdd_mm=700)
    far = View.from_krt(k, rotation, translation, (640, 480), sdd_mm=1400)
    points = np.random.default_rng(0).uniform(-100, 100, (20, 3)) - [0, 0, 500]
    assert_allclose(near.project(points), far.project(points), atol=1e-9)
    assert_allclose(2 * np.array(near.pixel_pitch_mm), far.pixel_pitch_mm)


def test_a_mirrored_image_projects_but_is_no_pinhole_camera() -> None:
    view = front_view()
    last_column = view.origin + (view.width - 1) * view.u_step
    mirrored = View(view.width, view.height, last_column, -view.u_step, view.v_step, view.source)
    points = np.array([[5.0, 8.0, -400.0]])
    expected = view.project(points) * [-1, 1] + [view.width - 1, 0]
    assert_allclose(mirrored.project(points), expected)
    with pytest.raises(InputError, match="mirrored"):
        mirrored.to_krt()


# --- resampling ---------------------------------------------------------------------------------------------------


@given(views(), lengths(-50, 50), lengths(-50, 50), lengths(1, 500), lengths(1, 500), st.lists(_RAYS, min_size=1))
def test_crop_follows_the_pixel_convention(
    view: View, left: float, top: float, width: float, height: float, rays: list[tuple[float, float, float]]
) -> None:
    points = points_along(view, rays)
    crop = view.crop(left, top, (width, height), (128, 64))
    scale = np.array([128 / width, 64 / height])
    expected = (view.project(points) - [left, top] + 0.5) * scale - 0.5
    assert_allclose(crop.project(points), expected, rtol=1e-7, atol=1e-4)
    assert crop.size_px == (128, 64)


def test_resizing_keeps_the_corners_of_the_image() -> None:
    view = front_view()
    small = view.resized((320, 120))
    assert small.size_px == (320, 120)
    assert_allclose(small.pixel_to_world([[-0.5, -0.5]]), view.pixel_to_world([[-0.5, -0.5]]))
    assert_allclose(small.pixel_to_world([[319.5, 119.5]]), view.pixel_to_world([[639.5, 479.5]]))
    assert_allclose(small.centre, view.centre, atol=1e-12)


def test_contains_counts_whole_pixels_and_never_nan() -> None:
    inside = front_view((4, 3)).contains(
        [[-0.5, -0.5], [3.49, 2.49], [3.5, 0], [0, 2.5], [-0.51, 0], [np.nan, 0], [0, np.nan]]
    )
    assert inside.tolist() == [True, True, False, False, False, False, False]


# --- refusals -----------------------------------------------------------------------------------------------------


def _fields() -> dict[str, object]:
    view = front_view()
    return {
        "width": 640,
        "height": 480,
        "origin": view.origin,
        "u_step": view.u_step,
        "v_step": view.v_step,
        "source": view.source,
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 0}, "width: expected a positive number"),
        ({"height": 10.5}, "height: expected a whole number"),
        ({"width": "wide"}, "width: expected a positive number, found 'wide'"),
        ({"origin": [0, 0]}, r"origin: expected shape \(3,\), found \(2,\)"),
        ({"u_step": [np.nan, 0, 0]}, "u_step: expected finite"),
        ({"v_step": [0.8, 0, 0]}, "must be independent"),
        ({"source": [30, 40, 0]}, "view.source: must not lie in the image plane"),
        ({"beam": "cone"}, 'beam: expected "point" or "parallel", found \'cone\''),
        ({"beam": "parallel", "source": [0, 0, 0]}, "source: expected the direction"),
        ({"beam": "parallel", "source": [1, 1, 0]}, "must not be parallel to the image plane"),
    ],
)
def test_refuses_bad_fields(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        View(**(_fields() | change))  # type: ignore[arg-type]


_K = np.array([[3000.0, 0, 320], [0, 3000, 240], [0, 0, 1]])


@pytest.mark.parametrize(
    ("k", "rotation", "message"),
    [
        (_K.T, np.eye(3), "camera_matrix: expected upper triangular"),
        (np.diag([-3000.0, 3000, 1]), np.eye(3), "positive focal lengths"),
        (2 * _K, np.eye(3), "camera_matrix: expected 1 in the last place"),
        (_K * np.nan, np.eye(3), "camera_matrix: expected finite"),
        (_K, np.diag([1.0, 1, -1]), "rotation: expected a proper rotation"),
        (_K, 1.01 * np.eye(3), "rotation: expected a proper rotation"),
    ],
)
def test_refuses_bad_cameras(k: np.ndarray, rotation: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        View.from_krt(k, rotation, [0, 0, 1000], (640, 480))


def test_refuses_bad_projection_matrices_sizes_and_windows() -> None:
    affine = np.array([[1.0, 0, 0, 5], [0, 1, 0, 5], [0, 0, 0, 1]])
    with pytest.raises(InputError, match="matrix: expected a finite camera"):
        View.from_projection_matrix(affine, (640, 480))
    with pytest.raises(InputError, match=r"size_px: expected shape \(2,\)"):
        View.from_krt(_K, np.eye(3), [0, 0, 1000], (640, 480, 3))  # type: ignore[arg-type]
    with pytest.raises(InputError, match="sdd_mm: expected a positive number"):
        View.from_sdd((640, 480), -1000, 1, 1, 0, 0)
    with pytest.raises(InputError, match="x0_mm, y0_mm: expected finite"):
        View.from_sdd((640, 480), 1000, 1, 1, np.nan, 0)
    with pytest.raises(InputError, match="side_px: expected a positive number"):
        front_view().crop(0, 0, (0, 10), (64, 64))
    with pytest.raises(InputError, match="left_px, top_px: expected finite"):
        front_view().crop(np.nan, 0, (10, 10), (64, 64))
    with pytest.raises(InputError, match="points_mm: expected finite"):
        front_view().project([[0, 0, np.nan]])
