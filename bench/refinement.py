"""Refinement by radiographs: the poster's table, two views, the real knee, and the cost.

python bench/refinement.py --data DIR --out bench/results/refinement.json [--tables two_view,knee] [--quick]

Needs networks trained for the head and the knee (``bench/lab_head.py`` and ``bench/real_knee.py`` leave them in
WORK/head and WORK/knee). Results are kept in WORK/refinement as they come: a second run goes on with what is missing.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from fluoropose._files import write_text
from fluoropose.registration.summary import Environment
from refinement_capture import capture_rows, save_capture
from refinement_cost import cost_rows
from refinement_knee import knee_rows
from refinement_ledger import Ledger
from refinement_poster import poster_rows
from refinement_trials import head_trials, knee_trial, two_view_rows

TABLES = ("two_view", "knee", "cost", "capture", "poster")
NOTES = {
    "developed_on": "Appearance, schedule and reach were chosen on the pairs 0-11 of walking and 0-99 of the knee.",
    "failure_rate": "Share of all pairs without a pose or with an mTRE beyond failure_beyond_mtre_mm.",
    "statistics": "Over all pairs that have a pose, failures with one among them.",
    "times": "cpu_seconds_per_pair: the processor's, all threads. The clock's seconds count for the tables cost and "
    "poster alone (there the median of the first timed_pairs starts, done once more): two threads with real-time "
    "priority, on a machine with other work.",
    "missing": "The real wrist pairs: they come without any pose to begin with; see wrist.json.",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="holds knee_biplane, lab_head, head_ct and spine_ct")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--tables", default=",".join(TABLES), help=f"of {', '.join(TABLES)}; others stay as they are")
    parser.add_argument("--starts", type=int, default=500, help="of the poster's table; slow methods do a part")
    parser.add_argument("--work", type=Path, default=Path("out"), help="folder of bones, rigs, networks and ledgers")
    parser.add_argument("--quick", action="store_true", help="a few pairs and starts")
    arguments = parser.parse_args()
    chosen = arguments.tables.split(",")
    if unknown := set(chosen) - set(TABLES):
        raise SystemExit(f"--tables: expected some of {', '.join(TABLES)}, found {', '.join(sorted(unknown))}")
    for name in chosen:
        rows = list(_rows(name, arguments))
        _merge(arguments.out, name, rows)
        if name == "capture":
            place = Environment.here()
            where = f"{place.cpu}, {place.date[:10]}"
            save_capture(arguments.out.with_name(arguments.out.stem + "_capture.png"), rows, where)
        for one in rows:
            _show(one)


def _rows(name: str, arguments: Any) -> Iterator[dict[str, Any]]:
    path = arguments.work / "refinement" / f"{name}{'_quick' if arguments.quick else ''}.jsonl"
    ledger = Ledger(path, {"version": {"poster": 4, "knee": 5}.get(name, 3)})
    if name == "two_view":
        yield from two_view_rows(head_trials(arguments.data, arguments.work), ledger)
    elif name == "capture":
        yield from capture_rows(head_trials(arguments.data, arguments.work)[0], ledger, arguments.quick)
    elif name == "knee":
        trial = knee_trial(arguments.data, arguments.work)
        yield from knee_rows(trial, ledger, arguments.quick)
    elif name == "poster":
        yield from poster_rows(arguments.data, ledger, 10 if arguments.quick else arguments.starts)
    else:
        yield from cost_rows()


def _merge(out: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """Put the rows of one table into the file; those of the others stay, with the environment they were made in."""
    document: dict[str, Any] = json.loads(out.read_text(encoding="utf-8")) if out.exists() else {}
    kept = [one for one in document.get("rows", []) if one["made_by"] != name]
    environments = document.get("environments", {}) | {name: Environment.here().model_dump()}
    new = [one | {"made_by": name} for one in rows]
    text = json.dumps({"notes": NOTES, "environments": environments, "rows": kept + new}, indent=1)
    write_text(out, text + "\n")


def _show(one: dict[str, Any]) -> None:
    def median(field: str) -> str:
        value = one.get(field)
        return f"{value['median']:.2f}/{value['p95']:.2f}" if value else "-"

    where = one.get("trial") or one.get("frames") or one.get("setting") or ""
    console.print(
        f"{one['table']}: {one['method']} [{where}] {one.get('start_deg', '')} "
        f"n={one.get('pairs')} failed={one.get('failed')} geodesic {median('geodesic_error_deg')} "
        f"translation {median('translation_norm_mm')} mTRE {median('mtre_mm')} "
        f"failure rate {one.get('failure_rate')} s/pair {one.get('seconds_per_pair')}",
        markup=False,
        soft_wrap=True,
    )


console = Console()

if __name__ == "__main__":
    main()
