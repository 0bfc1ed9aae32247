"""How dense matter shows in a frame: scatter and glare keep the deepest shadow from becoming darker still."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluoropose.errors import InputError
from fluoropose.refinement.similarity import Image

__all__ = ["TONES", "Tone"]


@dataclass(frozen=True)
class Tone:
    """The attenuation that a frame shows, -log((exp(-L) + veil) / (1 + veil)), for a line integral L.

    Without a veil it is L itself; with one that hides what lies behind metal only the outline is left.

    Attributes
    ----------
    veil
        Light that reaches a pixel besides the beam, relative to the beam that the bone's surroundings let through.
    """

    veil: float = 0.0

    def __post_init__(self) -> None:
        if not (np.isfinite(self.veil) and self.veil >= 0):
            raise InputError(f"veil: expected a finite number >= 0, found {self.veil}")

    def apply(self, line_integral: Image) -> Image:
        """Return the attenuation (h, w) shown."""
        if self.veil == 0:
            return line_integral
        beam = np.exp(-line_integral)
        return np.asarray(-np.log((beam + np.float32(self.veil)) / np.float32(1 + self.veil)), dtype=np.float32)

    def slope(self, line_integral: Image) -> Image:
        """Return the derivative (h, w) of ``apply`` by the line integral."""
        if self.veil == 0:
            return np.ones_like(line_integral)
        beam = np.exp(-line_integral)
        return np.asarray(beam / (beam + np.float32(self.veil)), dtype=np.float32)


TONES = tuple(Tone(veil) for veil in (0.0, 0.03, 0.1, 0.3, 1.0, 3.0))
