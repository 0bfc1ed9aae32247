"""A knee: two bones or implants that bend against each other, in flesh and on shafts made of rods."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fluoropose.bone import Bone
from fluoropose.geometry import Pose
from fluoropose.joint import JointMotion, anatomical_frame, joint_motion
from fluoropose.simulate.solids import Grid, Solid, capsule
from fluoropose.simulate.tissue import tissue_shares
from fluoropose.simulate.trial.config import Capsule, Knee, Place, Segment, TrialConfig
from fluoropose.simulate.trial.scene import Poses
from fluoropose.simulate.trial.subject import Piece
from fluoropose.volume import Volume

__all__ = ["KneeScene"]

_ROD_SPACING_MM = 1.5
_STILL = JointMotion(0.0, 0.0, 0.0, 0.0, 0.0, 0.0)


class KneeScene:
    """A knee; its bodies are "femur" and "tibia", each in its bone frame.

    Raises FileFormatError or InputError if a bone cannot be read or its points define no frame.
    """

    def __init__(self, config: Knee, place: Place) -> None:
        self._side, self._place = config.side, place.world_from_subject
        parts = {"femur": config.femur, "tibia": config.tibia}
        bones = {body: Bone.load(segment.bone) for body, segment in parts.items()}
        self._names = {body: segment.bone.stem for body, segment in parts.items()}
        self.bones = {self._names[body]: bone for body, bone in bones.items()}
        self._frames = {body: _frame(bones[body], segment) for body, segment in parts.items()}
        self.pieces = tuple(p for body, segment in parts.items() for p in _pieces(body, bones[body], segment))

    def bodies(self, trial: TrialConfig, time_s: float) -> Poses:
        """Return world_from_bone of "femur" and "tibia"."""
        motion = _STILL if trial.knee is None else trial.knee.joint(time_s)
        swing = 0.0 if trial.knee is None else np.radians(trial.knee.thigh_share * motion.flexion_deg)
        frame = self._frames["femur"]
        # The thigh swings forward about the knee's own axis.
        place = Pose(np.eye(3), np.asarray(trial.shift_mm)) * self._place
        femur = place * frame * Pose.exp([swing, 0, 0], [0, 0, 0]) * frame.inverse()
        tibia = femur * frame * motion.proximal_from_distal(self._side) * self._frames["tibia"].inverse()
        return {"femur": femur, "tibia": tibia}

    def truth(self, bodies: Poses) -> dict[str, Pose]:
        """Return world_from_bone, the femur's first."""
        return {name: bodies[body] for body, name in self._names.items()}

    def joint(self, bodies: Poses) -> JointMotion | None:
        """Return the tibia's motion against the femur."""
        proximal, distal = (bodies[body] * self._frames[body] for body in ("femur", "tibia"))
        return joint_motion(proximal, distal, self._side)


def _frame(bone: Bone, segment: Segment) -> Pose:
    points = np.array([segment.right, segment.left, segment.proximal, segment.distal])
    return anatomical_frame(*bone.bone_from_source.apply(points))


def _pieces(body: str, bone: Bone, segment: Segment) -> Iterator[Piece]:
    place = bone.volume.bone_from_voxel
    if segment.material == "ct":
        soft, hard = tissue_shares(bone.volume.mu)
        yield Piece("soft_tissue", Volume(soft + np.minimum(hard, 1), place), body)
        yield Piece("cortical_bone", Volume(hard, place), body)
    else:
        yield Piece(segment.material, Volume(bone.volume.mu / bone.volume.mu.max(), place), body)
    for material in dict.fromkeys(rod.material for rod in segment.around):
        rods = [rod for rod in segment.around if rod.material == material]
        yield Piece(material, _painted(rods, bone.bone_from_source), body)


def _painted(rods: list[Capsule], bone_from_source: Pose) -> Volume:
    solids = [_solid(rod) for rod in rods]
    low = np.min([solid.lower for solid in solids], axis=0) - 2 * _ROD_SPACING_MM
    high = np.max([solid.upper for solid in solids], axis=0) + 2 * _ROD_SPACING_MM
    nx, ny, nz = (int(n) for n in np.ceil((high - low) / _ROD_SPACING_MM) + 1)
    x, y, z = (float(v) for v in low)
    grid = Grid((x, y, z), _ROD_SPACING_MM, (nz, ny, nx))
    total = np.zeros(grid.shape, dtype=np.float32)
    for solid in solids:
        window, share = grid.share(solid)
        np.maximum(total[window], share, out=total[window])
    place = np.diag([_ROD_SPACING_MM] * 3 + [1.0])
    place[:3, 3] = low
    return Volume(total, bone_from_source.matrix @ place)


def _solid(rod: Capsule) -> Solid:
    whole = capsule(rod.from_mm, rod.to_mm, rod.radius_mm, rod.end_radius_mm)
    return whole - capsule(rod.from_mm, rod.to_mm, rod.inner_radius_mm) if rod.inner_radius_mm > 0 else whole
