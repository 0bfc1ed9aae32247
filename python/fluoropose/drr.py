"""Digitally reconstructed radiographs (DRRs): line integrals of a volume as an X-ray view sees them.

A point beam's rays start at the source, pass through the pixel's centre and go on (the image plane of an imported view
may stand anywhere along them); a parallel beam's rays are whole lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from fluoropose import _core
from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume, checked_mask

if TYPE_CHECKING:
    from fluoropose.bone import Bone

__all__ = ["BoneRenderer", "Drr", "Method", "Renderer"]

Method = Literal["shear_warp", "ray_cast"]


def _require_known(method: Method) -> None:
    if method not in ("ray_cast", "shear_warp"):
        raise InputError(f'method: expected "ray_cast" or "shear_warp", found {method!r}')


class Renderer:
    """Renders one volume; keep it, and call ``render`` for every pose.

    Parameters
    ----------
    volume
        What attenuates.
    method
        "ray_cast": Joseph's method (IEEE TMI 1982), one bilinear sample per slice.
    """

    def __init__(self, volume: Volume, method: Method = "ray_cast") -> None:
        _require_known(method)
        self._core = _core.Renderer(volume.mu, volume.bone_from_voxel, None, method)

    def render(self, view: View, world_from_bone: Pose) -> NDArray[np.float32]:
        """Return the (height, width) line integrals, dimensionless, of the view's ideal image."""
        return self._core.line_integral(view.core(), world_from_bone.matrix)


@dataclass(frozen=True, eq=False)
class Drr:
    """What one view sees of a bone.

    Attributes
    ----------
    line_integral
        (h, w) of the whole volume, dimensionless.
    bone_line_integral
        (h, w) of the bone alone, everything else being air.
    mask
        (h, w) True where a ray crosses a voxel of the bone.
    landmarks_px
        (n, 2) ideal pixels, NaN for landmarks that are not in front of the source.
    """

    line_integral: NDArray[np.float32]
    bone_line_integral: NDArray[np.float32]
    mask: NDArray[np.bool_]
    landmarks_px: NDArray[np.float64]


class BoneRenderer:
    """Renders a bone with what surrounds it, the bone alone, its mask and its landmarks in one pass.

    Parameters
    ----------
    bone
        Volume, mask and landmarks are used.
    method
        As for `Renderer`.
    """

    def __init__(self, bone: Bone, method: Method = "ray_cast") -> None:
        _require_known(method)
        volume = bone.volume
        self._core = _core.Renderer(volume.mu, volume.bone_from_voxel, checked_mask(bone.mask, volume.shape), method)
        self._landmarks_mm = np.array(bone.landmarks_mm, dtype=np.float64)

    def render(self, view: View, world_from_bone: Pose) -> Drr:
        """Return the ideal image of ``view`` with the bone at ``world_from_bone``."""
        line, bone, mask = self._core.with_bone(view.core(), world_from_bone.matrix)
        return Drr(line, bone, mask, view.project(world_from_bone.apply(self._landmarks_mm)))
