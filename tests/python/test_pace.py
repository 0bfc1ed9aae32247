"""What time the pace of pairs leaves for each."""

from __future__ import annotations

import math

import pytest

from fluoropose.tracking.pace import Pace


def paced(*times_s: float) -> Pace:
    pace = Pace()
    for time_s in times_s:
        pace.tick(time_s)
    return pace


def test_before_a_second_pair_nothing_hurries() -> None:
    assert paced().left_ms(20.0) == math.inf
    assert paced(4.0).left_ms(20.0) == math.inf


def test_what_is_left_is_most_of_the_time_between_pairs_but_for_what_is_spent() -> None:
    assert paced(*(k / 30 for k in range(5))).left_ms(20.0) == pytest.approx(0.9 * 1000 / 30 - 20)


def test_a_missing_pair_and_one_that_jitters_change_nothing() -> None:
    regular = [k / 30 for k in range(10)]
    assert paced(*regular[:4], *regular[5:]).left_ms(0.0) == pytest.approx(0.9 * 1000 / 30)
    assert paced(*regular[:4], regular[4] - 0.03, *regular[5:]).left_ms(0.0) == pytest.approx(0.9 * 1000 / 30)


def test_a_new_rate_counts_soon_and_a_clock_that_steps_back_at_once() -> None:
    assert paced(*(k / 30 for k in range(20)), *(20 / 30 + k / 60 for k in range(1, 8))).left_ms(0.0) == pytest.approx(
        0.9 * 1000 / 60
    )
    assert paced(5.0, 5.1, 1.0).left_ms(0.0) == math.inf
