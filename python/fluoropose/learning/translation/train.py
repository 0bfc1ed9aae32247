"""``fluoropose train style``: the CycleGAN from a TOML file to both generators in a bundle."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl

from fluoropose._toml import require_inputs
from fluoropose.learning.bundle import NetworkName, require_room
from fluoropose.learning.training.fit import Recipe, fit
from fluoropose.learning.translation.config import TranslationConfig
from fluoropose.learning.translation.cyclegan import CycleGAN
from fluoropose.learning.translation.domains import load_domains, shown

__all__ = ["train_style"]


def train_style(config: TranslationConfig, out: str | Path, work_dir: str | Path | None = None) -> Path:
    """Train the translation of X-rays to radiographs and back, and put both generators into a bundle.

    The bundle is written anew after every epoch, so it can be used while the training goes on. Checkpoints, the logs
    ``log/version_N/metrics.csv`` and ``pictures/epoch_N.png`` (X-rays, the same as radiographs, radiographs, the same
    as X-rays; a row each) go to ``work_dir``; where that holds a last checkpoint, training resumes.

    Parameters
    ----------
    config
        What to train on, and how.
    out
        The bundle, ``.fpbundle``; best the one whose landmark network was trained on radiographs of ``config.style``.
    work_dir
        By default ``out`` with ".work/style" appended.

    Raises
    ------
    FileFormatError
        If a file cannot be used, the set is not of this rig, ``out`` holds networks of another bone or rig or a
        landmark network for pictures of another size, or a checkpoint is damaged.
    """
    out = Path(out)
    work = Path(work_dir) if work_dir is not None else out.with_name(out.name + ".work") / "style"
    require_inputs(config)
    xrays, radiographs = load_domains(config)
    made = radiographs.config
    replaced: set[NetworkName] = {"translate", "untranslate", "translate_small"}
    require_room(out, radiographs.owner, replaced, made.dataset.size, made.preprocessing)
    pl.seed_everything(config.training.seed, verbose=False)
    module = CycleGAN(xrays, radiographs, config, work / "pictures")
    but = ("set", "rig", "xrays", "training", "distil")
    recipe = Recipe.of(config.training, shown(config, radiographs, work), config, but=but)
    fit(module, "translate", module.batches, (), config.training, recipe, out, work)
    return out
