"""Translations that need no training: greys alone, or greys and large-scale shading, brought to those of radiographs.

They are what a CycleGAN is to be compared with. Pictures are (n, h, w) in [-1, 1], preprocessed, with 1 where they are
not lit; so are the results.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fluoropose.errors import InputError

__all__ = ["amplitude_swapped", "equalised", "grey_quantiles", "matched", "mean_amplitude"]

Pictures = NDArray[np.float32]
Lit = NDArray[np.bool_]

_LEVELS = 256


def equalised(pictures: Pictures, lit: Lit) -> Pictures:
    """Equalise the histogram of each picture's lit pixels (Zhou et al. 2021, 4.2): every grey becomes as frequent."""
    return matched(pictures, lit, np.linspace(-1, 1, _LEVELS))


def grey_quantiles(pictures: Pictures, lit: Lit) -> NDArray[np.float64]:
    """Return the greys (256,) that equal shares of the lit pixels of all pictures stay below: what to match to."""
    _require_pictures(pictures, lit)
    return np.asarray(np.quantile(pictures[lit].astype(np.float64), np.linspace(0, 1, _LEVELS)))


def matched(pictures: Pictures, lit: Lit, quantiles: NDArray[np.float64]) -> Pictures:
    """Give each picture's lit pixels the histogram that ``grey_quantiles`` found; their order of grey stays."""
    _require_pictures(pictures, lit)
    result = np.ones_like(pictures)
    for picture, where, made in zip(pictures, lit, result, strict=True):
        ranks = (rankdata(picture[where], "average") - 0.5) / max(int(where.sum()), 1)
        made[where] = np.interp(ranks, np.linspace(0, 1, len(quantiles)), quantiles)
    return result


def mean_amplitude(pictures: Pictures, lit: Lit) -> NDArray[np.float64]:
    """Return the mean amplitude (h, w) of the pictures' Fourier transforms."""
    _require_pictures(pictures, lit)
    return np.asarray(np.abs(np.fft.fft2(pictures)).mean(axis=0))


def amplitude_swapped(pictures: Pictures, lit: Lit, amplitude: NDArray[np.float64], share: float = 0.02) -> Pictures:
    """Replace the amplitude of the lowest frequencies, keep the phase: Fourier domain adaptation (Yang, Soatto 2020).

    Parameters
    ----------
    pictures, lit
        What to translate.
    amplitude
        (h, w) of the other style, from ``mean_amplitude``.
    share
        Half the side of the square of frequencies that is replaced, relative to the picture's.
    """
    _require_pictures(pictures, lit)
    if amplitude.shape != pictures.shape[1:] or not 0 <= share <= 0.5:
        raise InputError(f"amplitude, share: expected {pictures.shape[1:]}, 0 to 0.5, found {amplitude.shape}, {share}")
    spectrum = np.fft.fft2(pictures)
    low = np.logical_and.outer(*(np.abs(np.fft.fftfreq(n)) <= share for n in pictures.shape[1:]))
    changed = np.where(low, amplitude * np.exp(1j * np.angle(spectrum)), spectrum)
    made = np.clip(np.fft.ifft2(changed).real, -1, 1).astype(np.float32)
    return np.where(lit, made, np.float32(1))


def _require_pictures(pictures: Pictures, lit: Lit) -> None:
    if pictures.ndim != 3 or lit.shape != pictures.shape:
        raise InputError(f"pictures, lit: expected one shape (n, h, w), found {pictures.shape}, {lit.shape}")
    if lit.dtype != bool or not lit.any():
        raise InputError(f"lit: expected bool, some of them true, found {lit.dtype}, {np.count_nonzero(lit)} true")
    if not np.isfinite(pictures).all():
        raise InputError("pictures: expected finite numbers, found NaN or infinity")
