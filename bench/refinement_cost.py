"""What refinement costs per pair of views, as a whole and per iteration at each scale."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoropose.bone import Bone
from fluoropose.drr import Device, Renderer
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose, View
from fluoropose.refinement import (
    FixedView,
    GradientCorrelation,
    LevenbergMarquardt,
    MovingBone,
    Objective,
    Refinement,
    Refiner,
    Schedule,
    Starts,
    moved,
)
from fluoropose.rig import Fluoroscope, Rig
from fluoropose.simulate.phantom import head
from fluoropose.simulate.solids import Grid

__all__ = ["cost_rows"]

_REPEATS = 15
_CENTRE = np.array([0.0, 0.0, -400.0])
_TRUTH = Pose.from_euler_zyx_deg([95.0, 10.0, 20.0], _CENTRE)


def cost_rows(device: Device = "cpu") -> Iterator[dict[str, Any]]:
    """Yield the rows of the table "cost": a drawn head among its soft tissue, the skull alone as the moving image.

    Of another device, how far its poses lie from those of the CPU as well.
    """
    for size in (256, 128):
        whole, skull = _phantom(size)
        rig = _rig()
        renderer = Renderer(whole.volume)
        moving = MovingBone(skull.isolated)
        frames = [
            _exposed(renderer.render(view, _TRUTH), moving.renderers[0].render(view, _TRUTH)) for view in rig.views
        ]
        setting = f"two {size} x {size} views, {size}^3 volume"
        here = _refiners(rig, skull, moving, size)
        there = here if device == "cpu" else _refiners(rig, skull, MovingBone(skull.isolated, device), size)
        for name, refiner in there.items():
            found, seconds, cpu_seconds = _timed(refiner, frames)
            one = _whole(name, setting, found, seconds, cpu_seconds) | {"device": device}
            yield one if device == "cpu" else one | _apart(found, _timed(here[name], frames)[0])
        for one in _iterations(setting, there["our LM, 1 start"], frames):
            yield one | {"device": device}


def _refiners(rig: Rig, skull: Bone, moving: MovingBone, size: int) -> dict[str, Refiner]:
    def one(most_px: int = size, **settings: Any) -> Refiner:
        return Refiner(rig, skull, most_px=most_px, moving=moving, **settings)

    refiners = {
        "our LM, 1 start": one(starts=Starts(1)),
        "our LM, 8 starts": one(starts=Starts(8)),
        "our LM, 1 start, finest scale left out": one(starts=Starts(1), schedule=Schedule(skipped=1)),
    }
    return refiners | {
        f"live: {side} px, 3 steps": one(side, optimiser=LevenbergMarquardt(3), schedule=Schedule(1), starts=Starts(1))
        for side in (128, 96, 64)
        if size == 256
    }


def _exposed(line: NDArray[np.float32], bone: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a frame of line integrals (h, w), as automatic exposure makes it: half of white behind the bone."""
    behind = float(np.median(line[bone > 0]))
    return np.asarray(1 - np.clip(0.5 * np.exp(behind - line), 0, 1), dtype=np.float32)


def _phantom(size: int) -> tuple[Bone, Bone]:
    side = 246.0
    step = side / size
    grid = Grid(origin_mm=(-side / 2, -118.0, -128.0), spacing_mm=step, shape=(size, size, size))
    drawn = head(grid)
    share = drawn.bone_share
    points = drawn.volume.voxel_to_bone(np.argwhere(share > 0.5)[::97, ::-1])
    bone = Bone(
        "skull",
        drawn.volume,
        share > 0.3,
        points,
        np.array([[0, 1, 2]], np.int32),
        points[:: max(1, len(points) // 33)],
        tuple(f"p{i}" for i in range(len(points[:: max(1, len(points) // 33)]))),
        np.empty((0, 2), np.intp),
        Pose.identity(),
    )
    return bone, bone


def _rig() -> Rig:
    turn = Pose.from_euler_zyx_deg([0.0, 75.0, 0.0], np.zeros(3))
    second = Pose(turn.rotation, _CENTRE - turn.rotation @ _CENTRE)
    views = [View.from_sdd((640, 640), 1100.0, 0.6, 0.6, 0.0, 0.0, place) for place in (None, second)]
    return Rig(tuple(Fluoroscope(view) for view in views))


def _start(seed: int) -> Pose:
    axis, along = (v / np.linalg.norm(v) for v in np.random.default_rng(seed).normal(size=(2, 3)))
    return moved(_TRUTH, np.concatenate([np.radians(2.5) * axis, 2.0 * along]))


def _timed(refiner: Refiner, frames: list[NDArray[np.float32]]) -> tuple[list[Refinement], list[float], float]:
    """Refine from every start; also the clock's seconds of each, and the processor's of one on average."""
    refiner.refine(frames, _start(0))  # memory is found
    seconds: list[float] = []
    cpu_began = time.process_time()
    found: list[Refinement] = []
    for seed in range(_REPEATS):
        began = time.perf_counter()
        found.append(refiner.refine(frames, _start(seed)))
        seconds.append(time.perf_counter() - began)
    if refiner.problem:  # these are then the processor's numbers
        raise RuntimeError(refiner.problem)
    return found, seconds, (time.process_time() - cpu_began) / _REPEATS


def _apart(found: Sequence[Refinement], expected: Sequence[Refinement]) -> dict[str, float]:
    pairs = [(one.world_from_bone, other.world_from_bone) for one, other in zip(found, expected, strict=True)]
    turns = [float(np.degrees(one.angle_to(other))) for one, other in pairs]
    shifts = [float(np.linalg.norm(one.translation_mm - other.translation_mm)) for one, other in pairs]
    return {"from_cpu_deg_max": max(turns), "from_cpu_mm_max": max(shifts)}


def _whole(
    name: str, setting: str, found: list[Refinement], seconds: list[float], cpu_seconds: float
) -> dict[str, Any]:
    errors = pose_errors([one.world_from_bone for one in found], [_TRUTH] * len(found))
    return {
        "table": "cost",
        "method": name,
        "setting": setting,
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "pairs": len(found),
        "seconds_per_pair": float(np.median(seconds)),
        "fastest_seconds": float(min(seconds)),
        "cpu_seconds_per_pair": cpu_seconds,
        "iterations_by_scale": {
            f"{level.size_px} px": float(np.mean([one.levels[k].iterations for one in found]))
            for k, level in enumerate(found[0].levels)
        },
        "geodesic_error_deg_median": float(np.median(errors.geodesic_error_deg)),
        "translation_norm_mm_median": float(np.median(errors.translation_norm_mm)),
        "start": "2.5 degrees, 2 mm from the truth",
    }


def _iterations(setting: str, refiner: Refiner, frames: list[NDArray[np.float32]]) -> Iterator[dict[str, Any]]:
    began = time.perf_counter()
    for _ in range(_REPEATS):
        windows = refiner.windows(frames, _start(0))
    cut = (time.perf_counter() - began) / _REPEATS
    yield {
        "table": "cost",
        "method": "cutting the windows",
        "setting": setting,
        "seconds_per_pair": cut,
    }
    while windows[0].view.width >= 32:
        near = [_start(seed) for seed in range(_REPEATS)]
        prepared = [_seconds(_objective, refiner, windows, pose) for pose in near]
        steps = LevenbergMarquardt(4, tolerance_px=1e-9)  # and the look at the start
        objectives = [_objective(refiner, windows, pose) for pose in near]
        climbed = [_seconds(steps.climb, *pair) / 5 for pair in zip(objectives, near, strict=True)]
        times = {"preparing": prepared, "one iteration": climbed}
        for what, seconds in times.items():
            yield {
                "table": "cost",
                "method": f"{what} at {windows[0].view.width} px",
                "setting": setting,
                "seconds_per_pair": float(np.median(seconds)),
                "fastest_seconds": float(min(seconds)),
            }
        windows = [window.halved() for window in windows]


def _objective(refiner: Refiner, windows: Sequence[FixedView], near: Pose) -> Objective:
    return Objective(refiner.moving, windows, GradientCorrelation(), [near], 5.0)


def _seconds(run: Callable[..., Any], *arguments: Any) -> float:
    began = time.perf_counter()
    run(*arguments)
    return time.perf_counter() - began
