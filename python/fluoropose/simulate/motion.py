"""How heads and knees move before the fluoroscopes."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, PositiveFloat, model_validator, with_config
from scipy.spatial.transform import Rotation

from fluoropose._toml import Config
from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.joint import JointMotion

__all__ = ["Gait", "KneeMotion", "NeckMotion", "Walking"]

# Columns: where the head's x (left), y (back) and z (up) point in the world of view 1 (x right, y down, z away).
_UPRIGHT = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])


@with_config(extra="forbid")
@dataclass(frozen=True, kw_only=True)
class Gait:
    """How walking on a treadmill moves the head, from one periodic cycle; zero amplitudes stand still.

    Vertical bob, forward sway and nodding have two cycles per stride (one per step), the others one.

    Attributes
    ----------
    strides_per_s
        Cadence.
    up_mm, sideways_mm, forward_mm
        Amplitudes of the point between the ears.
    nod_deg, turn_deg, lean_deg
        Amplitudes about the head's left-right, up-down and front-back axes.
    """

    strides_per_s: float = 0.95
    up_mm: float = 15.0
    sideways_mm: float = 18.0
    forward_mm: float = 5.0
    nod_deg: float = 4.0
    turn_deg: float = 6.0
    lean_deg: float = 4.0

    def __post_init__(self) -> None:
        for entry in fields(Gait):
            if not np.isfinite(getattr(self, entry.name)):
                raise InputError(f"{entry.name}: expected a finite number, found {getattr(self, entry.name)}")

    def turn(self, time_s: float) -> NDArray[np.float64]:
        """Return the rotation vector (3,), rad, against the upright head about its x (left), y (back) and z (up)."""
        stride = 2 * np.pi * self.strides_per_s * time_s
        return np.radians(
            [
                self.nod_deg * np.sin(2 * stride + 0.6),
                self.lean_deg * np.sin(stride - 0.4),
                self.turn_deg * np.sin(stride + 0.9),
            ]
        )

    def shift(self, time_s: float) -> NDArray[np.float64]:
        """Return the displacement (3,), mm, along the axes of the upright head."""
        stride = 2 * np.pi * self.strides_per_s * time_s
        return np.array(
            [
                self.sideways_mm * np.sin(stride),
                -self.forward_mm * np.cos(2 * stride),
                self.up_mm * np.cos(2 * stride + 0.3),
            ]
        )


@dataclass(frozen=True)
class Walking(Gait):
    """The head of someone who walks before the fluoroscopes.

    Parameters
    ----------
    centre_mm
        Where the point between the ears is in the world on average.
    facing_deg
        Turn about the vertical from facing the source of view 1, towards the subject's own left.
    """

    centre_mm: tuple[float, float, float]
    facing_deg: float = 72.0

    def world_from_head(self, time_s: float) -> Pose:
        """Return where the head is at ``time_s``."""
        body = Rotation.from_rotvec([0.0, np.radians(self.facing_deg), 0.0]).as_matrix() @ _UPRIGHT
        rotation = body @ Rotation.from_rotvec(self.turn(time_s)).as_matrix()
        return Pose(rotation, np.asarray(self.centre_mm) + body @ self.shift(time_s))


class NeckMotion(Config):
    """A head that goes to and fro between the ends of its range; it starts in the middle and turns at the ends.

    Attributes
    ----------
    kind
        About the axis x (positive: flexion), y (positive: to the left), or z (positive: the face to the left).
    range_deg
        The two ends, of the head against the trunk.
    period_s
        Of a whole cycle.
    coupled_deg
        Amplitudes of the turns about x, y and z that go along; they lag a quarter of a cycle behind.
    """

    kind: Literal["flexion_extension", "lateral_bending", "axial_rotation"]
    range_deg: tuple[FiniteFloat, FiniteFloat]
    period_s: PositiveFloat = 2.0
    coupled_deg: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = (0.0, 0.0, 0.0)

    @model_validator(mode="after")
    def _ordered(self) -> NeckMotion:
        if not -90 <= self.range_deg[0] <= self.range_deg[1] <= 90:
            raise ValueError(f"range_deg: expected -90 <= least <= most <= 90, found {self.range_deg}")
        return self

    def turn(self, time_s: float) -> NDArray[np.float64]:
        """Return the head's rotation vector (3,) against the trunk, rad, about x left, y back, z up."""
        phase = 2 * np.pi * time_s / self.period_s
        least, most = self.range_deg
        turn = -np.asarray(self.coupled_deg) * np.cos(phase)
        axis = ("flexion_extension", "lateral_bending", "axial_rotation").index(self.kind)
        turn[axis] += (least + most) / 2 + (most - least) / 2 * np.sin(phase)
        return np.asarray(np.radians(turn))

    def shift(self, time_s: float) -> NDArray[np.float64]:
        """Return the trunk's displacement (3,), none."""
        return np.zeros(3)


class KneeMotion(Config):
    """A knee that bends and stretches, with the motions that go along with flexion.

    Attributes
    ----------
    flexion_deg
        The two ends; it starts at the first.
    period_s
        Of a whole cycle.
    adduction_deg, external_rotation_deg, lateral_mm, anterior_mm
        Change over the whole range of flexion, proportional to it (a screw-home rotation, a rollback).
    distraction_mm
        Distance of the two origins along the tibia.
    thigh_share
        Part of the flexion by which the femur turns against the world; the tibia turns by the rest.
    """

    flexion_deg: tuple[FiniteFloat, FiniteFloat] = (0.0, 90.0)
    period_s: PositiveFloat = 3.0
    adduction_deg: FiniteFloat = 0.0
    external_rotation_deg: FiniteFloat = -10.0
    lateral_mm: FiniteFloat = 0.0
    anterior_mm: FiniteFloat = -6.0
    distraction_mm: FiniteFloat = 0.0
    thigh_share: float = Field(default=0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _ordered(self) -> KneeMotion:
        if not -30 <= self.flexion_deg[0] <= self.flexion_deg[1] <= 160:
            raise ValueError(f"flexion_deg: expected -30 <= least <= most <= 160, found {self.flexion_deg}")
        return self

    def joint(self, time_s: float) -> JointMotion:
        """Return the tibia's pose relative to the femur."""
        share = (1 - np.cos(2 * np.pi * time_s / self.period_s)) / 2
        least, most = self.flexion_deg
        return JointMotion(
            flexion_deg=float(least + share * (most - least)),
            adduction_deg=float(share * self.adduction_deg),
            external_rotation_deg=float(share * self.external_rotation_deg),
            lateral_mm=float(share * self.lateral_mm),
            anterior_mm=float(share * self.anterior_mm),
            distraction_mm=self.distraction_mm,
        )
