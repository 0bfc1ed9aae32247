"""What only a CUDA device can show: the same numbers as on the CPU, streams and graphs. Skipped without one.

The kernels themselves are run without a device as well, by tests/cpp/cuda_on_host.
"""

from __future__ import annotations

import gc

import numpy as np
import pytest
import torch
from torch import Tensor

from drr_scenes import POSES, affine, blobs, noise, oblique_view
from fluoropose.autograd import NormalTensors, normal_equations, render, render_volume
from fluoropose.drr import Method, Renderer, Storage
from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.volume import Volume

pytestmark = pytest.mark.needs_cuda

PLACE = affine((1.1, 0.8, 1.6), (29, 27, 33), (0.3, -0.2, 0.5))
VOLUME = Volume(noise((29, 27, 33)), PLACE)
SMOOTH = Volume(blobs((41, 45, 49)), affine((1.0, 1.2, 0.9), (41, 45, 49)))
METHODS = ["ray_cast", "shear_warp", "trilinear"]


def matrices(count: int = 5, device: str = "cpu") -> Tensor:
    return torch.from_numpy(np.stack([pose.matrix for pose in POSES[:count]])).to(device)


def held_bytes() -> int:
    """Without what only cycles keep alive, which would go at a moment of Python's choice."""
    gc.collect()
    return torch.cuda.memory_allocated()


def close(found: Tensor, expected: Tensor, share: float) -> None:
    np.testing.assert_allclose(found.cpu(), expected.cpu(), atol=share * float(expected.abs().max()))


@pytest.mark.parametrize("storage", ["float32", "int16"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("pose", POSES)
def test_image_and_derivative_are_the_cpu_s(method: Method, storage: Storage, pose: Pose) -> None:
    view = oblique_view()
    cpu, cuda = (Renderer(VOLUME, method, device, storage) for device in ("cpu", "cuda"))
    image, jacobian = cpu.render_with_jacobian(view, pose)
    found, derivative = cuda.render_with_jacobian(view, pose)
    np.testing.assert_allclose(found, image, atol=2e-5)
    # Where a sample lies on a voxel's face, rounding decides between the slopes of either side: of even steps along the
    # axes, 0.8 % do (measured on an H200), else fewer than one in a thousand.
    off = np.abs(derivative - jacobian) > 2e-4 * np.abs(jacobian).max()
    assert off.mean() < (2e-2 if method == "trilinear" else 2e-3)


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
def test_many_images_are_the_cpu_s(method: Method) -> None:
    view = oblique_view()
    many = [Renderer(VOLUME, method, device).render_many([view] * 40, (POSES * 6)[:40]) for device in ("cpu", "cuda")]
    np.testing.assert_allclose(many[1], many[0], atol=2e-5)


@pytest.mark.parametrize("place", ["cpu", "cuda"])
@pytest.mark.parametrize("method", METHODS)
def test_gradients_stay_on_the_device(method: Method, place: str) -> None:
    view = oblique_view()
    gradients = []
    for device, of_pose in (("cpu", "cpu"), ("cuda", place)):
        x = matrices(3, of_pose).requires_grad_()
        images = render(Renderer(SMOOTH, method, device), view, x)
        assert images.device.type == device
        (images**2).sum().backward()
        assert x.grad is not None
        assert x.grad.device == x.device
        gradients.append(x.grad)
    close(gradients[1], gradients[0], 1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_normal_equations_are_the_cpu_s(method: Method) -> None:
    view, at = oblique_view(), matrices(3)
    target = torch.rand(3, view.height, view.width, generator=torch.Generator().manual_seed(0))
    weights = torch.rand(3, view.height, view.width, generator=torch.Generator().manual_seed(1))
    expected = normal_equations(Renderer(SMOOTH, method), view, at, target, weights)
    found = normal_equations(Renderer(SMOOTH, method, "cuda"), view, at.cuda(), target.cuda(), weights.cuda())
    for one, other in zip(found, expected, strict=True):
        assert one.is_cuda
        close(one, other, 2e-4)


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
def test_the_volume_s_gradient_is_the_exact_transpose(method: Method) -> None:
    view, at = oblique_view(), matrices(5, "cuda")
    mu = torch.from_numpy(0.01 + noise((29, 27, 33))).cuda().requires_grad_()
    images = render_volume(mu, PLACE, view, at, method)
    y = torch.rand(images.shape, generator=torch.Generator().manual_seed(1)).cuda()
    (images * y).sum().backward()
    assert mu.grad is not None
    forward, backward = (images.double() * y).sum(), (mu.double() * mu.grad).sum()
    assert float(backward) == pytest.approx(float(forward), rel=3e-6)
    with torch.no_grad():
        assert not render_volume(mu, PLACE, view, at, method).requires_grad


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
def test_a_volume_on_the_device_is_rendered_as_on_the_cpu(method: Method) -> None:
    view, at, mu = oblique_view(), matrices(3), torch.from_numpy(0.01 + noise((29, 27, 33))).requires_grad_()
    expected = render_volume(mu, PLACE, view, at, method)
    y = torch.rand(expected.shape, generator=torch.Generator().manual_seed(1))
    y *= expected.detach() > 1e-3  # whether an overshoot is cut off there is a matter of rounding
    (expected_by_volume,) = torch.autograd.grad((expected * y).sum(), mu)

    at, mu, y = at.cuda().requires_grad_(), mu.detach().cuda().requires_grad_(), y.cuda()
    images = render_volume(mu, PLACE, view, at, method)
    by_volume, by_pose = torch.autograd.grad((images * y).sum(), (mu, at))
    assert by_volume.device == by_pose.device == images.device == mu.device
    np.testing.assert_allclose(images.detach().cpu(), expected.detach(), atol=2e-5)
    close(by_volume, expected_by_volume, 1e-4)
    # That of the same volume by way of the host is by the same kernels.
    by_host = render(Renderer(Volume(mu.detach().cpu().numpy(), PLACE), method, "cuda", whole=True), view, at)
    torch.testing.assert_close(by_host, images)
    torch.testing.assert_close(torch.autograd.grad((by_host * y).sum(), at)[0], by_pose)
    strided = mu.detach().permute(2, 0, 1).contiguous().permute(1, 2, 0)
    torch.testing.assert_close(render_volume(strided, PLACE, view, at.detach(), method), images.detach())


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
def test_a_cuda_graph_renders_other_volumes(method: Method) -> None:
    """A captured image and its gradient follow the volume in the device's memory."""
    view, at = oblique_view(), matrices(2, "cuda")
    mu = torch.from_numpy(noise((29, 27, 33))).cuda().requires_grad_()

    def both() -> tuple[Tensor, Tensor]:
        images = render_volume(mu, PLACE, view, at, method)
        (gradient,) = torch.autograd.grad((images**2).sum(), mu)
        return images.detach(), gradient

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        before = both()[0].clone()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        images, gradient = both()
    with torch.no_grad():
        mu.copy_(mu.flip(0) * 0.5)
    torch.cuda.empty_cache()  # what the graph uses must stay
    graph.replay()
    expected, expected_gradient = both()
    torch.testing.assert_close(images, expected)
    close(gradient, expected_gradient, 1e-5)
    assert float((images - before).abs().max()) > 1e-2


def test_a_volume_s_copies_are_made_in_the_stream_s_order_and_in_torch_s_memory() -> None:
    view, at = oblique_view(), matrices(2, "cuda")
    mu = torch.from_numpy(noise((29, 27, 33))).cuda().requires_grad_()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())

    def both() -> Tensor:
        images = render_volume(mu, PLACE, view, at, "shear_warp")
        (gradient,) = torch.autograd.grad(images.sum(), mu)
        return gradient

    with torch.cuda.stream(stream):
        expected = both().cpu()
        torch.cuda._sleep(50_000_000)
        gradient = both()
        assert not stream.query()  # nobody waited
    stream.synchronize()
    close(gradient, expected, 1e-5)

    lent = held_bytes()
    images = render_volume(mu, PLACE, view, at, "shear_warp")
    # Twice as it is, and three times with half as many slices.
    assert torch.cuda.memory_allocated() - lent > 3 * mu.numel() * mu.element_size()
    del images
    assert held_bytes() == lent


def test_bad_volumes_on_the_device_are_named() -> None:
    view, at = oblique_view(), matrices(1, "cuda")
    mu = torch.full((9, 9, 9), 0.01, device="cuda")
    with pytest.raises(InputError, match="mu: expected a float32"):
        render_volume(mu.double(), np.eye(4), view, at)
    with pytest.raises(InputError, match=r"mu: expected shape \(nz, ny, nx\) with at least one voxel, found \(9, 9\)"):
        render_volume(mu[0], np.eye(4), view, at)
    with pytest.raises(InputError, match="bone_from_voxel: expected orthogonal axes"):
        render_volume(mu, np.eye(4) + np.eye(4, k=1) * [1, 1, 0, 0], view, at)
    with pytest.raises(InputError, match="method: expected"):
        render_volume(mu, np.eye(4), view, at, "nearest")  # type: ignore[arg-type]
    mu[4, 4, 4] = torch.nan
    for method in METHODS:
        image = render_volume(mu, affine((4, 4, 4), (9, 9, 9), (0, 0, 0)), view, at, method)
        assert 0 < float(image.isnan().float().mean()) < 0.5, method


@pytest.mark.parametrize("method", METHODS)
def test_a_cuda_graph_renders_other_poses(method: Method) -> None:
    """A captured image and Gauss-Newton step follow the poses in the device's memory."""
    view, renderer = oblique_view(), Renderer(SMOOTH, method, "cuda")
    at, target = matrices(2, "cuda"), torch.zeros(2, 31, 41, device="cuda")

    def both() -> tuple[Tensor, NormalTensors]:
        with torch.no_grad():
            return render(renderer, view, at), normal_equations(renderer, view, at, target)

    both()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        image, step = both()
    at.copy_(matrices(4, "cuda")[2:])
    graph.replay()
    torch.cuda.synchronize()
    expected, expected_step = both()
    torch.testing.assert_close(image, expected)
    torch.testing.assert_close(step.jtj, expected_step.jtj)
    assert float((image - render(renderer, view, matrices(2, "cuda"))).abs().max()) > 1e-3


def test_a_graph_outlives_the_growth_of_the_renderer_s_memory() -> None:
    view, renderer, at = oblique_view(), Renderer(SMOOTH, "shear_warp", "cuda"), matrices(1, "cuda")
    with torch.no_grad():
        expected = render(renderer, view, at)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            image = render(renderer, view, at)
        many = matrices(5, "cuda").repeat(20, 1, 1)
        target = render(renderer, view, many)
        normal_equations(renderer, view, many, target)
    for _ in range(3):
        image.zero_()
        graph.replay()
        torch.testing.assert_close(image, expected)


def test_work_is_done_in_the_order_of_the_caller_s_stream() -> None:
    """What another stream holds up does not hold up this one, and its results are there when it is done."""
    view, renderer = oblique_view(), Renderer(SMOOTH, "shear_warp", "cuda")
    at = matrices(3, "cuda")  # before: bringing them there waits
    expected = render(renderer, view, at).cpu()
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(50_000_000)
        images = render(renderer, view, at)
        assert not stream.query()  # nobody waited
        twice = images * 2
    stream.synchronize()
    torch.testing.assert_close(twice.cpu(), 2 * expected)


def test_poses_that_are_not_rigid_give_nan_on_the_device() -> None:
    at = matrices(3, "cuda")
    at[1, 0, 0] += 0.1
    images = render(Renderer(SMOOTH, "shear_warp", "cuda"), oblique_view(), at)
    assert [bool(image.isnan().all()) for image in images] == [False, True, False]
    assert not images[0].isnan().any()


def test_tensors_elsewhere_are_named() -> None:
    view, cpu, cuda = oblique_view(), Renderer(SMOOTH), Renderer(SMOOTH, "ray_cast", "cuda")
    with pytest.raises(InputError, match=r"world_from_bone: expected a tensor on cpu, found cuda:0"):
        render(cpu, view, matrices(2, "cuda"))
    with pytest.raises(InputError, match=r"targets: expected .* on cuda:0, found .* on cpu"):
        normal_equations(cuda, view, matrices(2), torch.zeros(2, 31, 41))
    images = torch.zeros(2, 31, 41)
    with pytest.raises(ValueError, match=r"images: expected a tensor on CUDA device 0, found one on the CPU"):
        cuda.core.render_into([view.core()] * 2, matrices(2), images, 0)


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_a_renderer_works_on_its_own_device() -> None:
    with torch.cuda.device(1):
        renderer = Renderer(SMOOTH, "shear_warp", "cuda")
    images = render(renderer, oblique_view(), matrices(2))
    assert images.device == torch.device("cuda", 1)
    torch.testing.assert_close(images.cpu(), render(Renderer(SMOOTH, "shear_warp"), oblique_view(), matrices(2)))
    with pytest.raises(InputError, match="world_from_bone: expected a tensor on cpu or cuda:1, found cuda:0"):
        render(renderer, oblique_view(), matrices(2, "cuda:0"))
    mu = torch.from_numpy(SMOOTH.mu.copy())
    there = render_volume(mu.to("cuda:1"), SMOOTH.bone_from_voxel, oblique_view(), matrices(2))
    assert there.device == torch.device("cuda", 1)
    torch.testing.assert_close(there.cpu(), render_volume(mu, SMOOTH.bone_from_voxel, oblique_view(), matrices(2)))
