"""What a learning run is made of, as one TOML file: the set, the styles, the training; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from fluoropose._toml import Config, ConfigPath, read_toml
from fluoropose.learning.preprocess import Preprocessing

__all__ = [
    "DatasetConfig",
    "EpochsConfig",
    "LearningConfig",
    "LoopConfig",
    "Moving",
    "PoseRange",
    "SegmentationConfig",
    "StyleConfig",
    "TrainingConfig",
    "UncertaintyConfig",
    "load_config",
]

Triple = tuple[float, float, float]
Matrix = tuple[Triple, Triple, Triple]


def _ordered(values: tuple[float, float]) -> tuple[float, float]:
    if not values[0] <= values[1]:
        raise ValueError(f"expected (least, most), found {values}")
    return values


def _positive(values: tuple[float, float]) -> tuple[float, float]:
    if not values[0] > 0:
        raise ValueError(f"expected numbers above 0, which are drawn log-uniformly, found {values}")
    return values


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
LogRange = Annotated[Range, AfterValidator(_positive)]
Share = Annotated[float, Field(ge=0, le=1)]


class PoseRange(Config):
    """The poses a bone may take: world_from_bone = (nominal turned about ``axis``, then tilted), about a centre.

    Attributes
    ----------
    rotation
        Nominal world_from_bone: the rows of a (3, 3) rotation; its columns are the bone's axes in the world.
    centre_mm, range_mm
        Where the bone's origin lies in the world at the nominal orientation: uniform in centre +- range per axis.
    axis, turn_deg
        A large known motion, such as flexion: axis in the bone frame and (least, most) angle, uniform.
    pivot_mm
        The bone turns about this point of the bone frame (a head about its neck); its origin moves along.
    tilt_deg
        Free rotation on top, semi-axes about the bone's x, y, z: any direction, the size uniform from zero, so that the
        nominal orientation is the densest.
    """

    rotation: Matrix
    centre_mm: Triple
    range_mm: Triple
    pivot_mm: Triple = (0.0, 0.0, 0.0)
    axis: Triple = (1.0, 0.0, 0.0)
    turn_deg: Range = (0.0, 0.0)
    tilt_deg: Triple = (0.0, 0.0, 0.0)

    @model_validator(mode="after")
    def _is_rotation(self) -> PoseRange:
        r = np.array(self.rotation)
        if np.abs(r @ r.T - np.eye(3)).max() > 0.01 or np.linalg.det(r) < 0:
            raise ValueError("rotation: expected a proper rotation matrix within 0.01")
        if np.linalg.norm(self.axis) < 1e-6:
            raise ValueError("axis: expected a direction, found zero")
        return self


class Moving(Config):
    """Something beside the bone with a motion of its own: another bone, or what the CT holds beyond a plane.

    Attributes
    ----------
    bone
        Bone file to render; without it, part of the trained bone's own surroundings (a neck under a skull).
    beyond_mm, towards
        Without ``bone``: a point and a direction in the bone frame; surroundings on that side of the plane move.
    extend_mm
        Without ``bone``: continue the volume by copies of its last slice on the far side, the bone's cut end among
        them (shoulders, or a spine, that the CT cut).
    pivot_mm
        The joint: the part turns about this point of the bone frame.
    centre_mm, range_mm
        Nominal place of the part's origin in the bone frame, before it turns, uniform in centre +- range; for a part of
        the surroundings, how far it is shifted.
    axis, turn_deg, tilt_deg
        As in ``dataset.pose``, in the trained bone's frame.
    share
        Share of samples in which the part is present.
    """

    bone: ConfigPath | None = None
    beyond_mm: Triple = (0.0, 0.0, 0.0)
    towards: Triple = (0.0, 0.0, -1.0)
    extend_mm: float = Field(default=0.0, ge=0)
    pivot_mm: Triple = (0.0, 0.0, 0.0)
    centre_mm: Triple = (0.0, 0.0, 0.0)
    range_mm: Triple = (0.0, 0.0, 0.0)
    axis: Triple = (1.0, 0.0, 0.0)
    turn_deg: Range = (0.0, 0.0)
    tilt_deg: Triple = (0.0, 0.0, 0.0)
    share: Share = 1.0


class DatasetConfig(Config):
    """The artificial radiograph-landmark set.

    Attributes
    ----------
    bone, rig
        Files; relative paths are relative to the TOML file's folder.
    count, test_count
        Samples in all, and how many of them (the last ones) are never trained on.
    segmented_share
        Share of samples cut out by the bone's mask, as from a segmented frame.
    seed
        Sample i depends on (seed, i) alone.
    size, border
        Side of the network's input; pixels kept around it so that training can shift, turn and scale it.
    whole_field_share
        Share of samples whose region is the whole field of the view; the others look at the bone more closely.
    margin
        (least, most) side of a close region relative to the landmarks' box; log-uniform.
    shift
        Random displacement of a region's centre, as a share of its side.
    method
        The renderer.
    beam
        "parallel": for comparison, radiographs and labels as a parallel beam through the bone's origin makes them,
        which knows no perspective; "point": as the rig's views are.
    """

    bone: ConfigPath
    rig: ConfigPath
    count: int = Field(default=9751, ge=4)
    test_count: int = Field(default=500, ge=1)
    segmented_share: Share = 0.2
    seed: int = Field(default=1, ge=0)
    size: int = Field(default=128, ge=32, le=1024)
    border: int = Field(default=24, ge=0, le=512)
    whole_field_share: Share = 0.3
    margin: Range = (1.15, 2.0)
    shift: float = Field(default=0.08, ge=0, le=0.5)
    method: Literal["shear_warp", "ray_cast"] = "ray_cast"
    beam: Literal["point", "parallel"] = "point"
    pose: PoseRange
    moving: tuple[Moving, ...] = ()

    @model_validator(mode="after")
    def _counts(self) -> DatasetConfig:
        if self.size % 32:
            raise ValueError(f"size: expected a multiple of 32, found {self.size}")
        if self.test_count * 2 > self.count:
            raise ValueError(f"test_count: expected at most half of count = {self.count}, found {self.test_count}")
        if not 1 <= self.margin[0] <= self.margin[1]:
            raise ValueError(f"margin: expected 1 <= least <= most, found {self.margin}")
        return self


class StyleConfig(Config):
    """Ranges of what is drawn anew for every picture of every epoch; each (least, most), uniform unless said.

    Attributes
    ----------
    bone, surroundings
        Factor on the line integral of the bone and of everything else in the set; log-uniform.
    turn_deg, scale, shift
        In-plane turn, log-uniform scale and shift (share of the side) of the picture; needs ``dataset.border``.
    tissue
        Amplitude (line integral) of a smooth random thickness over the whole picture.
    limbs, shafts, metal, beads
        Most of each kind of random object: soft thick cylinders, bone-like hollow ones, dense plates, small discs.
    occluder_share, occluder
        How often a soft dark half-plane comes from below, and its line integral at its deepest.
    hardening
        Beam hardening h in L / (1 + h L).
    scatter
        Scattered signal relative to the mean primary one, which makes it: part of it even, part of it blurred.
    scatter_slope
        How much the scatter changes from the middle of the picture to its edge, in a random direction, relative to
        itself: it comes from beyond the picture as well. Behind metal nothing else is seen.
    glare
        Share of the signal that veils the whole picture.
    exposure
        Signal of the open field relative to saturation; log-uniform.
    level
        With this, exposure is automatic, as where a body fills the field: the signal that three tenths of the picture
        stay below, log-uniform, as far as the limits ``exposure`` allow.
    gamma
        Exponent of the video chain; log-uniform.
    shading
        Amplitude of smooth relative brightness changes.
    blur_px, noise
        Gaussian blur (sd, pixels of the input) and noise (sd at full scale).
    field_share, black
        How often the round field's edge is drawn, and the signal outside it.
    mask_play_px
        How far the outline is off, in pixels of the input, by which a segmented sample is cut out.
    """

    bone: LogRange = (0.7, 1.4)
    surroundings: LogRange = (0.5, 1.5)
    turn_deg: float = Field(default=10.0, ge=0, le=180)
    scale: LogRange = (0.9, 1.1)
    shift: float = Field(default=0.05, ge=0, le=0.5)
    tissue: Range = (0.0, 1.5)
    limbs: int = Field(default=2, ge=0)
    shafts: int = Field(default=2, ge=0)
    metal: int = Field(default=0, ge=0)
    beads: int = Field(default=2, ge=0)
    occluder_share: Share = 0.0
    occluder: Range = (0.5, 3.0)
    hardening: Range = (0.0, 0.1)
    scatter: Range = (0.0, 0.2)
    scatter_slope: Range = (0.0, 0.0)
    glare: Range = (0.0, 0.15)
    exposure: LogRange = (0.8, 2.5)
    level: LogRange | None = None
    gamma: LogRange = (0.5, 1.4)
    shading: Range = (0.0, 0.3)
    blur_px: Range = (0.0, 1.2)
    noise: Range = (0.0, 0.03)
    field_share: Share = 0.9
    black: Range = (0.0, 0.06)
    mask_play_px: float = Field(default=3.0, ge=0, le=16)

    @property
    def plain(self) -> bool:
        """Whether pictures are plain radiographs: no effect of an X-ray machine, nothing that is not in the set."""
        absent = (self.tissue, self.hardening, self.scatter, self.glare, self.shading, self.blur_px, self.noise)
        as_they_are = (self.bone, self.surroundings, self.exposure)
        return (
            all(most == 0 for _, most in (*absent, self.black))
            and all(least == most == 1 for least, most in as_they_are)
            and self.gamma[0] == self.gamma[1]
            and self.level is None
            and not (self.limbs or self.shafts or self.metal or self.beads or self.occluder_share)
        )


class EpochsConfig(Config):
    """How long a training takes, and in what precision.

    Attributes
    ----------
    stored
        Precision of the weights in the bundle; "float16" halves the file.
    precision
        "auto" takes bfloat16 where the device computes with it (AVX-512, any recent GPU), else float32: a processor
        that must emulate it is fifteen times slower.
    """

    stored: Literal["float32", "float16"] = "float32"
    epochs: int = Field(default=40, ge=1)
    seed: int = Field(default=1, ge=0, le=1_000_000_000)  # those of batches, made of it, must fit 64 bits
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"


class LoopConfig(EpochsConfig):
    """How long and how fast a network is trained that is tested meanwhile.

    Attributes
    ----------
    learning_rate
        Adam's peak rate: a short warm-up, then a cosine to zero over ``epochs``.
    patience
        Epochs without a better test loss after which training stops.
    """

    batch: int = Field(default=64, ge=2)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=1e-4, ge=0)
    patience: int = Field(default=15, ge=1)


class TrainingConfig(LoopConfig):
    """How the landmark network is trained.

    Attributes
    ----------
    width
        Channels of the network's first layers: 64 is the paper's ResNet-18, half as many a quarter of the work.
    loss
        "mse" as in the paper, or "smooth_l1" with ``beta``, which far-off landmarks pull less.
    outside_weight
        Weight of a landmark outside the crop; its label is kept unclipped.
    crop_margin
        Side of the close region relative to the landmarks' box that registration should use; by default the
        whole field, which suits a bone that fills it.
    """

    width: int = Field(default=64, ge=4, le=256)
    loss: Literal["mse", "smooth_l1"] = "smooth_l1"
    beta: float = Field(default=0.03, gt=0)
    outside_weight: float = Field(default=0.2, ge=0)
    crop_margin: float | None = Field(default=None, gt=1)


class SegmentationConfig(LoopConfig):
    """How the segmentation network is trained.

    Attributes
    ----------
    width
        Channels of its first layers; with 16 it takes about as long as a third of the landmark network.
    """

    width: int = Field(default=16, ge=4, le=128)
    epochs: int = Field(default=12, ge=1)
    learning_rate: float = Field(default=2e-3, gt=0)
    patience: int = Field(default=6, ge=1)


class UncertaintyConfig(LoopConfig):
    """How the landmark network learns to tell its standard deviations; its positions stay as they are."""

    epochs: int = Field(default=3, ge=1)
    patience: int = Field(default=3, ge=1)


class LearningConfig(Config):
    """One learning run."""

    dataset: DatasetConfig
    style: StyleConfig = StyleConfig()
    preprocessing: Preprocessing = Preprocessing()
    training: TrainingConfig = TrainingConfig()
    segmentation: SegmentationConfig = SegmentationConfig()
    uncertainty: UncertaintyConfig = UncertaintyConfig()


def load_config(path: str | Path) -> LearningConfig:
    """Read a learning run's TOML file; relative file names in it are relative to its folder.

    Raises
    ------
    FileFormatError
        If the file cannot be read, is not TOML, or a key is unknown, missing or out of range; it names the key.
    """
    return read_toml(path, LearningConfig)
