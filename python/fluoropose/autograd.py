"""Rendering in torch: images with gradients for the pose and the volume, normal equations, the path through each label.

The compiled core reads and writes the tensors' own memory (through DLPack), on the device of the renderer. On a CUDA
device it works in the order of torch's current stream, without waiting; after a first call of the same size it
allocates nothing but what torch's caching allocator lends, so that a CUDA graph can hold it. Poses on the CPU then stay
what they were when the graph was made; those on the device, and volumes there, are read anew whenever it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.autograd.function import once_differentiable

from fluoropose import _core
from fluoropose.drr import LabelRenderer, Method, Renderer, check_device, check_method
from fluoropose.errors import InputError
from fluoropose.geometry import View
from fluoropose.volume import Volume, check_sides, checked_place

__all__ = ["NormalTensors", "normal_equations", "render", "render_labels", "render_volume"]

_LEAST_RIGID = 1e-5  # what the compiled core takes for rigid as well


class NormalTensors(NamedTuple):
    """Of the residuals r = image - target with derivative J and weights W, for n images; float64.

    Attributes
    ----------
    cost
        r^T W r / 2, (n,).
    jtj, jtr
        J^T W J (n, 6, 6) and J^T W r (n, 6), of the parameters of ``Renderer.render_with_jacobian``.
    """

    cost: Tensor
    jtj: Tensor
    jtr: Tensor


def render(renderer: Renderer, views: View | Sequence[View], world_from_bone: Tensor) -> Tensor:
    """Render DRRs whose gradient flows back to the poses.

    Parameters
    ----------
    renderer
        Of the volume; images come to be on its device. Use one renderer on one stream at a time.
    views
        One view for all poses, or one for each.
    world_from_bone
        (4, 4) or (n, 4, 4) rigid matrices, mm, on the CPU or on the renderer's device. On a CUDA device nobody waits to
        look at them: the images of matrices that are not rigid are NaN there. Their gradient lies along the rigid
        motions: it is that of any smooth way to make rigid matrices (exponential map, quaternion, Euler angles).

    Returns
    -------
    (h, w) or (n, h, w) line integrals, float32.

    Raises
    ------
    InputError
        If shapes, numbers, devices or the matrices' rigidity are not as expected.
    """
    return _rendered(None, renderer.core, views, world_from_bone)


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
        (nz, ny, nx) float32 attenuation, 1/mm, on the CPU or on a CUDA device, which then renders. On a CUDA device
        nobody waits to look at it: what is NaN there is NaN in the images.
    bone_from_voxel
        (4, 4) affine map of voxel indices (x, y, z) to mm.
    views, world_from_bone
        As for ``render``.
    method
        As for `Renderer`.

    Returns
    -------
    As ``render``. The volume's gradient is the exact transpose of the renderer; ``trilinear`` has none.

    Raises
    ------
    InputError
        As for ``render``, `Volume` and `Renderer`.
    """
    if mu.device.type not in ("cpu", "cuda") or mu.dtype != torch.float32:
        raise InputError(f"mu: expected a float32 tensor on the CPU or on CUDA, found {mu.dtype} on {mu.device}")
    return _rendered(mu, _of_volume(mu.detach().contiguous(), bone_from_voxel, method), views, world_from_bone)


def render_labels(renderer: LabelRenderer, views: View | Sequence[View], world_from_bone: Tensor) -> Tensor:
    """Render the path that rays take through each label.

    Parameters
    ----------
    renderer
        Of the label map; paths come to be on its device. Use one renderer on one stream at a time.
    views, world_from_bone
        As for ``render``, but no gradient flows through them.

    Returns
    -------
    (m, h, w) or (n, m, h, w) mm, float32, of m labels in the order of ``renderer.labels``.

    Raises
    ------
    InputError
        As for ``render``.
    """
    placed, cores = _placed(renderer.core, views, world_from_bone.detach())
    device = _device(renderer.core)
    with _current(device):
        paths = torch.empty(len(placed), len(renderer.labels), *_size(cores), dtype=torch.float32, device=device)
        renderer.core.paths_into(cores, placed, paths, _stream(device))
    return paths.reshape(*world_from_bone.shape[:-2], *paths.shape[1:])


def normal_equations(
    renderer: Renderer,
    views: View | Sequence[View],
    world_from_bone: Tensor,
    targets: Tensor,
    weights: Tensor | None = None,
) -> NormalTensors:
    """Return what Gauss-Newton steps towards ``targets`` need; neither images nor Jacobians are stored.

    Parameters
    ----------
    renderer, views, world_from_bone
        As for ``render``, of n poses.
    targets, weights
        (n, h, w) float32 on the renderer's device; weights are the diagonal of W, ones by default.

    Returns
    -------
    Tensors on the renderer's device; no gradient flows through them.

    Raises
    ------
    InputError
        As for ``render``, and if targets or weights have another shape, type or device.
    """
    matrices, cores = _placed(renderer.core, views, world_from_bone.detach())
    n, device = len(matrices), _device(renderer.core)
    shape = (n, *_size(cores))
    for name, image in (("targets", targets), ("weights", weights)):
        if image is not None and (image.shape != shape or image.dtype != torch.float32 or image.device != device):
            found = f"{tuple(image.shape)} {image.dtype} on {image.device}"
            raise InputError(f"{name}: expected {shape} float32 on {device}, found {found}")
    with _current(device):
        cost, jtj, jtr = (torch.empty(n, *of, dtype=torch.float64, device=device) for of in ((), (6, 6), (6,)))
        by = None if weights is None else weights.detach().contiguous()
        renderer.core.normal_equations_into(
            cores, matrices, targets.detach().contiguous(), by, cost, jtj, jtr, _stream(device)
        )
    return NormalTensors(cost, jtj, jtr)


def _of_volume(mu: Tensor, bone_from_voxel: NDArray[np.float64], method: Method) -> _core.Renderer:
    """Make a renderer of the whole of a contiguous tensor, on its device."""
    if not mu.is_cuda:
        return Renderer(Volume(mu.numpy(), bone_from_voxel), method, whole=True).core
    check_device("cuda")
    check_sides(mu.shape)
    check_method(method)
    place = checked_place(bone_from_voxel)
    allocate = partial(torch.empty, dtype=torch.uint8, device=mu.device)
    with _current(mu.device):
        return _core.Renderer.of_tensor(mu, place, method, allocate, _stream(mu.device))


def _rendered(mu: Tensor | None, core: _core.Renderer, views: View | Sequence[View], world_from_bone: Tensor) -> Tensor:
    placed, cores = _placed(core, views, world_from_bone.detach())
    matrices = world_from_bone.reshape(-1, 4, 4)
    images: Tensor = _Render.apply(mu, matrices, placed, core, cores)  # type: ignore[no-untyped-call]
    return images.reshape(*world_from_bone.shape[:-2], *images.shape[1:])


class _Render(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, mu: Tensor | None, matrices: Tensor, placed: Tensor, core: _core.Renderer, cores: list[_core.View]
    ) -> Tensor:
        ctx.core, ctx.cores, ctx.dtype, ctx.place = core, cores, matrices.dtype, matrices.device
        ctx.shape = None if mu is None else mu.shape
        ctx.save_for_backward(placed)
        device = _device(core)
        with _current(device):
            images = torch.empty(len(placed), *_size(cores), dtype=torch.float32, device=device)
            core.render_into(cores, placed, images, _stream(device))
        return images

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_image: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        core: _core.Renderer = ctx.core
        (placed,) = ctx.saved_tensors
        by_image, device = by_image.contiguous(), by_image.device
        by_volume: Tensor | None = None
        by_matrix: Tensor | None = None
        with _current(device):
            if ctx.needs_input_grad[0]:
                by_volume = torch.empty(ctx.shape, dtype=torch.float32, device=device)
                core.volume_gradient_into(ctx.cores, placed, by_image, by_volume, _stream(device))
            if ctx.needs_input_grad[1]:
                twists = torch.empty(len(placed), 6, dtype=torch.float64, device=device)
                core.pose_gradients_into(ctx.cores, placed, by_image, twists, _stream(device))
                by_matrix = _by_matrix(twists.to(placed.device), placed).to(ctx.place, ctx.dtype)
        return by_volume, by_matrix, None, None, None


def _placed(
    core: _core.Renderer | _core.LabelRenderer, views: View | Sequence[View], world_from_bone: Tensor
) -> tuple[Tensor, list[_core.View]]:
    """Return the poses (n, 4, 4) as float64 and as many views of the core."""
    allowed = (torch.device("cpu"), _device(core))
    if world_from_bone.device not in allowed:
        places = " or ".join(dict.fromkeys(str(place) for place in allowed))
        raise InputError(f"world_from_bone: expected a tensor on {places}, found {world_from_bone.device}")
    if world_from_bone.ndim not in (2, 3) or world_from_bone.shape[-2:] != (4, 4):
        raise InputError(f"world_from_bone: expected shape (4, 4) or (n, 4, 4), found {tuple(world_from_bone.shape)}")
    matrices = world_from_bone.reshape(-1, 4, 4).double().contiguous()
    if len(matrices) == 0:
        raise InputError("world_from_bone: expected at least one pose, found none")
    if not matrices.is_cuda:
        _check_rigid(matrices)
    if isinstance(views, View):
        return matrices, [views.core()] * len(matrices)
    if len(views) != len(matrices):
        raise InputError(f"world_from_bone: expected one pose per view, {len(views)}, found {len(matrices)}")
    if len({view.size_px for view in views}) > 1:
        raise InputError("views: expected images of one size")
    return matrices, [view.core() for view in views]


def _check_rigid(matrices: Tensor) -> None:
    rotation = matrices[:, :3, :3]
    off = (rotation @ rotation.mT - torch.eye(3, dtype=torch.float64, device="cpu")).abs().amax((1, 2))
    last = (matrices[:, 3] - torch.tensor([0.0, 0.0, 0.0, 1.0], dtype=torch.float64, device="cpu")).abs().amax(1)
    good = (off < _LEAST_RIGID) & (torch.linalg.det(rotation) > 0) & (last < _LEAST_RIGID)
    good &= matrices.isfinite().all(2).all(1)
    if not good.all():
        bad = int(torch.nonzero(~good)[0])
        raise InputError(f"world_from_bone: expected a rotation and a translation, found {matrices[bad].tolist()}")


def _size(cores: Sequence[_core.View]) -> tuple[int, int]:
    return cores[0].height, cores[0].width


def _device(core: _core.Renderer | _core.LabelRenderer) -> torch.device:
    index = core.cuda_device
    return torch.device("cpu") if index < 0 else torch.device("cuda", index)


def _current(device: torch.device) -> AbstractContextManager[Any]:
    """Make a CUDA device torch's current one, without which it lends no tensors of it."""
    return torch.cuda.device(device) if device.type == "cuda" else nullcontext()


def _stream(device: torch.device) -> int:
    return int(torch.cuda.current_stream(device).cuda_stream) if device.type == "cuda" else 0


def _by_matrix(twists: Tensor, matrices: Tensor) -> Tensor:
    """Turn gradients by (omega, v), (n, 6), into those by the matrices (n, 4, 4).

    A small turn changes R by [omega]x R. Half of [g]x R gives g . omega for it, and nothing for changes that are no
    motion.
    """
    rotation = matrices[:, :3, :3]
    gradient = torch.zeros_like(matrices)
    gradient[:, :3, :3] = 0.5 * torch.linalg.cross(twists[:, :3, None].expand_as(rotation), rotation, dim=1)
    gradient[:, :3, 3] = twists[:, 3:]
    return gradient
