"""What a simulation is made of, as one TOML file; unknown keys are refused."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self

import numpy as np
from pydantic import Field, FiniteFloat, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from fluoropose._toml import Config, ConfigPath, read_toml
from fluoropose.drr import Method
from fluoropose.geometry import Pose
from fluoropose.joint import Side
from fluoropose.simulate.beam import Tube
from fluoropose.simulate.chain import Exposure, ImageChain
from fluoropose.simulate.materials import MaterialName
from fluoropose.simulate.motion import Gait, KneeMotion, NeckMotion

__all__ = [
    "Capsule",
    "Head",
    "Knee",
    "Neck",
    "Place",
    "Segment",
    "SimulationConfig",
    "Style",
    "TrialConfig",
    "read_simulation",
]

Triple = tuple[FiniteFloat, FiniteFloat, FiniteFloat]


class Style(Config):
    """How the frames look: all that is not geometry.

    Attributes
    ----------
    method
        The renderer; "ray_cast" is the reference, "shear_warp" many times faster.
    beam
        The tube; without it the beam has one energy, 70 keV, and needs no libraries.
    exposure, chain
        The X-ray output, and what screen, optics and camera do. By default they do nothing.
    """

    method: Method = "ray_cast"
    beam: Tube | None = None
    exposure: Exposure = Exposure()
    chain: ImageChain = ImageChain()


class Place(Config):
    """Where the subject is in the rig's world when nothing has moved.

    Attributes
    ----------
    rotation
        The rows of a (3, 3) rotation; its columns are the axes of the head (of the femur) in the world.
    centre_mm
        The origin of that bone in the world.
    """

    rotation: tuple[Triple, Triple, Triple]
    centre_mm: Triple

    @model_validator(mode="after")
    def _is_rotation(self) -> Self:
        r = np.array(self.rotation)
        if np.abs(r @ r.T - np.eye(3)).max() > 0.01 or np.linalg.det(r) < 0:
            raise ValueError("rotation: expected a proper rotation matrix within 0.01")
        return self

    @property
    def world_from_subject(self) -> Pose:
        """The pose; its rotation is the nearest to the given rows."""
        u, _, vt = np.linalg.svd(np.array(self.rotation))
        return Pose(u @ vt, np.array(self.centre_mm))


class Neck(Config):
    """What moves against the head: the CT is divided at the skull's base. Points and directions are in the bone frame.

    Bones that lie mostly beyond the plane make up the neck, in one piece; soft tissue bends from the skull to the neck.

    Attributes
    ----------
    beyond_mm, towards
        A point of the plane, and the direction in which the neck lies.
    joint_mm
        The skull turns against the neck about this point, between the occipital condyles.
    root_mm
        The neck turns against the trunk about this point, near the seventh vertebra.
    share
        Of the head's turn that the neck makes.
    transition_mm
        Across the plane, the length over which soft tissue bends.
    extend_mm
        Continue the volume by copies of its last slice (shoulders that the CT cut).
    threshold_hu
        What is bone.
    bones
        Bone files from the same CT, of bones that belong to the neck: their truth is written as well.
    """

    beyond_mm: Triple
    towards: Triple = (0.0, 0.0, -1.0)
    joint_mm: Triple
    root_mm: Triple
    share: float = Field(default=0.4, ge=0, le=1)
    transition_mm: PositiveFloat = 60.0
    extend_mm: NonNegativeFloat = 0.0
    threshold_hu: FiniteFloat = 250.0
    bones: tuple[ConfigPath, ...] = ()


class Head(Config):
    """A head, and whatever else its CT shows.

    Attributes
    ----------
    bone
        The bone file of the skull, made from a CT whose axes are the patient's (LPS).
    neck
        Without it head and neck are one rigid body.
    """

    bone: ConfigPath
    neck: Neck | None = None


class Capsule(Config):
    """A rod with round ends, fixed to a bone: a shaft, or the flesh round it. Points are in the CT's or mesh's frame.

    Attributes
    ----------
    from_mm, to_mm
        Its ends' centres.
    radius_mm, end_radius_mm
        At both ends; the same by default.
    inner_radius_mm
        Of the marrow in a shaft, which is left out; zero: none.
    material
        What it is made of.
    """

    from_mm: Triple
    to_mm: Triple
    radius_mm: PositiveFloat
    end_radius_mm: PositiveFloat | None = None
    inner_radius_mm: NonNegativeFloat = 0.0
    material: MaterialName = "soft_tissue"

    @model_validator(mode="after")
    def _has_a_wall(self) -> Self:
        if self.inner_radius_mm >= min(self.radius_mm, self.end_radius_mm or self.radius_mm):
            raise ValueError(f"inner_radius_mm: expected less than the radius, found {self.inner_radius_mm}")
        if self.from_mm == self.to_mm:
            raise ValueError("from_mm, to_mm: expected two different points")
        return self


class Segment(Config):
    """One bone or implant of a knee, with what is fixed to it. Points are in the CT's or mesh's own frame.

    Attributes
    ----------
    bone
        The bone file.
    material
        Of an implant; "ct" for a bone from a CT, whose voxels are divided into soft tissue and bone.
    right, left, proximal, distal
        Points x, y, z that define the anatomical frame, as for ``fluoropose joint``.
    around
        Rods that move along.
    """

    bone: ConfigPath
    material: MaterialName | Literal["ct"] = "ct"
    right: Triple
    left: Triple
    proximal: Triple
    distal: Triple
    around: tuple[Capsule, ...] = ()


class Knee(Config):
    """Two bones with a joint between them.

    Attributes
    ----------
    side
        Of the subject's body: "right" or "left".
    femur, tibia
        The proximal and the distal one.
    """

    side: Side
    femur: Segment
    tibia: Segment

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.femur.bone.stem == self.tibia.bone.stem:
            raise ValueError("femur, tibia: expected bone files with different names")
        return self


class TrialConfig(Config):
    """One trial of a simulation; it has one of the motions.

    Attributes
    ----------
    name
        Of its folder.
    frames, frame_rate_hz
        How many pairs, and how often.
    shift_mm
        By which the subject stands off its place, world axes.
    walking, neck, knee
        How the subject moves; without any it stands still.
    """

    name: str
    frames: PositiveInt = 60
    frame_rate_hz: PositiveFloat = 30.0
    shift_mm: Triple = (0.0, 0.0, 0.0)
    walking: Gait | None = None
    neck: NeckMotion | None = None
    knee: KneeMotion | None = None

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name):
            raise ValueError(f"name: expected letters, digits, '_', '.' or '-', found {self.name!r}")
        if sum(motion is not None for motion in (self.walking, self.neck, self.knee)) > 1:
            raise ValueError("walking, neck, knee: expected at most one of them")
        return self


class SimulationConfig(Config):
    """What ``fluoropose simulate`` needs to know; read from a TOML file, paths relative to that file.

    Attributes
    ----------
    rig
        The rig; its distortion and fields are true.
    seed
        Of the noise.
    style_file
        A TOML file with the keys of ``style``, which several simulations share.
    style
        How the frames look.
    head, knee
        The subject: one of the two.
    place
        Where it is.
    trials
        What is recorded.
    """

    rig: ConfigPath
    seed: int = Field(default=1, ge=0)
    style_file: ConfigPath | None = None
    style: Style | None = None
    head: Head | None = None
    knee: Knee | None = None
    place: Place
    trials: tuple[TrialConfig, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if (self.head is None) == (self.knee is None):
            raise ValueError("head, knee: expected one of them")
        if self.style_file is not None and self.style is not None:
            raise ValueError("style_file, style: expected at most one of them")
        names = [trial.name for trial in self.trials]
        if len(set(names)) != len(names):
            raise ValueError(f"trials: expected different names, found {', '.join(names)}")
        for trial in self.trials:
            wrong = ("knee",) if self.knee is None else ("walking", "neck")
            for motion in wrong:
                if getattr(trial, motion) is not None:
                    raise ValueError(f"trials: {trial.name}: {motion}: not a motion of this subject")
        return self

    def read_style(self) -> Style:
        """Return the style, from its file if it has one."""
        if self.style_file is not None:
            return read_toml(self.style_file, Style)
        return self.style or Style()


def read_simulation(path: str | Path) -> SimulationConfig:
    """Read a simulation's TOML file; raises FileFormatError naming the file and every wrong or unknown field."""
    return read_toml(path, SimulationConfig)
