"""How a head moves before the fluoroscopes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial.transform import Rotation

from fluoropose.geometry import Pose

__all__ = ["Walking"]

# Columns: where the head's x (left), y (back) and z (up) point in the world of view 1 (x right, y down, z away).
_UPRIGHT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@dataclass(frozen=True)
class Walking:
    """The head of someone who walks on a treadmill, from one periodic cycle; zero amplitudes stand still.

    Vertical bob, forward sway and nodding have two cycles per stride (one per step), the others one.

    Parameters
    ----------
    centre_mm
        Where the point between the ears is in the world on average.
    facing_deg
        Turn about the vertical from facing the source of view 1, towards the subject's own left.
    strides_per_s
        Cadence.
    up_mm, sideways_mm, forward_mm
        Amplitudes of the point between the ears.
    nod_deg, turn_deg, lean_deg
        Amplitudes about the head's left-right, up-down and front-back axes.
    """

    centre_mm: tuple[float, float, float]
    facing_deg: float = 72.0
    strides_per_s: float = 0.95
    up_mm: float = 15.0
    sideways_mm: float = 18.0
    forward_mm: float = 5.0
    nod_deg: float = 4.0
    turn_deg: float = 6.0
    lean_deg: float = 4.0

    def world_from_head(self, time_s: float) -> Pose:
        """Return where the head is at ``time_s``."""
        stride = 2 * np.pi * self.strides_per_s * time_s
        angles = np.radians(
            [
                self.nod_deg * np.sin(2 * stride + 0.6),
                self.lean_deg * np.sin(stride - 0.4),
                self.turn_deg * np.sin(stride + 0.9),
            ]
        )
        moved = [
            self.sideways_mm * np.sin(stride),
            -self.forward_mm * np.cos(2 * stride),
            self.up_mm * np.cos(2 * stride + 0.3),
        ]
        body = Rotation.from_rotvec([0.0, np.radians(self.facing_deg), 0.0]).as_matrix() @ _UPRIGHT
        rotation = body @ Rotation.from_rotvec(angles).as_matrix()
        return Pose(rotation, np.asarray(self.centre_mm) + body @ moved)
