"""What a simulated trial needs of its subject, whichever it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from fluoropose.bone import Bone
from fluoropose.geometry import Pose
from fluoropose.joint import JointMotion
from fluoropose.simulate.trial.config import TrialConfig
from fluoropose.simulate.trial.subject import Piece

__all__ = ["Poses", "Scene"]

Poses = Mapping[str, Pose]
"""world_from_body by the body's name."""


class Scene(Protocol):
    """A subject that moves.

    Attributes
    ----------
    pieces
        What X-rays pass.
    bones
        By name, the bones whose truth is written; the first is the one that the trial is about.
    """

    pieces: tuple[Piece, ...]
    bones: dict[str, Bone]

    def bodies(self, trial: TrialConfig, time_s: float) -> Poses:
        """Return where the bodies that carry the pieces are."""

    def truth(self, bodies: Poses) -> dict[str, Pose]:
        """Return world_from_bone of every one of ``bones``."""

    def joint(self, bodies: Poses) -> JointMotion | None:
        """Return the motion between the two bodies, if there are two."""
