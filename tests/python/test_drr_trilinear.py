"""Trilinear sampling along the ray, its derivative, and how it compares with Joseph's method."""

from __future__ import annotations

import numpy as np
import pytest

from drr_reference import Floats, line_integrals
from drr_scenes import POSES, affine, blobs, noise, oblique_view, pixels
from fluoropose.drr import BoneRenderer, Renderer
from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume
from test_drr_bone import ball
from test_pose_jacobian import SMOOTH, moved, relative

NOISE = Volume(noise(), affine((1.1, 0.8, 1.6), (19, 17, 23), (0.3, -0.2, 0.5)))
MIRRORED = Volume(blobs((53, 57, 61), 4.5), affine((1.0, -1.2, 0.9), (53, 57, 61), (0.1, 0.9, 0.2)))


def rms(found: np.ndarray, expected: Floats) -> float:
    return float(np.sqrt(np.mean((found.ravel() - expected) ** 2)) / np.ptp(expected))


@pytest.mark.parametrize("beam", ["point", "parallel"])
@pytest.mark.parametrize("pose", POSES)
def test_it_comes_close_to_the_exact_integrals(pose: Pose, beam: str) -> None:
    view = oblique_view(beam)
    exact = line_integrals(NOISE, view, pose, pixels(view))
    trilinear, joseph = (rms(Renderer(NOISE, method).render(view, pose), exact) for method in ("trilinear", "ray_cast"))
    # White noise is the worst there is: measured 0.02 to 0.2 %, Joseph's method 0.1 to 1.1 %.
    assert trilinear < 0.004
    assert trilinear < 2.5 * joseph


@pytest.mark.parametrize("volume", [SMOOTH, MIRRORED], ids=["smooth", "mirrored"])
@pytest.mark.parametrize("beam", ["point", "parallel"])
@pytest.mark.parametrize("pose", POSES)
def test_its_derivative_is_that_of_the_exact_integrals(pose: Pose, beam: str, volume: Volume) -> None:
    view = oblique_view(beam, (21, 15), 2.4)
    at = pixels(view)
    steps = [1e-4] * 3 + [1e-3] * 3
    pairs = [[line_integrals(volume, view, moved(pose, i, s * h), at) for s in (1, -1)] for i, h in enumerate(steps)]
    expected = np.array([(ahead - back) / (2 * h) for (ahead, back), h in zip(pairs, steps, strict=True)])
    image, jacobian = Renderer(volume, "trilinear").render_with_jacobian(view, pose)
    np.testing.assert_array_equal(image, Renderer(volume, "trilinear").render(view, pose))
    # The slope of the interpolated volume has steps at the voxels' faces: measured 0.9 to 8 %.
    assert relative(jacobian.reshape(6, -1), expected) < 0.12


def test_a_bone_s_images_are_nearly_josephs() -> None:
    view: View = oblique_view("point", (61, 53), 1.1)
    found, joseph = (BoneRenderer(ball(), method).render(view, POSES[1]) for method in ("trilinear", "ray_cast"))  # type: ignore[arg-type]
    assert found.mask.mean() > 0.05
    # Measured 1.3 %, along the rim: samples half a voxel apart meet a few voxels more.
    assert (found.mask != joseph.mask).mean() < 0.03
    assert rms(found.bone_line_integral, joseph.bone_line_integral.ravel()) < 0.03


def test_it_has_no_transpose() -> None:
    with pytest.raises(ValueError, match="trilinear"):
        Renderer(NOISE, "trilinear", whole=True).volume_gradient(
            oblique_view(), POSES[0], np.ones((31, 41), np.float32)
        )
    with pytest.raises(InputError, match='"trilinear"'):
        Renderer(NOISE, "siddon")  # type: ignore[arg-type]
