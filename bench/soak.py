"""A simulated subject walks for minutes before the tracker: pairs, drops, latency, memory, stages and accuracy.

    python bench/soak.py --minutes 10 --out bench/results/soak.json

Another process plays the acquisition software: it writes frames of 1,024 x 1,024 pixels of 16 bits into a ring in
shared memory, at 30 pairs a second, and this one follows them as ``fluoropose stream`` does. The latency counts from
before the frame's copy into the ring to after the filter. The loop of 91 pairs (three strides, all different) is
simulated and its rig calibrated once, with the demo's laboratory, skull and network, and kept in the folder --work.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live

from fluoropose._files import atomic_path, write_text
from fluoropose.bone import Bone
from fluoropose.calibration import calibrate
from fluoropose.demo.run import BUNDLE, calibration_toml
from fluoropose.demo.skull import Geometry, demo_bone
from fluoropose.demo.truth import compare_calibration
from fluoropose.geometry import Pose
from fluoropose.io.frames import open_frames
from fluoropose.learning.bundle import Bundle
from fluoropose.rig import Rig
from fluoropose.simulate.folder import write_calibration, write_trial
from fluoropose.simulate.laboratory import Laboratory, Nominal, install
from fluoropose.simulate.motion import Walking
from fluoropose.simulate.phantom import head
from fluoropose.simulate.truth import FILE_FROM_WORLD
from fluoropose.streaming.frame import Output
from fluoropose.streaming.ring import RingReader, RingWriter
from fluoropose.streaming.statistics import StreamSummary
from fluoropose.streaming.stream import Stream
from fluoropose.streaming.watch import Watch
from fluoropose.tracking import Tracker
from fluoropose.tracking.stored import Attenuating

PAIRS, STRIDES, RATE_HZ, SIZE_PX = 91, 3, 30.0, 1024  # 91 and 3 share no factor: no two pairs are alike
SEED = 2021


@dataclass
class Loop:
    """What is played again and again."""

    rig: Rig
    bone: Bone
    truth: tuple[Pose, ...]
    frames: Path  # (pairs, views, h, w) uint16


def simulated(work: Path, console: Console) -> Loop:
    """Return the loop; made in ``work`` where it is not there yet."""
    laboratory = install(Nominal(image_size_px=SIZE_PX), seed=SEED)
    x, y, z = (float(v) for v in laboratory.nominal.isocentre)
    walking = Walking(centre_mm=(x, y, z), strides_per_s=STRIDES * RATE_HZ / PAIRS)
    poses = [walking.world_from_head(k / RATE_HZ) for k in range(PAIRS)]
    frames = work / "frames.npy"
    if not frames.exists():
        _simulate(work, laboratory, poses, console)
    rig, bone = Rig.load(work / "rig.json"), Bone.load(work / "bone.h5")
    world = compare_calibration(rig, laboratory).world_from_files * FILE_FROM_WORLD
    return Loop(rig, bone, tuple(world * pose * bone.bone_from_source.inverse() for pose in poses), frames)


def _simulate(work: Path, laboratory: Laboratory, poses: list[Pose], console: Console) -> None:
    rng, drawn = np.random.default_rng(SEED), head()
    with console.status("calibration"):
        write_calibration(work, laboratory, rng)
        write_text(work / "calibration.toml", calibration_toml(laboratory))
        calibrate(work / "calibration.toml", work / "rig.json")
    demo_bone(drawn, Geometry.shipped()).save(work / "bone.h5")
    write_trial(work, "loop", laboratory, drawn, [k / RATE_HZ for k in range(PAIRS)], poses, rng, console)
    views = [open_frames(work / "trials" / "loop" / f"view{k}") for k in (1, 2)]
    stored = np.array([[view.read(k) for view in views] for k in range(PAIRS)])
    # Whatever depth the simulated camera has, its frames travel as 16 bits.
    bits = views[0].bits or 16
    with atomic_path(work / "frames.npy") as temporary:
        np.save(temporary, stored.astype(np.uint16) << (16 - bits))


def acquire(ring: Path, frames: Path, pairs: int, start: Any) -> None:
    """Play the acquisition software, in a process of its own."""
    loop = np.load(frames)
    with RingWriter(ring, (SIZE_PX, SIZE_PX), 16, slots=16) as writer:
        start.wait()
        begin = time.monotonic() + 0.5
        for k in range(pairs):
            time.sleep(max(0.0, begin + k / RATE_HZ - time.monotonic()))
            for view in (0, 1):
                writer.write(view, k, k / RATE_HZ, loop[k % PAIRS, view])


@dataclass
class Record:
    """Errors of every pair and, once a second, the memory of this process."""

    truth: tuple[Pose, ...]

    def __post_init__(self) -> None:
        self.errors: list[tuple[float, float]] = []
        self.resident: list[int] = []
        self.sides: list[int] = []

    def __call__(self, output: Output) -> None:
        """Compare a pose with the truth."""
        self.sides.append(output.tracked.refined_px)
        truth, pose = self.truth[output.number % PAIRS], output.tracked.world_from_bone
        if pose is None:
            self.errors.append((float("nan"), float("nan")))
        else:
            shift = float(np.linalg.norm(pose.translation_mm - truth.translation_mm))
            self.errors.append((float(np.degrees(truth.angle_to(pose))), shift))
        if output.number % int(RATE_HZ) == 0:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            self.resident.append(pages * os.sysconf("SC_PAGE_SIZE"))

    @property
    def growth(self) -> float:
        """How much larger the memory is at the end than after a tenth of the time, as a share."""
        values = np.array(self.resident, dtype=np.float64)
        tenth = max(1, len(values) // 10)
        return float(np.median(values[-tenth:]) / np.median(values[tenth : 2 * tenth]) - 1)

    def scales(self) -> dict[str, float]:
        """Return the share of pairs that were refined in windows of each side, 0 for those that were not."""
        sides, counts = np.unique(self.sides, return_counts=True)
        return {f"{side} px": float(count / len(self.sides)) for side, count in zip(sides, counts, strict=True)}

    def accuracy(self) -> dict[str, Any]:
        """Summarise the errors; pairs without a pose are failures."""
        errors = np.array(self.errors)
        found = errors[np.isfinite(errors[:, 0])]
        names = ("geodesic_error_deg", "translation_norm_mm")
        return {
            "without_pose": len(errors) - len(found),
            "within_5_deg_5_mm": float(np.mean((errors <= 5).all(axis=1))),
            **{name: _spread(values) for name, values in zip(names, found.T, strict=True)},
        }


def _spread(values: NDArray[np.float64]) -> dict[str, float]:
    return {
        "median": float(np.median(values)),
        "p95": float(np.percentile(values, 95)),
        "max": float(values.max()),
    }


def soak(
    loop: Loop, bundle: Bundle, minutes: float, looks: int, refine_ms: float | None, console: Console
) -> tuple[StreamSummary, Record]:
    """Follow the loop for so many minutes."""
    ring = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)) / "ring"
    RingWriter(ring, (SIZE_PX, SIZE_PX), 16, slots=16).abandon()
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    writer = context.Process(target=acquire, args=(ring, loop.frames, round(60 * minutes * RATE_HZ), start))
    writer.start()
    record = Record(loop.truth)
    try:
        stream = Stream(
            RingReader(ring),
            Tracker(loop.bone, loop.rig, bundle, looks=looks, refine_ms=refine_ms),
            Attenuating(loop.rig, 16),
        )
        start.set()
        with Live(Watch(stream), console=console, refresh_per_second=1):
            return stream.run(record), record
    finally:
        writer.join(timeout=5)
        writer.kill()
        ring.unlink()
        ring.parent.rmdir()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--looks", type=int, default=1, help="crops per frame")
    parser.add_argument("--refine-ms", type=float, help="time for the images to refine a pair's pose; none by default")
    parser.add_argument("--bundle", type=Path, help="another network for the demo's skull")
    parser.add_argument("--work", type=Path, default=Path("out/soak"), help="where the loop is kept")
    arguments = parser.parse_args()
    console = Console()
    loop = simulated(arguments.work, console)
    with as_file(files("fluoropose") / "data" / BUNDLE) as shipped:
        bundle = Bundle.load(arguments.bundle or shipped)
    summary, record = soak(loop, bundle, arguments.minutes, arguments.looks, arguments.refine_ms, console)
    document = {
        "device": f"cpu, {torch.get_num_threads()} threads",
        "minutes": arguments.minutes,
        "frame": f"{SIZE_PX} x {SIZE_PX}, 16 bits",
        "distinct_pairs": PAIRS,
        "looks": arguments.looks,
        "refine_ms": arguments.refine_ms,
        "refined_px": record.scales(),
        "network": {
            "name": bundle.path.name,
            "parameters": sum(p.numel() for p in bundle.landmarks.module.parameters()),
            "sha256": bundle.landmarks.facts.sha256,
        },
        "memory_growth": record.growth,
        "accuracy": record.accuracy(),
        **summary.model_dump(mode="json"),
    }
    write_text(arguments.out, json.dumps(document, indent=1) + "\n")
    console.print(f"{arguments.out}: {summary.pairs} pairs, {summary.dropped} dropped, latency {summary.latency_ms} ms")


if __name__ == "__main__":
    main()
