"""What only a CUDA device can show: the same numbers as on the CPU, streams and graphs. Skipped without one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drr_scenes import POSES, affine, blobs, noise, oblique_view
from fluoropose.autograd import render
from fluoropose.drr import Method, Renderer, Storage
from fluoropose.volume import Volume

pytestmark = pytest.mark.needs_cuda

VOLUME = Volume(noise((29, 27, 33)), affine((1.1, 0.8, 1.6), (29, 27, 33), (0.3, -0.2, 0.5)))
SMOOTH = Volume(blobs((41, 45, 49)), affine((1.0, 1.2, 0.9), (41, 45, 49)))


@pytest.mark.parametrize("storage", ["float32", "int16"])
@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
@pytest.mark.parametrize("pose", POSES)
def test_image_and_derivative_are_the_cpu_s(method: Method, storage: Storage, pose: object) -> None:
    view = oblique_view()
    cpu, cuda = (Renderer(VOLUME, method, device, storage) for device in ("cpu", "cuda"))
    image, jacobian = cpu.render_with_jacobian(view, pose)
    found, derivative = cuda.render_with_jacobian(view, pose)
    np.testing.assert_allclose(found, image, atol=2e-5)
    np.testing.assert_allclose(derivative, jacobian, atol=2e-4 * np.abs(jacobian).max())


@pytest.mark.parametrize("method", ["ray_cast", "shear_warp"])
def test_gradients_stay_on_the_device(method: Method) -> None:
    view = oblique_view()
    matrices = torch.from_numpy(np.stack([pose.matrix for pose in POSES[:3]]))
    gradients = []
    for device in ("cpu", "cuda"):
        x = matrices.clone().requires_grad_()
        images = render(Renderer(SMOOTH, method, device), view, x)
        assert images.device.type == device
        (images**2).sum().backward()
        assert x.grad is not None
        gradients.append(x.grad.numpy())
    np.testing.assert_allclose(gradients[1], gradients[0], atol=1e-4 * np.abs(gradients[0]).max())


def test_a_cuda_graph_holds_a_rendering() -> None:
    view, renderer = oblique_view(), Renderer(SMOOTH, "shear_warp", "cuda")
    pose = torch.from_numpy(POSES[4].matrix)
    expected = render(renderer, view, pose).cpu()
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad(), torch.cuda.graph(graph):
        captured = render(renderer, view, pose)
    captured.zero_()
    graph.replay()
    torch.cuda.synchronize()
    torch.testing.assert_close(captured.cpu(), expected)
