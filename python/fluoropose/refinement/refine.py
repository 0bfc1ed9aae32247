"""From a pose that is about right to the one that explains the frames best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.stats import qmc

from fluoropose._checks import positive, whole_positive
from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.refinement.correlation import GradientCorrelation
from fluoropose.refinement.fixed import FixedView
from fluoropose.refinement.levenberg import LevenbergMarquardt
from fluoropose.refinement.moving import MovingBone
from fluoropose.refinement.objective import Objective, turned_about
from fluoropose.refinement.optimiser import Optimiser, Outcome, climb_all
from fluoropose.refinement.similarity import Metric

__all__ = ["Level", "Refinement", "Schedule", "Starts", "refine"]

_TURNED = 3
_SAME_PX = 1.0  # starts that end closer to each other ended at the same place


@dataclass(frozen=True)
class Schedule:
    """From coarse to fine.

    Attributes
    ----------
    levels
        At most. Each has half as many pixels a side as the next; the last is the windows' own resolution.
    coarsest_px
        Windows with fewer pixels a side are left out: so little shows in them that they lead astray.
    reach_px
        How far from the shadow pixels count, in each level's own pixels.
    skipped
        Finest levels left out, to save time.
    """

    levels: int = 4
    reach_px: float = 5.0
    skipped: int = 0
    coarsest_px: int = 20

    def __post_init__(self) -> None:
        whole_positive("levels", self.levels)
        positive("reach_px", self.reach_px)
        whole_positive("coarsest_px", self.coarsest_px)
        if not 0 <= self.skipped < self.levels:
            raise InputError(f"skipped: expected 0 to {self.levels - 1}, found {self.skipped}")


@dataclass(frozen=True)
class Starts:
    """Where the coarsest level begins: at the given pose, and ``count - 1`` others evenly spread round it.

    Attributes
    ----------
    count
        In all.
    turn_deg, shift_mm
        Half the range of each component of the rotation vector and of the shift.
    kept
        How many go on to the next level, the most alike ones that ended apart; at every further level a third of them.
    turns
        From how many poses each of the best three of the second level starts once more, turned by up to ``turn_deg``
        about the bone's middle. Its shadow stays where it is, and so this is how wrong poses differ from the right one.
    """

    count: int = 1
    turn_deg: float = 10.0
    shift_mm: float = 15.0
    kept: int = 3
    turns: int = 0

    def __post_init__(self) -> None:
        whole_positive("count", self.count)
        whole_positive("kept", self.kept)
        if self.turns < 0:
            raise InputError(f"turns: expected 0 or more, found {self.turns}")

    def around(self, pose: Pose) -> list[Pose]:
        """Return the starts, the given pose first."""
        if self.count == 1:
            return [pose]
        offsets = _even(6, self.count - 1)
        turns = _rotations(np.radians(self.turn_deg) * offsets[:, :3]) @ pose.rotation
        places = pose.translation_mm + self.shift_mm * offsets[:, 3:]
        return [pose, *(Pose(*one) for one in zip(turns, places, strict=True))]

    def turned(self, poses: Sequence[Pose], middle_mm: NDArray[np.float64]) -> list[Pose]:
        """Return the poses with their ``turns`` about a point (3,) of the bone."""
        offsets = _even(3, self.turns)
        turns = _rotations(np.radians(self.turn_deg) * offsets)
        return [turned_about(pose, turn, middle_mm) for pose in poses for turn in turns]


@dataclass(frozen=True)
class Level:
    """What happened at one resolution: size of the images (px), likeness of the best, iterations of all starts."""

    size_px: int
    value: float
    iterations: int
    converged: bool


@dataclass(frozen=True, eq=False)
class Refinement:
    """What came of it.

    Attributes
    ----------
    world_from_bone
        The pose found.
    value, value_at_start
        Likeness of the images at the finest level, there and at the given start, on the same pixels.
    by_view
        Likeness there in each view.
    covariance
        (6, 6) of (omega_x, omega_y, omega_z, v_x, v_y, v_z), rad and mm in world axes, as in ``Registration``: what is
        left in the images after the fit taken for noise. None where the optimiser does not know it.
    levels
        From coarse to fine.
    """

    world_from_bone: Pose
    value: float
    value_at_start: float
    by_view: tuple[float, ...]
    covariance: NDArray[np.float64] | None
    levels: tuple[Level, ...]

    @property
    def converged(self) -> bool:
        """Whether the finest level did."""
        return self.levels[-1].converged

    @property
    def improved(self) -> bool:
        """Whether the images are more alike than at the start."""
        return bool(self.value > self.value_at_start)


def refine(
    bone: MovingBone,
    fixed: Sequence[FixedView],
    start: Pose,
    *,
    metric: Metric | None = None,
    optimiser: Optimiser | None = None,
    schedule: Schedule | None = None,
    starts: Starts | None = None,
) -> Refinement:
    """Find the pose near ``start`` whose radiographs are most like the fixed images.

    Parameters
    ----------
    bone
        What is rendered.
    fixed
        One window per view, see ``fixed_view``; sides that can be halved as often as the schedule wants.
    start
        ``world_from_bone`` to begin with.
    metric
        How images are compared; gradient correlation by default.
    optimiser
        How the objective is climbed; Levenberg-Marquardt by default, which needs a metric that is a sum of squares.
    schedule
        Resolutions.
    starts
        Other poses to begin with as well, where the start may be far off.

    Raises
    ------
    InputError
        If there is no window, the bone lies outside a field at the start, or optimiser and metric do not fit.
    """
    if not fixed:
        raise InputError("fixed: expected at least one window, found none")
    metric = GradientCorrelation() if metric is None else metric
    optimiser = LevenbergMarquardt() if optimiser is None else optimiser
    schedule, starts = schedule or Schedule(), starts or Starts()
    poses, kept, levels, tones = starts.around(start), starts.kept, [], None
    pyramid = _pyramid(fixed, schedule, bone.opaque)
    for number, views in enumerate(pyramid):
        last = views is pyramid[-1]
        objective = Objective(bone, views, metric, poses, schedule.reach_px, tones, finer_follows=not last)
        climbed = climb_all(optimiser, objective, poses)
        at_start = climbed[0].value_at_start if poses[0] is start else None
        outcomes = sorted(climbed, key=_rank)
        if starts.turns and number == min(1, len(pyramid) - 1):
            turned = starts.turned(_apart(outcomes, objective)[:_TURNED], bone.middle_mm)
            outcomes = sorted([*outcomes, *climb_all(optimiser, objective, turned)], key=_rank)
        best = outcomes[0]
        levels.append(Level(views[0].view.width, best.value, sum(one.iterations for one in outcomes), best.converged))
        poses, kept = _apart(outcomes, objective)[:kept], max(1, kept // 3)
        if not last:
            tones = objective.best_tones(best.pose)
    at_start = objective.value(start) if at_start is None else at_start
    by_view = best.by_view or tuple(objective.values(best.pose))
    return Refinement(best.pose, best.value, at_start, by_view, best.covariance, tuple(levels))


def _rank(outcome: Outcome) -> float:
    return -outcome.value if np.isfinite(outcome.value) else np.inf


@lru_cache(maxsize=32)
def _even(dimensions: int, count: int) -> NDArray[np.float64]:
    """Return points (count, dimensions) evenly spread in [-1, 1]."""
    points: NDArray[np.float64] = 2 * qmc.Halton(dimensions, scramble=False).random(count + 1)[1:] - 1
    points.flags.writeable = False
    return points


def _rotations(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrices (n, 3, 3) of rotation vectors (n, 3), radians."""
    return np.asarray(Rotation.from_rotvec(vectors).as_matrix())


def _apart(outcomes: Sequence[Outcome], objective: Objective) -> list[Pose]:
    """Return the poses without those that ended where a better one did."""
    poses = [one.pose for one in outcomes]
    kept: list[int] = []
    far = objective.apart_px(poses) > _SAME_PX
    for n in range(len(poses)):
        if all(far[n, other] for other in kept):
            kept.append(n)
    return [poses[n] for n in kept]


def _pyramid(fixed: Sequence[FixedView], schedule: Schedule, opaque: bool) -> list[list[FixedView]]:
    """Return the windows from coarse to fine; all but the finest need all of the outline to lead there.

    So do those of bone: its edges rise slowly, and the laboratory's skull was 0.06 mm worse off without the outer ones.
    """
    levels = [list(fixed)]
    smallest = min(min(one.image.shape) for one in fixed)
    while len(levels) < schedule.levels and smallest // 2 ** len(levels) >= schedule.coarsest_px:
        levels.append([one.halved() for one in levels[-1]])
    # Where little can be halved, something must be left to look at.
    finest, *coarser = levels[min(schedule.skipped, len(levels) - 1) :]
    return [*coarser[::-1], [one.exposed() for one in finest] if opaque else finest]
