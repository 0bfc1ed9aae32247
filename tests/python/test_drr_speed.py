"""Guards of the renderer's speed: ratios of best times taken in turn, which say the same on any machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from drr_scenes import affine, blobs
from fluoropose.drr import BoneRenderer, Method, Renderer
from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume

SIDE, PIXELS, TURNS = 96, 128, 15
VOLUME = Volume(blobs((SIDE,) * 3), affine((2.0, 2.0, 2.0), (SIDE,) * 3))
VIEW = View.from_sdd((PIXELS, PIXELS), 1000.0, 2.0, 2.0, 0.0, 0.0)
POSE = Pose.from_euler_zyx_deg([80.0, 10.0, 20.0], [0.0, 0.0, -300.0])


def best_times() -> dict[str, float]:
    """Return each way's shortest time; they take turns, so that a busy moment hits all."""
    bone = SimpleNamespace(volume=VOLUME, mask=VOLUME.mu > 0.02, landmarks_mm=np.zeros((33, 3)))
    calls: dict[str, Callable[[View, Pose], object]] = {
        "ray_cast": Renderer(VOLUME, "ray_cast").render,
        "shear_warp": Renderer(VOLUME, "shear_warp").render,
        "with_bone": BoneRenderer(bone, "shear_warp").render,  # type: ignore[arg-type]
    }
    best = dict.fromkeys(calls, np.inf)
    for _ in range(TURNS):
        for name, call in calls.items():
            start = time.perf_counter()
            call(VIEW, POSE)
            best[name] = min(best[name], time.perf_counter() - start)
    return best


@pytest.fixture(scope="module")
def best() -> dict[str, float]:
    """Best times of one thread, in a process of its own: where cores are taken, threads wait for each other."""
    one = {**os.environ, "OMP_NUM_THREADS": "1"}
    said = subprocess.run([sys.executable, __file__], env=one, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(said))


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
def test_time_of_one_radiograph(benchmark: BenchmarkFixture, method: Method) -> None:
    renderer = Renderer(VOLUME, method)
    image = benchmark.pedantic(renderer.render, (VIEW, POSE), rounds=TURNS, warmup_rounds=1)
    assert image.max() > 0


def test_shear_warp_outruns_ray_casting(best: dict[str, float]) -> None:
    assert best["ray_cast"] / best["shear_warp"] > 2.5  # measured: 8.0


def test_bone_and_mask_cost_little_more_than_the_whole(best: dict[str, float]) -> None:
    assert best["with_bone"] / best["shear_warp"] < 4  # measured: 2.0


if __name__ == "__main__":
    print(json.dumps(best_times()))
