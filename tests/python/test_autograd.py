"""Rendering in torch: gradients of poses and volumes, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from drr_scenes import POSES, affine, blobs, noise, oblique_view
from fluoropose import _core
from fluoropose.autograd import normal_equations, render, render_volume
from fluoropose.drr import Method, Renderer
from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.volume import Volume

PLACE = affine((1.1, 0.8, 1.6), (19, 17, 23), (0.3, -0.2, 0.5))
SMOOTH = Volume(blobs((41, 45, 49)), affine((1.0, 1.2, 0.9), (41, 45, 49)))


def matrix(parameters: Tensor, pose: Pose) -> Tensor:
    """Turn and shift a pose by (omega, v), as any user of torch might."""
    x, y, z = parameters[:3]
    o = torch.zeros((), dtype=parameters.dtype)
    skew = torch.stack([torch.stack([o, -z, y]), torch.stack([z, o, -x]), torch.stack([-y, x, o])])
    start = torch.from_numpy(pose.matrix)
    rotation = torch.linalg.matrix_exp(skew) @ start[:3, :3]
    top = torch.cat([rotation, (start[:3, 3] + parameters[3:])[:, None]], 1)
    return torch.cat([top, torch.tensor([[0.0, 0.0, 0.0, 1.0]], dtype=parameters.dtype)])


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
def test_pose_gradients_flow_through_torch(method: Method) -> None:
    renderer, view, pose = Renderer(SMOOTH, method), oblique_view(), POSES[4]
    weight = torch.rand((31, 41), generator=torch.Generator().manual_seed(0))
    # Away from zero the exponential map is not its own derivative: that is torch's part.
    at = torch.tensor([0.3, -0.2, 0.4, 1.0, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    (render(renderer, view, matrix(at, pose)) * weight).sum().backward()
    step = 1e-5
    for i in range(6):
        ends = []
        for sign in (1, -1):
            moved = at.detach().clone()
            moved[i] += sign * step
            # The core's own directional derivative at both ends, averaged, stands in for the difference in float32.
            placed = Pose.from_matrix(matrix(moved, pose).numpy())
            ends.append(placed)
        turn = ends[0].rotation @ ends[1].rotation.T
        omega = np.array([turn[2, 1] - turn[1, 2], turn[0, 2] - turn[2, 0], turn[1, 0] - turn[0, 1]]) / (4 * step)
        v = (ends[0].translation_mm - ends[1].translation_mm) / (2 * step)
        here = Pose.from_matrix(matrix(at.detach(), pose).numpy())
        expected = renderer.pose_gradient(view, here, weight.numpy()) @ np.concatenate([omega, v])
        assert at.grad is not None
        assert float(at.grad[i]) == pytest.approx(expected, rel=1e-6, abs=1e-8)


def test_a_pose_is_found_by_gradient_descent() -> None:
    renderer, view, truth = Renderer(SMOOTH, "shear_warp"), oblique_view(), POSES[0]
    target = render(renderer, view, torch.from_numpy(truth.matrix))
    x = torch.tensor([0.02, -0.02, 0.03, 0.5, -0.5, 0.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([x], max_iter=60, line_search_fn="strong_wolfe", tolerance_grad=1e-9)

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = ((render(renderer, view, matrix(x, truth)) - target) ** 2).sum()
        value.backward()
        return value

    first = float(loss().detach())
    optimiser.step(loss)
    assert float(loss().detach()) < 1e-4 * first
    # Measured 6e-5 radians and 4e-3 mm.
    assert x.detach().abs()[:3].max() < 1e-3
    assert x.detach().abs()[3:5].max() < 0.05


@pytest.mark.parametrize("beam", ["point", "parallel"])
@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
@pytest.mark.parametrize("pose", POSES)
def test_the_volume_s_gradient_is_the_exact_transpose(method: Method, beam: str, pose: Pose) -> None:
    view = oblique_view(beam)
    volume = Volume(0.01 + noise(), PLACE)
    renderer = Renderer(volume, method, whole=True)
    y = np.random.default_rng(1).uniform(0, 1, (31, 41)).astype(np.float32)
    image = renderer.render(view, pose).astype(np.float64)
    back = renderer.volume_gradient(view, pose, y).astype(np.float64)
    # <A x, y> = <x, A^T y>; measured within 5e-7: float32 sums.
    assert (image * y).sum() == pytest.approx((volume.mu * back).sum(), rel=3e-6)
    assert (back[0] != 0).any()


def test_many_poses_and_the_volume_at_once() -> None:
    mu = torch.from_numpy(noise()).requires_grad_()
    matrices = torch.from_numpy(np.stack([pose.matrix for pose in POSES[:3]])).requires_grad_()
    images = render_volume(mu, PLACE, oblique_view(), matrices)
    assert images.shape == (3, 31, 41)
    plain = Renderer(Volume(noise(), PLACE)).render_many([oblique_view()] * 3, POSES[:3])
    np.testing.assert_allclose(images.detach().numpy(), plain, atol=2e-6)
    images.sum().backward()
    whole = Renderer(Volume(noise(), PLACE), whole=True)
    ones = np.ones((31, 41), np.float32)
    expected = sum(whole.volume_gradient(oblique_view(), pose, ones) for pose in POSES[:3])
    assert mu.grad is not None
    assert matrices.grad is not None
    np.testing.assert_allclose(mu.grad.numpy(), expected, rtol=1e-6)
    assert (matrices.grad[:, 3] == 0).all()
    assert matrices.grad[:, :3].abs().max() > 0
    with torch.no_grad():
        assert not render_volume(mu, PLACE, oblique_view(), matrices).requires_grad


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp", "trilinear"])
def test_normal_equations_are_those_of_the_stored_jacobian(method: Method) -> None:
    renderer, view = Renderer(SMOOTH, method), oblique_view()
    random = torch.Generator().manual_seed(0)
    targets, weights = torch.rand(2, 31, 41, generator=random), torch.rand(2, 31, 41, generator=random)
    poses = torch.from_numpy(np.stack([pose.matrix for pose in POSES[:2]]))
    for w in (None, weights):
        cost, jtj, jtr = normal_equations(renderer, view, poses, targets, w)
        for i, pose in enumerate(POSES[:2]):
            image, jacobian = renderer.render_with_jacobian(view, pose)
            j, r = jacobian.reshape(6, -1).astype(np.float64), (image - targets[i].numpy()).ravel().astype(np.float64)
            by = np.ones_like(r) if w is None else w[i].numpy().ravel().astype(np.float64)
            # Residuals are single precision numbers: measured 2e-15, 2e-9 and 7e-9.
            np.testing.assert_allclose(jtj[i], (j * by) @ j.T, atol=1e-6 * np.abs((j * by) @ j.T).max())
            size = np.abs(j * by) @ np.abs(r)
            assert (np.abs(jtr[i].numpy() - j @ (by * r)) <= 1e-6 * size).all()
            assert float(cost[i]) == pytest.approx(0.5 * (by * r) @ r, rel=1e-6)


def test_bad_tensors_are_named() -> None:
    renderer, view = Renderer(SMOOTH), oblique_view()
    pose = torch.from_numpy(POSES[0].matrix)
    with pytest.raises(InputError, match=r"world_from_bone: expected shape \(4, 4\) or \(n, 4, 4\), found \(3, 4\)"):
        render(renderer, view, pose[:3])
    with pytest.raises(InputError, match="rotation"):
        render(renderer, view, pose @ torch.diag(torch.tensor([1.1, 1.0, 1.0, 1.0], dtype=torch.float64)))
    with pytest.raises(InputError, match="rotation"):
        render(renderer, view, pose * torch.nan)
    with pytest.raises(InputError, match="one size"):
        render(renderer, [view, oblique_view(size=(3, 3))], torch.stack([pose, pose]))
    with pytest.raises(InputError, match=r"targets: expected \(1, 31, 41\) float32 on cpu, found \(31, 41\)"):
        normal_equations(renderer, view, pose, torch.zeros(31, 41))
    with pytest.raises(InputError, match="weights: expected"):
        normal_equations(renderer, view, pose, torch.zeros(1, 31, 41), torch.zeros(1, 31, 41, dtype=torch.float64))
    with pytest.raises(InputError, match="one pose per view"):
        render(renderer, [view, view], pose)
    with pytest.raises(InputError, match="world_from_bone: expected at least one pose"):
        render(renderer, view, pose[None][:0])
    with pytest.raises(InputError, match="mu: expected a float32"):
        render_volume(torch.zeros(3, 3, 3, dtype=torch.float64), np.eye(4), view, pose)
    with pytest.raises(InputError, match=r"mu: expected shape \(nz, ny, nx\)"):
        render_volume(torch.zeros(3, 3), np.eye(4), view, pose)
    with pytest.raises(ValueError, match="mu: expected a tensor on a CUDA device, found one on the CPU"):
        _core.Renderer.of_tensor(torch.zeros(3, 3, 3), np.eye(4), "ray_cast", torch.empty, 0)
    with pytest.raises(InputError, match="whole"):
        renderer.volume_gradient(view, POSES[0], np.ones((31, 41), np.float32))


def test_torch_s_defaults_do_not_matter() -> None:
    mu, pose = torch.from_numpy(noise()).requires_grad_(), torch.from_numpy(POSES[0].matrix)
    expected = render_volume(mu, PLACE, oblique_view(), pose)
    torch.set_default_dtype(torch.float64)
    try:
        image = render_volume(mu, PLACE, oblique_view(), pose)
        (gradient,) = torch.autograd.grad(image.sum(), mu)
    finally:
        torch.set_default_dtype(torch.float32)
    assert gradient.dtype == torch.float32
    torch.testing.assert_close(image, expected)


def test_a_volume_may_have_any_strides() -> None:
    mu, pose = torch.from_numpy(noise()), torch.from_numpy(POSES[4].matrix)
    turned = mu.permute(2, 0, 1).contiguous().permute(1, 2, 0).requires_grad_()
    assert not turned.is_contiguous()
    image = render_volume(turned, PLACE, oblique_view(), pose)
    torch.testing.assert_close(image, render_volume(mu, PLACE, oblique_view(), pose))
    image.sum().backward()
    assert turned.grad is not None
    assert float((turned.detach() * turned.grad).sum()) == pytest.approx(float(image.detach().sum()), rel=3e-6)


@pytest.mark.parametrize(
    ("images", "says"),
    [
        (torch.zeros(1, 31, 40), r"images: expected shape \(1, 31, 41\), found \(1, 31, 40\)"),
        (torch.zeros(1, 31, 41, dtype=torch.float64), "images: expected float32"),
        (torch.zeros(1, 41, 31).mT, "images: expected contiguous memory, found strides"),
        (np.zeros((1, 31, 41), np.int32), "images: expected float32"),
        ([0.0], "images: expected a DLPack tensor, found list"),
    ],
)
def test_the_core_refuses_memory_of_another_kind(images: object, says: str) -> None:
    pose = torch.from_numpy(POSES[0].matrix)[None]
    with pytest.raises(ValueError, match=says):
        Renderer(SMOOTH).core.render_into([oblique_view().core()], pose, images, 0)
