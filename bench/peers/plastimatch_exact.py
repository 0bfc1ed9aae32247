"""plastimatch's exact ray tracer (Siddon): a program, so the time is the one that it reports itself."""

from __future__ import annotations

import os
import re
import subprocess

import numpy as np
from job import Job, Project
from numpy.typing import NDArray

MM_PER_CM = 10  # it integrates over centimetres

# MetaImage, which it reads as it is.
HEADER = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
Offset = {origin}
ElementSpacing = {spacing} {spacing} {spacing}
DimSize = {size}
ElementType = MET_FLOAT
ElementDataFile = LOCAL
"""
COMMAND = ["plastimatch", "drr", "--algorithm", "exact", "--hu-conversion", "none", "--output-format", "raw"]


def plastimatch_exact(job: Job) -> tuple[Project, str]:
    """Write the volume; every projection is a run of the program, which reads it again."""
    size = " ".join(map(str, job.mu.shape[::-1]))
    text = HEADER.format(origin=words(job.origin), spacing=job.spacing, size=size)
    volume = job.folder / "plastimatch.mha"
    volume.write_bytes(text.encode() + job.mu.astype("<f4").tobytes())
    environment = {**os.environ, "OMP_NUM_THREADS": str(job.threads)}
    said = subprocess.run(["plastimatch", "--version"], capture_output=True, text=True, check=True).stdout

    def project(view: int) -> tuple[float, float, NDArray[np.float32]]:
        sdd = job.sdd(view)
        ahead = (job.centre(view) - job.source[view]) / sdd
        sad = sdd / 2  # any point on the central ray may be the isocentre
        size = words(np.linalg.norm([job.v_step[view], job.u_step[view]], axis=1) * job.pixels)
        place = ["--nrm", words(-ahead), "--vup", words(-job.v_step[view])]
        place += ["--isocenter", words(job.source[view] + sad * ahead), "--sad", f"{sad:.9g}", "--sid", f"{sdd:.9g}"]
        out = job.folder / "plastimatch_"
        file = [
            "--dim",
            f"{job.pixels} {job.pixels}",
            "--detector-size",
            size,
            "--input",
            str(volume),
            "--output",
            str(out),
        ]
        done = subprocess.run([*COMMAND, *place, *file], capture_output=True, text=True, check=True, env=environment)
        # The total begins when the volume has been read, but holds the writing of the image.
        total, writing = (re.search(rf"{n} time: ([\d.e+-]+)", done.stdout) for n in ("Total", "I/O"))
        if total is None or writing is None:
            raise ValueError(f"plastimatch reports no time: {done.stdout}")
        image = np.fromfile(f"{out}0000.raw", "<f4").reshape(job.pixels, job.pixels)
        return 1e3 * (float(total[1]) - float(writing[1])), np.nan, MM_PER_CM * image

    return project, said.strip()


def words(vector: NDArray[np.float64]) -> str:
    return " ".join(f"{x:.9g}" for x in vector)
