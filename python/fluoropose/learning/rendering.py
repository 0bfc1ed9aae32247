"""Samples of a set, rendered one after the other or by several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

from fluoropose.bone import Bone
from fluoropose.learning.config import DatasetConfig
from fluoropose.learning.scene import Sample, Scene
from fluoropose.rig import Rig

__all__ = ["load_parts", "rendered"]

_CHUNK = 16  # samples that a process is given at one time

_scene: Scene | None = None  # of this process, where it is one of several


def load_parts(config: DatasetConfig) -> tuple[Bone, Rig, tuple[Bone | None, ...]]:
    """Read the bone, the rig and the moving parts' bones that a configuration names."""
    neighbours = tuple(None if moving.bone is None else Bone.load(moving.bone) for moving in config.moving)
    return Bone.load(config.bone), Rig.load(config.rig), neighbours


def rendered(scene: Scene, config: DatasetConfig, indices: Sequence[int], workers: int) -> Iterator[Sample]:
    """Yield the samples with the given indices in their order.

    Small pictures keep no two threads busy, but as many processes as there are processors; each of ``workers`` builds
    the scene anew. One renders in this process, with all threads.
    """
    if workers == 1 or len(indices) <= _CHUNK:
        yield from map(scene.sample, indices)
        return
    # Forking a process that has run threads of OpenMP would hang.
    context = multiprocessing.get_context("spawn")
    with _one_thread_each(), ProcessPoolExecutor(workers, context, _begin, (config,)) as pool:
        try:
            yield from pool.map(_sample, indices, chunksize=_CHUNK)
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(config: DatasetConfig) -> None:
    global _scene
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process hears it, and ends them
    bone, rig, neighbours = load_parts(config)
    _scene = Scene(bone, rig, config, neighbours)


def _sample(index: int) -> Sample:
    assert _scene is not None
    return _scene.sample(index)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Have processes that are started meanwhile use one thread; OpenMP reads this once, when it is loaded."""
    name = "OMP_NUM_THREADS"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
