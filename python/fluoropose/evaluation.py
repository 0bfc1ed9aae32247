"""How far estimated poses are from reference poses, and how well two masks overlap.

The paper's errors are Eq. 3 of Zhou et al. 2021: the largest of the three absolute Euler angle differences and the
largest of the three absolute translation differences. Where theta_y comes near 90 degrees the Euler form means
nothing; the geodesic angle always does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fluoropose._checks import finite_array
from fluoropose.errors import InputError
from fluoropose.geometry import Pose

__all__ = ["PoseErrors", "align_worlds", "iou", "pose_errors"]


@dataclass(frozen=True, eq=False)
class PoseErrors:
    """Errors of n estimated poses, each array (n,); NaN where there is no estimate (a failed pair).

    Attributes
    ----------
    rotation_error_deg
        Eq. 3: the largest of the three absolute Euler angle differences, each wrapped to +-180, degrees.
    translation_error_mm
        Eq. 3: the largest of the three absolute differences of the bone origin's coordinates, mm.
    geodesic_error_deg
        Angle of the rotation between estimate and reference, degrees.
    translation_norm_mm
        Distance between the two positions of the bone's origin, mm.
    mtre_mm
        Mean target registration error: mean distance between the landmarks placed by both poses, mm; None when no
        landmarks were given.
    """

    rotation_error_deg: NDArray[np.float64]
    translation_error_mm: NDArray[np.float64]
    geodesic_error_deg: NDArray[np.float64]
    translation_norm_mm: NDArray[np.float64]
    mtre_mm: NDArray[np.float64] | None

    @property
    def failed(self) -> NDArray[np.bool_]:
        """(n,) True where there was no estimate."""
        return np.asarray(np.isnan(self.geodesic_error_deg))

    def success_rate(self, deg: float, mm: float) -> float:
        """Return the share of ALL pairs with geodesic angle <= ``deg`` and translation norm <= ``mm``.

        A failed pair is a failure.
        """
        if self.failed.size == 0:
            raise InputError("success_rate: expected at least one pair")
        # NaN compares as False: a pair without an estimate never succeeds.
        return float(np.mean((self.geodesic_error_deg <= deg) & (self.translation_norm_mm <= mm)))


def pose_errors(
    estimated: Sequence[Pose | None], reference: Sequence[Pose], landmarks_mm: ArrayLike | None = None
) -> PoseErrors:
    """Compare estimated with reference poses ``world_from_bone`` of the same pairs, in the same order.

    Parameters
    ----------
    estimated
        n poses; None where the pair failed.
    reference
        n poses.
    landmarks_mm
        (k, 3) mm, bone frame; the targets of the mTRE. None: no mTRE.

    Raises
    ------
    InputError
        If the lengths differ or the landmarks have a wrong shape.
    """
    if len(estimated) != len(reference):
        raise InputError(f"estimated: expected as many poses as reference ({len(reference)}), found {len(estimated)}")
    landmarks = None if landmarks_mm is None else finite_array("landmarks_mm", landmarks_mm, (None, 3))
    if landmarks is not None and len(landmarks) == 0:
        raise InputError("landmarks_mm: expected at least one landmark")
    table = np.full((len(reference), 5), np.nan)
    for row, mine, truth in zip(table, estimated, reference, strict=True):
        if mine is not None:
            row[:] = _errors_of_one(mine, truth, landmarks)
    rotation, translation, geodesic, norm, mtre = table.T
    return PoseErrors(rotation, translation, geodesic, norm, None if landmarks is None else mtre)


def _errors_of_one(mine: Pose, truth: Pose, landmarks: NDArray[np.float64] | None) -> tuple[float, ...]:
    angles = (mine.euler_zyx_deg - truth.euler_zyx_deg + 180.0) % 360.0 - 180.0
    shift = mine.translation_mm - truth.translation_mm
    mtre = np.nan
    if landmarks is not None:
        mtre = float(np.linalg.norm(mine.apply(landmarks) - truth.apply(landmarks), axis=1).mean())
    return (
        float(np.abs(angles).max()),
        float(np.abs(shift).max()),
        float(np.degrees(truth.angle_to(mine))),
        float(np.linalg.norm(shift)),
        mtre,
    )


def align_worlds(estimated: Sequence[Pose | None], reference: Sequence[Pose], landmarks_mm: ArrayLike) -> Pose:
    """Return the one rigid motion ``world_from_reference`` that best carries all reference poses onto the estimates.

    It minimises the summed squared distances of the landmarks over all pairs (Kabsch). To be used only where the two
    worlds differ by an unknown rigid motion: it also hides an error that is the same in every pair.

    Parameters
    ----------
    estimated
        n poses ``world_from_bone``; None where the pair failed.
    reference
        n poses ``reference_world_from_bone``.
    landmarks_mm
        (k, 3) mm, bone frame, not collinear.
    """
    if len(estimated) != len(reference):
        raise InputError(f"estimated: expected as many poses as reference ({len(reference)}), found {len(estimated)}")
    landmarks = finite_array("landmarks_mm", landmarks_mm, (None, 3))
    pairs = [(mine, truth) for mine, truth in zip(estimated, reference, strict=True) if mine is not None]
    if not pairs:
        raise InputError("estimated: expected at least one pair with a pose")
    target = np.concatenate([mine.apply(landmarks) for mine, _ in pairs])
    source = np.concatenate([truth.apply(landmarks) for _, truth in pairs])
    target_centre, source_centre = target.mean(axis=0), source.mean(axis=0)
    u, s, vt = np.linalg.svd((target - target_centre).T @ (source - source_centre))
    if s[1] <= 1e-9 * s[0] or s[0] == 0:
        raise InputError("landmarks_mm: expected at least three that are not collinear")
    rotation = u @ np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))]) @ vt
    return Pose(rotation, target_centre - rotation @ source_centre)


def iou(mask_a: ArrayLike, mask_b: ArrayLike) -> float:
    """Return intersection over union of two boolean masks of one shape; NaN when both are empty.

    Raises
    ------
    InputError
        If the shapes differ or a mask is not boolean.
    """
    a, b = np.asarray(mask_a), np.asarray(mask_b)
    for name, mask in (("mask_a", a), ("mask_b", b)):
        if mask.dtype != np.bool_:
            raise InputError(f"{name}: expected a boolean mask, found dtype {mask.dtype}")
    if a.shape != b.shape:
        raise InputError(f"mask_b: expected the shape of mask_a {a.shape}, found {b.shape}")
    union = int(np.count_nonzero(a | b))
    return float(np.count_nonzero(a & b) / union) if union else float("nan")
