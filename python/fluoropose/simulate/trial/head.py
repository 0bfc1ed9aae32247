"""A head on a neck, from one CT that is divided at the skull's base."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, label

from fluoropose.bone import Bone
from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.io.ct import MU_WATER_PER_MM
from fluoropose.joint import JointMotion, joint_motion
from fluoropose.simulate.tissue import tissue_shares
from fluoropose.simulate.trial.bend import Bend
from fluoropose.simulate.trial.config import Head, Neck, Place, TrialConfig
from fluoropose.simulate.trial.scene import Poses
from fluoropose.simulate.trial.subject import Piece, about
from fluoropose.volume import Volume

__all__ = ["HeadScene"]

_SEAM_MM = 8.0  # over which rigid and bending tissue blend; there they move alike
# Columns: the anatomical axes (x right, y forward, z up) in the patient's (x left, y back, z up).
_ANATOMICAL = np.diag([-1.0, -1.0, 1.0])


class HeadScene:
    """A head; its bodies are "head" and, where the CT is divided, "neck", both in the skull's bone frame.

    Raises
    ------
    FileFormatError, InputError
        If a bone cannot be read, the plane does not divide the volume, or a bone of the neck is of another CT.
    """

    def __init__(self, config: Head, place: Place) -> None:
        skull = Bone.load(config.bone)
        self._neck, self._place = config.neck, place.world_from_subject
        self.bones = {config.bone.stem: skull}
        for path in () if config.neck is None else config.neck.bones:
            if path.stem in self.bones:
                raise InputError(f"bones: expected bone files with different names, found {path.stem!r} twice")
            self.bones[path.stem] = _of_same_ct(skull, Bone.load(path), path.stem)
        self.pieces = _pieces(skull, config.neck)

    def bodies(self, trial: TrialConfig, time_s: float) -> Poses:
        """Return world_from_body of "head" and "neck" (without one, the head's turn is about the bone's origin)."""
        motion = trial.walking or trial.neck
        turn = np.zeros(3) if motion is None else motion.turn(time_s)
        shift = np.zeros(3) if motion is None else motion.shift(time_s)
        trunk = Pose(np.eye(3), np.asarray(trial.shift_mm)) * self._place * Pose(np.eye(3), shift)
        if self._neck is None:
            return {"head": trunk * about((0, 0, 0), turn)}
        neck = trunk * about(self._neck.root_mm, self._neck.share * turn)
        return {"head": neck * about(self._neck.joint_mm, (1 - self._neck.share) * turn), "neck": neck}

    def truth(self, bodies: Poses) -> dict[str, Pose]:
        """Return world_from_bone: the skull's first, then those of the neck's bones."""
        (first, skull), *others = self.bones.items()
        return {first: bodies["head"]} | {
            name: bodies["neck"] * skull.bone_from_source * bone.bone_from_source.inverse() for name, bone in others
        }

    def joint(self, bodies: Poses) -> JointMotion | None:
        """Return the neck's motion against the skull, zero where nothing has moved.

        As Grood and Suntay's flexion takes the lower body backwards, flexion of the head is negative.
        """
        if self._neck is None:
            return None
        frame = Pose(_ANATOMICAL, np.asarray(self._neck.joint_mm))
        return joint_motion(bodies["head"] * frame, bodies["neck"] * frame, "right")


def _of_same_ct(skull: Bone, bone: Bone, name: str) -> Bone:
    inside = skull.volume.bone_to_voxel(
        (skull.bone_from_source * bone.bone_from_source.inverse()).apply(bone.landmarks_mm)
    )
    if (inside < -0.5).any() or (inside > np.array(skull.volume.shape[::-1]) - 0.5).any():
        raise InputError(f"bones: {name}: expected a bone of the skull's CT, found one that lies outside its volume")
    return bone


def _pieces(skull: Bone, neck: Neck | None) -> tuple[Piece, ...]:
    if neck is None:
        soft, hard = tissue_shares(skull.volume.mu)
        flesh = Piece("soft_tissue", Volume(soft + np.minimum(hard, 1), skull.volume.bone_from_voxel), "head")
        return flesh, Piece("cortical_bone", Volume(hard, skull.volume.bone_from_voxel), "head")
    whole = skull.volume.extended(neck.towards, neck.extend_mm)
    place = whole.bone_from_voxel
    soft, hard = tissue_shares(whole.mu)
    filled = soft + np.minimum(hard, 1)
    beyond = whole.beyond(neck.beyond_mm, neck.towards)
    of_neck = _neck_voxels(whole, whole.mask_of(skull.volume, skull.mask), beyond, neck.threshold_hu)
    # Near and far of where it bends soft tissue is rigid, and keeps its detail; the parts overlap where both agree.
    half = neck.transition_mm / 2
    near = np.clip(-(beyond + np.float32(half)) / np.float32(_SEAM_MM), 0, 1)
    far = np.clip((beyond - np.float32(half)) / np.float32(_SEAM_MM), 0, 1)
    bend = Bend(neck.beyond_mm, neck.towards, neck.transition_mm, neck.joint_mm)
    return (
        Piece("cortical_bone", Volume(np.where(of_neck, np.float32(0), hard), place).trimmed(), "head"),
        Piece("cortical_bone", Volume(np.where(of_neck, hard, np.float32(0)), place).trimmed(), "neck"),
        Piece("soft_tissue", Volume(filled * near, place).trimmed(), "head"),
        Piece("soft_tissue", Volume(filled * far, place).trimmed(), "neck"),
        Piece("soft_tissue", Volume(filled * (1 - near - far), place).trimmed(), "head", "neck", bend),
    )


def _neck_voxels(
    whole: Volume, skull: NDArray[np.bool_], beyond: NDArray[np.float32], threshold_hu: float
) -> NDArray[np.bool_]:
    """Return the voxels whose bone is the neck's: whole connected bones that lie mostly beyond the plane."""
    solid = (whole.mu > MU_WATER_PER_MM * (1 + threshold_hu / 1000)) & ~skull
    bones, count = label(solid)
    if count == 0:
        raise InputError("neck: expected bones beside the skull in its volume, found none")
    sizes = np.bincount(bones.ravel(), minlength=count + 1)
    far = np.bincount(bones.ravel(), weights=(beyond > 0).ravel(), minlength=count + 1)
    lower = far > 0.5 * sizes
    lower[0] = False
    if not lower.any():
        raise InputError("beyond_mm, towards: expected bones of the neck beyond the plane, found none")
    # Voxels that an edge only grazes go with the bone beside them.
    return np.asarray(~binary_dilation(skull) & (binary_dilation(lower[bones]) | (beyond > 0)))
