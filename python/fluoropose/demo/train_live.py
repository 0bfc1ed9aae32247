"""Add to the shipped network those that ``bench/soak.py`` follows a head with, where the bundle has them.

    python -m fluoropose.demo.train_live --bundle demo.fpbundle

They find the skull in a crop (segment) and make a radiograph of it (translate_small, distilled from a CycleGAN of twice
its width, which is not kept). The X-rays that the translation learns from are of another simulated laboratory than the
demo's, and of a head that moves about more than one that walks. So far the shipped bundle has the first of them
only.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from fluoropose.demo.skull import Geometry, demo_bone
from fluoropose.demo.train import learning_config
from fluoropose.learning.bundle import copy_networks
from fluoropose.learning.config import SegmentationConfig
from fluoropose.learning.dataset import make_dataset
from fluoropose.learning.training.segment import train_segment
from fluoropose.learning.translation.config import (
    DistilConfig,
    GeneratorConfig,
    PlainStyle,
    SmallGenerator,
    StyleTrainingConfig,
    TranslationConfig,
    XRays,
)
from fluoropose.learning.translation.distil import distil_style
from fluoropose.learning.translation.train import train_style
from fluoropose.simulate.folder import write_trial
from fluoropose.simulate.laboratory import Nominal, install
from fluoropose.simulate.motion import Walking
from fluoropose.simulate.phantom import head

__all__ = ["train_live"]

_SEED = 7
_PAIRS = 120
_TRIAL = "moving"


def train_live(bundle: Path, work: Path) -> None:
    """Train on a set of the shipped skull and put both networks into its bundle.

    Interrupted, a rerun with the same ``work`` folder goes on.
    """
    work.mkdir(parents=True, exist_ok=True)
    bone_path, rig_path, set_path, made = (work / n for n in ("bone.h5", "rig.json", "set.h5", "live.fpbundle"))
    if not set_path.exists():
        demo_bone(head(), Geometry.shipped()).save(bone_path)
        Nominal().rig.save(rig_path)
        make_dataset(learning_config(bone_path, rig_path), set_path)
    config = learning_config(bone_path, rig_path).model_copy(
        update={"segmentation": SegmentationConfig(epochs=4, stored="float16")}
    )
    train_segment(set_path, made, config, work / "segment")
    if not (work / "trials" / _TRIAL / "times.csv").exists():
        _expose(work)
    translation = _translation(work, set_path, rig_path)
    train_style(translation, made, work / "style")
    distil_style(translation, made, work / "distil")
    copy_networks(made, bundle, ("segment", "translate_small"))


def _expose(work: Path) -> None:
    """Write X-rays of a head that moves further than in walking, at random moments."""
    laboratory, rng = install(seed=_SEED), np.random.default_rng(_SEED)
    x, y, z = (float(v) for v in laboratory.nominal.isocentre)
    poses = [
        Walking(
            centre_mm=(x, y, z),
            facing_deg=72 + rng.uniform(-10, 10),
            nod_deg=9,
            turn_deg=9,
            lean_deg=9,
            up_mm=28,
            sideways_mm=35,
            forward_mm=25,
        ).world_from_head(float(rng.uniform(0, 100)))
        for _ in range(_PAIRS)
    ]
    write_trial(work, _TRIAL, laboratory, head(), [k / 30 for k in range(_PAIRS)], poses, rng)


def _translation(work: Path, set_path: Path, rig_path: Path) -> TranslationConfig:
    """Return how the translation learns: to radiographs such as the shipped landmark network was shown among others."""
    trial = work / "trials" / _TRIAL
    return TranslationConfig(
        set=set_path,
        rig=rig_path,
        xrays=(XRays(frames=(trial / "view1", trial / "view2")),),
        crops_per_frame=4,
        side=(0.8, 1.1),
        shift=0.05,
        count=2000,
        style=PlainStyle(gamma=(0.5, 0.5), exposure=(3.0, 3.0)),
        generator=GeneratorConfig(width=16, blocks=3),
        training=StyleTrainingConfig(epochs=4, discriminator_width=24, stored="float16"),
        distil=DistilConfig(generator=SmallGenerator(width=8), epochs=12, learning_rate=2e-3, stored="float16"),
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--bundle", type=Path, required=True, help="the shipped one, which is changed")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "fluoropose-live", help="scratch")
    arguments = parser.parse_args()
    train_live(arguments.bundle, arguments.work)
