"""What an optimiser is, and what it tells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fluoropose.geometry import Pose
from fluoropose.refinement.objective import Objective

__all__ = ["Optimiser", "Outcome", "climb_all"]


@dataclass(frozen=True, eq=False)
class Outcome:
    """Where an optimiser ended.

    Attributes
    ----------
    pose
        The best pose it saw.
    value
        The objective there.
    iterations
        Steps taken; for methods without steps, evaluations.
    converged
        Whether it stopped because steps had become small, not because it had no more of them.
    covariance
        (6, 6) of a step of ``moved`` at ``pose``, rad and mm; None where the optimiser does not know it.
    value_at_start
        The objective at the start; None where the optimiser does not tell.
    by_view
        What each view contributes to ``value``; None where the optimiser does not tell.
    """

    pose: Pose
    value: float
    iterations: int
    converged: bool
    covariance: NDArray[np.float64] | None = None
    value_at_start: float | None = None
    by_view: tuple[float, ...] | None = None


class Optimiser(Protocol):
    """Something that climbs an objective."""

    def climb(self, objective: Objective, start: Pose) -> Outcome:
        """Return the best pose found near ``start``; the start itself where nothing is better."""
        ...


@runtime_checkable
class _Many(Protocol):
    def climb_all(self, objective: Objective, starts: Sequence[Pose]) -> list[Outcome]: ...


def climb_all(optimiser: Optimiser, objective: Objective, starts: Sequence[Pose]) -> list[Outcome]:
    """Climb from each of the starts, together where the optimiser knows how."""
    if isinstance(optimiser, _Many):
        return optimiser.climb_all(objective, starts)
    return [optimiser.climb(objective, start) for start in starts]
