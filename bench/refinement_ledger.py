"""What the tables of the refinement benchmark share: results that survive an interruption, and their rows."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose
from fluoropose.refinement import Refinement
from fluoropose.registration.summary import summarise

__all__ = ["Ledger", "Result", "Stopwatch", "failure_rate", "of_refinement", "row"]


@dataclass(frozen=True, eq=False)
class Result:
    """One case done by one method: matrices (4, 4) as lists, None where there is no pose.

    ``cpu_seconds`` are the processor's, of all threads: they say more than the clock's where other work goes on.
    """

    found: list[list[float]] | None
    truth: list[list[float]]
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    iterations: int = 0
    value: float = float("nan")
    extra: dict[str, float] = field(default_factory=dict)

    @property
    def pose(self) -> Pose | None:
        """The pose found."""
        return None if self.found is None else Pose.from_matrix(self.found)

    @property
    def true_pose(self) -> Pose:
        """The truth or reference."""
        return Pose.from_matrix(self.truth)


class Stopwatch:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._began, self._cpu_began = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Return the seconds of the clock and of the processor since."""
        return time.perf_counter() - self._began, time.process_time() - self._cpu_began


def of_refinement(
    refinement: Refinement | Pose | None, truth: Pose, took: tuple[float, float] = (0.0, 0.0), **extra: float
) -> Result:
    """Make a result of a refinement, or of a pose that stands for itself, that took seconds of clock and processor."""
    if refinement is None or isinstance(refinement, Pose):
        found = None if refinement is None else refinement.matrix.tolist()
        return Result(found, truth.matrix.tolist(), *took, extra=extra)
    return Result(
        refinement.world_from_bone.matrix.tolist(),
        truth.matrix.tolist(),
        *took,
        sum(level.iterations for level in refinement.levels),
        refinement.value,
        extra,
    )


class Ledger:
    """Results in a file of JSON lines: what an earlier run has done is not done again.

    The first line holds the settings that results depend on; with others the file is begun anew.
    """

    def __init__(self, path: Path, settings: dict[str, Any]) -> None:
        self._path = path
        self._known: dict[str, Result] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        head = json.dumps({"settings": settings})
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        if not lines or lines[0] != head:
            path.write_text(head + "\n", encoding="utf-8")
            return
        for line in lines[1:]:
            try:
                entry = json.loads(line)
                key = entry.pop("key")
                self._known[key] = Result(**entry)
            except (ValueError, KeyError, TypeError):  # the line that an interruption cut short
                continue

    def get(self, key: str, compute: Callable[[], Result]) -> Result:
        """Return the result of ``key``, computed if it is not known."""
        if key not in self._known:
            result = compute()
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"key": key, **asdict(result)}) + "\n")
            self._known[key] = result
        return self._known[key]


def failure_rate(results: Sequence[Result], landmarks_mm: NDArray[np.float64], beyond_mm: float) -> float:
    """Return the share of results without a pose or with an mTRE beyond ``beyond_mm``."""
    errors = pose_errors([r.pose for r in results], [r.true_pose for r in results], landmarks_mm)
    assert errors.mtre_mm is not None
    return float(np.mean(~(errors.mtre_mm <= beyond_mm)))


def row(
    table: str,
    method: str,
    results: Sequence[Result],
    landmarks_mm: NDArray[np.float64],
    *,
    failure_mm: float,
    device: str = "cpu",
    **extra: Any,
) -> dict[str, Any]:
    """Return one row of a table; statistics are over ALL results that have a pose, failures among them."""
    errors = pose_errors([r.pose for r in results], [r.true_pose for r in results], landmarks_mm)
    seconds = float(sum(r.seconds for r in results))
    summary = summarise(len(results), int(errors.failed.sum()), errors=errors, seconds=seconds)
    return {
        "table": table,
        "method": method,
        "device": device,
        **summary.model_dump(exclude={"environment"}),
        "failure_rate": failure_rate(results, landmarks_mm, failure_mm),
        "failure_beyond_mtre_mm": failure_mm,
        "iterations": float(np.mean([r.iterations for r in results])) if results else None,
        "cpu_seconds_per_pair": float(np.mean([r.cpu_seconds for r in results])) if results else None,
        **extra,
    }
