"""The best poses of a whole trial: Rauch, Tung and Striebel's smoother on top of the causal filter."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from fluoropose.errors import InputError
from fluoropose.tracking.kalman import Belief, Motion, difference, moved
from fluoropose.tracking.tracked import Phase, Tracked

__all__ = ["smooth", "smooth_trial"]


def smooth_trial(tracked: Sequence[Tracked], motion: Motion) -> list[Belief | None]:
    """Smooth every unbroken track of a trial; None where the bone was lost.

    Parameters
    ----------
    tracked
        What the tracker said, in order of time.
    motion
        That of the tracker.
    """
    smoothed: list[Belief | None] = []
    track: list[Belief] = []
    for one in tracked:
        if one.phase in (Phase.ACQUIRED, Phase.LOST):
            smoothed += smooth(track, motion)
            track = []
        if one.belief is None:
            smoothed.append(None)
        else:
            track.append(one.belief)
    return smoothed + smooth(track, motion)


def smooth(filtered: Sequence[Belief], motion: Motion) -> list[Belief]:
    """Let every moment of one unbroken track know what came after it.

    Parameters
    ----------
    filtered
        What the filter believed after each measurement (or without one, where it only predicted), in order of time.
    motion
        That of the filter.

    Returns
    -------
    As many beliefs, for the same moments.

    Raises
    ------
    InputError
        If the times do not increase.
    """
    if any(not before.time_s < after.time_s for before, after in pairwise(filtered)):
        raise InputError("filtered: expected increasing times")
    smoothed: list[Belief] = list(filtered[-1:])
    for now in reversed(filtered[:-1]):
        smoothed.append(_knowing(now, smoothed[-1], motion))
    return smoothed[::-1]


def _knowing(now: Belief, later: Belief, motion: Motion) -> Belief:
    """Return ``now`` in the light of a smoothed ``later``; errors of both live in the same world axes."""
    expected = now.predicted(later.time_s, motion)
    gain = np.linalg.solve(expected.covariance, now.transition(later.time_s - now.time_s) @ now.covariance).T
    surprise = difference(later.world_from_bone, expected.world_from_bone)
    step = gain @ np.concatenate([surprise, later.rate - expected.rate])
    covariance = now.covariance + gain @ (later.covariance - expected.covariance) @ gain.T
    covariance = (covariance + covariance.T) / 2
    return Belief(now.time_s, moved(now.world_from_bone, step[:6]), now.rate + step[6:], covariance)
