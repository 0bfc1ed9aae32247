"""A small generator that has learned from the large one: for machines that have no GPU."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import l1_loss

from fluoropose._toml import require_inputs
from fluoropose.errors import FileFormatError
from fluoropose.learning.bundle import Bundle, Owner, StyleFacts, StyleNetwork, add_networks
from fluoropose.learning.training.batches import Batches
from fluoropose.learning.training.fit import Recipe, device_name, fit
from fluoropose.learning.translation.config import DistilConfig, TranslationConfig
from fluoropose.learning.translation.content import phi
from fluoropose.learning.translation.domains import load_domains, shown
from fluoropose.learning.translation.networks import Generator
from fluoropose.learning.translation.xrays import XRayPictures

__all__ = ["Distilled", "distil_style"]

_TESTED = 10  # every tenth X-ray is kept for the test


class Distilled(NamedTuple):
    """What came of a distillation.

    Attributes
    ----------
    facts
        Of the small generator; ``training`` tells how well the two agree on frames it was not trained on: mean absolute
        difference in [-1, 1], and phi of Eq. 1.
    ms_per_pair, large_ms_per_pair
        What the two take for a frame pair on one thread of this processor, loaded as for registration.
    """

    facts: StyleFacts
    ms_per_pair: float
    large_ms_per_pair: float


def distil_style(config: TranslationConfig, bundle: str | Path, work_dir: str | Path | None = None) -> Distilled:
    """Train a small generator to make of X-rays what the bundle's "translate" does; adds it as "translate_small".

    Raises
    ------
    FileFormatError
        If the bundle has no "translate", or one for other pictures than the set's; otherwise as ``train_style``.
    """
    bundle = Path(bundle)
    work = Path(work_dir) if work_dir is not None else bundle.with_name(bundle.name + ".work") / "distil"
    loaded = Bundle.load(bundle)
    teacher = loaded.translate
    if teacher is None:
        raise FileFormatError(
            f'{bundle}: expected a network "translate" to learn from; fluoropose train style makes it'
        )
    require_inputs(config)
    xrays, radiographs = load_domains(config)
    size, preprocessing = radiographs.config.dataset.size, radiographs.config.preprocessing
    if (teacher.facts.size, teacher.facts.preprocessing) != (size, preprocessing):
        raise FileFormatError(
            f"{bundle}: translates crops of {teacher.facts.size} px, the set {config.set} has {size} px"
        )
    pl.seed_everything(config.distil.seed, verbose=False)
    module = Distillation(xrays, teacher, loaded.manifest.owner, config.distil)
    rows = torch.arange(len(xrays.pictures))
    tested = torch.unique(xrays.frame, return_inverse=True)[1] % _TESTED == 0  # of the frames that can be used
    if bool(tested.all()):
        raise FileFormatError("xrays: expected at least two frames that can be used, one to test on, found one")
    data = config.distil
    tests = [Batches(rows[tested], data.batch, 0, shuffle=False)]
    known = Batches(rows[~tested], data.batch, data.seed, shuffle=True)
    but = ("set", "rig", "xrays", "training", "distil")
    recipe = Recipe.of(data, f"{shown(config, radiographs, work)} {teacher.facts.sha256}", config, but=but)
    fit(module, "translate_small", known, tests, data, recipe, bundle, work, data.patience)
    made = Bundle.load(bundle).translate_small
    assert made is not None
    return Distilled(made.facts, _milliseconds_per_pair(made), _milliseconds_per_pair(teacher))


class Distillation(pl.LightningModule):
    """The small generator, and what the large one makes of all X-rays."""

    _xrays: Tensor
    _lit: Tensor
    _taught: Tensor

    def __init__(self, xrays: XRayPictures, teacher: StyleNetwork, owner: Owner, config: DistilConfig) -> None:
        super().__init__()
        self.config, self._owner, self._facts = config, owner, teacher.facts
        self.student = Generator(config.generator.width, config.generator.blocks)
        starts = range(0, len(xrays.pictures), 16)
        taught = [teacher.translate(xrays.pictures[i : i + 16].numpy()) for i in starts]
        self.register_buffer("_xrays", xrays.pictures, persistent=False)
        self.register_buffer("_lit", xrays.lit, persistent=False)
        self.register_buffer("_taught", torch.from_numpy(np.concatenate(taught)), persistent=False)

    def training_step(self, batch: tuple[Tensor, int]) -> Tensor:
        """Log the mean absolute difference of one batch; ``batch`` is (rows, seed)."""
        rows, _ = batch
        made = self.student(self._xrays[rows][:, None])[:, 0]
        loss = l1_loss(made.float(), self._taught[rows])
        self.log("train_loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: tuple[Tensor, int]) -> None:
        """Log how far both agree."""
        rows, _ = batch
        made = self.student(self._xrays[rows][:, None])[:, 0].float()
        kept = phi(made, self._taught[rows], self._lit[rows]).mean()
        values = {"test_loss": l1_loss(made, self._taught[rows]), "test_phi": kept}
        self.log_dict(values, prog_bar=True, batch_size=len(rows), sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Adam."""
        data = self.config
        return torch.optim.AdamW(self.student.parameters(), data.learning_rate, weight_decay=data.weight_decay)

    def on_train_epoch_start(self) -> None:
        """Set the learning rate, which falls to zero as a cosine over the epochs asked for, also across a resume."""
        data = self.config
        rate = data.learning_rate * 0.5 * (1 + math.cos(math.pi * self.current_epoch / data.epochs))
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]  # there is one
            group["lr"] = rate

    def export(self, out: Path, so_far: dict[str, float]) -> None:
        """Put the small generator into the bundle."""
        found = {k: float(v) for k, v in self.trainer.callback_metrics.items() if torch.isfinite(v)}
        facts = StyleFacts(
            size=self._facts.size,
            preprocessing=self._facts.preprocessing,
            training=so_far | found,
            trained_on=device_name(self.device),
        )
        add_networks(out, self._owner, {"translate_small": (self.student, facts)}, self.config.stored)


def _milliseconds_per_pair(network: StyleNetwork, rounds: int = 5) -> float:
    """Return the median time of the processor, one thread, that the crops of a frame pair take, ms."""
    pair = torch.rand(2, 1, network.facts.size, network.facts.size) * 2 - 1
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            network.module(pair)
            times = []
            for _ in range(rounds):
                started = time.thread_time()
                network.module(pair)
                times.append(1e3 * (time.thread_time() - started))
    finally:
        torch.set_num_threads(threads)
    return float(np.median(times))
