"""One renderer of another project, driven through a pipe; runs in the peers' own environment (make bench-peers).

    python bench/peers/worker.py PEER FOLDER

FOLDER/job.npz holds the volume and the views. Each line on standard input is the number of a view; the answer is one
line of JSON with the milliseconds, of the clock and of the processor, of that projection alone, and its image lies in
FOLDER/PEER_NUMBER.npy. Reading, uploading and everything else that can be done once per volume and view comes before
the first answer.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
from job import Job, Project


def set_up(peer: str, job: Job) -> tuple[Project, str]:
    """Return a peer that is ready to project, and its version. Loads that peer's packages only."""
    if peer == "rtk_joseph":
        from rtk_joseph import rtk_joseph

        return rtk_joseph(job)
    if peer == "plastimatch_exact":
        from plastimatch_exact import plastimatch_exact

        return plastimatch_exact(job)
    if peer == "nanodrr":
        from on_pytorch import nanodrr

        return nanodrr(job)
    if peer == "diffdrr_trilinear":
        from on_pytorch import diffdrr_trilinear

        return diffdrr_trilinear(job)
    raise ValueError(f"unknown peer {peer!r}")


def main() -> None:
    peer, folder = sys.argv[1], Path(sys.argv[2])
    # Answers go where standard output went; what the peers print goes to standard error.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    project, said = set_up(peer, Job.load(folder))
    print(json.dumps({"version": said}), file=answers)
    for line in sys.stdin:
        clock, processor, image = project(int(line))
        np.save(folder / f"{peer}_{int(line)}.npy", image)
        print(json.dumps({"milliseconds": [clock, processor]}), file=answers)


if __name__ == "__main__":
    main()
