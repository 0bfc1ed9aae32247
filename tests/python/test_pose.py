"""Pose: the laws of a group, the conversions against SciPy, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.spatial.transform import Rotation

from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from strategies import lengths, poses, vectors

# Positions reach 2,000 mm (and products 6,000): rounding there is about 1e-12 relative, measured below 4e-12 mm.
_ATOL = 1e-9


def assert_same(a: Pose, b: Pose) -> None:
    assert_allclose(a.matrix, b.matrix, rtol=0, atol=_ATOL)


@given(poses(), poses(), poses())
def test_group_laws(a: Pose, b: Pose, c: Pose) -> None:
    assert_same((a * b) * c, a * (b * c))
    assert_same(a * Pose.identity(), a)
    assert_same(Pose.identity() * a, a)
    assert_same(a * a.inverse(), Pose.identity())
    assert_same(a.inverse() * a, Pose.identity())
    assert_same((a * b).inverse(), b.inverse() * a.inverse())


@given(poses(), poses(), vectors())
def test_acts_on_points_as_its_matrix(a: Pose, b: Pose, point: np.ndarray) -> None:
    points = np.vstack([point, np.zeros(3)])
    homogeneous = np.column_stack([points, np.ones(2)])
    assert_allclose(a.apply(points), (homogeneous @ a.matrix.T)[:, :3], rtol=0, atol=_ATOL)
    assert_allclose((a * b).apply(points), a.apply(b.apply(points)), rtol=0, atol=_ATOL)
    assert_allclose(a.apply(np.zeros((1, 3)))[0], a.translation_mm)


@given(poses())
def test_round_trips(a: Pose) -> None:
    assert_same(Pose.from_matrix(a.matrix), a)
    assert_same(Pose.from_quaternion(a.quaternion, a.translation_mm), a)
    assert_same(Pose.exp(a.rotation_vector, a.translation_mm), a)
    # Within 1e-9 rad of gimbal lock the angles are those of the locked rotation, which is as near.
    assert_allclose(Pose.from_euler_zyx_deg(a.euler_zyx_deg, a.translation_mm).matrix, a.matrix, rtol=0, atol=3e-9)
    assert a.quaternion[0] >= 0


@given(lengths(-180, 180), lengths(-90, 90), lengths(-180, 180), vectors())
def test_euler_angles_are_scipys_zyx(x: float, y: float, z: float, translation: np.ndarray) -> None:
    pose = Pose.from_euler_zyx_deg([x, y, z], translation)
    assert_allclose(pose.rotation, Rotation.from_euler("zyx", [z, y, x], degrees=True).as_matrix(), atol=1e-12)
    rx, ry, rz = (
        Rotation.from_euler(axis, t, degrees=True).as_matrix() for axis, t in zip("xyz", (x, y, z), strict=True)
    )
    assert_allclose(pose.rotation, rx @ ry @ rz, atol=1e-12)
    if abs(y) < 89:
        back = pose.euler_zyx_deg
        assert_allclose((back - [x, y, z] + 180) % 360 - 180, 0, atol=1e-9)


@pytest.mark.parametrize("theta_y", [90.0, -90.0])
def test_euler_angles_in_gimbal_lock_give_the_same_rotation(theta_y: float) -> None:
    pose = Pose.from_euler_zyx_deg([20, theta_y, -50], [0, 0, 0])
    assert_allclose(Pose.from_euler_zyx_deg(pose.euler_zyx_deg, [0, 0, 0]).rotation, pose.rotation, atol=1e-12)


@given(poses(), vectors(1.0), lengths(0, np.pi))
def test_angle_to_is_the_geodesic_angle(a: Pose, axis: np.ndarray, angle: float) -> None:
    length = np.linalg.norm(axis)
    turn = Pose.exp(axis / length * angle if length > 1e-3 else [angle, 0, 0], [0, 0, 0])
    assert a.angle_to(a * turn) == pytest.approx(angle, abs=1e-7)
    assert (a * turn).angle_to(a) == pytest.approx(angle, abs=1e-7)


def test_a_long_chain_stays_rigid() -> None:
    step = Pose.exp([0.3, -0.2, 0.1], [1, 2, 3])
    pose = Pose.identity()
    for _ in range(10_000):
        pose = pose * step
    assert_allclose(pose.rotation @ pose.rotation.T, np.eye(3), atol=1e-14)


def test_does_not_share_memory_with_its_arguments() -> None:
    rotation, translation = np.eye(3), np.zeros(3)
    pose = Pose(rotation, translation)
    rotation[0, 0] = translation[0] = 7
    assert_same(pose, Pose.identity())
    with pytest.raises(ValueError, match="read-only"):
        pose.rotation[0, 0] = 7


_SCALED = np.diag([1.001, 1.001, 1.001])
_MIRROR = np.diag([1.0, 1.0, -1.0])
_SHEAR = np.array([[1, 0.01, 0], [0, 1, 0], [0, 0, 1]])


@pytest.mark.parametrize("rotation", [_SCALED, _MIRROR, _SHEAR, np.zeros((3, 3))])
def test_refuses_what_is_not_a_rotation(rotation: np.ndarray) -> None:
    with pytest.raises(InputError, match="rotation: expected a proper rotation"):
        Pose(rotation, np.zeros(3))
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    with pytest.raises(InputError, match="rotation: expected a proper rotation"):
        Pose.from_matrix(matrix)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@given(place=st.integers(0, 11))
def test_refuses_numbers_that_are_not_finite(bad: float, place: int) -> None:
    matrix = np.eye(4)
    matrix.flat[place] = bad
    with pytest.raises(InputError, match="expected finite numbers"):
        Pose.from_matrix(matrix)
    with pytest.raises(InputError, match="expected finite numbers"):
        Pose(matrix[:3, :3], matrix[:3, 3])


def test_refuses_wrong_shapes_rows_and_types_and_names_the_argument() -> None:
    with pytest.raises(InputError, match=r"translation_mm: expected shape \(3,\), found \(4,\)"):
        Pose(np.eye(3), np.zeros(4))
    with pytest.raises(InputError, match="last row"):
        Pose.from_matrix(np.ones((4, 4)))
    with pytest.raises(InputError, match=r"matrix: expected shape \(4, 4\)"):
        Pose.from_matrix(np.eye(3))
    with pytest.raises(InputError, match="wxyz: expected a unit quaternion"):
        Pose.from_quaternion([1, 1, 0, 0], np.zeros(3))
    with pytest.raises(InputError, match=r"points_mm: expected shape \(n, 3\), found \(3,\)"):
        Pose.identity().apply(np.zeros(3))
    with pytest.raises(InputError, match="rotation: expected numbers"):
        Pose("a rotation", np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        Pose.identity() * np.eye(4)  # type: ignore[operator]
