"""What the trainings on a radiograph set share: pictures in random styles, the optimiser, the way to the bundle."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from fluoropose.learning.bundle import NetworkName, require_room
from fluoropose.learning.config import LearningConfig, LoopConfig
from fluoropose.learning.coordinates import normalised_from_px
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.style import Pictures, draw, draw_shown
from fluoropose.learning.training.batches import Batches
from fluoropose.learning.training.fit import Recipe, fit
from fluoropose.learning.training.graphed import Step, fastest_step, set_rate

__all__ = ["TEST_STYLES", "SetTraining", "train_on_set", "work_folder"]

_DRAWN = 128  # pictures that are drawn at once
_WARM_UP = 0.05  # share of all steps; Adam at 1e-3 from random weights diverges in bfloat16 without it
TEST_STYLES = 20261  # seed of the styles the test samples wear, the same every time


class SetTraining(pl.LightningModule):
    """A network that learns from a radiograph set, which moves to the training device as a whole.

    Parameters
    ----------
    radiographs
        The set.
    config
        Style and preprocessing.
    loop
        Rates and epochs.
    """

    _rate: Tensor

    def __init__(self, radiographs: RadiographSet, config: LearningConfig, loop: LoopConfig) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.radiographs, self.config, self.loop = radiographs, config, loop
        self.size = radiographs.config.dataset.size
        self.register_buffer("_rate", torch.zeros(()), persistent=False)
        self._step: Step = self._improve
        self._steps = 1

    def drawn(self, rows: Tensor, seed: int) -> tuple[Pictures, Tensor]:
        """Draw pictures of some rows of the set, and normalise them: (b, size, size) in [-1, 1]."""
        rng = torch.Generator(device=self.device).manual_seed(seed)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            pictures = draw(self.radiographs.samples(rows), self.size, self.config.style, rng)
            return pictures, self.config.preprocessing(pictures.crops, pictures.lit)

    def shown(self, rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Draw what the landmark network is shown, (b, 1, size, size), and its labels (b, n, 2), normalised.

        See ``draw_shown``.
        """
        rng = torch.Generator(device=self.device).manual_seed(seed)
        own, config = self.radiographs, self.config
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            pictures, inputs = draw_shown(
                own.samples(rows), own.segmented[rows], self.size, config.style, config.preprocessing, rng
            )
            labels = normalised_from_px(pictures.landmarks_px, self.size)
        return inputs[:, None].contiguous(memory_format=torch.channels_last), labels

    def learning(self) -> Iterable[nn.Parameter]:
        """Return the parameters that are trained: all, unless a training says otherwise."""
        return self.parameters()

    def tests(self, known: Tensor, unknown: Tensor) -> list[Tensor]:
        """Return the rows to validate on, in parts: those never trained on, and as many of the others."""
        return [unknown, known[: len(unknown)]]

    @abstractmethod
    def given(self, rows: Tensor, seed: int) -> tuple[Tensor, ...]:
        """Draw what the loss looks at for some rows of the set, in random styles; each tensor has a row for each."""

    @abstractmethod
    def loss(self, *given: Tensor) -> Tensor:
        """Return the loss of a batch that ``given`` drew; CUDA graphs want it without a wait for the device."""

    @property
    def batches(self) -> Batches:
        """All but the set's last samples, which are kept for the tests."""
        known, loop = len(self.radiographs) - self.radiographs.config.dataset.test_count, self.loop
        together = max(1, _DRAWN // loop.batch)
        return Batches(torch.arange(known), loop.batch, loop.seed, shuffle=True, together=together)

    def training_step(self, batch: tuple[Tensor, int]) -> None:
        """Draw pictures for several steps and make these; ``batch`` is (rows, seed of their styles)."""
        rows, seed = batch
        losses = []
        for part in zip(*(torch.split(each, self.loop.batch) for each in self.given(rows, seed)), strict=True):
            set_rate(self.optimizers(), self._scheduled(self.trainer.global_step), self._rate)
            losses.append(self._step(*part))
        self.log("train_loss", torch.stack(losses).mean(), prog_bar=True, batch_size=len(rows))

    def _improve(self, *given: Tensor) -> Tensor:
        loss = self.loss(*given)
        optimiser: Any = self.optimizers()
        optimiser.zero_grad()
        self.manual_backward(loss)
        optimiser.step()
        return loss.detach()

    def _scheduled(self, step: int) -> float:
        """Return a step's learning rate: warm-up, then a cosine to zero."""
        total = self.loop.epochs * self._steps
        warm = max(1, int(_WARM_UP * total))
        if step < warm:
            return self.loop.learning_rate * (step + 1) / warm
        share = min(1.0, (step - warm) / max(1, total - warm))
        return self.loop.learning_rate * 0.5 * (1 + math.cos(math.pi * share))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam."""
        data = self.loop
        optimiser = torch.optim.AdamW(self.learning(), data.learning_rate, weight_decay=data.weight_decay)
        set_rate(optimiser, data.learning_rate, self._rate)
        return optimiser

    def on_fit_start(self) -> None:
        """Move the set to the device of the network."""
        self.radiographs.to(self.device)
        self._steps = self.batches.steps
        self._step = fastest_step(self, self._improve)

    def on_fit_end(self) -> None:
        """Let go of the graph, whose weights are about to move."""
        self._step = self._improve

    def logged(self) -> dict[str, float]:
        """Return what was last logged, for the bundle."""
        return {k: float(v) for k, v in self.trainer.callback_metrics.items() if torch.isfinite(v)}


def train_on_set(module: SetTraining, name: NetworkName, out: Path, work: Path) -> Path:
    """Train on all but the last samples of a set; see ``fit``.

    Raises
    ------
    FileFormatError
        If the bundle holds networks of another bone or rig, or for other crops, or the last checkpoint is of another
        training.
    """
    config = module.config
    require_room(out, module.radiographs.owner, {name}, module.size, config.preprocessing)
    rows, loop = torch.arange(len(module.radiographs)), module.loop
    count = module.radiographs.config.dataset.test_count
    known, unknown = rows[:-count], rows[-count:]
    tests = [Batches(part, loop.batch, 0, shuffle=False) for part in module.tests(known, unknown)]
    recipe = Recipe.of(loop, module.radiographs.fingerprint, config.style, config.preprocessing)
    fit(module, name, module.batches, tests, loop, recipe, out, work, loop.patience)
    return out


def work_folder(work_dir: str | Path | None, out: Path, name: str) -> Path:
    """Return the folder for checkpoints and logs: the given one, or one beside the bundle."""
    return Path(work_dir) if work_dir is not None else out.with_name(out.name + ".work") / name
