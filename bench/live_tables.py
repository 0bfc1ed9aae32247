"""The README's tables of bones that are followed, one and two at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from measured import load, where

__all__ = ["joints", "live", "tracking"]


def live() -> Iterator[str]:
    """Yield what a camera program at 30 pairs a second met, with and without AVX-512 in the networks."""
    yield (
        "| two cores | on the way | pairs tracked a second, of 30 | dropped | latency, ms: median | 99 % | largest "
        "| error: median (95 %) |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    documents = {
        "with AVX-512": load("soak"),
        "with AVX-512, beside a training": load("soak_beside_training"),
        "networks kept to AVX2": load("soak_avx2"),
    }
    measured = {name: document for name, document in documents.items() if document is not None}
    for name, document in measured.items():
        sent = document["pairs"] + document["dropped"]
        latency = " | ".join(f"{document['latency_ms'][key]:.0f}" for key in ("p50", "p99", "max"))
        cells = f"{document['pairs_per_second']:.0f} | {document['dropped']:,} of {sent:,} | {latency}"
        errors = [
            f"{document['accuracy'][key]['median']:.2f} ({document['accuracy'][key]['p95']:.2f}) {unit}"
            for key, unit in (("geodesic_error_deg", "degrees"), ("translation_norm_mm", "mm"))
        ]
        yield (
            f"| {name}, {document['minutes']:g} minutes | {', '.join(_on_the_way(document))} | {cells} "
            f"| {', '.join(errors)} |"
        )
    yield ""
    places = "; ".join(f"{name}: {where(document)}" for name, document in measured.items())
    yield (
        "1,024 x 1,024 frames of 16 bits, the demo's networks; refinement as finely as the time until the next pair "
        "allows, of so many of the pairs. AVX2: ONEDNN_MAX_CPU_ISA and ATEN_CPU_CAPABILITY. One thread; the training "
        f"had the other core. Measured {places}."
    )


def _on_the_way(document: dict[str, Any]) -> Iterator[str]:
    """Yield what a pair went through."""
    if document.get("segmented", False):
        yield "segmentation"
    if document.get("translated", False):
        yield "translation"
    yield "landmarks"
    refined = 1 - document["refined_px"].get("0 px", 0.0)
    if refined:
        yield f"refinement ({refined:.1%})"


def tracking() -> Iterator[str]:
    """Yield what following does to the poses, and how soon a bone is found again."""
    document = load("tracking")
    if document is None:
        return
    yield "| | by itself | followed | smoothed | followed, refined | right soon: cold start; after 1 s out of view |"
    yield "|---|---|---|---|---|---|"
    for name, scene in document["scenes"].items():
        for looks in ("1 look", "4 looks"):
            cells = []
            for how in ("frame by frame", "followed", "smoothed", "followed, refined"):
                found = scene["accuracy"].get(f"{how}, {looks}")
                cells.append("" if found is None else _mean_errors(found))
            again = _again(scene["cold_start"], scene["out_of_view_1_s"]) if looks == "1 look" else ""
            yield f"| {name}, {looks} | {' | '.join(cells)} | {again} |"
    yield ""
    single = "; ".join(
        f"{name} {_mean_errors(scene['accuracy']['frame by frame, 1 look, moved'])}"
        for name, scene in document["scenes"].items()
    )
    yield (
        "Mean errors of the landmarks' poses: angle, translation of the bone's origin, distance of the landmarks "
        "(mTRE); right soon: within 5 degrees and 5 mm after at most 3 pairs. By itself a pair is looked at three "
        "times over, until the bone is in the middle of the crop; followed, it is looked at once. Refined: by the "
        "images, as finely as the time between pairs allows on two cores; of the knee the reference is not that exact "
        "(see above). What one look at pairs by themselves shows where it is moved by 1.5 % of its side, as it is "
        "while following: "
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
