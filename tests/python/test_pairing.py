"""Pairs of frames that arrive in any order, twice, late or never."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluoropose.errors import InputError
from fluoropose.streaming.frame import Frame, Pair
from fluoropose.streaming.pairing import Match, Pairer

PIXELS = np.zeros((2, 2), np.uint8)


def frame(view: int, number: int, time_s: float | None = None) -> Frame:
    return Frame(view, number, number / 30 if time_s is None else time_s, PIXELS, 0.0)


def names(pairs: list[Pair]) -> list[tuple[int | None, int | None]]:
    return [(a.number if a else None, b.number if b else None) for a, b in (pair.frames for pair in pairs)]


def added(pairer: Pairer, *frames: Frame) -> list[tuple[int | None, int | None]]:
    return names([pair for one in frames for pair in pairer.add(one)])


def test_frames_of_equal_number_make_a_pair() -> None:
    pairer = Pairer()
    order = [frame(0, 7), frame(1, 7), frame(1, 8), frame(0, 8)]
    assert added(pairer, *order) == [(7, 7), (8, 8)]
    assert (pairer.counts.frames, pairer.counts.pairs, pairer.counts.missing) == (4, 2, 0)


def test_a_camera_may_lag_behind_as_long_as_its_frames_are_waited_for() -> None:
    pairer = Pairer(depth=6)
    assert added(pairer, *(frame(0, k) for k in range(6))) == []
    assert added(pairer, *(frame(1, k) for k in range(6))) == [(k, k) for k in range(6)]


def test_a_missing_frame_leaves_its_partner_alone_before_the_next_pair() -> None:
    pairer = Pairer()
    assert added(pairer, frame(0, 1), frame(0, 2), frame(1, 2)) == [(1, None), (2, 2)]
    assert pairer.counts.missing == 1


def test_one_camera_that_stops_lets_the_other_ones_frames_go() -> None:
    pairer = Pairer(depth=3)
    found = added(pairer, frame(0, 0), frame(1, 0), *(frame(1, k) for k in range(1, 10)))
    assert found == [(0, 0), *((None, k) for k in range(1, 7))]
    assert names(pairer.flush()) == [(None, 7), (None, 8), (None, 9)]
    assert pairer.counts.missing == 9


def test_duplicates_are_ignored() -> None:
    pairer = Pairer()
    order = [frame(0, 1), frame(0, 1), frame(1, 1), frame(1, 1), frame(0, 1)]
    assert added(pairer, *order) == [(1, 1)]
    assert pairer.counts.duplicated == 3


def test_frames_out_of_order_still_meet_while_both_wait() -> None:
    pairer = Pairer()
    assert added(pairer, frame(0, 2), frame(0, 1), frame(1, 1), frame(1, 2)) == [(1, 1), (2, 2)]
    assert pairer.counts.out_of_order == 1


def test_a_frame_whose_moment_has_passed_is_late() -> None:
    pairer = Pairer()
    assert added(pairer, frame(0, 1), frame(0, 2), frame(1, 2), frame(1, 1)) == [(1, None), (2, 2)]
    assert (pairer.counts.late, pairer.counts.missing) == (1, 1)


@pytest.mark.parametrize("match", ["number", "time"])
def test_after_the_numbers_are_set_back_pairing_goes_on(match: Match) -> None:
    pairer = Pairer(match, depth=4)
    added(pairer, *(frame(view, k) for k in range(1000, 1020) for view in (0, 1)))
    found = added(pairer, *(frame(view, k) for k in range(20) for view in (0, 1)))
    assert found[-10:] == [(k, k) for k in range(10, 20)]
    assert pairer.counts.restarts == 1
    assert pairer.counts.late == 7  # three and four of either view, until it was noticed


def test_times_within_the_tolerance_make_a_pair() -> None:
    pairer = Pairer("time", tolerance_s=0.004)
    order = [frame(0, 1, 0.000), frame(1, 91, 0.003), frame(0, 2, 0.033), frame(1, 92, 0.038), frame(1, 93, 0.066)]
    order += [frame(0, 3, 0.0665)]
    assert added(pairer, *order) == [(1, 91), (2, None), (None, 92), (3, 93)]


def test_tubes_that_fire_in_turn_are_paired_by_their_offset() -> None:
    pairer = Pairer("time", tolerance_s=0.002, offset_s=0.016)
    order = [frame(0, 1, 0.0), frame(1, 1, 0.0155), frame(0, 2, 0.033), frame(1, 2, 0.0500)]
    assert added(pairer, *order) == [(1, 1), (2, 2)]


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30)), max_size=120),
    st.sampled_from(["number", "time"]),
    st.integers(1, 6),
)
def test_every_frame_is_accounted_for(order: list[tuple[int, int]], match: Match, depth: int) -> None:
    pairer = Pairer(match, depth=depth)
    pairs = [pair for view, number in order for pair in pairer.add(frame(view, number))] + pairer.flush()
    counts = pairer.counts
    # The frame that makes a restart known counts as late and is used all the same.
    used = 2 * counts.pairs + counts.missing
    assert counts.frames == len(order) == used + counts.duplicated + counts.late - counts.restarts
    assert sum(one is not None for pair in pairs for one in pair.frames) == used
    assert all(a.number == b.number for a, b in (pair.frames for pair in pairs) if a and b)
    if not counts.restarts:
        numbers = [pair.number for pair in pairs]
        assert numbers == sorted(numbers)


def test_damaged_frames_keep_their_reason() -> None:
    pairer = Pairer()
    (pair,) = [*pairer.add(Frame(0, 1, 0.0, None, 0.0, "cut short")), *pairer.add(frame(1, 1))]
    assert pair.problem == "view 1: cut short"
    assert pairer.counts.unreadable == 1
    pairer.add(frame(1, 2))
    (alone,) = pairer.flush()
    assert alone.problem == "view 1: no frame arrived"


@pytest.mark.parametrize("match", ["number", "time"])
def test_a_frame_without_a_time_is_counted_and_ignored(match: Match) -> None:
    pairer = Pairer(match)
    order = [frame(0, 1), frame(1, 1, float("nan")), frame(0, 2), frame(1, 2)]
    assert added(pairer, *order) == [(1, None), (2, 2)]
    assert (pairer.counts.undated, pairer.counts.missing) == (1, 1)


def test_wrong_arguments_are_named() -> None:
    with pytest.raises(InputError, match='match: expected "number" or "time", found \'name\''):
        Pairer("name")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="tolerance_s"):
        Pairer("time", tolerance_s=0)


@pytest.mark.parametrize("match", ["number", "time"])
def test_a_pair_that_lacks_view_1_is_of_the_moment_at_which_view_1_fired(match: Match) -> None:
    pairer = Pairer(match, tolerance_s=0.002, offset_s=0.016)
    pairs = [*pairer.add(frame(1, 1, 0.016)), *pairer.add(frame(0, 2, 0.033)), *pairer.add(frame(1, 2, 0.049))]
    assert names(pairs) == [(None, 1), (2, 2)]
    assert [pair.time_s for pair in pairs] == pytest.approx([0.0, 0.033])
