"""The tables of measured results in README.md and bench/README.md, made from bench/results.

python bench/readme_tables.py [--check]     (--check: change nothing, fail where one of the two differs)
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import refinement_tables
from drr_tables import gpu_kernels, peers, rendering
from live_tables import joints, live, tracking
from measured import ROOT, load, where

# What the rows of the registration table are called, by results file and trial.
TRIALS = {
    "demo": {"": "demo: synthetic head, walking"},
    "real_knee": {"": "real knee, femoral component, flexion"},
    "lab_head": {
        "walking": "lab_head: walking",
        "flexion_extension": "lab_head: end of flexion and extension",
        "lateral_bending": "lab_head: end of lateral bending",
        "axial_rotation": "lab_head: end of axial rotation",
    },
}


def registration() -> Iterator[str]:
    """Yield the table of all registered trials and, below it, where they were measured."""
    documents = {name: document for name in TRIALS if (document := load(name)) is not None}
    if not documents:
        return
    yield (
        "| trial | pairs | failed | angle, degrees | distance, mm | mTRE, mm | Eq. 3, degrees | Eq. 3, mm "
        "| within 5° and 5 mm | s per pair |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    places = []
    for name, document in documents.items():
        for trial, title in TRIALS[name].items():
            yield trial_row(title, document.get("trials", {}).get(trial, document))
        places.append(f"{name}: {where(document)}")
    yield ""
    yield (
        "Angle, distance and mTRE: median (95th percentile). Eq. 3: mean ± standard deviation. Measured on "
        + "; ".join(places)
        + "."
    )


def trial_row(title: str, summary: dict[str, Any]) -> str:
    def median(name: str) -> str:
        s = summary[name]
        return "" if s is None else f"{s['median']:.2f} ({s['p95']:.2f})"

    def mean(name: str) -> str:
        s = summary[name]
        return "" if s is None else f"{s['mean']:.2f} ± {s['sd']:.2f}"

    rate = summary["success_rate"]
    cells = [
        title,
        str(summary["pairs"]),
        str(summary["failed"]),
        median("geodesic_error_deg"),
        median("translation_norm_mm"),
        median("mtre_mm"),
        mean("rotation_error_deg"),
        mean("translation_error_mm"),
        "" if rate is None else f"{rate['value']:.1%}",
        f"{summary['seconds_per_pair']:.2f}",
    ]
    return "| " + " | ".join(cells) + " |"


def landmarks() -> Iterator[str]:
    """Yield what triangulated landmarks alone reach, by what the network is shown, beside the paper's Figure 10."""
    document = load("figure10")
    if document is None:
        return
    styles = ("raw", "translated", "randomised")
    whole = {(row["scenario"], row["style"]): row for row in document["rows_without_segmentation"]}
    yield (
        "| landmarks alone, Eq. 3 | the paper | frames as they are, plain network | translated, plain network "
        "| frames as they are, network of random styles |"
    )
    yield "|---|---|---|---|---|"
    for scenario, paper in document["paper"].items():
        told = f"{paper['degrees'][0]}°, {paper['mm'][0]} mm"
        cells = [_alone(whole[scenario, style]) for style in styles]
        yield f"| lab_head: {scenario.replace('_', ' ')} | {told} | {' | '.join(cells)} |"
    knee = load("real_knee")
    if knee is not None and "landmarks_alone" in knee:
        rows = {row["style"]: row for row in knee["landmarks_alone"]["rows"] if row["segmentation"] == "none"}
        cells = [_alone(rows[style]) if style in rows else "" for style in styles]
        first, end = knee["landmarks_alone"]["frames"].split(":")
        yield f"| real knee, frames {first} to {int(end) - 1} | | {' | '.join(cells)} |"
    yield ""
    small = ""
    if document["small"]:
        small = (
            " Trained on two processor cores: the head's landmark networks at the paper's width, the knee's at half of "
            "it, the translations briefly and with a quarter of its channels."
        )
    told = next(one for name, one in document["training"].items() if re.fullmatch(r"plain\w*: landmarks", name))
    mse = " and ".join(f"{told[f'{part}_log10_mse']:.2f} on {part}ing" for part in ("train", "test"))
    gains = [
        one["raw_over_radiographs_mtre"] for one in document["translation_gain"] if "raw_over_radiographs_mtre" in one
    ]
    most = f" by a factor of {min(gains):.1f} to {max(gains):.1f}" if gains else ""
    yield (
        "Mean of degrees and mm over the pairs found, without a start pose, segmentation or refinement; the paper's "
        f"heads are its own, translated and segmented.{small} The head's plain network has a log10 MSE of {mse} "
        "radiographs (the paper's: -4.86 and -2.96). Plain radiographs of the true poses instead of frames, cut out, "
        f"bring its mTRE down{most}: no translation can do more. Measured on {where(document)}."
    )


def _alone(row: dict[str, Any]) -> str:
    degrees, mm = row["rotation_error_deg"], row["translation_error_mm"]
    failed = f", {row['failed']} of {row['pairs']} failed" if row["failed"] else ""
    return "none found" if degrees is None else f"{degrees['mean']:.1f}°, {mm['mean']:.1f} mm{failed}"


def simulated() -> Iterator[str]:
    """Yield what is found of a simulated head, to the end of the neck's range."""
    document = load("simulated_head")
    if document is None:
        return
    yield "| trial | method | pairs | failed | angle, degrees | distance, mm | within 5° and 5 mm |"
    yield "|---|---|---|---|---|---|---|"
    for row in document["rows"]:
        found = (row["geodesic_error_deg"], row["translation_norm_mm"])
        cells = ["" if one is None else f"{one['median']:.2f} ({one['p95']:.2f})" for one in found]
        name, rate = row["trial"].replace("_", " "), row["success_rate"]["value"]
        counts = f"{row['pairs']} | {row['failed']}"
        yield f"| {name} | {row['method']} | {counts} | {' | '.join(cells)} | {rate:.0%} |"
    yield ""
    yield f"{document['what']}. Median (95th percentile). Measured on {where(document)}."


def triangulation() -> Iterator[str]:
    """Yield the time of one frame, beside other solvers."""
    document = load("triangulation")
    if document is None:
        return
    yield "| triangulation of 33 landmarks in 2 views | time per frame | median error |"
    yield "|---|---|---|"
    for name, row in document["rows"].items():
        error = f"{row['median_geodesic_error_deg']:.2f}°, {row['median_translation_norm_mm']:.2f} mm"
        yield f"| {name} | {row['us_per_frame']:,.0f} µs | {error} |"
    yield ""
    yield f"{document['what']}. Measured on {where(document)}."


def of_refinement(table: Callable[[dict[str, Any]], Iterator[str]]) -> Iterator[str]:
    """Yield one of the tables of results/refinement.json."""
    document = load("refinement")
    if document is not None:
        yield from table(document)


TABLES: dict[str, Callable[[], Iterator[str]]] = {
    "registration": registration,
    "landmarks": landmarks,
    "simulated": simulated,
    "triangulation": triangulation,
    "rendering": rendering,
    "peers": peers,
    "gpu_kernels": gpu_kernels,
    "live": live,
    "tracking": tracking,
    "joints": joints,
    "refinement": lambda: of_refinement(refinement_tables.refinement),
    "refinement_cost": lambda: of_refinement(refinement_tables.refinement_cost),
    "refinement_poster": lambda: of_refinement(refinement_tables.refinement_poster),
    "refinement_capture": lambda: of_refinement(refinement_tables.refinement_capture),
    "refinement_knee": lambda: of_refinement(refinement_tables.refinement_knee),
}


def with_tables(text: str) -> str:
    """Return a text with every block between "table: NAME" and "end of table" made anew."""

    def block(match: re.Match[str]) -> str:
        return f"<!-- table: {match[1]} -->\n" + "\n".join(TABLES[match[1]]()) + "\n<!-- end of table -->"

    return re.sub(r"<!-- table: (\w+) -->\n.*?<!-- end of table -->", block, text, flags=re.DOTALL)


def main() -> int:
    differing = []
    for name in ("README.md", "bench/README.md"):
        path = ROOT / name
        old = path.read_text(encoding="utf-8")
        new = with_tables(old)
        if new != old:
            differing.append(name)
            if sys.argv[1:] != ["--check"]:
                path.write_text(new, encoding="utf-8")
    if sys.argv[1:] == ["--check"] and differing:
        names = " and ".join(differing)
        print(f"bench/results holds what {names} does not show: run 'make tables' and commit it.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
