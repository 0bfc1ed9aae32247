"""A simulated subject walks for minutes before the tracker: pairs, drops, latency, memory, stages and accuracy.

    python bench/soak.py --minutes 10 --out bench/results/soak.json

Another process plays the acquisition software: it writes frames of 1,024 x 1,024 pixels of 16 bits into a ring in
shared memory, at 30 pairs a second, and this one follows them as ``fluoropose stream`` does: segmentation and
translation as far as the bundle has networks for them, landmarks, four hypotheses, refinement by the images as far as
the time allows, filter. The latency counts from
before the frame's copy into the ring to after the filter. Afterwards, without a clock, the same loop is followed from
memory as fast as it can be, to tell how many pairs a second that is, and with fewer networks, to tell what each does to
the accuracy.

On a GPU, with networks of the paper's size, see ``paper_size.py``::

    python bench/soak.py --minutes 1 --device cuda --paper-size --out bench/results/soak_gpu.json
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import asdict, astuple, dataclass, fields, replace
from importlib.resources import as_file, files
from itertools import product
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.live import Live

from fluoropose._files import write_text
from fluoropose.demo.run import BUNDLE
from fluoropose.geometry import Pose
from fluoropose.learning.bundle import Bundle, LandmarkNetwork, SegmentNetwork, StyleNetwork, fastest_precision
from fluoropose.streaming.frame import Output
from fluoropose.streaming.ring import RingReader, RingWriter
from fluoropose.streaming.statistics import StreamSummary
from fluoropose.streaming.stream import Stream
from fluoropose.streaming.undisturbed import undisturbed
from fluoropose.streaming.watch import Watch
from fluoropose.tracking import Stages, Tracked, Tracker
from fluoropose.tracking.stored import Attenuating
from paper_size import WEIGHTS, paper_size
from walking_loop import PAIRS, RATE_HZ, SIZE_PX, Loop, simulated

SLOTS = 16


@dataclass(frozen=True)
class Follower:
    """How the bone is followed; translated by the large generator on a GPU, by the small one on the processor.

    Attributes
    ----------
    segmented, translated
        Whether these networks are on the way.
    looks
        Crops per frame.
    refine_ms
        Most time for the images to refine a pair's pose; 0: none.
    """

    segmented: bool = True
    translated: bool = True
    looks: int = 1
    refine_ms: float = 15.0

    def tracker(self, loop: Loop, bundle: Bundle) -> Tracker:
        """Make it for a loop."""
        segmenter, translator = bundle.asked(self.segmented, self.translated)
        with warnings.catch_warnings():  # on purpose: the demo's networks were trained for the rig on paper
            warnings.filterwarnings("ignore", message=".*trained for another calibration")
            return Tracker(
                loop.bone,
                loop.rig,
                bundle,
                looks=self.looks,
                refine_ms=self.refine_ms,
                segmenter=segmenter,
                translator=translator,
            )


def acquire(ring: Path, frames: Path, pairs: int, start: Any) -> None:
    """Play the acquisition software, in a process of its own."""
    loop = np.load(frames)
    with RingWriter(ring, (SIZE_PX, SIZE_PX), 16, slots=SLOTS) as writer:
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
        """Compare a pose of the stream with the truth."""
        self.compare(output.number, output.tracked)
        if output.number % int(RATE_HZ) == 0:
            pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
            self.resident.append(pages * os.sysconf("SC_PAGE_SIZE"))

    def compare(self, number: int, tracked: Tracked) -> None:
        """Compare a pose with the truth."""
        self.sides.append(tracked.refined_px)
        truth, pose = self.truth[number % PAIRS], tracked.world_from_bone
        if pose is None:
            self.errors.append((float("nan"), float("nan")))
        else:
            shift = float(np.linalg.norm(pose.translation_mm - truth.translation_mm))
            self.errors.append((float(np.degrees(truth.angle_to(pose))), shift))

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


def soak(loop: Loop, tracker: Tracker, minutes: float, console: Console) -> tuple[StreamSummary, Record]:
    """Follow the loop for so many minutes."""
    ring = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None)) / "ring"
    RingWriter(ring, (SIZE_PX, SIZE_PX), 16, slots=SLOTS).abandon()
    context = multiprocessing.get_context("spawn")
    start = context.Event()
    writer = context.Process(target=acquire, args=(ring, loop.frames, round(60 * minutes * RATE_HZ), start))
    writer.start()
    record = Record(loop.truth)
    try:
        stream = Stream(RingReader(ring), tracker, Attenuating(16))
        tracker.warm_up()  # on a GPU that takes seconds, in which the ring would overflow
        start.set()
        with Live(Watch(stream), console=console, refresh_per_second=1):
            return stream.run(record), record
    finally:
        writer.join(timeout=5)
        writer.kill()
        ring.unlink()
        ring.parent.rmdir()


def followed(loop: Loop, tracker: Tracker) -> Iterator[tuple[int, Tracked]]:
    """Follow the loop once, without a clock."""
    attenuating, frames = Attenuating(16), np.load(loop.frames, mmap_mode="r")
    for k in range(PAIRS):
        first, second = (attenuating(np.asarray(frames[k, view])) for view in (0, 1))
        yield k, tracker.push(first, second, k / RATE_HZ)


def sustained(loop: Loop, tracker: Tracker, rounds: int) -> dict[str, Any]:
    """Return how many pairs a second there can be, and how long one takes (ms), its frames being in memory."""
    attenuating, frames = Attenuating(16), np.load(loop.frames)
    tracker.forget()
    times, stages = [time.perf_counter()], []
    with undisturbed():
        for k in range(rounds * PAIRS):
            first, second = (attenuating(frames[k % PAIRS, view]) for view in (0, 1))
            stages.append(astuple(tracker.push(first, second, k / RATE_HZ).stages))
            times.append(time.perf_counter())
    spent_ms = 1e3 * np.diff(times)
    return {
        "pairs": len(spent_ms),
        "pairs_per_second": float(1e3 / spent_ms.mean()),
        **{f"p{share}_ms": float(np.percentile(spent_ms, share)) for share in (50, 99)},
        "max_ms": float(spent_ms.max()),
        "stages_ms": dict(zip((one.name for one in fields(Stages)), np.mean(stages, axis=0).tolist(), strict=True)),
    }


def accuracies(loop: Loop, bundle: Bundle, most: Follower) -> dict[str, Any]:
    """Return the accuracy over one loop, not refined, with each choice of the networks before that of the landmarks."""
    found = {}
    for segmented, translated in product((False, True), repeat=2):
        if segmented > most.segmented or translated > most.translated:
            continue
        names = [name for name, used in (("segmentation", segmented), ("translation", translated)) if used]
        record, follower = Record(loop.truth), replace(most, segmented=segmented, translated=translated, refine_ms=0)
        for number, tracked in followed(loop, follower.tracker(loop, bundle)):
            record.compare(number, tracked)
        found[" and ".join(names) or "landmarks alone"] = record.accuracy()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--looks", type=int, default=1, help="crops per frame")
    parser.add_argument("--refine-ms", type=float, default=15.0, help="most time to refine a pair's pose; 0: none")
    parser.add_argument("--rounds", type=int, default=10, help="times that the loop is followed without a clock")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of the networks")
    parser.add_argument("--landmarks-alone", action="store_true", help="without segmentation and translation")
    networks = parser.add_mutually_exclusive_group()
    networks.add_argument("--bundle", type=Path, help="other networks for the demo's skull")
    networks.add_argument("--paper-size", action="store_true", help="networks of the paper's size, see paper_size.py")
    parser.add_argument("--device", default="cpu", help="where the networks run: cpu, cuda or cuda:N")
    parser.add_argument("--work", type=Path, default=Path("out/soak"), help="where the loop is kept")
    arguments = parser.parse_args()
    console = Console()
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    loop = simulated(arguments.work, console)
    if arguments.paper_size:
        arguments.bundle = paper_size(arguments.work / "paper.fpbundle").path
    with as_file(files("fluoropose") / "data" / BUNDLE) as shipped:
        bundle = Bundle.load(arguments.bundle or shipped, arguments.device, fastest_precision())
    all_of_it = not arguments.landmarks_alone
    follower = Follower(
        all_of_it and bundle.segment is not None,
        all_of_it and (bundle.translate_small or bundle.translate) is not None,
        arguments.looks,
        arguments.refine_ms,
    )
    tracker = follower.tracker(loop, bundle)
    summary, record = soak(loop, tracker, arguments.minutes, console)
    most = sustained(loop, tracker, arguments.rounds)
    document = {
        "device": _device(bundle, tracker, arguments.threads),
        "minutes": arguments.minutes,
        "frame": f"{SIZE_PX} x {SIZE_PX}, 16 bits",
        "distinct_pairs": PAIRS,
        **asdict(follower),
        "refined_px": record.scales(),
        "bundle": bundle.path.name,
        "networks": _networks(bundle, WEIGHTS if arguments.paper_size else {}),
        "memory_growth": record.growth,
        "accuracy": record.accuracy(),
        **summary.model_dump(mode="json"),
        "pairs_per_second_sustained": most["pairs_per_second"],
        "sustained": most,
        "between_stages_share": _between(summary),
    }
    write_text(arguments.out, json.dumps(document, indent=1) + "\n")
    document["accuracy_of_one_loop"] = accuracies(loop, bundle, follower)
    write_text(arguments.out, json.dumps(document, indent=1) + "\n")
    console.print(f"{arguments.out}: {summary.pairs} pairs, {summary.dropped} dropped, latency {summary.latency_ms} ms")


def _device(bundle: Bundle, tracker: Tracker, threads: int) -> str:
    if bundle.device.type == "cuda" and not tracker.problems:
        return f"{torch.cuda.get_device_name(bundle.device)}, float16"
    return f"cpu, {threads} threads, {bundle.precision}"


def _networks(bundle: Bundle, weights: dict[str, str]) -> dict[str, Any]:
    """Return what is known of each network."""
    counts = bundle.parameters
    return {
        name: {
            "parameters": counts[name],
            "ms_per_pair_alone": _milliseconds(getattr(bundle, name)),
            "weights": weights.get(name, "trained"),
            "training": facts.training,
            "sha256": facts.sha256,
        }
        for name, facts in bundle.manifest.networks.named().items()
    }


def _milliseconds(network: LandmarkNetwork | SegmentNetwork | StyleNetwork) -> float:
    """Return the median time that the two crops of a pair take, there and back included."""
    crops = torch.zeros(2, 1, network.facts.size, network.facts.size)
    inputs = (crops, torch.tensor([0, 1])) if isinstance(network, LandmarkNetwork) else (crops,)
    times = [time.perf_counter()]
    with torch.inference_mode():
        for _ in range(20):
            network.module(*inputs)
            times.append(time.perf_counter())
    return float(1e3 * np.median(np.diff(times)))


def _between(summary: StreamSummary) -> float:
    """Return which share of the mean latency is none of the stages': conversion, queue, handing over."""
    assert summary.latency_ms is not None
    return 1 - sum(summary.stages_ms.values()) / summary.latency_ms.mean


if __name__ == "__main__":
    main()
