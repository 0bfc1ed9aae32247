"""The CycleGAN with the content-preserving loss (Zhou et al. 2021, 2.2), as Lightning trains it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from fluoropose.learning.bundle import StyleFacts, add_networks
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.learning.style import draw
from fluoropose.learning.translation.config import TranslationConfig
from fluoropose.learning.translation.content import content_loss
from fluoropose.learning.translation.networks import Discriminator, Generator
from fluoropose.learning.translation.pool import Pool
from fluoropose.learning.translation.samples import save_samples
from fluoropose.learning.translation.xrays import XRayPictures

__all__ = ["Batch", "CycleGAN"]

_SHOWN = 6  # sample pictures of each style


class Batch(NamedTuple):
    """Pictures (b, 1, size, size) of both styles, and which of their pixels are lit, (b, size, size)."""

    xrays: Tensor
    lit_xrays: Tensor
    radiographs: Tensor
    lit_radiographs: Tensor


class CycleGAN(pl.LightningModule):
    """Two generators and two discriminators: X-rays to radiographs and back.

    Parameters
    ----------
    xrays, radiographs
        The two domains; they move to the training device as a whole.
    config
        Sizes, losses and rates.
    pictures
        Folder for sample translations, one file per epoch.
    """

    _xrays: Tensor
    _lit: Tensor

    def __init__(
        self, xrays: XRayPictures, radiographs: RadiographSet, config: TranslationConfig, pictures: Path
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.config, self._folder = config, pictures
        self._radiographs, self._owner = radiographs, radiographs.owner
        self.size = radiographs.config.dataset.size
        self._preprocessing: Preprocessing = radiographs.config.preprocessing
        self.register_buffer("_xrays", xrays.pictures, persistent=False)
        self.register_buffer("_lit", xrays.lit, persistent=False)
        size = config.generator
        self.translate = Generator(size.width, size.blocks)
        self.untranslate = Generator(size.width, size.blocks)
        self.like_radiographs = Discriminator(config.training.discriminator_width)
        self.like_xrays = Discriminator(config.training.discriminator_width)
        self._made_radiographs, self._made_xrays = Pool(config.training.pool), Pool(config.training.pool)

    @property
    def counts(self) -> tuple[int, int]:
        """Number of X-rays and of radiographs that are trained on."""
        kept = len(self._radiographs) - self._radiographs.config.dataset.test_count
        return len(self._xrays), min(kept, self.config.count or kept)

    def batch(self, rows: Tensor, seed: int) -> Batch:
        """Return the pictures of one step: of the larger domain ``rows``, of the other as many random ones."""
        rng = torch.Generator(device=self.device).manual_seed(seed)
        n_xrays, n_radiographs = self.counts
        random = torch.randint(min(self.counts), rows.shape, generator=rng, device=self.device)
        x, d = (rows.to(self.device), random) if n_xrays >= n_radiographs else (random, rows.to(self.device))
        drawn = draw(self._radiographs.samples(d), self.size, self.config.style, rng)
        radiographs = self._preprocessing(drawn.crops, drawn.lit)
        return Batch(self._xrays[x][:, None], self._lit[x], radiographs[:, None], drawn.lit)

    def training_step(self, batch: tuple[Tensor, int]) -> None:
        """Improve the generators, then the discriminators; ``batch`` is (rows, seed)."""
        rows, seed = batch
        rng = torch.Generator(device=self.device).manual_seed(seed + 1)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            given = self.batch(rows, seed)
        generators, discriminators = self.optimizers()  # type: ignore[attr-defined]  # one for each of the two
        self.toggle_optimizer(generators)
        made = self.translate(given.xrays), self.untranslate(given.radiographs)
        losses = self.generator_losses(given, *made)
        self._improve(generators, losses["generators"])
        self.untoggle_optimizer(generators)
        self.toggle_optimizer(discriminators)
        remembered = self._made_radiographs.exchange(made[0], rng), self._made_xrays.exchange(made[1], rng)
        losses["discriminators"] = self._discriminator_loss(given, *remembered)
        self._improve(discriminators, losses["discriminators"])
        self.untoggle_optimizer(discriminators)
        values = {f"train_{name}": loss.detach() for name, loss in losses.items()}
        self.log_dict(values, on_step=True, on_epoch=True, batch_size=len(rows))
        shown = {name: losses[name].detach() for name in ("cycle", "content")}
        self.log_dict(shown, prog_bar=True, logger=False)

    def generator_losses(self, given: Batch, as_radiographs: Tensor, as_xrays: Tensor) -> dict[str, Tensor]:
        """Return what the generators are to lower, and its parts."""
        weights = self.config.training
        judged = self.like_radiographs(as_radiographs), self.like_xrays(as_xrays)
        adversarial = sum((mse_loss(j, torch.ones_like(j)) for j in judged), start=torch.zeros((), device=self.device))
        cycle = l1_loss(self.untranslate(as_radiographs), given.xrays)
        cycle = cycle + l1_loss(self.translate(as_xrays), given.radiographs)
        with torch.autocast(self.device.type, enabled=False):
            content = content_loss(
                given.xrays[:, 0],
                as_radiographs[:, 0],
                given.lit_xrays,
                given.radiographs[:, 0],
                as_xrays[:, 0],
                given.lit_radiographs,
            )
        total = adversarial + weights.cycle_weight * cycle + weights.content_weight * content
        return {"generators": total, "adversarial": adversarial, "cycle": cycle, "content": content}

    def _discriminator_loss(self, given: Batch, as_radiographs: Tensor, as_xrays: Tensor) -> Tensor:
        loss = torch.zeros((), device=self.device)
        for judge, real, made in (
            (self.like_radiographs, given.radiographs, as_radiographs),
            (self.like_xrays, given.xrays, as_xrays),
        ):
            of_real, of_made = judge(real), judge(made)
            loss = (
                loss + (mse_loss(of_real, torch.ones_like(of_real)) + mse_loss(of_made, torch.zeros_like(of_made))) / 2
            )
        return loss

    def _improve(self, optimiser: Any, loss: Tensor) -> None:
        optimiser.zero_grad()
        self.manual_backward(loss)
        optimiser.step()

    def configure_optimizers(self) -> Any:
        """Adam for the generators and for the discriminators."""
        groups: tuple[tuple[nn.Module, nn.Module], ...] = (
            (self.translate, self.untranslate),
            (self.like_radiographs, self.like_xrays),
        )
        return [
            torch.optim.Adam(
                [p for m in group for p in m.parameters()], self.config.training.learning_rate, betas=(0.5, 0.999)
            )
            for group in groups
        ]

    def on_fit_start(self) -> None:
        """Move the set to the device of the networks."""
        self._radiographs.to(self.device)

    def on_train_epoch_start(self) -> None:
        """Set the learning rate: constant in the first half of the epochs, then falling to zero."""
        data = self.config.training
        rate = data.learning_rate * min(1.0, 2 * (data.epochs - self.current_epoch) / data.epochs)
        for optimiser in self.optimizers():  # type: ignore[union-attr]  # there are two
            for group in optimiser.param_groups:
                group["lr"] = rate

    def on_train_epoch_end(self) -> None:
        """Write sample pictures."""
        if self.trainer.is_global_zero:
            self._save_samples(self._folder / f"epoch_{self.current_epoch:03d}.png")

    @torch.no_grad()
    def _save_samples(self, path: Path) -> None:
        """Write translations both ways of the same few pictures in every epoch."""
        shown = torch.linspace(0, max(self.counts) - 1, _SHOWN, device=self.device).long()
        given = self.batch(shown, 0)
        made = self.translate(given.xrays), self.untranslate(given.radiographs)
        rows = (given.xrays, made[0], given.radiographs, made[1])
        save_samples(path, [row[:, 0].float().cpu().numpy() for row in rows])

    def export(self, out: Path) -> None:
        """Put both generators into the bundle at ``out``."""
        means = {k: float(v) for k, v in self.trainer.callback_metrics.items() if k.endswith("_epoch")}
        found = {k.removesuffix("_epoch"): value for k, value in means.items() if math.isfinite(value)}
        training = {"epochs": float(self.current_epoch + 1), **found}
        facts = StyleFacts(size=self.size, preprocessing=self._preprocessing, training=training)
        add_networks(out, self._owner, {"translate": (self.translate, facts), "untranslate": (self.untranslate, facts)})
