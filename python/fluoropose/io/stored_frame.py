"""What the numbers of a stored frame mean: attenuation, or nothing that shows a bone."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError

__all__ = ["Polarity", "StoredFrame", "attenuating", "why_unusable"]

Polarity = Literal["bright_air", "bright_bone"]


def attenuating(frame: NDArray[Any], bits: int | None, polarity: Polarity) -> NDArray[np.float32]:
    """Turn a stored frame (h, w) into one where bright means attenuating, float32, full scale 1.

    Parameters
    ----------
    frame
        (h, w) as stored.
    bits
        Bits that carry signal (``FrameSource.bits``); None for floating point frames in 0..1.
    polarity
        "bright_air" where unattenuated beam is bright (the usual fluoroscope), "bright_bone" where it is dark.
    """
    return StoredFrame(frame, bits, polarity)[:]


class StoredFrame:
    """A stored frame whose parts become what ``attenuating`` makes of them where they are asked for.

    Parameters
    ----------
    pixels, bits, polarity
        See ``attenuating``.
    """

    def __init__(self, pixels: NDArray[Any], bits: int | None, polarity: Polarity) -> None:
        if polarity not in ("bright_air", "bright_bone"):
            raise InputError(f'polarity: expected "bright_air" or "bright_bone", found {polarity!r}')
        self.pixels, self.bits = pixels, bits
        self._full, self._bright_air = np.float32(_full_scale(bits)), polarity == "bright_air"

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.pixels.shape

    @property
    def no_signal(self) -> float:
        """What a pixel is stored as that no signal reaches."""
        return 0.0 if self._bright_air else float(self._full)

    @property
    def line(self) -> tuple[float, float]:
        """Offset and factor: what ``converted`` makes of a stored value is offset + factor * value."""
        factor = 1 / float(self._full)
        return (1.0, -factor) if self._bright_air else (0.0, factor)

    def __getitem__(self, part: slice | tuple[slice, slice], /) -> NDArray[np.float32]:
        """Return some rows and columns, bright = attenuating, full scale 1."""
        return self.converted(self.pixels[part].astype(np.float32))

    def converted(self, stored: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn stored values, or means of them, in place into what they stand for."""
        stored /= self._full
        return np.subtract(1, stored, out=stored) if self._bright_air else stored


def why_unusable(
    frame: NDArray[Any], bits: int | None, size_px: tuple[int, int], field: NDArray[np.bool_] | None = None
) -> str:
    """Return why no bone can be found in a frame, or "" where nothing speaks against it.

    Parameters
    ----------
    frame
        (h, w) as stored.
    bits
        Bits that carry signal (``FrameSource.bits``).
    size_px
        (width, height) that the rig expects.
    field
        (h, w), pixels that carry signal (the circular field); the whole image by default.
    """
    height, width = frame.shape
    if (width, height) != tuple(size_px):
        return f"wrong size: expected {size_px[0]} x {size_px[1]} pixels, found {width} x {height}"
    if not np.isfinite(frame).all():
        return "holds NaN or infinity"
    values = frame if field is None else frame[field]
    low, high = values.min(), values.max()
    if low == high:
        if high >= _full_scale(bits):
            return "saturated: every pixel has the highest value"
        return f"constant: every pixel has the value {low:g}"
    if low < 0 or high > _full_scale(bits):
        return f"values from {low:g} to {high:g}: expected 0 to {_full_scale(bits):g}; see bit_depth"
    # The open field may saturate beside the subject, so only a frame with next to nothing else is unusable.
    share = float(np.mean(values == high))
    if share > 0.98:
        return f"saturated: {share:.1%} of the pixels have the highest value, {high:g}"
    dark, bright = np.percentile(values, [1, 99])
    if bright - dark < 0.01 * _full_scale(bits):
        return f"blank: the grey values span {bright - dark:.3g}, less than 1 % of full scale"
    return ""


def _full_scale(bits: int | None) -> float:
    return 1.0 if bits is None else float(2**bits - 1)
