"""Rigid transforms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from fluoropose._checks import finite_array
from fluoropose.errors import InputError

__all__ = ["Pose"]

_RIGID_TOLERANCE = 1e-6
_EYE, _LAST_ROW = np.eye(3), np.array([0.0, 0.0, 0.0, 1.0])


@dataclass(frozen=True, eq=False)
class Pose:
    """A rigid transform ``a_from_b``: ``x_a = a_from_b * x_b``.

    Parameters
    ----------
    rotation
        (3, 3) proper rotation matrix.
    translation_mm
        (3,) mm, the position of frame b's origin in frame a.

    Raises
    ------
    InputError
        If a shape is wrong, a number is not finite, or ``rotation`` is not a proper rotation within 1e-6.
    """

    rotation: NDArray[np.float64]
    translation_mm: NDArray[np.float64]

    def __post_init__(self) -> None:
        rotation = finite_array("rotation", self.rotation, (3, 3)).copy()
        translation = finite_array("translation_mm", self.translation_mm, (3,)).copy()
        error = float(np.abs(rotation @ rotation.T - _EYE).max())
        determinant = float(np.linalg.det(rotation))
        if error > _RIGID_TOLERANCE or determinant < 0:
            raise InputError(
                "rotation: expected a proper rotation matrix, found one with "
                f"|R R^T - I| = {error:.3g} and determinant {determinant:.6g}"
            )
        rotation.flags.writeable = False
        translation.flags.writeable = False
        object.__setattr__(self, "rotation", rotation)
        object.__setattr__(self, "translation_mm", translation)

    @classmethod
    def identity(cls) -> Pose:
        """Return the transform that changes nothing."""
        return cls(np.eye(3), np.zeros(3))

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> Pose:
        """Build a pose from a (4, 4) matrix with last row (0, 0, 0, 1); raises InputError where it is not rigid."""
        m = finite_array("matrix", matrix, (4, 4))
        if np.abs(m[3] - _LAST_ROW).max() > 1e-9:
            raise InputError(f"matrix: expected the last row (0, 0, 0, 1), found {m[3].tolist()}")
        return cls(m[:3, :3], m[:3, 3])

    @classmethod
    def from_quaternion(cls, wxyz: ArrayLike, translation_mm: ArrayLike) -> Pose:
        """Build a pose from a unit quaternion (4,) (w, x, y, z), Hamilton convention, and (3,) mm."""
        q = finite_array("wxyz", wxyz, (4,))
        length = float(np.linalg.norm(q))
        if abs(length - 1) > 1e-3:
            raise InputError(f"wxyz: expected a unit quaternion, found length {length:.6g}")
        rotation = Rotation.from_quat((q / length)[[1, 2, 3, 0]]).as_matrix()
        return cls(rotation, finite_array("translation_mm", translation_mm, (3,)))

    @classmethod
    def from_euler_zyx_deg(cls, theta_deg: ArrayLike, translation_mm: ArrayLike) -> Pose:
        """Build a pose from (theta_x, theta_y, theta_z) degrees, R = Rx Ry Rz (Zhou et al. 2021), and (3,) mm."""
        theta = finite_array("theta_deg", theta_deg, (3,))
        rotation = Rotation.from_euler("zyx", theta[::-1], degrees=True).as_matrix()
        return cls(rotation, finite_array("translation_mm", translation_mm, (3,)))

    @classmethod
    def exp(cls, omega: ArrayLike, v_mm: ArrayLike) -> Pose:
        """Build a pose from a rotation vector (3,) radians and a translation (3,) mm (not a screw motion)."""
        vector = finite_array("omega", omega, (3,))
        return cls(Rotation.from_rotvec(vector).as_matrix(), finite_array("v_mm", v_mm, (3,)))

    @cached_property
    def matrix(self) -> NDArray[np.float64]:
        """(4, 4) homogeneous matrix."""
        m = np.eye(4)
        m[:3, :3] = self.rotation
        m[:3, 3] = self.translation_mm
        return m

    @property
    def quaternion(self) -> NDArray[np.float64]:
        """(4,) unit quaternion (w, x, y, z) with w >= 0."""
        q = Rotation.from_matrix(self.rotation).as_quat(canonical=True)
        return np.asarray(q[[3, 0, 1, 2]], dtype=np.float64)

    @property
    def euler_zyx_deg(self) -> NDArray[np.float64]:
        """(3,) (theta_x, theta_y, theta_z) degrees with R = Rx Ry Rz, the paper's reported angles."""
        # SciPy warns of gimbal lock there; any angles of the same rotation are right, so compute them plainly.
        r = self.rotation
        theta_y = np.arctan2(r[0, 2], np.hypot(r[0, 0], r[0, 1]))
        if np.hypot(r[0, 0], r[0, 1]) > 1e-9:
            theta_x = np.arctan2(-r[1, 2], r[2, 2])
            theta_z = np.arctan2(-r[0, 1], r[0, 0])
        else:
            theta_x = np.arctan2(r[2, 1], r[1, 1])
            theta_z = 0.0
        return np.degrees(np.array([theta_x, theta_y, theta_z], dtype=np.float64))

    @property
    def rotation_vector(self) -> NDArray[np.float64]:
        """(3,) radians, axis times angle."""
        return np.asarray(Rotation.from_matrix(self.rotation).as_rotvec(), dtype=np.float64)

    def inverse(self) -> Pose:
        """Return ``b_from_a``."""
        return Pose(self.rotation.T, -self.rotation.T @ self.translation_mm)

    def __mul__(self, other: Pose) -> Pose:
        """Compose: ``a_from_c = a_from_b * b_from_c``."""
        if not isinstance(other, Pose):
            return NotImplemented
        # Re-orthonormalised, so that a chain of any length stays rigid.
        u, _, vt = np.linalg.svd(self.rotation @ other.rotation)
        return Pose(u @ vt, self.rotation @ other.translation_mm + self.translation_mm)

    def apply(self, points_mm: ArrayLike) -> NDArray[np.float64]:
        """Transform points: (n, 3) mm in frame b to (n, 3) mm in frame a."""
        points = finite_array("points_mm", points_mm, (None, 3))
        return points @ self.rotation.T + self.translation_mm

    def angle_to(self, other: Pose) -> float:
        """Return the geodesic angle between the two rotations, radians."""
        relative = self.rotation.T @ other.rotation
        return float(np.linalg.norm(Rotation.from_matrix(relative).as_rotvec()))
