"""The optimisers that others register with, from well-kept libraries, behind the same interface.

All search the same six numbers: turn times the bone's radius, and shift, mm, within a box round the start. A pose
whose radiograph shows nothing counts as no likeness at all. CMA-ES and BOBYQA need the extra ``refine``.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from fluoropose._checks import positive
from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.refinement.objective import Objective, moved
from fluoropose.refinement.optimiser import Outcome

__all__ = ["Adam", "Bobyqa", "Box", "CmaEs", "Lbfgs", "NelderMead", "Powell"]

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Box:
    """Half the sides of the box that is searched: rotation vector (degrees) and shift (mm), each component."""

    turn_deg: float = 10.0
    shift_mm: float = 15.0

    def __post_init__(self) -> None:
        positive("turn_deg", self.turn_deg)
        positive("shift_mm", self.shift_mm)

    def sides(self, objective: Objective) -> Vector:
        """Return them (6,) in mm at the bone's surface."""
        return np.repeat([np.radians(self.turn_deg) * objective.radius_mm, self.shift_mm], 3)


class _Search:
    """Turns an objective into a function of six numbers to be minimised; remembers the best it saw."""

    def __init__(self, objective: Objective, start: Pose, box: Box) -> None:
        self._objective, self._start = objective, start
        self.sides = box.sides(objective)
        self.evaluations = 0
        self.best_x, self.best = np.zeros(6), np.nan

    def pose(self, x: Vector) -> Pose:
        return moved(self._start, self._step(x))

    def cost(self, x: Vector) -> float:
        return self._seen(x, self._objective.value(self.pose(x)))

    def cost_and_gradient(self, x: Vector) -> tuple[float, Vector]:
        """Return both; the turn's part holds near the start, where a rotation vector's sum is a product."""
        value, gradient = self._objective.value_and_gradient(self.pose(x))
        by_x = np.nan_to_num(gradient).copy()
        by_x[:3] = _left_jacobian(self._step(x)[:3]).T @ by_x[:3] / self._objective.radius_mm
        return self._seen(x, value), -by_x

    def outcome(self, converged: bool) -> Outcome:
        """Return the best of the poses that show something; the start where none does."""
        return Outcome(self.pose(self.best_x), -self.best, self.evaluations, converged and bool(np.isfinite(self.best)))

    def _step(self, x: Vector) -> Vector:
        return np.concatenate([x[:3] / self._objective.radius_mm, x[3:]])

    def _seen(self, x: Vector, value: float) -> float:
        self.evaluations += 1
        if not np.isfinite(value):
            return 0.0
        if not -value >= self.best:
            self.best_x, self.best = np.array(x, dtype=np.float64), -value
        return -value


def _left_jacobian(omega: Vector) -> NDArray[np.float64]:
    """Return J (3, 3) with exp(omega + d) = exp(J d) exp(omega) to first order."""
    angle = float(np.linalg.norm(omega))
    if angle < 1e-8:
        return np.eye(3)
    x, y, z = omega / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + (1 - np.cos(angle)) / angle * cross + (1 - np.sin(angle) / angle) * cross @ cross)


@dataclass(frozen=True)
class CmaEs:
    """Covariance matrix adaptation (Hansen and Ostermeier 2001; package ``cma``).

    Attributes
    ----------
    box
        What is searched; the first generation spreads over ``spread`` of it.
    evaluations, tolerance_mm
        At most; and the step size that is small.
    population
        Candidates in a generation; None: the package's own choice.
    seed
        Of the random numbers.
    """

    box: Box = field(default_factory=Box)
    evaluations: int = 2000
    tolerance_mm: float = 0.02
    population: int | None = None
    spread: float = 0.3
    seed: int = 1

    def climb(self, objective: Objective, start: Pose) -> Outcome:
        """See `Optimiser`."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the package warns of optional plotting libraries
            cma = _library("cma")
            search = _Search(objective, start, self.box)
            # NumPy's own stream of random numbers, which the package would seed, belongs to others.
            normal = np.random.RandomState(self.seed).randn
            options = {"bounds": [-1, 1], "maxfevals": self.evaluations, "verbose": -9}
            options |= {"randn": normal, "seed": np.nan}
            options |= {"tolx": self.tolerance_mm / float(search.sides.min()), "tolfun": 1e-7}
            if self.population is not None:
                options["popsize"] = self.population
            strategy = cma.CMAEvolutionStrategy(np.zeros(6), self.spread, options)
            search.cost(np.zeros(6))
            while not strategy.stop():
                candidates = strategy.ask()
                strategy.tell(candidates, [search.cost(search.sides * x) for x in candidates])
        return search.outcome("maxfevals" not in strategy.stop())


@dataclass(frozen=True)
class Bobyqa:
    """Bound optimisation by quadratic approximation (Powell 2009; package ``nlopt``)."""

    box: Box = field(default_factory=Box)
    evaluations: int = 500
    tolerance_mm: float = 0.01

    def climb(self, objective: Objective, start: Pose) -> Outcome:
        """See `Optimiser`."""
        nlopt = _library("nlopt")
        search = _Search(objective, start, self.box)
        solver = nlopt.opt(nlopt.LN_BOBYQA, 6)
        solver.set_lower_bounds(-search.sides)
        solver.set_upper_bounds(search.sides)
        solver.set_initial_step(0.25 * search.sides)
        solver.set_xtol_abs(self.tolerance_mm)
        solver.set_maxeval(self.evaluations)
        solver.set_min_objective(lambda x, _: search.cost(x))
        try:
            solver.optimize(np.zeros(6))
        except nlopt.RoundoffLimited:
            return search.outcome(True)
        return search.outcome(solver.last_optimize_result() != nlopt.MAXEVAL_REACHED)


@dataclass(frozen=True)
class NelderMead:
    """The simplex of Nelder and Mead (1965), from SciPy, within the box."""

    box: Box = field(default_factory=Box)
    evaluations: int = 1000
    tolerance_mm: float = 0.01

    def climb(self, objective: Objective, start: Pose) -> Outcome:
        """See `Optimiser`."""
        search = _Search(objective, start, self.box)
        simplex = np.vstack([np.zeros(6), np.diag(0.25 * search.sides)])
        options = {"initial_simplex": simplex, "xatol": self.tolerance_mm, "fatol": 1e-7, "maxfev": self.evaluations}
        found = minimize(search.cost, np.zeros(6), method="Nelder-Mead", bounds=_bounds(search), options=options)
        return search.outcome(bool(found.success))


@dataclass(frozen=True)
class Powell:
    """Powell's conjugate directions (1964), from SciPy, within the box."""

    box: Box = field(default_factory=Box)
    evaluations: int = 1000
    tolerance_mm: float = 0.01

    def climb(self, objective: Objective, start: Pose) -> Outcome:
        """See `Optimiser`."""
        search = _Search(objective, start, self.box)
        options = {"xtol": self.tolerance_mm / float(search.sides.max()), "ftol": 1e-7, "maxfev": self.evaluations}
        found = minimize(search.cost, np.zeros(6), method="Powell", bounds=_bounds(search), options=options)
        return search.outcome(bool(found.success))


@dataclass(frozen=True)
class Lbfgs:
    """L-BFGS-B with the analytic gradient (Byrd et al. 1995), from SciPy, within the box."""

    box: Box = field(default_factory=Box)
    evaluations: int = 200

    def climb(self, objective: Objective, start: Pose) -> Outcome:
        """See `Optimiser`."""
        search = _Search(objective, start, self.box)
        # A first step of one would be 1 mm per unit of slope: the likeness hardly changes over it.
        options = {"maxfun": self.evaluations, "ftol": 1e-9, "gtol": 1e-7}
        scale = search.sides

        def scaled(z: Vector) -> tuple[float, Vector]:
            cost, gradient = search.cost_and_gradient(z * scale)
            return cost, gradient * scale

        found = minimize(scaled, np.zeros(6), jac=True, method="L-BFGS-B", bounds=[(-1, 1)] * 6, options=options)
        return search.outcome(bool(found.success))


@dataclass(frozen=True)
class Adam:
    """Gradient ascent with Adam's step sizes (Kingma and Ba 2015), as differentiable renderers are mostly used.

    Attributes
    ----------
    iterations
        All of them are made, unless steps stay below ``tolerance_mm``.
    rate_mm
        Learning rate: turn at the bone's surface, and shift; it falls to a tenth along half a cosine.
    """

    iterations: int = 100
    rate_mm: float = 0.5
    tolerance_mm: float = 0.005
    box: Box = field(default_factory=lambda: Box(180.0, 1e3))

    def climb(self, objective: Objective, start: Pose) -> Outcome:
        """See `Optimiser`."""
        search = _Search(objective, start, self.box)
        x, mean, square = np.zeros(6), np.zeros(6), np.zeros(6)
        converged = False
        for k in range(1, self.iterations + 1):
            _, gradient = search.cost_and_gradient(x)
            mean = 0.9 * mean + 0.1 * gradient
            square = 0.999 * square + 0.001 * gradient**2
            rate = self.rate_mm * (0.55 + 0.45 * np.cos(np.pi * k / self.iterations))
            step = rate * (mean / (1 - 0.9**k)) / (np.sqrt(square / (1 - 0.999**k)) + 1e-12)
            x = np.clip(x - step, -search.sides, search.sides)
            converged = bool(np.abs(step).max() < self.tolerance_mm)
            if converged:
                break
        search.cost(x)
        return search.outcome(converged)


def _bounds(search: _Search) -> list[tuple[float, float]]:
    return [(-float(side), float(side)) for side in search.sides]


def _library(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise InputError(f"optimiser: needs the package {name}: pip install 'fluoropose[refine]'") from error
