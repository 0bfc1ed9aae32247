"""The moving images of a refinement: how wide the shadow of metal is in voxels that it fills in part."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from drr_scenes import affine
from fluoropose.geometry import Pose, View
from fluoropose.refinement import MovingBone
from fluoropose.volume import Volume

_RADIUS_MM = 20.0
_PIXEL_MM = 0.1
_HALF = 0.7  # line integral that lets half of the beam through


def ball(spacing_mm: float, mu_per_mm: float) -> Volume:
    """A ball about the origin; of the voxels at its surface the share that it fills."""
    n, parts = int(2 * _RADIUS_MM / spacing_mm) + 6, 4
    fine = (np.arange(n * parts) - (n * parts - 1) / 2) * spacing_mm / parts
    inside = (fine[:, None, None] ** 2 + fine[:, None] ** 2 + fine**2) < _RADIUS_MM**2
    share = inside.reshape(n, parts, n, parts, n, parts).mean(axis=(1, 3, 5), dtype=np.float32)
    return Volume(share * np.float32(mu_per_mm), affine((spacing_mm,) * 3, share.shape))


def shadow(bone: MovingBone, level: int) -> NDArray[np.float32]:
    """Return the line integrals (h, w) of parallel rays at one of the resolutions."""
    side = int(2.2 * _RADIUS_MM / _PIXEL_MM)
    u, v = np.array([_PIXEL_MM, 0, 0]), np.array([0, _PIXEL_MM, 0])
    view = View(side, side, np.array([0, 0, 100.0]) - (side - 1) / 2 * (u + v), u, v, np.array([0, 0, 1.0]), "parallel")
    return bone.renderers[level].render(view, Pose.from_euler_zyx_deg([17.0, -31.0, 23.0], [0.0, 0.0, 0.0]))


def test_metal_casts_a_shadow_of_its_own_width() -> None:
    """Measured, in voxels of 0.5 and 1 mm: 0.17 and 0.26 of one; 0.35 and 0.47 with attenuation by the share filled."""
    bone = MovingBone(ball(0.5, 0.6))
    assert bone.opaque
    for level, spacing in enumerate(bone.spacings_mm[:2]):
        radius = np.sqrt((shadow(bone, level) > _HALF).sum() / np.pi) * _PIXEL_MM
        assert abs(radius - _RADIUS_MM) < 0.3 * spacing


def test_bone_attenuates_by_the_share_of_the_voxel_that_it_fills() -> None:
    """Measured: 2e-4 off."""
    volume = ball(1.0, 0.1)
    bone = MovingBone(volume)
    assert not bone.opaque
    for level in range(2):
        total = float(shadow(bone, level).sum(dtype=np.float64)) * _PIXEL_MM**2
        assert total == pytest.approx(float(volume.mu.sum(dtype=np.float64)), rel=1e-3)
