"""The README's tables of rendering."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from measured import load, where

__all__ = ["gpu_kernels", "peers", "rendering"]


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
