"""The derivative of a DRR with respect to the pose: against differences of the same sums in float64, and its uses."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from drr_reference import Floats, joseph_sums, line_integrals
from drr_scenes import POSES, affine, blobs, noise, oblique_view, pixels
from fluoropose.drr import Method, Renderer
from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume

SKEW = Volume(noise(), affine((1.1, 0.8, 1.6), (19, 17, 23), (0.3, -0.2, 0.5)))
MIRRORED = Volume(noise(seed=3), affine((1.1, -0.8, 1.6), (19, 17, 23), (0.1, 0.9, 0.2)))
SMOOTH = Volume(blobs((53, 57, 61), 4.5), affine((1.0, 1.2, 0.9), (53, 57, 61)))


def moved(pose: Pose, i: int, by: float) -> Pose:
    """Turn about the bone's origin or shift, along world axis i mod 3."""
    step = np.zeros(6)
    step[i] = by
    turn = Pose.exp(step[:3], np.zeros(3)).rotation
    return Pose(turn @ pose.rotation, pose.translation_mm + step[3:])


def differences(volume: Volume, view: View, pose: Pose, at: Floats, step: float) -> Floats:
    """Return (6, n) central differences of Joseph's sums in float64."""
    ahead = [joseph_sums(volume, view, moved(pose, i, step), at) for i in range(6)]
    back = [joseph_sums(volume, view, moved(pose, i, -step), at) for i in range(6)]
    return (np.array(ahead) - np.array(back)) / (2 * step)


def relative(found: NDArray[np.floating], expected: Floats) -> float:
    """Return the RMS difference of (6, n) as a share of the expected RMS, the worst of the six."""
    return float((np.sqrt(((found - expected) ** 2).mean(axis=1) / (expected**2).mean(axis=1))).max())


@pytest.mark.parametrize("beam", ["point", "parallel"])
@pytest.mark.parametrize("volume", [SKEW, MIRRORED], ids=["skew", "mirrored"])
@pytest.mark.parametrize("pose", POSES)
def test_ray_casting_s_derivative_is_that_of_its_own_sums(volume: Volume, pose: Pose, beam: str) -> None:
    view = oblique_view(beam, (13, 11), 2.6)
    image, jacobian = Renderer(volume, "ray_cast").render_with_jacobian(view, pose)
    np.testing.assert_array_equal(image, Renderer(volume, "ray_cast").render(view, pose))
    # So short a step meets a voxel's face, where the derivative jumps, in hardly any ray: those are left out.
    at = pixels(view)
    expected, longer = (differences(volume, view, pose, at, step) for step in (1e-6, 2e-6))
    smooth = (np.abs(expected - longer) < 1e-5 * np.abs(expected).max()).all(axis=0)
    assert smooth.mean() > 0.9
    # Measured at most 4e-6: float32 sums.
    assert relative(jacobian.reshape(6, -1)[:, smooth], expected[:, smooth]) < 2e-5


@pytest.mark.parametrize("beam", ["point", "parallel"])
@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
@pytest.mark.parametrize("pose", POSES[:4])
def test_both_methods_come_near_the_derivative_of_the_exact_integrals(pose: Pose, method: Method, beam: str) -> None:
    view = oblique_view(beam, (41, 31), 1.6)
    at = pixels(view)[::17]
    steps = [0.02, 0.02, 0.02, 0.5, 0.5, 0.5]
    pairs = [[line_integrals(SMOOTH, view, moved(pose, i, s * h), at) for s in (1, -1)] for i, h in enumerate(steps)]
    expected = np.array([(ahead - back) / (2 * h) for (ahead, back), h in zip(pairs, steps, strict=True)])
    _, jacobian = Renderer(SMOOTH, method).render_with_jacobian(view, pose)
    found = jacobian.reshape(6, -1)[:, ::17]
    # Between voxels both interpolate linearly, whose slope has steps. Measured at most 2.2 % (ray_cast) and 0.8 %
    # (shear_warp) for shifts; for turns about axes that hardly change the image up to 14 %, else 1 to 3 %.
    assert relative(found[3:], expected[3:]) < 0.035
    assert relative(found[:3], expected[:3]) < 0.2
    scale = 1 / np.abs(expected[:3]).max()
    assert np.sqrt(((found[:3] - expected[:3]) ** 2).mean()) * scale < 0.02


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
def test_contracted_and_summed_derivatives_are_those_of_the_images(method: Method) -> None:
    view, pose = oblique_view(), POSES[4]
    renderer = Renderer(SMOOTH, method)
    image, jacobian = renderer.render_with_jacobian(view, pose)
    j = jacobian.reshape(6, -1).astype(np.float64)
    rng = np.random.default_rng(0)
    target, weights = (rng.uniform(0, 1, image.shape).astype(np.float32) for _ in range(2))
    np.testing.assert_allclose(renderer.pose_gradient(view, pose, target), j @ target.ravel(), rtol=1e-9)
    for w in (None, weights):
        found = renderer.normal_equations(view, pose, target, w)
        r = (image.astype(np.float64) - target).ravel()
        wr, wj = (r, j) if w is None else (w.ravel() * r, j * w.ravel())
        assert found.cost == pytest.approx(0.5 * r @ wr, rel=1e-9)
        np.testing.assert_allclose(found.jtj, wj @ j.T, rtol=1e-9, atol=1e-9 * np.abs(found.jtj).max())
        np.testing.assert_allclose(found.jtr, j @ wr, rtol=1e-9, atol=1e-9 * np.abs(found.jtr).max())


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
def test_gauss_newton_finds_a_pose_again(method: Method) -> None:
    view, truth = oblique_view(), POSES[0]
    renderer = Renderer(SMOOTH, method)
    target = renderer.render(view, truth)
    pose = moved(moved(truth, 1, np.radians(3)), 3, 1.0)
    for _ in range(8):
        step = renderer.normal_equations(view, pose, target)
        delta = -np.linalg.solve(step.jtj, step.jtr)
        turn = Pose.exp(delta[:3], np.zeros(3)).rotation
        pose = Pose(turn @ pose.rotation, pose.translation_mm + delta[3:])
    error = pose.inverse() * truth
    # Measured 3e-4 degrees and 5e-5 mm, along the beam 4e-3 mm, from one view.
    assert np.degrees(np.arccos((np.trace(error.rotation) - 1) / 2)) < 0.01
    assert np.linalg.norm(pose.translation_mm - truth.translation_mm) < 0.05


def test_bad_images_are_named() -> None:
    view, renderer = oblique_view(), Renderer(SMOOTH)
    image = renderer.render(view, POSES[0])
    with pytest.raises(InputError, match=r"image_gradient: expected shape \(31, 41\)"):
        renderer.pose_gradient(view, POSES[0], image.T)
    with pytest.raises(InputError, match="target: expected finite"):
        renderer.normal_equations(view, POSES[0], np.full_like(image, np.nan))
    with pytest.raises(InputError, match="weights: expected shape"):
        renderer.normal_equations(view, POSES[0], image, image[1:])
