"""Translations without training: what they keep and what they change."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fluoropose.errors import InputError
from fluoropose.learning.translation.classical import (
    amplitude_swapped,
    equalised,
    grey_quantiles,
    matched,
    mean_amplitude,
)

seeds = st.integers(0, 2**31)


def scene(seed: int, count: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Random pictures in a disc."""
    rng = np.random.default_rng(seed)
    v, u = np.mgrid[:32, :32]
    lit = np.broadcast_to(np.hypot(u - 15.5, v - 15.5) < 14, (count, 32, 32)).copy()
    pictures = np.cumsum(np.cumsum(rng.normal(size=(count, 32, 32)), 1), 2)
    span = np.ptp(pictures, axis=(1, 2), keepdims=True)
    pictures = 2 * (pictures - pictures.min(axis=(1, 2), keepdims=True)) / span - 1
    return np.where(lit, pictures, 1).astype(np.float32), lit


@given(seed=seeds)
def test_matching_gives_the_other_s_histogram_and_keeps_the_order(seed: int) -> None:
    (a, lit), (b, _) = scene(seed), scene(seed + 1)
    made = matched(a, lit, grey_quantiles(b, lit))
    assert (made[~lit] == 1).all()
    for before, after, where in zip(a, made, lit, strict=True):
        assert spearmanr(before[where], after[where]).statistic > 1 - 1e-9
        levels = np.linspace(0.05, 0.95, 10)
        # 616 pixels and 256 levels; measured up to 0.004.
        assert np.abs(np.quantile(after[where], levels) - np.quantile(b[lit], levels)).max() < 0.02
    assert np.abs(np.quantile(equalised(a, lit)[lit], levels) - (2 * levels - 1)).max() < 0.02


@given(seed=seeds)
def test_matching_is_blind_to_monotone_changes(seed: int) -> None:
    a, lit = scene(seed)
    bent = np.where(lit, np.sinh(2 * a) / np.sinh(2), 1).astype(np.float32)
    # Greys that differ by less than float32 can tell may change places.
    assert np.abs(equalised(bent, lit) - equalised(a, lit)).max() < 0.01


@given(seed=seeds)
def test_swapping_amplitudes_keeps_the_phase(seed: int) -> None:
    (a, lit), (b, _) = scene(seed), scene(seed + 1)
    assert np.abs(amplitude_swapped(a, lit, mean_amplitude(a[:1], lit[:1]))[0] - a[0]).max() < 1e-5
    alone = np.ones_like(lit)
    made = amplitude_swapped(0.2 * a, alone, 0.2 * mean_amplitude(b, lit), 0.05)  # small, so that nothing is clipped
    spectrum, before = np.fft.fft2(made), np.fft.fft2(0.2 * a)
    assert np.abs(spectrum[:, 8, 8] - before[:, 8, 8]).max() < 1e-3
    assert np.abs(np.abs(spectrum[:, 0, 1]) - 0.2 * mean_amplitude(b, lit)[0, 1]).max() < 1e-2


def test_wrong_pictures_are_refused() -> None:
    a, lit = scene(0)
    with pytest.raises(InputError, match="one shape"):
        equalised(a[0], lit[0])
    with pytest.raises(InputError, match="NaN"):
        equalised(np.full_like(a, np.nan), lit)
    with pytest.raises(InputError, match="amplitude, share"):
        amplitude_swapped(a, lit, np.ones((8, 8)))
    with pytest.raises(InputError, match="lit: expected bool, some of them true, found bool, 0 true"):
        matched(a, np.zeros_like(lit), np.linspace(-1, 1, 9))
