"""Stored frames as the tracker takes them: converted where it looks, not as a whole."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoropose.io.stored_frame import Polarity, StoredFrame

__all__ = ["Attenuating"]


@dataclass(frozen=True)
class Attenuating:
    """Turns stored frames into ones where bright means attenuating, full scale 1.

    Attributes
    ----------
    bits
        Bits that carry signal; None for floating point frames in 0..1.
    polarity
        "bright_air" where unattenuated beam is bright (the usual fluoroscope), "bright_bone" where it is dark.

    Raises
    ------
    InputError
        If there is no such polarity.
    """

    bits: int | None
    polarity: Polarity = "bright_air"

    def __post_init__(self) -> None:
        self(np.empty((0, 0)))

    def __call__(self, stored: NDArray[Any]) -> StoredFrame:
        """Convert a frame (h, w), which must stay as it is for as long as the result is used."""
        return StoredFrame(stored, self.bits, self.polarity)
