"""Renderers that keep rounded voxels, and that make many images in one call."""

from __future__ import annotations

import numpy as np
import pytest

from drr_scenes import POSES, affine, blobs, noise, oblique_view
from fluoropose.drr import Method, Renderer
from fluoropose.errors import InputError
from fluoropose.volume import Volume

VOLUME = Volume(noise((29, 27, 33)), affine((1.1, 0.8, 1.6), (29, 27, 33), (0.3, -0.2, 0.5)))


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
@pytest.mark.parametrize("pose", POSES)
def test_rounded_voxels_change_next_to_nothing(method: Method, pose: object) -> None:
    view = oblique_view()
    full, half = (Renderer(VOLUME, method, storage=storage) for storage in ("float32", "int16"))
    image, jacobian = full.render_with_jacobian(view, pose)
    rounded, rounded_jacobian = half.render_with_jacobian(view, pose)
    # Steps of 1/32767 of the largest voxel, over some thirty of them; measured 2e-5 and 5e-5 of the range.
    assert np.abs(rounded - image).max() < 6e-5 * np.ptp(image)
    assert np.abs(rounded_jacobian - jacobian).max() < 3e-4 * np.ptp(jacobian)
    np.testing.assert_array_equal(rounded, half.render(view, pose))


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
def test_many_images_are_the_single_ones(method: Method) -> None:
    renderer = Renderer(Volume(blobs((41, 45, 49)), affine((1.0, 1.2, 0.9), (41, 45, 49))), method)
    views = [oblique_view(beam) for beam in ("point", "parallel", "point")]
    many = renderer.render_many(views, POSES[:3])
    assert many.shape == (3, 31, 41)
    for image, view, pose in zip(many, views, POSES, strict=False):
        np.testing.assert_array_equal(image, renderer.render(view, pose))
    assert renderer.render_many([], []).shape[0] == 0


def test_bad_arguments_are_named() -> None:
    with pytest.raises(InputError, match='storage: expected "float32" or "int16"'):
        Renderer(VOLUME, storage="int8")  # type: ignore[arg-type]
    renderer = Renderer(VOLUME, storage="int16", whole=True)
    with pytest.raises(InputError, match="one pose per view, 1, found 2"):
        renderer.render_many([oblique_view()], POSES[:2])
    with pytest.raises(InputError, match="one size"):
        renderer.render_many([oblique_view(), oblique_view(size=(8, 8))], POSES[:2])
    with pytest.raises(InputError, match="float32"):
        renderer.volume_gradient(oblique_view(), POSES[0], np.ones((31, 41), np.float32))
