"""From how far off the truth refinement leads back to it: ours beside the optimisers that others use, same starts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from rich.progress import track

mpl.use("Agg")

import matplotlib.pyplot as plt  # after the choice of a backend that needs no display

from fluoropose._files import atomic_path
from fluoropose.geometry import Pose
from fluoropose.refinement import Adam, CmaEs, Refiner, Schedule, Starts, moved
from fluoropose.refinement.peers import Box
from refinement_ledger import Ledger, Result, Stopwatch, of_refinement, row
from refinement_trials import FAILURE_MM, OpenTrial

__all__ = ["capture_rows", "save_capture"]

_ERRORS = (5.0, 10.0, 15.0, 20.0, 25.0, 30.0)  # degrees, and mm
_STARTS = 16  # of every error
_SUCCESS_MM = 2.0  # mTRE


def capture_rows(trial: OpenTrial, ledger: Ledger, quick: bool) -> Iterator[dict[str, Any]]:
    """Start at poses turned and shifted from the truth by growing amounts, in random directions."""
    numbers = sorted(trial.truth)[12:]  # appearance and schedule were chosen on the first twelve
    chosen = [numbers[k * len(numbers) // _STARTS] for k in range(_STARTS)]
    for name, refiners in _methods(trial).items():
        for error in _ERRORS[:: 3 if quick else 1]:
            results = []
            for number in track(chosen[:: 4 if quick else 1], f"capture: {name}, {error:g} degrees"):
                start = _away(trial.truth[number], error, error, number)
                key = f"{name} {number} {error}"
                results.append(ledger.get(key, partial(_led_back, trial, refiners, number, start)))
            landmarks = trial.bone.landmarks_mm
            extra: dict[str, Any] = {"trial": f"{trial.name}, capture range", "start_deg": error, "start_mm": error}
            yield row("two_view", name, results, landmarks, failure_mm=_SUCCESS_MM, **extra) | {
                "failure_rate_5_mm": row("two_view", name, results, landmarks, failure_mm=FAILURE_MM)["failure_rate"]
            }


def _methods(trial: OpenTrial) -> dict[str, tuple[Refiner, ...]]:
    """Return what is done one after the other."""
    first = Refiner(trial.rig, trial.bone, starts=Starts(1))

    def refiner(**settings: Any) -> Refiner:
        return Refiner(trial.rig, trial.bone, moving=first.moving, **settings)

    # Wide in small images, then ever closer; 64, 128 and 256 pixels.
    evolution = tuple(
        refiner(optimiser=optimiser, starts=Starts(1), schedule=schedule)
        for optimiser, schedule in (
            (CmaEs(Box(30.0, 30.0), evaluations=1500, population=40), Schedule(3, skipped=2)),
            (CmaEs(Box(4.0, 4.0), evaluations=250), Schedule(2, skipped=1)),
            (CmaEs(Box(1.5, 1.5), evaluations=150), Schedule(1)),
        )
    )
    return {
        "our LM, 1 start": (first,),
        "our LM, 8 starts": (refiner(starts=Starts(8)),),
        "our LM, 32 starts": (refiner(starts=Starts(32, 25.0, 25.0)),),
        "CMA-ES on gradient correlation, as xReg": evolution,
        "Adam on gradient correlation, as DiffDRR and nanodrr": (refiner(optimiser=Adam(100), starts=Starts(1)),),
    }


def _led_back(trial: OpenTrial, refiners: Sequence[Refiner], number: int, start: Pose) -> Result:
    frames, pose, iterations = trial.frames(number), start, 0
    watch = Stopwatch()
    for refiner in refiners:
        found = refiner.refine(frames, pose)
        pose, iterations = found.world_from_bone, iterations + sum(level.iterations for level in found.levels)
    return replace(of_refinement(found, trial.truth[number], watch.read()), iterations=iterations)


def _away(pose: Pose, turn_deg: float, shift_mm: float, seed: int) -> Pose:
    axis, along = (v / np.linalg.norm(v) for v in np.random.default_rng(seed).normal(size=(2, 3)))
    return moved(pose, np.concatenate([np.radians(turn_deg) * axis, shift_mm * along]))


def save_capture(path: Path, rows: Sequence[Mapping[str, Any]], where: str) -> None:
    """Draw the share of starts led back, by their error."""
    figure, axes = plt.subplots(figsize=(7.5, 4.2), constrained_layout=True)
    methods = list(dict.fromkeys(one["method"] for one in rows))
    for number, method in enumerate(methods):
        of_it = sorted((one for one in rows if one["method"] == method), key=lambda one: one["start_deg"])
        seconds = float(np.mean([one["cpu_seconds_per_pair"] for one in of_it]))
        starts = of_it[0]["pairs"]
        axes.plot(
            [one["start_deg"] for one in of_it],
            [100 * (1 - one["failure_rate"]) for one in of_it],
            marker="osD^v"[number % 5],
            label=f"{method} ({seconds:.2g} s of the processor, {starts} starts)",
        )
    axes.set(xlabel="error of the start: degrees, and mm", ylabel=f"led back to {_SUCCESS_MM:g} mm mTRE, %")
    axes.set_ylim(-3, 103)
    axes.grid(True, alpha=0.3)
    axes.legend(fontsize="x-small", loc="lower left")
    axes.set_title(f"Two views of a simulated head, lab_head: walking. {where}", fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
    plt.close(figure)
