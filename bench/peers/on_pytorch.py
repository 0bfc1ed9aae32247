"""nanodrr and DiffDRR on PyTorch, without gradients."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from job import Job, Project, timed
from numpy.typing import NDArray
from torchio import ScalarImage, Subject


def nanodrr(job: Job) -> tuple[Project, str]:
    """Set up nanodrr's renderer on PyTorch, without gradients."""
    from nanodrr.camera import make_k_inv
    from nanodrr.data import Subject as NanoSubject
    from nanodrr.drr import DRR

    torch.set_num_threads(job.threads)
    subject = NanoSubject.from_images(ScalarImage(tensor=voxels(job), affine=affine(job)), convert_to_mu=False)
    n = job.pixels

    def renderer(view: int) -> Callable[[], Any]:
        sdd, pitch = job.sdd(view), np.linalg.norm([job.u_step[view], job.v_step[view]], axis=1)
        drr = DRR(make_k_inv(sdd, *pitch.tolist(), 0.0, 0.0, n, n, dtype=torch.float32), torch.tensor([sdd]), n, n)
        place = torch.tensor(job.frame(view, 1, 1), dtype=torch.float32)[None]
        enter, leave = job.inside(view, job.centre(view)[None])
        samples = round(float(leave[0] - enter[0]) * sdd / float(job.step[view]))
        return lambda: drr(subject, place, n_samples=samples)

    return torch_project(job, [renderer(view) for view in range(len(job.source))]), f"nanodrr {version('nanodrr')}"


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
