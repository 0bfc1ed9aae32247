"""nanodrr and DiffDRR on PyTorch, without gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from job import Job, Project, timed
from numpy.typing import NDArray
from torchio import ScalarImage, Subject


def nanodrr(job: Job) -> tuple[Project, str]:
    """Set up nanodrr's renderer on PyTorch, without gradients."""
    torch.set_num_threads(job.threads)
    calls = [call for call, _ in nanodrr_views(job, "cpu", False)]
    return torch_project(job, calls), f"nanodrr {version('nanodrr')}"


def nanodrr_views(job: Job, device: str, compiled: bool) -> list[tuple[Callable[..., Any], torch.Tensor]]:
    """Return per view nanodrr's renderer on a device, to be called with a pose or for the view's own, and that pose."""
    from nanodrr.camera import make_k_inv
    from nanodrr.data import Subject as NanoSubject
    from nanodrr.drr import DRR

    image = ScalarImage(tensor=voxels(job), affine=affine(job))
    subject = NanoSubject.from_images(image, convert_to_mu=False).to(device)
    n = job.pixels

    def renderer(view: int) -> tuple[Callable[..., Any], torch.Tensor]:
        sdd, pitch = job.sdd(view), np.linalg.norm([job.u_step[view], job.v_step[view]], axis=1)
        k_inv = make_k_inv(sdd, *pitch.tolist(), 0.0, 0.0, n, n, dtype=torch.float32)
        drr = DRR(k_inv, torch.tensor([sdd]), n, n).to(device)
        project = torch.compile(drr) if compiled else drr
        own = torch.tensor(job.frame(view, 1, 1), dtype=torch.float32, device=device)[None]
        enter, leave = job.inside(view, job.centre(view)[None])
        samples = round(float(leave[0] - enter[0]) * sdd / float(job.step[view]))
        return lambda place=own: project(subject, place, n_samples=samples), own

    return [renderer(view) for view in range(len(job.source))]


def nanodrr_calls(folder: Path, device: str, compiled: bool) -> Iterator[tuple[str, str, Callable[[int], Any]]]:
    """Yield nanodrr without and with the gradient by the pose, for bench/drr_gpu.py; called with a view's number."""
    job = Job.load(folder)
    views = nanodrr_views(job, device, compiled)
    label = f"nanodrr {version('nanodrr')}{', compiled' if compiled else ''}"
    yield from _calls(label, views, job.pixels)


def flashdrr_calls(folder: Path, device: str) -> Iterator[tuple[str, str, Callable[[int], Any]]]:
    """Yield flashdrr's fused renderer without and with the gradient by the pose, as ``nanodrr_calls``.

    It wants directions per pixel and samples between two distances from the source, the same for all rays; a voxel's
    index p is where it finds n p / (n - 1) - 1/2, and lengths count in tenths.
    """
    from flashdrr.rendering import FusedVolumeRenderer

    job = Job.load(folder)
    density = torch.from_numpy(job.mu)[None, None].to(device)
    size = np.array(job.mu.shape[::-1], dtype=np.float64)
    shrink, half = np.diag([*((size - 1) / size), 1.0]), np.eye(4)
    half[:3, 3] = 0.5
    index_from_world = torch.from_numpy(shrink @ half @ np.linalg.inv(affine(job))).float()
    shape = torch.from_numpy(size).float()

    def renderer(view: int) -> tuple[Callable[[torch.Tensor], Any], torch.Tensor]:
        frame = job.frame(view, 1, 1)
        v, u = np.mgrid[: job.pixels, : job.pixels].reshape(2, -1, 1)
        pixels = job.corner[view] + u * job.u_step[view] + v * job.v_step[view]
        rays = (pixels - job.source[view]) @ frame[:3, :3]
        length = np.linalg.norm(rays, axis=1, keepdims=True)
        directions = torch.from_numpy((rays / length).reshape(job.pixels, job.pixels, 3)).float().to(device)
        enter, leave = job.inside(view, pixels)
        hit = enter < leave
        near, far = (enter * length[:, 0])[hit].min(), (leave * length[:, 0])[hit].max()
        project = FusedVolumeRenderer(round(float(far - near) / float(job.step[view])), density_factor=1.0)
        ends = [torch.tensor([end], dtype=torch.float32, device=device) for end in (near, far)]

        def call(place: torch.Tensor) -> Any:
            return 10 * project(density, place, *ends, index_from_world, shape, directions, return_tau=True)

        return call, torch.from_numpy(frame).float()[None].to(device)

    views = [renderer(view) for view in range(len(job.source))]
    label = f"flashdrr {version('flashdrr')}"
    yield from _calls(label, views, job.pixels)


def diffdrr_trilinear(job: Job) -> tuple[Project, str]:
    """Set up DiffDRR's trilinear renderer on PyTorch, without gradients."""
    from diffdrr.drr import DRR
    from diffdrr.pose import RigidTransform

    torch.set_num_threads(job.threads)
    volume = ScalarImage(tensor=voxels(job), affine=affine(job))
    subject = Subject(volume=volume, density=volume, reorient=torch.eye(4))
    subject.mask = None

    def renderer(view: int) -> Callable[[], Any]:
        pitch = np.linalg.norm([job.u_step[view], job.v_step[view]], axis=1)
        sdd = job.sdd(view)
        drr = DRR(subject, sdd, job.pixels, float(pitch[0]), dely=float(pitch[1]), renderer="trilinear")
        place = RigidTransform(torch.tensor(job.frame(view, -1, -1), dtype=torch.float32))
        # It samples all rays between the same two depths, where the first ray enters and the last one leaves.
        enter, leave = job.inside(view, job.corners(view))
        middle_enter, middle_leave = job.inside(view, job.centre(view)[None])
        share = max(leave.max(), middle_leave[0]) - min(enter.min(), middle_enter[0])
        samples = round(float(share) * sdd / float(job.step[view])) + 1
        return lambda: drr(place, n_points=samples)

    return torch_project(job, [renderer(view) for view in range(len(job.source))]), f"diffdrr {version('diffdrr')}"


def voxels(job: Job) -> Any:
    """(1, nx, ny, nz) the volume as torchio has it."""
    return torch.from_numpy(np.ascontiguousarray(job.mu.T))[None]


def affine(job: Job) -> NDArray[np.float64]:
    matrix = np.diag([job.spacing] * 3 + [1.0])
    matrix[:3, 3] = job.origin
    return matrix


def torch_project(job: Job, projections: list[Callable[[], Any]]) -> Project:
    def project(view: int) -> tuple[float, float, NDArray[np.float32]]:
        with torch.inference_mode():
            clock, processor, image = timed(projections[view])
        return clock, processor, image.numpy().reshape(job.pixels, job.pixels)

    return project


def _calls(
    label: str, views: Sequence[tuple[Callable[[torch.Tensor], Any], torch.Tensor]], pixels: int
) -> Iterator[tuple[str, str, Callable[[int], Any]]]:
    """Yield images without and with the gradient by the pose, by a view's number; ``views`` are calls and poses."""

    def image(view: int) -> Any:
        call, own = views[view]
        with torch.inference_mode():
            return call(own).reshape(pixels, pixels)

    def gradient(view: int) -> Any:
        call, own = views[view]
        place = own.clone().requires_grad_()
        found = call(place)
        found.square().sum().backward()
        return found.detach().reshape(pixels, pixels)

    yield label, "image", image
    yield label, "gradient", gradient
