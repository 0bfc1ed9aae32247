"""RTK's Joseph forward projector: one sample per slice, as our ray_cast."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import itk
import numpy as np
from job import Job, Project, timed
from numpy.typing import NDArray


def rtk_joseph(job: Job) -> tuple[Project, str]:
    """Set up a pipeline per view; all share the volume."""
    rtk = itk.RTK
    itk.MultiThreaderBase.SetGlobalMaximumNumberOfThreads(job.threads)
    itk.MultiThreaderBase.SetGlobalDefaultNumberOfThreads(job.threads)
    kind = itk.Image[itk.F, 3]
    volume = itk.image_from_array(job.mu)
    volume.SetSpacing([job.spacing] * 3)
    volume.SetOrigin(job.origin.tolist())

    def pipeline(view: int) -> tuple[Any, Any]:
        u, v = job.u_step[view], job.v_step[view]
        geometry = rtk.ThreeDCircularProjectionGeometry.New()
        # RTK's detector looks at the source: rows run backwards, and are turned round again below.
        last = job.corner[view] + (job.pixels - 1) * v
        place = [itk.Point[itk.D, 3](p.tolist()) for p in (job.source[view], last)]
        axes = [itk.Vector[itk.D, 3]((a / np.linalg.norm(a)).tolist()) for a in (u, -v)]
        if not geometry.AddProjection(*place, *axes):
            raise ValueError("RTK refuses the geometry")
        # The filter adds to its input in place, so every projection begins with new zeros.
        zeros = rtk.ConstantImageSource[kind].New()
        zeros.SetSize([job.pixels, job.pixels, 1])
        zeros.SetSpacing([float(np.linalg.norm(u)), float(np.linalg.norm(v)), 1.0])
        found = rtk.JosephForwardProjectionImageFilter[kind, kind].New()
        found.SetInput(0, zeros.GetOutput())
        found.SetInput(1, volume)
        found.SetGeometry(geometry)
        return zeros, found

    pipelines = [pipeline(view) for view in range(len(job.source))]

    def project(view: int) -> tuple[float, float, NDArray[np.float32]]:
        zeros, projector = pipelines[view]
        zeros.Modified()
        clock, processor, _ = timed(projector.Update)
        return clock, processor, itk.array_from_image(projector.GetOutput())[0, ::-1]

    return project, f"itk-rtk {version('itk-rtk')}"
