"""Where the time of our renderer on a GPU goes: every kernel of an image, of a Gauss-Newton step, and of a batch.

    python bench/drr_kernels.py --data ../shared/data --out bench/results/drr_kernels.json

By torch's profiler; microseconds are means over the runs, four directions in turn.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch.profiler import ProfilerActivity, profile

from drr_gpu import OURS
from drr_scene import POSES, make_view, subject
from fluoropose._files import write_text
from fluoropose.autograd import normal_equations, render
from fluoropose.drr import Method, Renderer, Storage
from fluoropose.registration.summary import Environment

_RUNS, _BATCH = 40, 256

console = Console()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with head_ct/vhf_head_ct.nii.gz; else a drawn head is used")
    parser.add_argument("--out", type=Path, default=Path("out/bench/drr_kernels.json"))
    options = parser.parse_args()
    name, head = subject(options.data, 256)
    rows = [row for choice in OURS for row in kernels(Renderer(head.volume, choice[0], "cuda", choice[1]), choice)]
    document = {
        "what": f"kernels for {name} in 256^3 voxels",
        "device": torch.cuda.get_device_name(),
        "environment": Environment.here().model_dump(),
        "rows": rows,
    }
    write_text(options.out, json.dumps(document, indent=1) + "\n")
    for row in rows:
        console.print(row)
    return 0


def kernels(renderer: Renderer, choice: tuple[Method, Storage]) -> list[dict[str, Any]]:
    """Return the rows of one renderer."""
    view, small = make_view(256), make_view(128)
    matrices = [torch.from_numpy(pose.matrix).cuda() for pose in POSES]
    many = torch.stack(matrices).repeat(_BATCH // len(POSES), 1, 1)
    with torch.no_grad():
        targets = [render(renderer, view, matrix)[None] for matrix in matrices]

        def step(k: int) -> object:
            return normal_equations(renderer, view, matrices[k][None], targets[k])

        runs: dict[str, tuple[Callable[[int], object], int]] = {
            "image, 256 px": (lambda k: render(renderer, view, matrices[k]), _RUNS),
            "normal equations, 256 px": (step, _RUNS),
            f"{_BATCH} images, 128 px": (lambda _: render(renderer, small, many), 4),
        }
        method, storage = choice
        return [
            {"method": method, "storage": storage, "what": what, "microseconds": measured(call, count)}
            for what, (call, count) in runs.items()
        ]


def measured(call: Callable[[int], object], count: int) -> dict[str, float]:
    """Return the time of every kernel per call, by its name."""
    for k in range(len(POSES)):
        call(k)
    torch.cuda.synchronize()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it clears between cycles
        with profile(activities=[ProfilerActivity.CUDA]) as profiler:
            for k in range(count):
                call(k % len(POSES))
            torch.cuda.synchronize()
    events = {event.key: event.device_time_total / count for event in profiler.key_averages()}
    return {short(name): round(time, 2) for name, time in events.items() if "fluoropose" in name}


def short(name: str) -> str:
    """Return a kernel's own name."""
    found = re.search(r"(\w+_kernel)", name)
    return found.group(1) if found else name


if __name__ == "__main__":
    sys.exit(main())
