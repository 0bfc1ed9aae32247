"""Charts of the report."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fluoropose.report.chart import Series, line_chart, ticks

NAN = float("nan")


def drawn(values: list[float]) -> ET.Element:
    times = np.arange(len(values)) / 30
    names = [f"frame <{i}>" for i in range(len(values))]
    return ET.fromstring(line_chart(times, [Series(np.array(values))], "mm", names))


def test_failures_leave_gaps_and_marks() -> None:
    svg = drawn([1.0, 2.0, NAN, 4.0, 5.0])
    (path,) = svg.findall("path")
    assert path.attrib["d"].count("M") == 2
    assert path.attrib["d"].count("L") == 2
    assert len(svg.findall("circle")) == 4
    (gap,) = svg.findall("rect")
    assert gap.findtext("title") == "frame <2>: failed"


def test_larger_values_lie_higher_and_inside() -> None:
    svg = drawn([3.0, -7.0, 10.0])
    heights = [float(circle.attrib["cy"]) for circle in svg.findall("circle")]
    assert heights[1] > heights[0] > heights[2]
    assert all(0 < height < 190 for height in heights)


def test_one_frame_and_no_frame_with_a_pose_are_drawn() -> None:
    assert len(drawn([3.0]).findall("circle")) == 1
    assert not drawn([NAN, NAN]).findall("circle")
    assert len(drawn([2.0, 2.0, 2.0]).findall("circle")) == 3  # a constant has no range


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(3, 8))
def test_ticks_are_round_increasing_and_inside(low: float, span: float, about: int) -> None:
    found = ticks(low, low + span, about)
    assert 1 <= len(found) <= about + 1
    assert all(low - 1e-6 * span <= t <= low + span * (1 + 1e-6) for t in found)
    assert all(b > a for a, b in pairwise(found))


def test_counts_have_whole_ticks_and_tooltips() -> None:
    svg = ET.fromstring(line_chart(np.arange(3.0, 5.0), [Series(np.array([31.0, 30.0]))], "", ["a", "b"], x_unit=""))
    assert [text.text for text in svg.findall("text")] == ["30", "31", "3", "4"]
    assert [circle.findtext("title") for circle in svg.findall("circle")] == ["a: 31 ", "b: 30 "]


def test_times_that_count_from_1970_are_told_apart() -> None:
    times = 1_764_333_549.25 + np.arange(60) / 30
    svg = ET.fromstring(line_chart(times, [Series(np.arange(60.0))], "mm", [""] * 60))
    labels = [text.text for text in svg.findall("text") if (text.text or "").endswith(" s")]
    assert 2 <= len(labels) <= 4
    assert len(set(labels)) == len(labels)
    assert all(times[0] <= float((label or "").removesuffix(" s")) <= times[-1] for label in labels)
