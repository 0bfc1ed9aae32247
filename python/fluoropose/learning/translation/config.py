"""A style training as one TOML file: what X-rays, what radiographs, which networks; unknown keys are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, PositiveInt, model_validator

from fluoropose._toml import Config, ConfigPath, read_toml
from fluoropose.io.stored_frame import Polarity
from fluoropose.learning.config import EpochsConfig, LoopConfig, Range, StyleConfig

__all__ = [
    "DistilConfig",
    "GeneratorConfig",
    "PlainStyle",
    "SmallGenerator",
    "StyleTrainingConfig",
    "TranslationConfig",
    "XRays",
    "load_translation_config",
]


class PlainStyle(StyleConfig):
    """The radiograph itself: no effect of an X-ray machine, greys proportional to line integrals.

    Proportional within 3 % of the range up to integrals of 5. Keys as in the style of a landmark network, whose ranges
    end here where they begin.
    """

    bone: Range = (1.0, 1.0)
    surroundings: Range = (1.0, 1.0)
    turn_deg: float = Field(default=0.0, ge=0, le=180)
    scale: Range = (1.0, 1.0)
    shift: float = Field(default=0.0, ge=0, le=0.5)
    tissue: Range = (0.0, 0.0)
    limbs: int = Field(default=0, ge=0)
    shafts: int = Field(default=0, ge=0)
    beads: int = Field(default=0, ge=0)
    hardening: Range = (0.0, 0.0)
    scatter: Range = (0.0, 0.0)
    glare: Range = (0.0, 0.0)
    exposure: Range = (1.0, 1.0)
    gamma: Range = (0.3, 0.3)  # before the logarithm of the preprocessing: keeps its floor away from thick parts
    shading: Range = (0.0, 0.0)
    blur_px: Range = (0.0, 0.0)
    noise: Range = (0.0, 0.0)
    field_share: float = Field(default=1.0, ge=0, le=1)
    black: Range = (0.0, 0.0)


class XRays(Config):
    """Recorded frames of one trial.

    Attributes
    ----------
    frames
        One source per view of the rig, in its order: folder, multi-page TIFF, DICOM run or video. Relative paths start
        at this file's folder, or where the command is told (--data).
    polarity, bit_depth
        As in a trial.
    range
        "A:B", only these positions of every source (A up to but without B); all by default.
    """

    frames: tuple[Path, ...] = Field(min_length=1)
    polarity: Polarity = "bright_air"
    bit_depth: PositiveInt | None = Field(default=None, le=32)
    range: str | None = None


class GeneratorConfig(Config):
    """The size of a generator: channels of its first layer and residual blocks; by default the paper's."""

    width: int = Field(default=64, ge=2, le=256)
    blocks: int = Field(default=9, ge=1, le=32)


class SmallGenerator(GeneratorConfig):
    """The size of the small generator."""

    width: int = Field(default=16, ge=2, le=256)
    blocks: int = Field(default=3, ge=1, le=32)


class StyleTrainingConfig(EpochsConfig):
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
    averaged_over
        Pictures over which the weights of the exported generators are averaged, exponentially: those that fight
        discriminators wander (Yazici et al., ICLR 2019).
    """

    batch: PositiveInt = 1
    learning_rate: float = Field(default=2e-4, gt=0)
    cycle_weight: float = Field(default=10.0, ge=0)
    content_weight: float = Field(default=5.0, ge=0)
    pool: int = Field(default=50, ge=0)
    averaged_over: PositiveInt = 1000
    discriminator_width: int = Field(default=64, ge=2, le=256)


class DistilConfig(LoopConfig):
    """The small generator for machines without a GPU, taught by what the large one makes of the X-rays.

    Attributes
    ----------
    learning_rate
        Adam's at first; it falls to zero as a cosine over ``epochs``, without a warm-up.
    """

    generator: SmallGenerator = SmallGenerator()
    batch: int = Field(default=8, ge=2)
    weight_decay: float = Field(default=0.0, ge=0)


class TranslationConfig(Config):
    """One style training.

    Attributes
    ----------
    set
        The artificial set; its bone, image size and preprocessing become the translation's. Its poses should spread as
        those in the X-rays do: with much wider ones, the greys that make up for it move landmarks.
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
        What the radiographs look like; plain by default. The landmark network that is to see the translated X-rays must
        have been trained on the same style.
    """

    set: ConfigPath
    rig: ConfigPath
    xrays: tuple[XRays, ...] = Field(min_length=1)
    crops_per_frame: PositiveInt = 1
    side: Range = (0.97, 1.06)
    shift: float = Field(default=0.03, ge=0, le=0.5)
    count: PositiveInt | None = None
    style: PlainStyle = PlainStyle()
    generator: GeneratorConfig = GeneratorConfig()
    training: StyleTrainingConfig = StyleTrainingConfig()
    distil: DistilConfig = DistilConfig()

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.side[0] <= self.side[1]:
            raise ValueError(f"side: expected 0 < least <= most, found {self.side}")
        return self


def load_translation_config(path: str | Path, data: str | Path | None = None) -> TranslationConfig:
    """Read a style training's TOML file.

    ``data`` is the folder where relative paths of frames start, by default the file's own, where all others start.
    FileFormatError names every wrong, unknown or missing key.
    """
    config = read_toml(path, TranslationConfig)
    folder = Path(path).parent if data is None else Path(data)
    xrays = [
        one.model_copy(update={"frames": tuple(folder / frames.expanduser() for frames in one.frames)})
        for one in config.xrays
    ]
    return config.model_copy(update={"xrays": tuple(xrays)})
