"""Our renderer on a GPU beside nanodrr's and flashdrr's: kernels' time and the clock's, with and without gradient.

    python bench/drr_gpu.py --data ../shared/data --out bench/results/drr_gpu.json

All are called through torch, on its stream, with the pose as a tensor of the device. "gradient" is the image and the
gradient of a cost by the pose, "normal equations" what a Gauss-Newton step needs, from one pass; "in a graph" is a CUDA
graph that is run again. device_milliseconds is the time between two CUDA events round many calls, divided by their
number; milliseconds is the median time of the clock of single calls that are waited for. rms_error compares with exact
line integrals as in drr_peers.py; a method with another geometry fails. floor_milliseconds is the time in which the
device reads as many bytes as the volume, as it is stored, and the image have: nobody can be faster without leaving
voxels out; over_floor says how many times as long a method takes. samples_per_second counts one sample per slice and
pixel of the whole volume, empty parts too. Batches are many poses of 128 x 128 pixels in one call.

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
from fluoropose.autograd import normal_equations, render
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
BATCH_PIXELS = 128

console = Console()
Call = Callable[[int], Tensor | None]  # of a pose's number; what it returns is the image (h, w), if it makes one


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with head_ct/vhf_head_ct.nii.gz; else a drawn head is used")
    parser.add_argument("--out", type=Path, default=Path("out/bench/drr_gpu.json"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--side", type=int, default=256, help="of the volume, voxels")
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--calls", type=int, default=200, help="per method and pose")
    parser.add_argument("--batch", type=int, default=256, help="poses in one call")
    options = parser.parse_args()
    name, head = subject(options.data, options.side)
    device: Device = options.device
    view = make_view(options.pixels)
    exact = [Reference.of(head.volume, view, pose) for pose in POSES]
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    batches: list[dict[str, Any]] = []
    copied = copy_ms_per_byte(device)
    document = {
        "what": f"{options.pixels} x {options.pixels} point-source projections of {name} in {options.side}^3 voxels",
        "device": torch.cuda.get_device_name() if device == "cuda" else "cpu",
        "environment": Environment.here().model_dump(),
        "copy_gigabytes_per_second": round(2e-6 / copied, 1),  # read and written
        "missing": missing,
        "rows": rows,
        "batches": batches,
    }

    def add(to: list[dict[str, Any]], one: dict[str, Any]) -> None:
        """Keep it in the file as well: what comes later may be cut short."""
        to.append(one)
        console.print(one)
        write_text(options.out, json.dumps(document, indent=1) + "\n")

    def measure(calls: Iterator[tuple[str, str, int, Call]]) -> None:
        for method, what, voxel_bytes, call in calls:
            floor = copied * (voxel_bytes * head.volume.mu.size + 4 * options.pixels**2)
            samples = options.pixels**2 * options.side
            add(rows, row(method, what, call, exact, device, options.calls, floor, samples))

    measure(ours(head.volume, view, device, missing))
    lost = len(missing)
    for method, storage in OURS:
        add(batches, batch(head.volume, method, storage, device, options.batch))
    measure(peers(head.volume, view, device, missing))
    write_text(options.out, json.dumps(document, indent=1) + "\n")  # who is missing
    console.print(f"written to {options.out}; missing: {missing}", markup=False)
    wrong = any(one["rms_error"] is not None and one["rms_error"] > LARGEST_ERROR for one in rows)
    return int(wrong or lost > 0)


def ours(volume: Volume, view: View, device: Device, missing: dict[str, str]) -> Iterator[tuple[str, str, int, Call]]:
    """Yield our methods, each without and with derivatives, and the size of their voxels in bytes.

    Where a graph cannot be captured, say why in ``missing``.
    """
    matrices = [torch.from_numpy(pose.matrix).to(device) for pose in POSES]
    for method, storage in OURS:
        renderer = Renderer(volume, method, device, storage)
        with torch.no_grad():
            targets = [render(renderer, view, matrix)[None] for matrix in matrices]

        def image(pose: int, renderer: Renderer = renderer) -> Tensor:
            with torch.no_grad():
                return render(renderer, view, matrices[pose])

        def gradient(pose: int, renderer: Renderer = renderer) -> Tensor:
            leaf = matrices[pose].clone().requires_grad_()
            found = render(renderer, view, leaf)
            found.square().sum().backward()  # type: ignore[no-untyped-call]
            return found.detach()

        def step(pose: int, renderer: Renderer = renderer, targets: list[Tensor] = targets) -> None:
            normal_equations(renderer, view, matrices[pose][None], targets[pose])

        label, size = f"{method} {storage} (fluoropose {__version__})", 2 if storage == "int16" else 4
        yield label, "image", size, image
        yield label, "gradient", size, gradient
        yield label, "normal equations", size, step
        if device == "cuda":
            try:
                call = graphed(renderer, view, matrices)
            except RuntimeError as error:
                missing[f"{label}, image in a graph"] = str(error)
            else:
                yield label, "image in a graph", size, call


def graphed(renderer: Renderer, view: View, matrices: list[Tensor]) -> Call:
    """Return a call that runs a CUDA graph of one rendering, for any of the poses."""
    at = matrices[0].clone()
    graph = torch.cuda.CUDAGraph()
    with torch.no_grad():
        render(renderer, view, at)
        torch.cuda.synchronize()
        with torch.cuda.graph(graph):
            image = render(renderer, view, at)

    def call(pose: int) -> Tensor:
        at.copy_(matrices[pose])
        graph.replay()
        return image.clone()

    return call


def peers(volume: Volume, view: View, device: str, missing: dict[str, str]) -> Iterator[tuple[str, str, int, Call]]:
    """Yield nanodrr as it is and compiled, and flashdrr; where one cannot be used, say why in ``missing``."""
    root = Path(__file__).parents[1]
    sys.path.insert(0, str(root / "bench" / "peers"))
    # Last, so that torch is the one of this environment.
    sys.path += [str(place) for place in root.glob(".venv-peers/lib/python*/site-packages")]
    folder = root / "out" / "bench" / "gpu_job"
    folder.mkdir(parents=True, exist_ok=True)
    write_job(folder, volume, view, torch.get_num_threads())
    for name in ("nanodrr", "nanodrr, compiled", "flashdrr"):
        try:
            from on_pytorch import flashdrr_calls, nanodrr_calls

            calls = flashdrr_calls(folder, device) if name == "flashdrr" else nanodrr_calls(folder, device, "," in name)
            for label, what, call in calls:
                call(0)
                yield label, what, 4, call
        except Exception as error:  # whatever stands in a peer's way must not stop the others
            missing[name] = f"{type(error).__name__}: {error}"


def row(
    method: str,
    what: str,
    call: Call,
    exact: list[Reference],
    device: str,
    calls: int,
    floor_ms: float,
    samples: int,
) -> dict[str, Any]:
    images = [call(pose) for pose in range(len(POSES))]
    for pose in range(len(POSES)):
        for _ in range(3):
            call(pose)
    of_pose = [partial(call, pose) for pose in range(len(POSES))]
    singles = [wall_ms(one, device) for one in of_pose for _ in range(calls)]
    together = float(np.mean([device_ms(one, device, calls) for one in of_pose]))
    errors = [
        relative_rms(array(image), reference)
        for image, reference in zip(images, exact, strict=True)
        if image is not None
    ]
    low, median, high = np.percentile(singles, [25, 50, 75])
    return {
        "method": method,
        "what": what,
        "device": device,
        "milliseconds": {"median": round(float(median), 4), "spread": round(float(high - low), 4)},
        "device_milliseconds": round(together, 4),
        "floor_milliseconds": round(floor_ms, 4),
        "over_floor": round(together / floor_ms, 2),
        "samples_per_second": round(1e3 * samples / together),
        "rms_error": round(max(errors), 5) if errors else None,
    }


def batch(volume: Volume, method: Method, storage: Storage, device: Device, count: int) -> dict[str, Any]:
    """Return how many small images a second come from calls of many poses, without and with derivatives."""
    rng = np.random.default_rng(0)
    turns = [Pose.exp(rng.normal(0, 0.1, 3), rng.normal(0, 5, 3)) for _ in range(count)]
    poses = [Pose(t.rotation @ POSES[0].rotation, POSES[0].translation_mm + t.translation_mm) for t in turns]
    matrices = torch.from_numpy(np.stack([pose.matrix for pose in poses])).to(device)
    renderer, view = Renderer(volume, method, device, storage), make_view(BATCH_PIXELS)
    with torch.no_grad():
        images = render(renderer, view, matrices)
    calls: dict[str, Callable[[], Any]] = {
        "per_second": lambda: render(renderer, view, matrices),
        "normal_equations_per_second": lambda: normal_equations(renderer, view, matrices, images),
    }
    rates = {}
    with torch.no_grad():
        for name, call in calls.items():
            call()
            rates[name] = round(1e3 * count / min(wall_ms(call, device) for _ in range(5)), 1)
    return {"method": method, "storage": storage, "poses": count, "pixels": BATCH_PIXELS, **rates}


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


def copy_ms_per_byte(device: str) -> float:
    """Return the time in which the device reads one byte, from a large copy (which reads and writes)."""
    source = torch.empty(2**28 if device == "cuda" else 2**26, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    target.copy_(source)
    best = min(wall_ms(lambda: target.copy_(source), device) for _ in range(10))
    return best / (2 * source.numel())


def array(image: Tensor) -> NDArray[np.float32]:
    return np.asarray(image.detach().cpu().float().reshape(image.shape[-2:]).numpy())


if __name__ == "__main__":
    sys.exit(main())
