"""Stored frames as the tracker takes them, without new memory for every frame."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.io.frames import Polarity, attenuating
from fluoropose.rig import Rig

__all__ = ["Attenuating"]


class Attenuating:
    """Turns stored frames into ones where bright means attenuating, float32, full scale 1.

    Parameters
    ----------
    rig
        Tells the frames' sizes.
    bits
        Bits that carry signal; None for floating point frames in 0..1.
    polarity
        "bright_air" where unattenuated beam is bright (the usual fluoroscope), "bright_bone" where it is dark.
    """

    def __init__(self, rig: Rig, bits: int | None, polarity: Polarity = "bright_air") -> None:
        if polarity not in ("bright_air", "bright_bone"):
            raise InputError(f'polarity: expected "bright_air" or "bright_bone", found {polarity!r}')
        self._bits, self._polarity = bits, polarity
        self._scale = np.float32(1 if bits is None else 1 / (2**bits - 1))
        self._buffers = [np.empty((view.height, view.width), np.float32) for view in rig.views]

    def __call__(self, stored: NDArray[Any], view: int) -> NDArray[np.float32]:
        """Convert a frame (h, w) of a view; the result is valid until the next frame of this view."""
        buffer = self._buffers[view]
        if stored.shape != buffer.shape:
            return attenuating(stored, self._bits, self._polarity)  # the tracker will say what is wrong with it
        np.multiply(stored, self._scale, out=buffer, casting="unsafe")
        if self._polarity == "bright_air":
            np.subtract(1, buffer, out=buffer)
        return buffer
