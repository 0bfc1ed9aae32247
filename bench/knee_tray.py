"""The tibial tray of the real knee, found below the femoral component without a network of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fluoropose.bone import Bone
from fluoropose.evaluation import iou
from fluoropose.geometry import Pose
from fluoropose.learning.config import Moving
from fluoropose.refinement import Refinement, Refiner, Schedule, Starts
from fluoropose.registration.trial import Checks
from fluoropose.rig import Rig
from fluoropose.silhouette import field_mask, silhouette

__all__ = ["Tray", "femur_from_tray", "overlap"]

_STEP_DEG = 15.0  # between the flexions that are tried
_KEPT = 3  # of them, for the full resolution
_COARSE = Schedule(levels=3, skipped=1, coarsest_px=16, reach_px=6)
_WIDE = Starts(count=48, turn_deg=20, shift_mm=12, kept=3)
_NEAR = Starts(count=8, turn_deg=8, shift_mm=5, kept=3)
_CHECKS = Checks()  # as of any registration


def femur_from_tray(joint: Moving, flexion_deg: float) -> Pose:
    """Return where the tray stands in the femoral component's frame, in the middle of a joint's range."""
    axis = np.array(joint.axis) / np.linalg.norm(joint.axis)
    turn = Pose.exp(np.radians(flexion_deg) * axis, np.zeros(3)).rotation
    pivot = np.array(joint.pivot_mm)
    return Pose(turn, pivot + turn @ (np.array(joint.centre_mm) - pivot))


class Tray:
    """Searches the tray at every flexion of the joint.

    Parameters
    ----------
    rig, bone
        The installation and the tray.
    joint
        How it moves against the femoral component, as for the artificial set.
    """

    def __init__(self, rig: Rig, bone: Bone, joint: Moving) -> None:
        self._joint = joint
        self._coarse = Refiner(rig, bone, most_px=128, schedule=_COARSE, starts=_WIDE)
        self._fine = Refiner(rig, bone, starts=_NEAR, moving=self._coarse.moving)

    def found(self, frames: Sequence[NDArray[np.float32]], world_from_femur: Pose) -> Refinement | None:
        """Return the most alike placement in a pair; None where none is alike enough."""
        low, high = self._joint.turn_deg
        flexions = np.arange(low, high + 1e-9, _STEP_DEG)
        starts = [world_from_femur * femur_from_tray(self._joint, float(flexion)) for flexion in flexions]
        coarse = sorted((self._coarse.refine(frames, start) for start in starts), key=lambda one: -one.value)
        fine = [self._fine.refine(frames, one.world_from_bone) for one in coarse[:_KEPT]]
        best = max(fine, key=lambda one: one.value)
        objection = self._fine.objection(frames, best, _CHECKS.min_likeness, _CHECKS.min_peak_fit)
        return None if objection else best


def overlap(
    rig: Rig, bone: Bone, poses: Sequence[Pose | None], folders: Sequence[Path], numbers: Sequence[int]
) -> dict[str, Any]:
    """Compare the tray's shadows with the masks that came with the frames: IoU per camera over the pairs found."""
    per_camera = []
    for scope, folder in zip(rig.fluoroscopes, folders, strict=True):
        values = []
        for pose, number in zip(poses, numbers, strict=True):
            if pose is not None:
                mask = np.asarray(Image.open(folder / f"{number:04d}.png")) > 0
                shadow = silhouette(scope, pose.apply(bone.vertices), bone.faces) & field_mask(scope)
                values.append(iou(shadow, mask))
        per_camera.append(
            {"mean": float(np.mean(values)), "median": float(np.median(values)), "min": float(np.min(values))}
        )
    return {"pairs": len(poses), "failed": sum(pose is None for pose in poses), "iou_per_camera": per_camera}
