"""Frames as a camera without any fault records them: plain radiographs, rendered by ray casting."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from fluoropose.drr import Renderer
from fluoropose.geometry import Pose
from fluoropose.rig import Rig
from fluoropose.simulate.chain import ImageChain
from fluoropose.simulate.trial.camera import Camera
from fluoropose.volume import Volume

__all__ = ["plain_frames"]


def plain_frames(volume: Volume, rig: Rig, poses: Iterable[Pose], gamma: float) -> Iterator[list[NDArray[np.float32]]]:
    """Yield the frames (h, w) of all views of a rig, bright = attenuating, of each pose (world_from_bone)."""
    renderer = Renderer(volume, "ray_cast")
    cameras = [Camera(scope, ImageChain()) for scope in rig.fluoroscopes]
    for pose in poses:
        signals = [camera.record(np.exp(-renderer.render(camera.view, pose))) for camera in cameras]
        yield [np.asarray(1 - signal**gamma, dtype=np.float32) for signal in signals]
