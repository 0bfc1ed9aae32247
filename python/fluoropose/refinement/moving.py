"""The moving images of a refinement: radiographs of the bone alone, from volumes as coarse as their pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from fluoropose.bone import Bone
from fluoropose.drr import Device, Renderer
from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume

__all__ = ["MovingBone", "bone_alone"]

_LEVELS = 4


class MovingBone:
    """Renders a bone at several resolutions.

    Parameters
    ----------
    volume
        What attenuates, air around it.
    device
        As for `Renderer`.
    """

    def __init__(self, volume: Volume, device: Device = "cpu") -> None:
        volumes = [volume]
        while len(volumes) < _LEVELS and min(volumes[-1].shape) >= 16:
            volumes.append(_halved(volumes[-1]))
        self._spacing_mm = [float(level.spacing_mm.max()) for level in volumes]
        self._renderers = [Renderer(level, "shear_warp", device) for level in volumes]

    def renderer(self, view: View, world_from_bone: Pose) -> Renderer:
        """Return the one whose voxels are about as large as the pixels of ``view`` at the bone's place."""
        pixel = max(view.pixel_pitch_mm)
        if view.beam == "point":
            depth = abs(float((world_from_bone.translation_mm - view.source) @ view.normal))
            pixel *= depth / view.sdd_mm
        fitting = [k for k, spacing in enumerate(self._spacing_mm) if spacing <= 1.1 * pixel]
        return self._renderers[fitting[-1] if fitting else 0]


def bone_alone(bone: Bone) -> Volume:
    """Return the attenuation of the bone without its surroundings, cut to its box.

    Of a bone made from a surface, which has nothing around it, the partly filled voxels at the edge stay.
    """
    filled = bone.volume.mu > 0
    mask = filled if not (filled & ~binary_dilation(bone.mask, iterations=2)).any() else bone.mask
    spans = []
    for axis in range(3):
        hit = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
        spans.append(slice(max(int(hit[0]) - 1, 0), int(hit[-1]) + 2))
    first = np.array([[spans[2].start, spans[1].start, spans[0].start]])
    placed = bone.volume.bone_from_voxel.copy()
    placed[:3, 3] = bone.volume.voxel_to_bone(first)[0]
    box = (spans[0], spans[1], spans[2])
    return Volume(np.where(mask[box], bone.volume.mu[box], np.float32(0)), placed)


def _halved(volume: Volume) -> Volume:
    """Return voxels twice as large, each the mean of eight."""
    mu = np.pad(volume.mu, [(0, n % 2) for n in volume.shape])
    nz, ny, nx = (n // 2 for n in mu.shape)
    mean: NDArray[np.float32] = mu.reshape(nz, 2, ny, 2, nx, 2).mean(axis=(1, 3, 5))
    placed = volume.bone_from_voxel.copy()
    placed[:3, 3] = volume.voxel_to_bone(np.full((1, 3), 0.5))[0]
    placed[:3, :3] *= 2
    return Volume(mean, placed)
