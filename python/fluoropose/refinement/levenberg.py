"""Levenberg and Marquardt's method on the pose (Marquardt, J. SIAM 1963), for similarities that are sums of squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import positive
from fluoropose.geometry import Pose
from fluoropose.refinement.objective import Objective, moved
from fluoropose.refinement.optimiser import Outcome
from fluoropose.refinement.similarity import Step

__all__ = ["LevenbergMarquardt"]

_MOST_DAMPING = 1e4
_LEAST_SIZING, _MOST_SIZING = 0.15, 1.5
_SHORT_PX = 1.0  # steps along which the change of the gradient tells of the curvature


@dataclass(frozen=True)
class LevenbergMarquardt:
    """Takes a step only where it makes the images more alike, and none further than the objective's reach.

    J^T J is the curvature of the likeness where all that differs is the pose. Where the images differ in more, the true
    one is about NCC times as strong. Once steps are short, the change of the gradient along the last one tells better
    (the sizing of Oren and Luenberger, Management Science 1974); further from the goal than edges are wide it tells of
    too little.

    Attributes
    ----------
    iterations
        At most, steps tried.
    tolerance_px
        Converged when a step would move the bone's surface less than this, at the finest level.
    coarse_tolerance_px
        The same where a finer level follows, of the coarser level's pixels.
    damping
        At the first step, relative to the diagonal of J^T J.
    robust_scale
        See `Objective.reweighted`, which then follows every step; the likeness told at the end is of all pixels alike,
        so that several starts can be compared. None: they count alike all the time.
    """

    iterations: int = 20
    tolerance_px: float = 0.05
    coarse_tolerance_px: float = 0.2
    damping: float = 1e-3
    robust_scale: float | None = None

    def __post_init__(self) -> None:
        positive("damping", self.damping)
        if self.robust_scale is not None:
            positive("robust_scale", self.robust_scale)

    def climb(self, objective: Objective, start: Pose) -> Outcome:
        """See `Optimiser`; the covariance is that of the residuals taken for noise."""
        return self.climb_all(objective, [start])[0]

    def climb_all(self, objective: Objective, starts: Sequence[Pose]) -> list[Outcome]:
        """Climb from each of the starts; compiled where the metric is gradient correlation without `robust_scale`.

        On the CPU on all cores. On a CUDA device all starts at the same time, which end as on the CPU but for the
        rounding and one thing: all views and starts are rendered from one volume, the finest that a view asks for at
        the first start, while the CPU chooses for each view and pose anew.
        """
        views = objective.compiled() if self.robust_scale is None else None
        if views is None:
            return [self._climb(objective, start) for start in starts]
        found = objective.climb(
            views,
            [start.matrix for start in starts],
            self.iterations,
            self._tolerance_px(objective),
            self.damping,
            objective.reach_px,
            objective.radius_mm,
            objective.pixel_mm,
        )
        independent = objective.independent
        covariances = _covariances([Step(value, jtj, jtr, independent) for _, value, jtj, jtr, *_ in found])
        known = zip(found, covariances, strict=True)
        return [
            Outcome(Pose.from_matrix(matrix), value, tried, converged, covariance, at_start, tuple(by_view) or None)
            for (matrix, value, _, _, at_start, tried, converged, by_view), covariance in known
        ]

    def _climb(self, objective: Objective, start: Pose) -> Outcome:
        tolerance_px = self._tolerance_px(objective)
        pose, damping, converged, tried = start, self.damping, False, 0
        weighed, here = self._weighed(objective, pose)
        if not np.isfinite(here.value):
            return Outcome(start, here.value, 0, False)
        sizing = _sized(here.value)
        while tried < self.iterations and damping < _MOST_DAMPING:
            step = _damped_step(here, sizing, damping, objective)
            if objective.motion_px(step) < tolerance_px:
                converged = True
                break
            tried += 1
            there = weighed.step(moved(pose, step))
            bend = max(float(step @ here.jtj @ step), 1e-30)
            tells = objective.motion_px(step) < _SHORT_PX and np.isfinite(there.value)
            told = float(step @ (there.jtr - here.jtr)) / bend
            if there.value > here.value:
                predicted = -float(step @ here.jtr) - 0.5 * sizing * bend
                gained = (there.value - here.value) / max(predicted, 1e-30)
                damping = max(damping / 5, 1e-6) if gained > 0.25 else 2 * damping
                pose = moved(pose, step)
                weighed, here = (weighed, there) if self.robust_scale is None else self._weighed(weighed, pose)
            else:
                damping *= 8
            sizing = _sized(told if tells else here.value)
        value = here.value if self.robust_scale is None else objective.value(pose)
        return Outcome(pose, value, tried, converged, _covariances([here])[0])

    def _tolerance_px(self, objective: Objective) -> float:
        return self.coarse_tolerance_px if objective.finer_follows else self.tolerance_px

    def _weighed(self, objective: Objective, pose: Pose) -> tuple[Objective, Step]:
        if self.robust_scale is not None:
            objective = objective.reweighted(pose, self.robust_scale)
        return objective, objective.step(pose)


def _damped_step(here: Step, sizing: float, damping: float, objective: Objective) -> NDArray[np.float64]:
    jtj = sizing * here.jtj
    diagonal = np.diag(jtj)
    damped = jtj + damping * np.diag(np.maximum(diagonal, 1e-9 * diagonal.max() + 1e-30))
    step = np.asarray(np.linalg.solve(damped, -here.jtr), dtype=np.float64)
    return step / max(objective.motion_px(step) / objective.reach_px, 1.0)


def _sized(sizing: float) -> float:
    return min(max(sizing, _LEAST_SIZING), _MOST_SIZING)


def _covariances(steps: Sequence[Step]) -> list[NDArray[np.float64] | None]:
    """Return s^2 (J^T J)^-1 with s^2 = |r|^2 / (independent residuals - 6); None where that says nothing."""
    freedom = np.array([one.independent - 6 for one in steps])
    values, jtj = np.array([one.value for one in steps]), np.array([one.jtj for one in steps])
    known = np.isfinite(values) & (freedom > 0)
    known[known] = np.linalg.cond(jtj[known]) <= 1e12
    inverse = np.linalg.inv(np.where(known[:, None, None], jtj, np.eye(6)))
    spread = 2 * (1 - values) / np.maximum(freedom, 1)
    return [variance * one if sure else None for sure, variance, one in zip(known, spread, inverse, strict=True)]
