"""A Kalman filter for rigid motion, with rotations as they are rather than as angles.

The state is a pose and its rate. Errors are those of ``Registration.covariance``: with (omega, v) in WORLD axes,
radians and mm, the true pose is ``R_true = exp(omega) R``, ``t_true = t + v``; the rate is (angular velocity, velocity)
in the same axes. Between frames the rate is constant but for white noise in the acceleration (Bar-Shalom, Li and
Kirubarajan 2001, section 6.2); the errors of rotations are propagated on the manifold (Sola, Deray, Atchuthan 2018).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fluoropose._checks import finite_array, positive
from fluoropose.geometry import Pose

__all__ = ["Belief", "Motion", "difference", "moved"]

_WITHIN_S = 0.1


@dataclass(frozen=True)
class Motion:
    """How much a bone's motion may surprise; standard deviations.

    Attributes
    ----------
    strays_deg, strays_mm
        How far from constant velocity the bone gets within 0.1 s, per axis. A walking head strays 1.3 degrees and 5 mm
        (root mean square; 3 degrees and 12 mm at most), in brisk walking half as far again or twice. Of too little the
        filter lags behind, of too much it averages nothing.
    start_deg_s, start_mm_s
        How fast the bone may move when it is first seen.
    """

    strays_deg: float = 2.5
    strays_mm: float = 10.0
    start_deg_s: float = 100.0
    start_mm_s: float = 200.0

    def __post_init__(self) -> None:
        for name in ("strays_deg", "strays_mm", "start_deg_s", "start_mm_s"):
            positive(name, getattr(self, name))

    @property
    def start(self) -> NDArray[np.float64]:
        """Covariance (6, 6) of the rate, rad/s and mm/s, of a bone that is first seen."""
        return np.diag(np.repeat([np.radians(self.start_deg_s), self.start_mm_s], 3) ** 2)

    def noise(self, dt: float) -> NDArray[np.float64]:
        """Return the covariance (12, 12) that ``dt`` seconds of white acceleration add to pose and rate."""
        strays = np.repeat([np.radians(self.strays_deg), self.strays_mm], 3)
        density = np.diag(3 * strays**2 / _WITHIN_S**3)  # white noise of density q moves by q dt^3 / 3
        return np.block([[density * dt**3 / 3, density * dt**2 / 2], [density * dt**2 / 2, density * dt]])


@dataclass(frozen=True, eq=False)
class Belief:
    """Where the bone is thought to be at one moment, and how it moves.

    Attributes
    ----------
    time_s
        The moment.
    world_from_bone
        The pose, mm.
    rate
        (6,) angular velocity (rad/s) and velocity of the bone's origin (mm/s), world axes.
    covariance
        (12, 12) of the errors of pose and rate.
    """

    time_s: float
    world_from_bone: Pose
    rate: NDArray[np.float64]
    covariance: NDArray[np.float64]

    @classmethod
    def first(cls, time_s: float, pose: Pose, noise: NDArray[np.float64], motion: Motion) -> Belief:
        """Believe in a measured pose and its covariance (6, 6), at an unknown speed."""
        covariance = np.zeros((12, 12))
        covariance[:6, :6] = finite_array("noise", noise, (6, 6))
        covariance[6:, 6:] = motion.start
        return cls(time_s, pose, np.zeros(6), covariance)

    @property
    def pose_covariance(self) -> NDArray[np.float64]:
        """(6, 6) covariance of the pose alone."""
        return self.covariance[:6, :6]

    @property
    def sd(self) -> tuple[float, float]:
        """Standard deviation of the rotation (radians) and of the translation (mm), along their worst axes."""
        rotation, translation = self.covariance[:3, :3], self.covariance[3:6, 3:6]
        return float(np.sqrt(np.linalg.norm(rotation, 2))), float(np.sqrt(np.linalg.norm(translation, 2)))

    def transition(self, dt: float) -> NDArray[np.float64]:
        """Return how errors (12,) now become errors ``dt`` seconds later."""
        turn = self.rate[:3] * dt
        matrix = np.eye(12)
        matrix[:3, :3] = _turned(turn)
        matrix[:3, 6:9] = dt * _left_jacobian(turn)
        matrix[3:6, 9:] = dt * np.eye(3)
        return matrix

    def predicted(self, time_s: float, motion: Motion) -> Belief:
        """Move on to a later moment at constant rate."""
        dt = time_s - self.time_s
        f = self.transition(dt)
        pose = moved(self.world_from_bone, self.rate * dt)
        return Belief(time_s, pose, self.rate, f @ self.covariance @ f.T + motion.noise(dt))

    def distance(self, pose: Pose, noise: NDArray[np.float64]) -> float:
        """Return the Mahalanobis distance of a pose measured with covariance ``noise`` (6, 6)."""
        r = difference(pose, self.world_from_bone)
        return float(np.sqrt(r @ np.linalg.solve(self.pose_covariance + noise, r)))

    def updated(self, pose: Pose, noise: NDArray[np.float64]) -> Belief:
        """Take a measured pose with covariance ``noise`` (6, 6) into account."""
        gain = np.linalg.solve(self.pose_covariance + noise, self.covariance[:6]).T
        step = gain @ difference(pose, self.world_from_bone)
        rest = np.eye(12)
        rest[:, :6] -= gain
        # Joseph's form stays symmetric and positive where P - K S K' loses digits.
        covariance = rest @ self.covariance @ rest.T + gain @ noise @ gain.T
        return Belief(self.time_s, moved(self.world_from_bone, step[:6]), self.rate + step[6:], covariance)


def moved(pose: Pose, step: NDArray[np.float64]) -> Pose:
    """Return a pose turned and shifted by ``step`` (6,), radians and mm in world axes."""
    u, _, vt = np.linalg.svd(_turned(step[:3]) @ pose.rotation)  # so that a chain of any length stays rigid
    return Pose(u @ vt, pose.translation_mm + step[3:])


def difference(a: Pose, b: Pose) -> NDArray[np.float64]:
    """Return the step (6,) that moves pose ``b`` to ``a``: ``moved(b, difference(a, b))`` is ``a``."""
    return np.concatenate([_turn(a.rotation @ b.rotation.T), a.translation_mm - b.translation_mm])


# SciPy's rotations take a tenth of a millisecond each, of the few that a pair has.


def _cross(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    x, y, z = turn
    return np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])


def _turned(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation matrix of a rotation vector (3,)."""
    cross, angle = _cross(turn), math.sqrt(float(turn @ turn))
    if angle < 1e-6:
        return np.asarray(np.eye(3) + cross + cross @ cross / 2)
    return np.asarray(np.eye(3) + math.sin(angle) / angle * cross + (1 - math.cos(angle)) / angle**2 * (cross @ cross))


def _turn(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the rotation vector (3,) of a rotation matrix."""
    (a, b, c), (d, e, f), (g, h, i) = rotation.tolist()
    axis = np.array([h - f, c - g, d - b]) / 2  # times the sine
    sine, cosine = math.sqrt(float(axis @ axis)), (a + e + i - 1) / 2
    if cosine < -0.99:  # nearly half a turn, where the axis cannot be told so
        return np.asarray(Rotation.from_matrix(rotation).as_rotvec())
    return axis * (math.atan2(sine, cosine) / sine if sine > 1e-9 else 1.0)


def _left_jacobian(turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return J with exp(turn + d) = exp(J d) exp(turn) for small d, rotation vectors (3,)."""
    cross, angle = _cross(turn), math.sqrt(float(turn @ turn))
    if angle < 1e-4:
        return np.asarray(np.eye(3) + cross / 2)
    a, b = (1 - np.cos(angle)) / angle**2, (angle - np.sin(angle)) / angle**3
    return np.asarray(np.eye(3) + a * cross + b * cross @ cross)
