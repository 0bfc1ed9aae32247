"""Rendering as a differentiable function of torch: gradients for the pose and for the volume.

The compiled core reads and writes the tensors' own memory (through DLPack), on the device of the renderer. On a CUDA
device it works in the order of torch's current stream, without waiting; after a first call of the same size it
allocates nothing, so that a CUDA graph can hold it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from fluoropose import _core
from fluoropose.drr import Method, Renderer
from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume

__all__ = ["render", "render_volume"]


def render(renderer: Renderer, views: View | Sequence[View], world_from_bone: Tensor) -> Tensor:
    """Render DRRs whose gradient flows back to the poses.

    Parameters
    ----------
    renderer
        Of the volume; images come to be on its device. Use one renderer on one stream at a time.
    views
        One view for all poses, or one for each.
    world_from_bone
        (4, 4) or (n, 4, 4) rigid matrices, mm; a tensor on the CPU, since they are arguments of kernels. Their gradient
        lies along the rigid motions: it is that of any smooth way to make rigid matrices (exponential map, quaternion,
        Euler angles).

    Returns
    -------
    (h, w) or (n, h, w) line integrals, float32.

    Raises
    ------
    InputError
        If shapes, numbers, devices or the matrices' rigidity are not as expected.
    """
    return _rendered(None, renderer, views, world_from_bone)


def render_volume(
    mu: Tensor,
    bone_from_voxel: NDArray[np.float64],
    views: View | Sequence[View],
    world_from_bone: Tensor,
    method: Method = "ray_cast",
) -> Tensor:
    """Render DRRs whose gradient flows back to the volume as well as to the poses.

    Parameters
    ----------
    mu
        (nz, ny, nx) float32 attenuation, 1/mm.
    bone_from_voxel
        (4, 4) affine map of voxel indices (x, y, z) to mm.
    views, world_from_bone
        As for ``render``.
    method
        As for `Renderer`.

    Returns
    -------
    As ``render``. The volume's gradient is the exact transpose of the renderer.
    """
    if mu.device.type != "cpu" or mu.dtype != torch.float32:
        raise InputError(f"mu: expected a float32 tensor on the CPU, found {mu.dtype} on {mu.device}")
    volume = Volume(mu.detach().contiguous().numpy(), bone_from_voxel)
    return _rendered(mu, Renderer(volume, method, whole=True), views, world_from_bone)


def _rendered(mu: Tensor | None, renderer: Renderer, views: View | Sequence[View], world_from_bone: Tensor) -> Tensor:
    if world_from_bone.device.type != "cpu":
        raise InputError(f"world_from_bone: expected a tensor on the CPU, found {world_from_bone.device}")
    if world_from_bone.ndim not in (2, 3) or world_from_bone.shape[-2:] != (4, 4):
        raise InputError(f"world_from_bone: expected shape (4, 4) or (n, 4, 4), found {tuple(world_from_bone.shape)}")
    matrices = world_from_bone.reshape(-1, 4, 4)
    chosen = (views,) * len(matrices) if isinstance(views, View) else tuple(views)
    images: Tensor = _Render.apply(mu, matrices, renderer, chosen)  # type: ignore[no-untyped-call]
    return images.reshape(*world_from_bone.shape[:-2], *images.shape[1:])


class _Render(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, mu: Tensor | None, matrices: Tensor, renderer: Renderer, views: tuple[View, ...]) -> Tensor:
        poses = [Pose.from_matrix(matrix) for matrix in matrices.detach().double().numpy()]
        if len(views) != len(poses):
            raise InputError(f"world_from_bone: expected one pose per view, {len(views)}, found {len(poses)}")
        ctx.renderer, ctx.views, ctx.poses, ctx.dtype = renderer, views, poses, matrices.dtype
        images = torch.empty(len(poses), views[0].height, views[0].width, device=renderer.device)
        renderer.core.render_into(*_core_arguments(views, poses), images, _stream(images))
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_image: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        renderer: Renderer = ctx.renderer
        by_image = by_image.contiguous()
        by_volume: Tensor | None = None
        by_matrix: Tensor | None = None
        if ctx.needs_input_grad[0]:
            jobs = zip(ctx.views, ctx.poses, by_image.numpy(), strict=True)
            by_volume = torch.from_numpy(sum(renderer.volume_gradient(view, pose, g) for view, pose, g in jobs))
        if ctx.needs_input_grad[1]:
            twists = torch.empty(len(ctx.poses), 6, dtype=torch.float64, device=by_image.device)
            arguments = _core_arguments(ctx.views, ctx.poses)
            renderer.core.pose_gradients_into(*arguments, by_image, twists, _stream(by_image))
            rows = [_by_matrix(twist, pose) for twist, pose in zip(twists.cpu().numpy(), ctx.poses, strict=True)]
            by_matrix = torch.from_numpy(np.stack(rows)).to(ctx.dtype)
        return by_volume, by_matrix, None, None


def _core_arguments(views: Sequence[View], poses: Sequence[Pose]) -> tuple[list[_core.View], list[NDArray[np.float64]]]:
    return [view.core() for view in views], [pose.matrix for pose in poses]


def _stream(tensor: Tensor) -> int | None:
    return torch.cuda.current_stream(tensor.device).cuda_stream if tensor.is_cuda else None


def _by_matrix(twist: NDArray[np.float64], pose: Pose) -> NDArray[np.float64]:
    """Turn a gradient by (omega, v) into one by the matrix.

    A small turn changes R by [omega]x R. Half of [g]x R gives g . omega for it, and nothing for changes that are no
    motion.
    """
    x, y, z = twist[:3]
    skew = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    gradient = np.zeros((4, 4))
    gradient[:3, :3] = 0.5 * skew @ pose.rotation
    gradient[:3, 3] = twist[3:]
    return gradient
