"""How a bone is followed live; without the weight of what follows it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LiveOptions"]


@dataclass(frozen=True)
class LiveOptions:
    """How a bone is followed live, wherever its frames come from.

    Attributes
    ----------
    tolerance_s
        Frames that are taken within this time, but for the rig's own offset, are a pair; None: those of equal number.
    looks
        Crops per frame in the steady state; more are more accurate and slower.
    refine_ms
        Time per pair to refine poses by the images, at the scale that it allows; None: they are the landmarks'.
    token
        What other programs must know; needed where other machines can reach a source or a sink.
    view
        "" shows frames and poses on the screen, a file (.rrd) records them; None does neither.
    device
        Where the networks run and poses are refined: "cpu", "cuda" or "cuda:N"; see ``Bundle.load``.
    """

    tolerance_s: float | None = None
    looks: int = 1
    refine_ms: float | None = None
    token: str = ""
    view: str | None = None
    device: str = "cpu"
