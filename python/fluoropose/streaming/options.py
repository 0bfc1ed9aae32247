"""How a bone is followed live; without the weight of what follows it."""

from __future__ import annotations

from dataclasses import dataclass

from fluoropose._checks import not_negative, positive, whole_positive

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
        Most time per pair to refine poses by the images, see ``Tracker``; 0: they are the landmarks'.
    token
        What other programs must know; needed where other machines can reach a source or a sink.
    view
        "" shows frames and poses on the screen, a file (.rrd) records them; None does neither.
    device
        Where the networks run and poses are refined: "cpu", "cuda" or "cuda:N"; see ``Bundle.load``.

    Raises
    ------
    InputError
        If a number is not positive; ``refine_ms`` may be 0.
    """

    tolerance_s: float | None = None
    looks: int = 1
    refine_ms: float = 15.0
    token: str = ""
    view: str | None = None
    device: str = "cpu"

    def __post_init__(self) -> None:
        whole_positive("looks", self.looks)
        if self.tolerance_s is not None:
            positive("tolerance_s", self.tolerance_s)
        not_negative("refine_ms", self.refine_ms)
