"""The tables of results/refinement.json, for the README (short) and for bench/README.md (all columns)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["refinement", "refinement_capture", "refinement_cost", "refinement_knee", "refinement_poster"]

Rows = Sequence[Mapping[str, Any]]


def refinement(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield what refinement makes of poses, and in which time: the README's table."""
    rows: Rows = document["rows"]
    yield "| | method | pairs | failed | angle, degrees | distance, mm |"
    yield "|---|---|---|---|---|---|"
    for one in rows:
        shown = one["made_by"] == "two_view" and one["trial"] == "all but those developed on"
        if shown or (one["table"] == "knee" and one["method"] != "reference" and "developed" not in one["frames"]):
            what = "head, four trials" if shown else f"knee, {one['frames']}"
            failed = f"{one['failure_rate']:.1%}"
            cells = [what, one["method"], one["pairs"], failed, _median(one, "geodesic_error_deg")]
            yield _line(*cells, _median(one, "translation_norm_mm"))
    yield ""
    alone = [one for one in rows if "from_ours_deg" in one]
    judged = "".join(f" Of the knee's pairs {one['pairs']} were looked at closely: {_judged(one)}" for one in alone)
    yield f"Median (95th percentile); failed: no pose, or an mTRE beyond 5 mm.{judged}"
    yield ""
    yield "| two views | ms per pair | of the processor | angle, degrees | distance, mm |"
    yield "|---|---|---|---|---|"
    for one in (r for r in rows if r["table"] == "cost" and "pairs" in r):
        times = (f"{1e3 * one[name]:.0f}" for name in ("seconds_per_pair", "cpu_seconds_per_pair"))
        errors = (f"{one[name]:.2f}" for name in ("geodesic_error_deg_median", "translation_norm_mm_median"))
        yield _line(f"{one['setting']}: {one['method']}", *times, *errors)
    yield ""
    yield f"A drawn head among soft tissue, starts 2.5 degrees and 2 mm off. Measured on {_where(document, 'cost')}."


def refinement_cost(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the parts of a refinement, by scale."""
    yield "| setting | part | ms |"
    yield "|---|---|---|"
    for one in (r for r in document["rows"] if r["table"] == "cost" and "pairs" not in r):
        yield _line(one["setting"], one["method"], f"{1e3 * one['seconds_per_pair']:.2f}")
    yield ""
    yield "| setting | method | iterations by scale |"
    yield "|---|---|---|"
    for one in (r for r in document["rows"] if r["table"] == "cost" and "pairs" in r):
        scales = ", ".join(f"{scale}: {count:.1f}" for scale, count in one["iterations_by_scale"].items())
        yield _line(one["setting"], one["method"], scales)
    yield ""
    yield f"Of both views together. Measured on {_where(document, 'cost')}."


def refinement_poster(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the poster's table, with more columns than the poster's."""
    yield (
        "| method | starts | turn per axis, degrees | shift per axis, mm | in-plane, mm | depth, mm | mTRE, mm "
        "| failed beyond 10, 5, 2 mm | wrong level | iterations | s | processor's s |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|---|---|"
    names = ("rotation_per_axis_deg", "translation_per_axis_mm", "in_plane_per_axis_mm", "depth_mm")
    for one in (r for r in document["rows"] if r["table"] == "poster"):
        rates = ", ".join(f"{one[name]:.0%}" for name in ("failure_rate", "failure_rate_5_mm", "failure_rate_2_mm"))
        times = [f"{one[name]:.2f}" for name in ("seconds_per_pair", "cpu_seconds_per_pair")]
        cells = [one["method"], one["pairs"], *(_spread(one[name]) for name in names), _median(one, "mtre_mm")]
        yield _line(*cells, rates, f"{one['wrong_level_rate']:.0%}", f"{one['iterations']:.0f}", *times)
    yield ""
    yield (
        "Mean ± SD (median) of the absolute errors, over all starts, failures among them; mTRE: median (95th "
        "percentile). Every method begins at the first so many of the same starts. Seconds: the clock's, two threads, "
        "median of five; the processor's, one thread, mean of all. "
        f"Measured on {_where(document, 'poster')}."
    )


def refinement_capture(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the share of starts that are led back to the truth, by their error."""
    rows: Rows = [r for r in document["rows"] if r["made_by"] == "capture"]
    errors = sorted({r["start_deg"] for r in rows})
    yield _line("method", "starts of each", *(f"{e:g}° and {e:g} mm" for e in errors), "processor's s")
    yield "|---" * (len(errors) + 3) + "|"
    for method in dict.fromkeys(r["method"] for r in rows):
        of_it = {r["start_deg"]: r for r in rows if r["method"] == method}
        shares = (f"{1 - of_it[e]['failure_rate']:.0%}" for e in errors)
        seconds = sum(r["cpu_seconds_per_pair"] for r in of_it.values()) / len(of_it)
        yield _line(method, next(iter(of_it.values()))["pairs"], *shares, f"{seconds:.2f}")
    yield ""
    yield f"Led back to an mTRE of at most 2 mm. Measured on {_where(document, 'capture')}."


def refinement_knee(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the real knee: against the reference, and both against the frames' own edges."""
    yield (
        "| frames | method | pairs | angle, degrees | distance, mm | outline to edge, px: view 1 | view 2 "
        "| drawn edge to edge, px: view 1 | view 2 | unsteady by, degrees | mm |"
    )
    yield "|---" * 11 + "|"
    measured = [f"{what}_to_edge_view{k}_px" for what in ("outline", "drawn") for k in (1, 2)]
    for one in (r for r in document["rows"] if r["table"] == "knee"):
        edges = (one.get(name) for name in (*measured, "unsteady_deg", "unsteady_mm"))
        cells = [_median(one, name) for name in ("geodesic_error_deg", "translation_norm_mm")]
        yield _line(
            one["frames"], one["method"], one["pairs"], *cells, *("" if e is None else f"{e:.2f}" for e in edges)
        )
    yield ""
    for one in (r for r in document["rows"] if "always_the_same_deg" in r):
        far = one["where_they_differ_most"]
        turn, shift = (
            ", ".join(f"{x:.2f}" for x in one[name]) for name in ("always_the_same_deg", "always_the_same_mm")
        )
        yield (
            f"{one['frames']}, {one['method']}: in the bone's frame, the reference lies ({turn}) degrees and "
            f"({shift}) mm from ours in the median; without that, {one['geodesic_without_that_deg']:.2f} degrees and "
            f"{one['translation_without_that_mm']:.2f} mm are left. The frames' edges lie nearer to those drawn at our "
            f"pose in {one['edges_nearer_to_ours_share']:.0%} of the pairs looked at; in the half where the two differ "
            f"most ({far['pairs']} pairs, {far['apart_mm']:.2f} mm apart) ours lie {far['drawn_to_edge_px']:.2f} px "
            f"from the edges, the reference's {far['reference_drawn_to_edge_px']:.2f} px."
        )
        yield ""
    for one in (r for r in document["rows"] if "from_ours_deg" in r):
        ends = f"From either start they end {one['both_starts_apart_deg']:.2f} degrees and "
        yield f"{one['frames']}: {_judged(one)} {ends}{one['both_starts_apart_mm']:.2f} mm apart."
        yield ""
    yield f"Measured on {_where(document, 'knee')}."


def _judged(one: Mapping[str, Any]) -> str:
    """Say where the edges alone put the bone."""
    return (
        f"their edges alone, without voxels, put the bone {one['geodesic_error_deg']['median']:.2f} degrees and "
        f"{one['translation_norm_mm']['median']:.2f} mm from the reference, which comes from matching images as well, "
        f"and {one['from_ours_deg']:.2f} degrees and {one['from_ours_mm']:.2f} mm from ours."
    )


def _line(*cells: Any) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _median(one: Mapping[str, Any], name: str) -> str:
    value = one.get(name)
    return "" if value is None else f"{value['median']:.2f} ({value['p95']:.2f})"


def _spread(value: Mapping[str, float]) -> str:
    return f"{value['mean']:.2f} ± {value['sd']:.2f} ({value['median']:.2f})"


def _where(document: Mapping[str, Any], table: str) -> str:
    place = document["environments"][table]
    return f"{place['cpu']}, {place['date'][:10]}, commit {place['commit']}"
