"""The networks whose styles figure10.py and real_knee.py compare; what is missing is trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fluoropose.learning.bundle import Bundle, LandmarkFacts, Placed, SegmentNetwork, StyleFacts, StyleNetwork
from fluoropose.learning.config import LearningConfig, load_config
from fluoropose.learning.dataset import RadiographSet, make_dataset
from fluoropose.learning.style import draw
from fluoropose.learning.training.landmarks import train_landmarks
from fluoropose.learning.training.segment import train_segment
from fluoropose.learning.translation.classical import (
    amplitude_swapped,
    equalised,
    grey_quantiles,
    matched,
    mean_amplitude,
)
from fluoropose.learning.translation.config import (
    GeneratorConfig,
    PlainStyle,
    SmallGenerator,
    TranslationConfig,
    load_translation_config,
)
from fluoropose.learning.translation.distil import distil_style
from fluoropose.learning.translation.train import train_style
from trial_bench import Arguments, placed_files

__all__ = ["CONFIGS", "Networks", "ready_networks"]

CONFIGS = Path(__file__).parent / "configs"
_STYLE_SET = "style_set"  # of its own, where radiographs of wider poses would mislead the translation
_SMALL_PICTURES = 300_000  # that a small run's landmark network is shown, over all epochs: two hours of one core
_COMPARED = 200  # radiographs whose greys and amplitudes the translations without training take over


@dataclass(frozen=True, eq=False)
class Networks:
    """What a style is: a landmark network, and what translates the frames for it.

    Attributes
    ----------
    styles
        By name.
    segmenter
        Finds the bone, if there is one.
    facts
        What crops the networks take.
    told
        By network, the numbers of its training.
    path
        The bundle trained on random styles.
    """

    styles: dict[str, tuple[Bundle, StyleNetwork | None]]
    segmenter: SegmentNetwork | None
    facts: LandmarkFacts
    told: dict[str, dict[str, float]]
    path: Path

    @classmethod
    def randomised(cls, path: Path) -> Networks:
        """Only what a bundle holds that was trained on random styles."""
        bundle = Bundle.load(path)
        return cls({"randomised": (bundle, None)}, bundle.segment, bundle.landmarks.facts, told(bundle), path)


def ready_networks(arguments: Arguments, folder: Path, subject: str) -> Networks:
    """Load the networks of a folder that has rig and bones; make the sets and train the networks that are not there.

    What is called "landmarks" is in random styles, what is called "plain" plain radiographs. ``subject``, "head" or
    "knee", names the configurations.
    """
    learning, plain = (
        placed(load_config(CONFIGS / f"{subject}_{name}.toml"), folder, arguments) for name in ("train", "plain")
    )
    style = style_config(arguments, folder, CONFIGS / f"{subject}_style.toml")
    samples, plain_samples = (set_path(folder, name, arguments) for name in ("landmarks", "plain"))
    random_styles, plain_style = (folder / f"{name}{arguments.ending}.fpbundle" for name in ("landmarks", "plain"))
    for config, path in ((learning, samples), (plain, plain_samples)):
        if not path.exists():
            make_dataset(config, path)
    if not style.set.exists():
        own = load_config(CONFIGS / f"{subject}_{_STYLE_SET}.toml")
        make_dataset(placed(own, folder, arguments), style.set)
    if "landmarks" not in held(random_styles):
        train_landmarks(samples, random_styles, learning)
    if "segment" not in held(random_styles):
        train_segment(samples, random_styles, learning)
    if "landmarks" not in held(plain_style):
        train_landmarks(plain_samples, plain_style, plain)
    if "translate" not in held(plain_style):
        train_style(style, plain_style)
    if "translate_small" not in held(plain_style):
        distil_style(style, plain_style)
    return loaded(Bundle.load(random_styles), Bundle.load(plain_style), RadiographSet.load(plain_samples))


def set_path(folder: Path, name: str, arguments: Arguments) -> Path:
    """Return the file of a set: a small run learns less from the same ones."""
    return folder / f"{name}{'_quick' if arguments.quick else ''}.h5"


def held(bundle: Path) -> set[str]:
    """Return the names of the networks that a bundle holds."""
    return set(Bundle.load(bundle).manifest.networks.named()) if bundle.exists() else set()


def placed(config: LearningConfig, folder: Path, arguments: Arguments) -> LearningConfig:
    """Take bones and rig from ``folder``, and what is asked for: less to learn, or next to nothing."""
    data: dict[str, Any] = placed_files(config.dataset, folder)
    training: dict[str, Any] = {}
    if arguments.small and not config.style.plain:  # the paper's own network takes two cores an hour
        kept = config.dataset.count - config.dataset.test_count
        training = {"epochs": round(_SMALL_PICTURES / kept)}
    if arguments.quick:
        data |= {"count": 200, "test_count": 20}
        training = {"epochs": 1, "width": 8}
    segmentation = {"epochs": 1} if arguments.quick else {"epochs": 5} if arguments.small else {}
    return config.model_copy(
        update={
            "dataset": config.dataset.model_copy(update=data),
            "training": config.training.model_copy(update=training),
            "segmentation": config.segmentation.model_copy(update=segmentation),
        }
    )


def style_config(arguments: Arguments, folder: Path, toml: Path) -> TranslationConfig:
    """Return the style training, as large as asked for."""
    config = load_translation_config(toml, arguments.data)
    samples = set_path(folder, config.set.stem, arguments)
    config = config.model_copy(update={"set": samples, "rig": folder / "rig.json"})
    if not (arguments.small or arguments.quick):
        return config
    less = {"epochs": 1 if arguments.quick else 4, "discriminator_width": 16}
    distil = {"generator": SmallGenerator(width=8, blocks=2), "epochs": 1 if arguments.quick else 6}
    return config.model_copy(
        update={
            "crops_per_frame": 1 if arguments.quick else 5,
            "count": 50 if arguments.quick else 960,
            "generator": GeneratorConfig(width=16, blocks=6),
            "training": config.training.model_copy(update=less),
            "distil": config.distil.model_copy(update=distil),
        }
    )


def loaded(random_styles: Bundle, plain: Bundle, radiographs: RadiographSet) -> Networks:
    segmenter = random_styles.segment
    assert segmenter is not None
    facts = plain.landmarks.facts
    drrs, lit = plain_radiographs(radiographs)
    quantiles, amplitude = grey_quantiles(drrs, lit), mean_amplitude(drrs, lit)
    untrained: dict[str, Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]] = {
        "equalised": equalised,
        "matched": lambda pictures, seen: matched(pictures, seen, quantiles),
        "fourier": lambda pictures, seen: amplitude_swapped(pictures, seen, amplitude),
    }
    style_facts = StyleFacts(size=facts.size, preprocessing=facts.preprocessing, training={})
    styles = {
        "raw": (plain, None),
        "translated": (plain, plain.translate),
        "translated_small": (plain, plain.translate_small),
        **{name: (plain, StyleNetwork(style_facts, _untrained(name, change))) for name, change in untrained.items()},
        "randomised": (random_styles, None),
    }
    return Networks(styles, segmenter, facts, told(random_styles) | told(plain), random_styles.path)


def told(bundle: Bundle) -> dict[str, dict[str, float]]:
    """Return the size and the numbers of the training of every network."""
    networks = bundle.manifest.networks.named()
    return {
        f"{bundle.path.stem}: {name}": {"parameters": one.parameters or 0, **one.training}
        for name, one in networks.items()
    }


def plain_radiographs(radiographs: RadiographSet) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return some plain radiographs (n, size, size) of the set, preprocessed, and their lit pixels."""
    config = radiographs.config
    rows = torch.arange(min(_COMPARED, len(radiographs)))
    drawn = draw(radiographs.samples(rows), config.dataset.size, PlainStyle(), torch.Generator().manual_seed(0))
    return config.preprocessing(drawn.crops, drawn.lit).numpy(), drawn.lit.numpy()


def _untrained(name: str, change: Callable[[NDArray[np.float32], NDArray[np.bool_]], NDArray[np.float32]]) -> Placed:
    """Put a translation without training in the place of a network: what is white, lit or not, stays white."""

    def translate(crops: torch.Tensor) -> torch.Tensor:
        pictures = crops[:, 0].numpy()
        return torch.from_numpy(change(pictures, pictures < 1))[:, None]

    return Placed(lambda device: translate, torch.device("cpu"), name)
