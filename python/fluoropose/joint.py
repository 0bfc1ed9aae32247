"""The motion of one bone relative to another, as clinicians describe it: Grood and Suntay's joint coordinate system.

E. S. Grood and W. J. Suntay, "A Joint Coordinate System for the Clinical Description of Three-Dimensional Motions:
Application to the Knee", Journal of Biomechanical Engineering 105 (1983) 136-144; recommended by the International
Society of Biomechanics (Wu et al., Journal of Biomechanics 35 (2002) 543-548).

Both bones carry an anatomical frame: x to the subject's right, y forward (anterior), z up (proximal).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fluoropose._checks import finite_array
from fluoropose.errors import InputError
from fluoropose.geometry import Pose

__all__ = ["Joint", "JointMotion", "Side", "anatomical_frame", "joint_motion"]

Side = Literal["right", "left"]


@dataclass(frozen=True)
class JointMotion:
    """Where the distal bone is relative to the proximal one; degrees and mm.

    Attributes
    ----------
    flexion_deg, adduction_deg, external_rotation_deg
        About the proximal bone's x axis, the floating axis and the distal bone's z axis. Extension, abduction and
        internal rotation are negative.
    lateral_mm, anterior_mm, distraction_mm
        Of the distal origin from the proximal one, along the same three axes. Medial, posterior and compression are
        negative.
    """

    flexion_deg: float
    adduction_deg: float
    external_rotation_deg: float
    lateral_mm: float
    anterior_mm: float
    distraction_mm: float

    def proximal_from_distal(self, side: Side) -> Pose:
        """Return the pose (of the anatomical frames) that `joint_motion` describes so.

        Raises
        ------
        InputError
            If ``side`` is neither "right" nor "left", or the adduction reaches 90 degrees, where nothing is defined.
        """
        if side not in get_args(Side):
            raise InputError(f'side: expected "right" or "left", found {side!r}')
        if not abs(self.adduction_deg) < 90:
            raise InputError(f"adduction_deg: expected between -90 and 90 degrees, found {self.adduction_deg}")
        mirror = 1.0 if side == "right" else -1.0
        flexion = np.radians(self.flexion_deg)
        adduction, external = mirror * np.radians([self.adduction_deg, self.external_rotation_deg])
        # In the proximal frame: the axes of the joint coordinate system, then the distal ones.
        e1 = np.array([1.0, 0.0, 0.0])
        e2 = np.array([0.0, np.cos(flexion), -np.sin(flexion)])
        e3 = np.sin(adduction) * e1 + np.cos(adduction) * np.cross(e1, e2)
        side_of_e2 = np.cross(e2, e3)
        x = np.cos(external) * side_of_e2 - np.sin(external) * e2
        y = np.sin(external) * side_of_e2 + np.cos(external) * e2
        # The three translations are the components along axes that are not at right angles to each other.
        axes = np.array([mirror * e1, e2, -e3])
        between = np.linalg.solve(axes, [self.lateral_mm, self.anterior_mm, self.distraction_mm])
        return Pose(np.column_stack([x, y, e3]), between)


def anatomical_frame(right_mm: ArrayLike, left_mm: ArrayLike, proximal_mm: ArrayLike, distal_mm: ArrayLike) -> Pose:
    """Define a bone's anatomical frame by four of its points (3,) mm, bone frame.

    The origin lies halfway between ``right_mm`` and ``left_mm`` (of a femur: the epicondyles); z points from
    ``distal_mm`` to ``proximal_mm``, x to the right and at right angles to z, y = z cross x forward.

    Returns
    -------
    ``bone_from_anatomical``.

    Raises
    ------
    InputError
        If points coincide, or all axes between them are parallel.
    """
    right, left = finite_array("right_mm", right_mm, (3,)), finite_array("left_mm", left_mm, (3,))
    up = finite_array("proximal_mm", proximal_mm, (3,)) - finite_array("distal_mm", distal_mm, (3,))
    across = right - left
    height, width = float(np.linalg.norm(up)), float(np.linalg.norm(across))
    if height < 1e-6 or width < 1e-6:
        raise InputError("right_mm, left_mm, proximal_mm, distal_mm: expected two pairs of distinct points")
    z = up / height
    x = across - (across @ z) * z
    if float(np.linalg.norm(x)) < 1e-3 * width:
        raise InputError(
            "right_mm, left_mm: expected an axis that is not parallel to that from distal_mm to proximal_mm"
        )
    x /= np.linalg.norm(x)
    return Pose(np.column_stack([x, np.cross(z, x), z]), (right + left) / 2)


def joint_motion(world_from_proximal: Pose, world_from_distal: Pose, side: Side) -> JointMotion:
    """Describe the pose of the distal bone (of a knee: the tibia) relative to the proximal one (the femur).

    Parameters
    ----------
    world_from_proximal, world_from_distal
        Poses of the ANATOMICAL frames: ``world_from_bone * anatomical_frame(...)``.
    side
        Of the subject's body; lateral, adduction and external rotation are mirror images.

    Raises
    ------
    InputError
        If ``side`` is neither, or the distal bone's z axis lies along the proximal bone's x axis, where flexion and
        rotation cannot be told apart.
    """
    if side not in get_args(Side):
        raise InputError(f'side: expected "right" or "left", found {side!r}')
    mirror = 1.0 if side == "right" else -1.0
    e1, forward, up = world_from_proximal.rotation.T
    i, j, e3 = world_from_distal.rotation.T
    e2 = np.cross(e3, e1)
    length = float(np.linalg.norm(e2))
    if length < 1e-6:
        raise InputError("world_from_distal: its z axis lies along the proximal x axis; no angles are defined there")
    e2 /= length
    # The paper's axes and angles; what is positive follows from the words: adduction brings the distal end to the
    # subject's middle, external rotation turns its front outwards, which mirrors both on the left side.
    flexion = np.arctan2(-e2 @ up, e2 @ forward)
    adduction = np.pi / 2 - np.arccos(np.clip(e1 @ e3, -1.0, 1.0))
    external = np.arctan2(-e2 @ i, e2 @ j)
    between = world_from_distal.translation_mm - world_from_proximal.translation_mm
    return JointMotion(
        float(np.degrees(flexion)),
        float(mirror * np.degrees(adduction)),
        float(mirror * np.degrees(external)),
        float(mirror * (between @ e1)),
        float(between @ e2),
        float(-between @ e3),
    )


@dataclass(frozen=True, eq=False)
class Joint:
    """Two bones that meet, each with its anatomical frame.

    Attributes
    ----------
    proximal_from_anatomical, distal_from_anatomical
        See ``anatomical_frame``, each in its own bone's frame.
    side
        Of the subject's body.
    """

    proximal_from_anatomical: Pose
    distal_from_anatomical: Pose
    side: Side

    def motion(self, world_from_proximal: Pose, world_from_distal: Pose) -> JointMotion:
        """Describe the distal bone's pose relative to the proximal one from the poses of both bones' own frames."""
        return joint_motion(
            world_from_proximal * self.proximal_from_anatomical,
            world_from_distal * self.distal_from_anatomical,
            self.side,
        )

    def deviations(
        self,
        world_from_proximal: Pose,
        world_from_distal: Pose,
        proximal_covariance: ArrayLike,
        distal_covariance: ArrayLike,
    ) -> JointMotion:
        """Return the standard deviations of ``motion`` that follow from those of the two poses, to first order.

        Parameters
        ----------
        world_from_proximal, world_from_distal
            Poses of the bones' own frames.
        proximal_covariance, distal_covariance
            (6, 6) as ``Registration.covariance``: (omega rad, v mm) in world axes, omega about the bone's origin. The
            errors of the two bones are taken as independent.
        """
        covariances = (
            finite_array("proximal_covariance", proximal_covariance, (6, 6)),
            finite_array("distal_covariance", distal_covariance, (6, 6)),
        )
        slopes = self.derivatives(world_from_proximal, world_from_distal)
        variance = sum(np.diag(part @ each @ part.T) for part, each in zip(slopes, covariances, strict=True))
        return JointMotion(*np.sqrt(np.maximum(variance, 0.0)).tolist())

    def derivatives(self, world_from_proximal: Pose, world_from_distal: Pose) -> NDArray[np.float64]:
        """Return (2, 6, 6): what errors of the proximal and of the distal pose, columns as ``deviations`` says, change.

        Rows are the numbers of ``motion`` in their order, degrees and mm; columns rad and mm.
        """
        proximal, distal = self.proximal_from_anatomical, self.distal_from_anatomical
        (e1, forward, up), (i, j, e3) = (
            (world_from_proximal.rotation @ proximal.rotation).T,
            (world_from_distal.rotation @ distal.rotation).T,
        )
        arm_proximal = world_from_proximal.rotation @ proximal.translation_mm
        arm_distal = world_from_distal.rotation @ distal.translation_mm
        between = arm_distal + world_from_distal.translation_mm - arm_proximal - world_from_proximal.translation_mm
        # How each vector changes, (3, 12): with the error of the proximal pose, then with that of the distal one.
        d_e1, d_forward, d_up = (_attached(vector, 0) for vector in (e1, forward, up))
        d_i, d_j, d_e3 = (_attached(vector, 1) for vector in (i, j, e3))
        d_between = _attached(arm_distal, 1) - _attached(arm_proximal, 0)
        d_between[:, 3:6] -= np.eye(3)
        d_between[:, 9:12] += np.eye(3)
        normal = np.cross(e3, e1)
        sine = float(np.linalg.norm(normal))
        e2 = normal / sine
        d_normal = _cross(e3) @ d_e1 - _cross(e1) @ d_e3
        d_e2 = (d_normal - np.outer(e2, e2 @ d_normal)) / sine
        flexion = _turned(-e2 @ up, e2 @ forward, -up @ d_e2 - e2 @ d_up, forward @ d_e2 + e2 @ d_forward)
        external = _turned(-e2 @ i, e2 @ j, -i @ d_e2 - e2 @ d_i, j @ d_e2 + e2 @ d_j)
        adduction = (e3 @ d_e1 + e1 @ d_e3) / sine
        mirror = 1.0 if self.side == "right" else -1.0
        slopes = [
            np.degrees(flexion),
            mirror * np.degrees(adduction),
            mirror * np.degrees(external),
            mirror * (e1 @ d_between + between @ d_e1),
            e2 @ d_between + between @ d_e2,
            -(e3 @ d_between + between @ d_e3),
        ]
        return np.stack(np.split(np.array(slopes), 2, axis=1))


def _attached(vector: NDArray[np.float64], bone: int) -> NDArray[np.float64]:
    """Return (3, 12): how a vector that turns with the proximal (0) or distal bone (1) changes with their errors."""
    change = np.zeros((3, 12))
    change[:, 6 * bone : 6 * bone + 3] = -_cross(vector)
    return change


def _cross(vector: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix (3, 3) of the product ``vector`` x."""
    x, y, z = vector
    return np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])


def _turned(
    sine: float, cosine: float, d_sine: NDArray[np.float64], d_cosine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the derivative of atan2(sine, cosine), whose squares add up to one."""
    return np.asarray(cosine * d_sine - sine * d_cosine)
