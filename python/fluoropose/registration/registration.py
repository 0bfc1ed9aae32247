"""What is known about a bone in one frame pair after registration."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fluoropose.geometry import Pose

__all__ = ["Failure", "Registration", "Status"]


class Status(StrEnum):
    """Whether there is a pose."""

    OK = "ok"
    FAILED = "failed"


class Failure(StrEnum):
    """Why triangulation gave no pose."""

    TOO_FEW_POINTS = "too few points"
    COLLINEAR_POINTS = "collinear points"
    BEHIND_SOURCE = "points behind a source"
    NO_CONVERGENCE = "no convergence"


@dataclass(frozen=True, eq=False)
class Registration:
    """The pose of a bone in one frame pair and what speaks for it.

    Attributes
    ----------
    world_from_bone
        The pose, mm; None when registration failed.
    status
        ``Status.OK`` or ``Status.FAILED``.
    failure
        Why it failed; None when it did not.
    reason
        The same in a sentence with numbers; empty when it did not fail.
    mirrored
        Per view, whether the chosen hypothesis exchanges the predictions of the symmetric pairs in that view.
    costs
        (2^views,) the hypotheses' costs: bit k of the index set means "view k mirrored". Each is the loss at the
        hypothesis's own minimum, summed over EVERY visible prediction of every view. Mirroring only permutes these, so
        all hypotheses are charged for the same observations. Infinite where a hypothesis has no pose, or puts a visible
        landmark behind a source.
    cost
        The minimised loss over the predictions that were used (for "norm": the sum over views of Frobenius norms, mm).
    visible
        (views, n) the predictions that count as visible, after the exchange of the chosen hypothesis.
    residuals_mm
        (views, n, 2) predicted minus projected on the image plane, mm, after the exchange; NaN where not used.
    covariance
        (6, 6) of (omega_x, omega_y, omega_z, v_x, v_y, v_z), radians and mm in WORLD axes: the true pose is
        ``R_true = exp(omega) R``, ``t_true = t + v``; omega turns about the bone's origin. None when there are no
        more observations than unknowns, or no pose.
    disputed
        Of a failed registration, a pose on which the views do not agree well enough: worth a refinement, no more.
    """

    world_from_bone: Pose | None
    status: Status
    failure: Failure | None
    reason: str
    mirrored: tuple[bool, ...]
    costs: NDArray[np.float64]
    cost: float
    visible: NDArray[np.bool_]
    residuals_mm: NDArray[np.float64]
    covariance: NDArray[np.float64] | None
    disputed: Pose | None = None

    @property
    def ok(self) -> bool:
        """Whether there is a pose."""
        return self.status is Status.OK

    def failed(self, reason: str) -> Registration:
        """Return the same without a pose, and why."""
        return replace(self, status=Status.FAILED, reason=reason, world_from_bone=None, covariance=None)

    @property
    def n_visible(self) -> int:
        """Number of landmarks the pose rests on."""
        return int(np.isfinite(self.residuals_mm[..., 0]).any(axis=0).sum())

    @property
    def rms_mm(self) -> float:
        """Root mean square distance between predicted and projected landmarks on the image planes, mm."""
        squared = (self.residuals_mm**2).sum(axis=-1)
        return float(np.sqrt(np.nanmean(squared))) if np.isfinite(squared).any() else float("nan")

    @property
    def hypothesis(self) -> str:
        """The chosen hypothesis in words: "none", "view1", "view2", "view1+view2", ..."""
        return "+".join(f"view{k + 1}" for k, flag in enumerate(self.mirrored) if flag) or "none"
