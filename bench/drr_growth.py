"""How the renderer's time and memory grow with the volume's and the detector's side; rows and a plot.

    python bench/drr_growth.py --data ../shared/data --out bench/results/drr_growth.json

The head CT (without --data a drawn head) is resampled to each side and seen from four directions. Every row comes from
a process of its own. "peak_mib" is what resident memory rises by at most, from before the renderer is built until its
last image; "needed_mib" are the voxels that the renderer keeps and the image. It keeps the occupied box in float32;
shear_warp keeps it in pairs of slices too, half as many voxels, for each of the three axes along which it was asked to
look; ray_cast keeps it turned as well, to look along x. The picture lies beside the JSON file.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, cast

import numpy as np
from rich.console import Console
from rich.table import Table

from drr_scene import POSES, SIDE_MM, make_view, subject
from drr_speed import centred
from fluoropose._files import atomic_path, write_text
from fluoropose.drr import Method, Renderer
from fluoropose.registration.summary import Environment
from fluoropose.volume import Volume

VOLUMES, DETECTORS = (64, 128, 256, 512), (64, 128, 256, 512, 1024)
METHODS: tuple[Method, ...] = ("shear_warp", "ray_cast")
MIB = 2.0**20
console = Console()


def memory_mib(field: str) -> float:
    """Return a field of this process's status: VmRSS, what is resident now; VmHWM, the most that was."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise OSError(f"/proc/self/status has no {field}")


def needed_mib(volume: Volume, method: Method, pixels: int) -> float:
    """Return the size of the voxels that a renderer keeps, and of one image."""
    lit = [np.flatnonzero(volume.mu.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    voxels = float(np.prod([indices[-1] - indices[0] + 3 for indices in lit]))  # with a rim of zeros
    view = make_view(pixels)
    axes = {int(np.abs(pose.rotation.T @ (view.centre - view.source)).argmax()) for pose in POSES}
    copies = 1 + (0.5 * len(axes) if method == "shear_warp" else float(0 in axes))
    return float(4 * (voxels * copies + pixels**2) / MIB)


def measure(volume_file: Path, method: Method, pixels: int, seconds: float) -> dict[str, Any]:
    """Measure one row in this process."""
    mu = np.load(volume_file)
    volume, view = centred(mu, (SIDE_MM / len(mu),) * 3), make_view(pixels)
    del mu
    needed = needed_mib(volume, method, pixels)
    Renderer(centred(np.ones((4, 4, 4)), (1.0,) * 3), method).render(make_view(8), POSES[0])  # threads and libraries
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    before = memory_mib("VmRSS")
    start = time.perf_counter()
    renderer = Renderer(volume, method)
    built = time.perf_counter() - start
    for pose in POSES:
        renderer.render(view, pose)
    rounds: list[tuple[float, float]] = []
    until = time.perf_counter() + seconds
    while len(rounds) < 7 or time.perf_counter() < until:
        start, start_processor = time.perf_counter(), time.process_time()
        for pose in POSES:
            renderer.render(view, pose)
        rounds.append((time.perf_counter() - start, time.process_time() - start_processor))
    clock, processor = 1e3 * np.array(rounds).T / len(POSES)
    low, median, high = np.percentile(clock, [25, 50, 75])
    peak = memory_mib("VmHWM") - before
    return {
        "method": method,
        "device": "cpu",
        "volume": list(volume.shape),
        "detector": [pixels, pixels],
        "milliseconds": {"median": round(float(median), 3), "spread": round(float(high - low), 3)},
        "processor_milliseconds": round(float(np.median(processor)), 3),
        "set_up_milliseconds": round(1e3 * built, 1),
        "peak_mib": round(peak, 2),
        "needed_mib": round(needed, 2),
        "memory_overhead": round(peak / needed - 1, 3),
    }


def plot(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw time against either side, the other being 256 or what comes nearest."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for axis, key, other in zip(axes, ("volume", "detector"), ("detector", "volume"), strict=True):
        fixed = max(r[other][0] for r in rows if r[other][0] <= 256)
        for method in METHODS:
            chosen = [r for r in rows if r["method"] == method and r[other][0] == fixed]
            sides = [r[key][0] for r in chosen]
            (line,) = axis.plot(sides, [r["milliseconds"]["median"] for r in chosen], marker="o", label=method)
            spent = [r["processor_milliseconds"] for r in chosen]
            axis.plot(sides, spent, linestyle=":", color=line.get_color(), label=f"{method}, processor time")
        axis.set(xscale="log", yscale="log", xlabel=f"{key}'s side", title=f"{other} of side {fixed}")
        axis.minorticks_off()
        ticks = sorted({r[key][0] for r in rows})
        axis.set_xticks(ticks, [str(side) for side in ticks])
        axis.grid(True, alpha=0.3)
    axes[0].set_ylabel("ms per DRR")
    axes[0].legend(fontsize="small")
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=130)
    plt.close(figure)


def show(rows: list[dict[str, Any]]) -> None:
    table = Table("method", "volume", "detector", "ms", "spread", "CPU ms", "peak MiB", "needed MiB", "overhead")
    for r in rows:
        numbers = [f"{r['milliseconds'][k]:.2f}" for k in ("median", "spread")]
        numbers.append(f"{r['processor_milliseconds']:.2f}")
        memory = [f"{r['peak_mib']:.1f}", f"{r['needed_mib']:.1f}", f"{r['memory_overhead']:+.0%}"]
        table.add_row(r["method"], f"{r['volume'][0]}^3", f"{r['detector'][0]}^2", *numbers, *memory)
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with head_ct/vhf_head_ct.nii.gz")
    parser.add_argument("--out", type=Path, default=Path("out/bench/drr_growth.json"))
    parser.add_argument("--quick", action="store_true", help="small sides: shows that it runs")
    parser.add_argument("--row", nargs=3, metavar=("VOLUME.npy", "METHOD", "PIXELS"), help="measure this one only")
    parser.add_argument("--note", default="", help="what a reader must know about this run")
    options = parser.parse_args()
    seconds = 0.05 if options.quick else 1.0
    if options.row:
        file, method, pixels = options.row
        print(json.dumps(measure(Path(file), cast(Method, method), int(pixels), seconds)))
        return
    volumes, detectors = (VOLUMES[:2], DETECTORS[:2]) if options.quick else (VOLUMES, DETECTORS)
    rows: list[dict[str, Any]] = []
    name = ""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "mu.npy"
        for side in volumes:
            name, head = subject(options.data, side)
            np.save(file, head.volume.mu)
            del head
            for method in METHODS:
                for pixels in detectors:
                    run = [sys.executable, __file__, "--row", str(file), method, str(pixels)]
                    run += ["--quick"] if options.quick else []
                    rows.append(json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout))
    show(rows)
    document = {
        "what": f"{name}, point source, four directions; milliseconds: median and interquartile range",
        "note": options.note,
        "environment": Environment.here().model_dump(),
        "threads": int(os.environ["OMP_NUM_THREADS"]),
        "rows": rows,
    }
    write_text(options.out, json.dumps(document, indent=1) + "\n")
    plot(rows, options.out.with_suffix(".png"))
    console.print(f"written to {options.out} and {options.out.with_suffix('.png')}")


if __name__ == "__main__":
    main()
