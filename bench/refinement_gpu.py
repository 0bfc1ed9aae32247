"""Refinement on a GPU: its cost, and our own rows of the poster's table; see refinement.py for the CPU and the peers.

    python bench/refinement_gpu.py --trunk out/trunk.npz --data ../shared/data --tables poster --cases 0
    python bench/refinement_gpu.py --trunk out/trunk.npz --out bench/results/refinement_gpu.json

The first line, on a machine with the CT and SimpleITK, leaves the poster's trunk in a file; with it the second needs
neither. --device cpu gives the same rows of the CPU, to stand beside them. Times are the clock's, until the pose is
known.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from fluoropose._files import write_text
from fluoropose.drr import Device
from fluoropose.registration.summary import Environment
from refinement_cost import cost_rows
from refinement_poster import Trunk, our_poster_rows

console = Console()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--trunk", type=Path, default=Path("out/trunk.npz"), help="the poster's trunk, made where missing"
    )
    parser.add_argument("--data", type=Path, help="holds spine_ct, for a trunk that is missing")
    parser.add_argument("--out", type=Path, default=Path("out/bench/refinement_gpu.json"))
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tables", default="cost,poster", help="of cost and poster")
    parser.add_argument("--cases", type=int, default=100, help="of the poster's table")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for one in _rows(options):
        rows.append(one)
        _show(one)
        document = {"gpu": _gpu(options.device), "environment": Environment.here().model_dump(), "rows": rows}
        write_text(options.out, json.dumps(document, indent=1) + "\n")


def _rows(options: Any) -> Iterator[dict[str, Any]]:
    device: Device = options.device
    if "cost" in options.tables:
        yield from cost_rows(device)
    if "poster" in options.tables:
        if not options.trunk.exists():
            Trunk.read(options.data).save(options.trunk)
        if options.cases:
            yield from our_poster_rows(Trunk.load(options.trunk, device), options.cases)


def _gpu(device: Device) -> str | None:
    if device == "cpu":
        return None
    import torch

    return torch.cuda.get_device_name()


def _show(one: dict[str, Any]) -> None:
    shown = ("setting", "method", "device", "pairs", "seconds_per_pair", "fastest_seconds", "p95_seconds")
    also = ("iterations_by_scale", "geodesic_error_deg_median", "translation_norm_mm_median", "from_cpu_deg_max")
    more = ("from_cpu_mm_max", "failure_rate", "failure_rate_2_mm", "rotation_per_axis_deg", "translation_per_axis_mm")
    console.print(json.dumps({n: one[n] for n in (*shown, *also, *more) if n in one}), markup=False, soft_wrap=True)


if __name__ == "__main__":
    main()
