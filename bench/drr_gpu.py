"""Our renderer on a GPU beside nanodrr's: time of the kernels and of the clock, with and without gradient.

    python bench/drr_gpu.py --data ../shared/data --out bench/results/drr_gpu.json

Both are called through torch, on its stream, with the pose as a tensor; "gradient" is the image and the gradient of a
cost by the pose. device_milliseconds is the time between two CUDA events round many calls, divided by their number;
milliseconds is the median time of the clock of single calls that are waited for. rms_error compares with exact line
integrals as in drr_peers.py; a method with another geometry fails. floor_milliseconds is the time in which the device
copies as many bytes as the volume and the image have: nobody can be faster without leaving voxels out. Batches are many
poses of 128 x 128 pixels in one call.

--device cpu shows that the script runs where there is no GPU; its numbers mean nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

from drr_peers import LARGEST_ERROR
from drr_runners import write_job
from drr_scene import POSES, Reference, make_view, relative_rms, subject
from fluoropose import __version__
from fluoropose._files import write_text
from fluoropose.autograd import render
from fluoropose.drr import Device, Method, Renderer, Storage
from fluoropose.geometry import Pose, View
from fluoropose.registration.summary import Environment
from fluoropose.volume import Volume

OURS: tuple[tuple[Method, Storage], ...] = (
    ("shear_warp", "float32"),
    ("shear_warp", "int16"),
    ("ray_cast", "float32"),
    ("ray_cast", "int16"),
)
BATCH, BATCH_PIXELS = 256, 128

console = Console()
Call = Callable[[int], Tensor]  # of a pose's number; what it returns is the image (h, w)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with head_ct/vhf_head_ct.nii.gz; else a drawn head is used")
    parser.add_argument("--out", type=Path, default=Path("out/bench/drr_gpu.json"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--side", type=int, default=256, help="of the volume, voxels")
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--calls", type=int, default=200, help="per method and pose")
    options = parser.parse_args()
    name, head = subject(options.data, options.side)
    device: Device = options.device
    view = make_view(options.pixels)
    exact = [Reference.of(head.volume, view, pose) for pose in POSES]
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    for method, what, call in [*ours(head.volume, view, device), *nanodrr(head.volume, view, device, missing)]:
        console.print(f"{method}, {what}")
        rows.append(row(method, what, call, exact, device, options.calls))
    document = {
        "what": f"{options.pixels} x {options.pixels} point-source projections of {name} in {options.side}^3 voxels",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "environment": Environment.here().model_dump(),
        "floor_milliseconds": floor_ms(head.volume.mu.nbytes + 4 * options.pixels**2, device),
        "missing": missing,
        "rows": rows,
        "batches": [batch(head.volume, method, storage, device) for method, storage in OURS],
    }
    write_text(options.out, json.dumps(document, indent=1) + "\n")
    for one in rows:
        console.print(one)
    console.print(f"written to {options.out}")
    return int(any(one["rms_error"] > LARGEST_ERROR for one in rows))


def ours(volume: Volume, view: View, device: Device) -> Iterator[tuple[str, str, Call]]:
    """Yield our methods, each without and with the gradient."""
    matrices = [torch.from_numpy(pose.matrix) for pose in POSES]
    for method, storage in OURS:
        renderer = Renderer(volume, method, device, storage)

        def image(pose: int, renderer: Renderer = renderer) -> Tensor:
            with torch.no_grad():
                return render(renderer, view, matrices[pose])

        def gradient(pose: int, renderer: Renderer = renderer) -> Tensor:
            leaf = matrices[pose].clone().requires_grad_()
            found = render(renderer, view, leaf)
            found.square().sum().backward()  # type: ignore[no-untyped-call]
            return found.detach()

        label = f"{method} {storage} (fluoropose {__version__})"
        yield label, "image", image
        yield label, "gradient", gradient


def nanodrr(volume: Volume, view: View, device: str, missing: dict[str, str]) -> Iterator[tuple[str, str, Call]]:
    """Yield nanodrr as it is and compiled; where it cannot be used, say why in ``missing``."""
    sys.path.insert(0, str(Path(__file__).parent / "peers"))
    try:
        from on_pytorch import nanodrr_calls
    except ImportError as error:
        missing["nanodrr"] = str(error)
        return
    folder = Path(__file__).parents[1] / "out" / "bench" / "gpu_job"
    folder.mkdir(parents=True, exist_ok=True)
    write_job(folder, volume, view, torch.get_num_threads())
    for compiled in (False, True):
        try:
            yield from nanodrr_calls(folder, device, compiled)
        except Exception as error:  # whatever stands in a peer's way must not stop the others
            missing[f"nanodrr{', compiled' if compiled else ''}"] = f"{type(error).__name__}: {error}"


def row(method: str, what: str, call: Call, exact: list[Reference], device: str, calls: int) -> dict[str, Any]:
    images = [call(pose) for pose in range(len(POSES))]
    for pose in range(len(POSES)):
        for _ in range(3):
            call(pose)
    of_pose = [partial(call, pose) for pose in range(len(POSES))]
    singles = [wall_ms(one, device) for one in of_pose for _ in range(calls)]
    together = [device_ms(one, device, calls) for one in of_pose]
    errors = [relative_rms(array(image), reference) for image, reference in zip(images, exact, strict=True)]
    low, median, high = np.percentile(singles, [25, 50, 75])
    return {
        "method": method,
        "what": what,
        "device": device,
        "milliseconds": {"median": round(float(median), 4), "spread": round(float(high - low), 4)},
        "device_milliseconds": round(float(np.mean(together)), 4),
        "rms_error": round(max(errors), 5),
    }


def batch(volume: Volume, method: Method, storage: Storage, device: Device) -> dict[str, Any]:
    """Return how many small images a second come from calls of many poses."""
    rng = np.random.default_rng(0)
    turns = [Pose.exp(rng.normal(0, 0.1, 3), rng.normal(0, 5, 3)) for _ in range(BATCH)]
    poses = [Pose(t.rotation @ POSES[0].rotation, POSES[0].translation_mm + t.translation_mm) for t in turns]
    matrices = torch.from_numpy(np.stack([pose.matrix for pose in poses]))
    renderer, view = Renderer(volume, method, device, storage), make_view(BATCH_PIXELS)
    with torch.no_grad():
        render(renderer, view, matrices)
        spent = min(wall_ms(lambda: render(renderer, view, matrices), device) for _ in range(5))
    return {
        "method": method,
        "storage": storage,
        "poses": BATCH,
        "pixels": BATCH_PIXELS,
        "per_second": 1e3 * BATCH / spent,
    }


def wall_ms(call: Callable[[], Any], device: str) -> float:
    """Return the time of the clock until a call's result is there."""
    finish(device)
    start = time.perf_counter()
    call()
    finish(device)
    return 1e3 * (time.perf_counter() - start)


def device_ms(call: Callable[[], Any], device: str, calls: int) -> float:
    """Return the device's time per call, of many calls in a row."""
    if device == "cpu":
        return wall_ms(lambda: [call() for _ in range(calls)], device) / calls
    before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    finish(device)
    before.record()
    for _ in range(calls):
        call()
    after.record()
    finish(device)
    return float(before.elapsed_time(after)) / calls


def finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def floor_ms(size: int, device: str) -> float:
    """Return the time in which the device reads ``size`` bytes, from a large copy (which reads and writes)."""
    source = torch.empty(2**28, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    best = min(wall_ms(lambda: target.copy_(source), device) for _ in range(10))
    return best * size / (2 * source.numel())


def array(image: Tensor) -> NDArray[np.float32]:
    return np.asarray(image.detach().cpu().float().reshape(image.shape[-2:]).numpy())


if __name__ == "__main__":
    sys.exit(main())
