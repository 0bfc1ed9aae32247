"""A style training as one TOML file: what X-rays, what radiographs, which networks; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, PositiveInt, model_validator

from fluoropose._toml import Config, ConfigPath, read_toml
from fluoropose.io.frames import Polarity
from fluoropose.learning.config import Range, StyleConfig

__all__ = [
    "PLAIN",
    "DistilConfig",
    "GeneratorConfig",
    "StyleTrainingConfig",
    "TranslationConfig",
    "XRays",
    "load_translation_config",
]

PLAIN = StyleConfig(
    bone=(1.0, 1.0),
    surroundings=(1.0, 1.0),
    turn_deg=0.0,
    scale=(1.0, 1.0),
    shift=0.0,
    tissue=(0.0, 0.0),
    limbs=0,
    shafts=0,
    beads=0,
    hardening=(0.0, 0.0),
    scatter=(0.0, 0.0),
    glare=(0.0, 0.0),
    exposure=(1.0, 1.0),
    gamma=(0.3, 0.3),  # before the logarithm of the preprocessing: keeps its floor away from thick parts
    shading=(0.0, 0.0),
    blur_px=(0.0, 0.0),
    noise=(0.0, 0.0),
    field_share=1.0,
    black=(0.0, 0.0),
)
"""The radiograph itself: grey is proportional to the line integral, within 3 % of the range up to integrals of 5."""


class XRays(Config):
    """Recorded frames of one trial.

    Attributes
    ----------
    frames
        One source per view of the rig, in its order: folder, multi-page TIFF, DICOM run or video.
    polarity, bit_depth
        As in a trial.
    range
        "A:B", only these positions of every source (A up to but without B); all by default.
    """

    frames: tuple[ConfigPath, ...] = Field(min_length=1)
    polarity: Polarity = "bright_air"
    bit_depth: PositiveInt | None = Field(default=None, le=32)
    range: str | None = None


class GeneratorConfig(Config):
    """The size of a generator: channels of its first layer and residual blocks; by default the paper's."""

    width: int = Field(default=64, ge=2, le=256)
    blocks: int = Field(default=9, ge=1, le=32)


class StyleTrainingConfig(Config):
    """How the CycleGAN is trained.

    Attributes
    ----------
    epochs
        The learning rate is constant for the first half of them and then falls to zero. An epoch shows every X-ray and
        every radiograph at least once.
    cycle_weight
        Weight of the mean absolute difference of a picture to itself translated to and fro.
    content_weight
        Weight of the content-preserving loss, Eq. 1, in place of the identity loss and with the weight that loss has in
        the CycleGAN paper: half the cycle's. The adversarial losses weigh 1.
    pool
        Translated pictures that are remembered to train the discriminators on.
    precision
        As for the landmark network; processors are the fastest in "32-true".
    """

    epochs: PositiveInt = 40
    batch: PositiveInt = 1
    learning_rate: float = Field(default=2e-4, gt=0)
    cycle_weight: float = Field(default=10.0, ge=0)
    content_weight: float = Field(default=5.0, ge=0)
    pool: int = Field(default=50, ge=0)
    discriminator_width: int = Field(default=64, ge=2, le=256)
    seed: int = Field(default=1, ge=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "bf16-mixed"


class DistilConfig(Config):
    """The small generator for machines without a GPU, taught by the large one's output on the X-rays."""

    generator: GeneratorConfig = GeneratorConfig(width=16, blocks=3)
    epochs: PositiveInt = 20
    batch: PositiveInt = 8
    learning_rate: float = Field(default=1e-3, gt=0)
    precision: Literal["32-true", "bf16-mixed", "16-mixed"] = "32-true"


class TranslationConfig(Config):
    """One style training.

    Attributes
    ----------
    set
        The artificial set; its bone, image size and preprocessing become the translation's.
    rig
        The rig of the X-rays; the set must have been made for it.
    xrays
        Unlabelled frames. As in the paper, these may be the very frames that are to be registered: neither their poses
        nor any other label is used.
    crops_per_frame
        Pictures cut out of every frame.
    side, shift
        Their (least, most) side relative to the field, log-uniform, and the most random displacement of a picture as
        large as the field, as a share of it; smaller ones lie anywhere in the field.
    count
        Radiographs of the set to train with; all by default.
    style
        What the radiographs look like: ranges as for the landmark network. The landmark network that is to see the
        translated X-rays must have been trained on the same style.
    """

    set: ConfigPath
    rig: ConfigPath
    xrays: tuple[XRays, ...] = Field(min_length=1)
    crops_per_frame: PositiveInt = 1
    side: Range = (0.97, 1.06)
    shift: float = Field(default=0.03, ge=0, le=0.5)
    count: PositiveInt | None = None
    style: StyleConfig = PLAIN
    generator: GeneratorConfig = GeneratorConfig()
    training: StyleTrainingConfig = StyleTrainingConfig()
    distil: DistilConfig = DistilConfig()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.side[0] <= self.side[1]:
            raise ValueError(f"side: expected 0 < least <= most, found {self.side}")
        return self


def load_translation_config(path: str | Path) -> TranslationConfig:
    """Read a style training's TOML file; FileFormatError names every wrong, unknown or missing key."""
    return read_toml(path, TranslationConfig)
