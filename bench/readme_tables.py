"""The tables of measured results in README.md and bench/README.md, made from bench/results.

python bench/readme_tables.py [--check]     (--check: change nothing, fail where one of the two differs)
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import refinement_tables

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench" / "results"

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
            " Trained on two processor cores, but for the head's plain network briefly and at half the paper's width."
        )
    told = next(one for name, one in document["training"].items() if re.fullmatch(r"plain\w*: landmarks", name))
    mse = " and ".join(f"{told[f'{part}_log10_mse']:.2f} on {part}ing" for part in ("train", "test"))
    yield (
        "Mean of degrees and mm over the pairs found, without a start pose, segmentation or refinement; the paper's "
        f"heads are its own, translated and segmented.{small} The head's plain network has a log10 MSE of {mse} "
        f"radiographs (the paper's: -4.86 and -2.96). Measured on {where(document)}."
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


def rendering() -> Iterator[str]:
    """Yield the time of one artificial radiograph, by method and size."""
    document = load("drr_speed")
    if document is None:
        return
    yield "| one radiograph | method | ms | with bone, mask and landmarks, ms | error, share of the range |"
    yield "|---|---|---|---|---|"
    for row in document["rows"]:
        yield (
            f"| {row['detector']} x {row['detector']} | {row['method']} | {row['milliseconds']:.1f} "
            f"| {row['with_bone_milliseconds']:.1f} | {row['rms_error']:.2%} |"
        )
    yield ""
    size = " x ".join(str(side) for side in reversed(document["volume"]["shape"]))
    yield (
        f"Volume {document['volume']['name']}, {size}; the error is the root mean square against the exact integral. "
        f"Measured on {where(document)}, {document['threads']} thread(s)."
    )


def peers() -> Iterator[str]:
    """Yield the time of one radiograph beside other projects' renderers, on two kinds of processor."""
    documents = [load(name) for name in ("drr_peers", "drr_peers_avx512")]
    for number, document in enumerate(one for one in documents if one is not None):
        if number:
            yield ""
        yield from beside_peers(document)


def beside_peers(document: dict[str, Any]) -> Iterator[str]:
    """Yield one machine's table."""
    yield (
        "| radiograph of 256 x 256 | volume | ms | processor's ms | as fast as RTK Joseph, times "
        "| the same by the processor's time | error, share of the range |"
    )
    yield "|---|---|---|---|---|---|---|"
    largest = max(row["volume"][0] for row in document["rows"])
    for row in (r for r in document["rows"] if r["volume"][0] == largest):
        ratios = (row[name] for name in ("ratio_to_rtk_joseph", "processor_ratio_to_rtk_joseph"))
        times = row["milliseconds"]["median"], row["processor_milliseconds"]
        cells = ["" if value is None else f"{value:,.1f}" for value in (*times, *ratios)]
        name = f"{row['method']} ({row['peer']})"
        yield "| " + " | ".join([name, f"{row['volume'][0]}³", *cells, f"{row['rms_error']:.2%}"]) + " |"
    one = document["artificial_set"]
    note = f" {document['note']}" if document["note"] else ""
    yield ""
    yield (
        f"{document['what']}. {one['what']}, {one['detector'][0]} x {one['detector'][1]} of {one['volume'][0]}³: "
        f"{one['per_second']:.0f} per second, {one['processor_milliseconds']:.1f} ms of the processor each. "
        f"Measured on {where(document)}, {document['threads']} threads.{note}"
    )


def gpu_kernels() -> Iterator[str]:
    """Yield how long the renderer's kernels take on a GPU."""
    document = load("drr_kernels")
    if document is None:
        return
    columns = ("image, 256 px", "normal equations, 256 px", "256 images, 128 px")
    yield f"| {document['device']} | {' | '.join(f'{name}, ms' for name in columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    took: dict[tuple[str, str], dict[str, float]] = {}
    for row in document["rows"]:
        took.setdefault((row["method"], row["storage"]), {})[row["what"]] = sum(row["microseconds"].values()) / 1e3
    for (method, storage), times in took.items():
        cells = [f"{times[name]:.3f}" if name in times else "" for name in columns]
        yield f"| {method}, {storage} | {' | '.join(cells)} |"
    yield ""
    yield f"Measured: {document['what']}; {where(document)}. {document.get('note', '')}".rstrip()


def live() -> Iterator[str]:
    """Yield what a camera program at 30 pairs a second met, with and without AVX-512 in the networks."""
    yield "| two cores | networks | pairs tracked a second, of 30 | dropped | latency, ms: median | 99 % | largest |"
    yield "|---|---|---|---|---|---|---|"
    documents = {"with AVX-512": load("soak"), "networks kept to AVX2": load("soak_avx2")}
    measured = {name: document for name, document in documents.items() if document is not None}
    for name, document in measured.items():
        sent = document["pairs"] + document["dropped"]
        latency = " | ".join(f"{document['latency_ms'][key]:.0f}" for key in ("p50", "p99", "max"))
        networks = ["segmentation"] * document.get("segmented", False) + ["translation"] * document.get(
            "translated", False
        )
        cells = f"{document['pairs_per_second']:.0f} | {document['dropped'] / sent:.1%} | {latency}"
        yield f"| {name}, {document['minutes']:g} minutes | {', '.join([*networks, 'landmarks'])} | {cells} |"
    yield ""
    places = "; ".join(f"{name}: {where(document)}" for name, document in measured.items())
    yield (
        "1,024 x 1,024 frames of 16 bits, the demo's networks, without refinement; AVX2: ONEDNN_MAX_CPU_ISA and "
        f"ATEN_CPU_CAPABILITY. Measured {places}."
    )


def tracking() -> Iterator[str]:
    """Yield what following does to the poses, and how soon a bone is found again."""
    document = load("tracking")
    if document is None:
        return
    yield "| | by itself | followed | smoothed | right after a cold start, and after 1 s out of view |"
    yield "|---|---|---|---|---|"
    for name, scene in document["scenes"].items():
        for looks in ("1 look", "4 looks"):
            cells = []
            for how in ("frame by frame", "followed", "smoothed"):
                found = scene["accuracy"][f"{how}, {looks}"]
                cells.append(_mean_errors(found))
            again = _again(scene["cold_start"], scene["out_of_view_1_s"]) if looks == "1 look" else ""
            yield f"| {name}, {looks} | {' | '.join(cells)} | {again} |"
    yield ""
    single = "; ".join(
        f"{name} {_mean_errors(scene['accuracy']['frame by frame, 1 look, moved'])}"
        for name, scene in document["scenes"].items()
    )
    yield (
        "Mean errors of the landmarks' poses, without refinement: angle, translation of the bone's origin, distance of "
        "the landmarks (mTRE); right: within 5 degrees and 5 mm after at most 3 pairs. By itself a pair is looked at "
        "three times over, until the bone is in the middle of the crop; followed, it is looked at once. What one look "
        "at pairs by themselves shows where it is moved by 1.5 % of its side, as it is while following: "
        f"{single}. Measured on {where(document)}."
    )


def _mean_errors(found: dict[str, Any]) -> str:
    angle, shift, points = (found[key]["mean"] for key in ("geodesic_error_deg", "translation_norm_mm", "mtre_mm"))
    missing = f", {found['without_pose']} failed" if found["without_pose"] else ""
    return f"{angle:.2f}°, {shift:.2f} mm, {points:.2f} mm{missing}"


def _again(cold: dict[str, Any], hidden: dict[str, Any]) -> str:
    counts = [f"{round(found['within_3_pairs'] * found['times'])} of {found['times']}" for found in (cold, hidden)]
    claimed, pairs = hidden["found_there"], hidden["pairs_out_of_view"]
    return "; ".join(counts) + (f"; found in {claimed} of {pairs} pairs without the bone" if claimed else "")


def joints() -> Iterator[str]:
    """Yield the errors in the motion of one bone against another: of known landmarks, and of networks."""
    document = load("joints")
    if document is None:
        return
    networks = document.get("networks", {"trials": {}})
    yield (
        "| two bones at once | no network: landmarks with known errors, followed | networks' landmarks "
        "| networks' landmarks, followed | networks, refined |"
    )
    yield "|---|---|---|---|---|"
    share, motions = max(document["noise"].items(), key=lambda item: float(item[0]))
    for name, known in motions.items():
        found = networks["trials"].get(name, {})
        cells = [_relative(known, "filtered"), *(_relative(found, key) for key in ("landmarks", "filtered", "refined"))]
        yield f"| {name.replace('_', ' ')} | {' | '.join(cells)} |"
    yield ""
    yield (
        "Relative rotation and translation of simulated motions against the truth, median (95th percentile). No "
        f"network: the truth's landmarks with independent normal errors of {float(share):.1%} of the crop's side per "
        f"axis; measured on {where(document)}."
    )
    if "environment" in networks:
        yield ""
        yield (
            "Networks: X-rays simulated in a style that they were not trained on, each bone and pair from nowhere. "
            f"Small runs: {_trained(networks['training'])}. Measured on {where(networks)}."
        )


def _relative(found: dict[str, Any], method: str) -> str:
    if method not in found:
        return ""
    row = found[method]
    degrees, mm = row["relative_rotation_deg"], row["relative_translation_mm"]
    missing = f", {row['without_both']} of {found['pairs']} not found" if row["without_both"] else ""
    return f"{degrees['median']:.2f}° ({degrees['p95']:.2f}), {mm['median']:.2f} mm ({mm['p95']:.2f}){missing}"


def _trained(networks: dict[str, dict[str, float]]) -> str:
    """Say how well each network does on its own test set."""
    return "; ".join(
        f"{bone}, {told['parameters'] / 1e6:.1f} million parameters, {told['epochs']:.0f} epochs, landmarks "
        f"{told['test_median_px']:.1f} of 128 pixels off in the median"
        for bone, told in networks.items()
    )


def of_refinement(table: Callable[[dict[str, Any]], Iterator[str]]) -> Iterator[str]:
    """Yield one of the tables of results/refinement.json."""
    document = load("refinement")
    if document is not None:
        yield from table(document)


def where(document: dict[str, Any]) -> str:
    place = document["environment"]
    return f"{place['cpu']}, {place['date'][:10]}, commit {place['commit']}"


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


def load(name: str) -> dict[str, Any] | None:
    """Read a results file; None where it has not been measured."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return None
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


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
