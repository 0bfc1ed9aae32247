"""Shear-warp against ray casting: time, and error against the exact integral, of one volume at several image sizes.

    python bench/drr_speed.py --data ../shared/data --out bench/results/drr_speed.json

Without --data a synthetic head takes the CT's place. Times are of this process's processor seconds as well as of the
clock, because a busy machine distorts the latter.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from fluoropose._files import write_text
from fluoropose.drr import BoneRenderer, Method, Renderer
from fluoropose.geometry import Pose, View
from fluoropose.registration.summary import Environment
from fluoropose.volume import Volume

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "python"))
from drr_reference import line_integrals  # type: ignore[import-not-found]

THETA_DEG = ([80.0, 10.0, 20.0], [0.0, 0.0, 0.0], [30.0, 35.0, 50.0])


@dataclass
class Subject:
    """What a bone's renderer reads: skull and what surrounds it."""

    volume: Volume
    mask: NDArray[np.bool_]
    landmarks_mm: NDArray[np.float64]


@dataclass
class Row:
    """One method at one image size; times are medians over poses and repeats."""

    method: Method
    detector: int
    rms_error: float  # share of the image's range, the worst pose
    milliseconds: float
    processor_milliseconds: float  # of all threads together
    with_bone_milliseconds: float  # whole, bone, mask and 33 landmarks
    with_bone_processor_milliseconds: float


def centred(mu: NDArray[np.floating], spacing_mm: tuple[float, ...]) -> Volume:
    affine = np.diag([*spacing_mm, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(mu.shape)[::-1] - 1) / 2)
    return Volume(mu.astype(np.float32), affine)


def head_ct(data: Path) -> Subject:
    import SimpleITK as sitk

    image = sitk.ReadImage(str(data / "head_ct" / "vhf_head_ct.nii.gz"))
    hu = sitk.GetArrayFromImage(image).astype(np.float32)
    mu = 0.02 * np.clip(1 + hu / 1000, 0, None)
    mu[hu < -700] = 0
    return Subject(centred(mu, image.GetSpacing()), hu > 300, np.zeros((33, 3)))


def synthetic_head(side: int = 256) -> Subject:
    z, y, x = np.indices((side, side, side), dtype=np.float32) - (side - 1) / 2
    radius = np.sqrt((x / 0.75) ** 2 + y**2 + z**2) / side
    skull = (radius > 0.36) & (radius < 0.40)
    mu = np.where(skull, 0.045, np.where(radius < 0.43, 0.02, 0.0)).astype(np.float32)
    mu += np.where(mu > 0, np.random.default_rng(0).uniform(0, 0.004, mu.shape), 0).astype(np.float32)
    return Subject(centred(mu, (1.0, 1.0, 1.0)), skull, np.zeros((33, 3)))


def timed(call: Callable[[], object], repeats: int) -> list[tuple[float, float]]:
    """Return milliseconds of the clock and of the processor for each of the repeats, after one that does not count."""
    call()
    times = []
    for _ in range(repeats):
        start, start_processor = time.perf_counter(), time.process_time()
        call()
        times.append((1e3 * (time.perf_counter() - start), 1e3 * (time.process_time() - start_processor)))
    return times


def measure(subject: Subject, method: Method, size: int, repeats: int) -> Row:
    view = View.from_sdd((size, size), 1000.0, 307 / size, 307 / size, 0.0, 0.0)
    renderer, with_bone = Renderer(subject.volume, method), BoneRenderer(subject, method)  # type: ignore[arg-type]
    pixels = np.random.default_rng(size).integers(0, size, (700, 2))
    errors: list[float] = []
    plain: list[tuple[float, float]] = []
    full: list[tuple[float, float]] = []
    for theta in THETA_DEG:
        pose = Pose.from_euler_zyx_deg(theta, [0.0, 0.0, -300.0])
        exact = line_integrals(subject.volume, view, pose, pixels.astype(np.float64))
        found = renderer.render(view, pose)[pixels[:, 1], pixels[:, 0]]
        errors.append(float(np.sqrt(((found - exact) ** 2).mean()) / np.ptp(exact)))
        plain += timed(partial(renderer.render, view, pose), repeats)
        full += timed(partial(with_bone.render, view, pose), repeats)
    (clock, processor), (full_clock, full_processor) = np.median(plain, axis=0), np.median(full, axis=0)
    return Row(method, size, max(errors), clock, processor, full_clock, full_processor)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with head_ct/vhf_head_ct.nii.gz")
    parser.add_argument("--out", type=Path, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    subject = head_ct(options.data) if options.data else synthetic_head()
    rows: list[Row] = []
    table = Table("pixels", "method", "RMS error", "ms", "CPU ms", "with bone: ms", "CPU ms", "CPU ms, cast / shear")
    for size in (128, 256, 512):
        cast, sheared = (measure(subject, method, size, options.repeats) for method in ("ray_cast", "shear_warp"))
        rows += [cast, sheared]
        for row in (cast, sheared):
            times = asdict(row)
            shown = [f"{value:.1f}" for key, value in times.items() if key.endswith("milliseconds")]
            ratio = cast.processor_milliseconds / row.processor_milliseconds
            table.add_row(str(size), row.method, f"{100 * row.rms_error:.3f} %", *shown, f"{ratio:.1f}")
    Console().print(table)
    if options.out:
        volume = {"name": "head_ct" if options.data else "synthetic", "shape": subject.volume.shape}
        result = {
            "environment": Environment.here().model_dump(),
            "threads": os.environ.get("OMP_NUM_THREADS", str(os.cpu_count())),
            "volume": volume,
            "rows": [asdict(row) for row in rows],
        }
        write_text(options.out, json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
