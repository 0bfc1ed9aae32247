"""The CycleGAN with the content-preserving loss (Zhou et al. 2021, 2.2), as Lightning trains it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from fluoropose.learning.bundle import StyleFacts, add_networks
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.learning.style import draw
from fluoropose.learning.training.batches import Batches
from fluoropose.learning.training.fit import device_name
from fluoropose.learning.training.graphed import Graphed, Step, beside, fastest_step, set_rate
from fluoropose.learning.translation.config import TranslationConfig
from fluoropose.learning.translation.content import content_loss
from fluoropose.learning.translation.networks import Discriminator, Generator
from fluoropose.learning.translation.pool import Pool
from fluoropose.learning.translation.samples import save_samples
from fluoropose.learning.translation.xrays import XRayPictures

__all__ = ["Batch", "CycleGAN"]

_DRAWN = 32  # pictures of each style that are drawn at once
_SHOWN = 6  # sample pictures of each style
_LOSSES = ("generators", "adversarial", "cycle", "content", "discriminators")


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
    _rate: Tensor

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
        kept = max(0.0, 1 - _DRAWN / config.training.averaged_over)  # of the average, whenever pictures are drawn
        average = get_ema_multi_avg_fn(kept)  # type: ignore[no-untyped-call]
        self.averaged = AveragedModel(self._generators, multi_avg_fn=average).requires_grad_(False)
        self.like_radiographs = Discriminator(config.training.discriminator_width)
        self.like_xrays = Discriminator(config.training.discriminator_width)
        pool = config.training.pool
        self._made_radiographs, self._made_xrays = Pool(pool, self.size), Pool(pool, self.size)
        self.register_buffer("_rate", torch.zeros(()), persistent=False)
        self._step: Step = self._improve
        self._reverse: torch.cuda.Stream | None = None  # of X-rays made from radiographs, and their cycle
        self._judging: torch.cuda.Stream | None = None  # of the discriminators' gradients

    @property
    def _generators(self) -> nn.ModuleList:
        return nn.ModuleList([self.translate, self.untranslate])

    @property
    def counts(self) -> tuple[int, int]:
        """Number of X-rays and of radiographs that are trained on."""
        kept = len(self._radiographs) - self._radiographs.config.dataset.test_count
        return len(self._xrays), min(kept, self.config.count or kept)

    @property
    def batches(self) -> Batches:
        """The rows of the larger domain."""
        data = self.config.training
        together = max(1, _DRAWN // data.batch)
        return Batches(torch.arange(max(self.counts)), data.batch, data.seed, shuffle=True, together=together)

    def batch(self, rows: Tensor, seed: int) -> Batch:
        """Return pictures for training: of the larger domain ``rows``, of the other as many random ones."""
        rng = torch.Generator(device=self.device).manual_seed(seed)
        n_xrays, n_radiographs = self.counts
        random = torch.randint(min(self.counts), rows.shape, generator=rng, device=self.device)
        x, d = (rows.to(self.device), random) if n_xrays >= n_radiographs else (random, rows.to(self.device))
        drawn = draw(self._radiographs.samples(d), self.size, self.config.style, rng)
        radiographs = self._preprocessing(drawn.crops, drawn.lit)
        return Batch(self._xrays[x][:, None], self._lit[x], radiographs[:, None], drawn.lit)

    def training_step(self, batch: tuple[Tensor, int]) -> None:
        """Draw pictures for several steps and make these; ``batch`` is (rows, seed)."""
        rows, seed = batch
        size = self.config.training.batch
        rng = torch.Generator(device=self.device).manual_seed(seed + 1)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            given = self.batch(rows, seed)
            chance = torch.rand((len(rows), 2, 2), generator=rng, device=self.device)
        steps = zip(*(torch.split(each, size) for each in (*given, chance)), strict=True)
        means = torch.stack([self._step(*step) for step in steps]).mean(0)
        self.averaged.update_parameters(self._generators)
        losses = dict(zip(_LOSSES, means, strict=True))
        values = {f"train_{name}": loss for name, loss in losses.items()}
        self.log_dict(values, on_step=True, on_epoch=True, batch_size=len(rows))
        self.log_dict({name: losses[name] for name in ("cycle", "content")}, prog_bar=True, logger=False)

    def _improve(self, *inputs: Tensor) -> Tensor:
        """Improve the generators, then the discriminators, on a batch and (b, 2, 2) uniform numbers for the pools.

        Returns the losses, in the order of their names.
        """
        given, chance = Batch(*inputs[:-1]), inputs[-1]
        generators, discriminators = self.optimizers()  # type: ignore[attr-defined]  # one for each of the two
        self.toggle_optimizer(generators)
        losses, *made = self.generator_losses(given)

        def generate() -> None:
            generators.zero_grad()
            self.manual_backward(losses["generators"])
            if self._reverse is not None:
                torch.cuda.current_stream(self.device).wait_stream(self._reverse)
            generators.step()
            self.untoggle_optimizer(generators)

        def judge() -> Tensor:  # changes no weights yet: the generators' gradients pass through them
            self.toggle_optimizer(discriminators)
            remembered = self._made_radiographs(made[0], chance[:, 0]), self._made_xrays(made[1], chance[:, 1])
            loss = self._discriminator_loss(given, *remembered)
            discriminators.zero_grad()
            self.manual_backward(loss)
            return loss

        _, losses["discriminators"] = beside(self._judging, generate, judge)
        discriminators.step()
        self.untoggle_optimizer(discriminators)
        return torch.stack([losses[name].detach() for name in _LOSSES])

    def generator_losses(self, given: Batch) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Return what the generators are to lower, and its parts; and what they made: radiographs, and X-rays."""
        (of_xrays, as_radiographs), (of_radiographs, as_xrays) = beside(
            self._reverse,
            lambda: self._cycle(self.translate, self.untranslate, self.like_radiographs, given.xrays, given.lit_xrays),
            lambda: self._cycle(
                self.untranslate, self.translate, self.like_xrays, given.radiographs, given.lit_radiographs
            ),
        )
        adversarial, cycle, content = of_xrays + of_radiographs
        weights = self.config.training
        total = adversarial + weights.cycle_weight * cycle + weights.content_weight * content
        losses = {"generators": total, "adversarial": adversarial, "cycle": cycle, "content": content}
        return losses, as_radiographs, as_xrays

    def _cycle(
        self, there: nn.Module, back: nn.Module, judge: nn.Module, pictures: Tensor, lit: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Translate to and fro; return (3,) adversarial, cycle and content loss, and what was made in between."""
        made = there(pictures)
        judged = judge(made)
        adversarial = mse_loss(judged, torch.ones_like(judged))
        cycle = l1_loss(back(made), pictures)
        with torch.autocast(self.device.type, enabled=False):
            content = content_loss(pictures[:, 0], made[:, 0], lit)
        return torch.stack([adversarial.float(), cycle.float(), content]), made

    def _discriminator_loss(self, given: Batch, as_radiographs: Tensor, as_xrays: Tensor) -> Tensor:
        of_radiographs = _judging_loss(self.like_radiographs, given.radiographs, as_radiographs)
        return of_radiographs + _judging_loss(self.like_xrays, given.xrays, as_xrays)

    def configure_optimizers(self) -> Any:
        """Adam for the generators and for the discriminators."""
        groups: tuple[tuple[nn.Module, nn.Module], ...] = (
            (self.translate, self.untranslate),
            (self.like_radiographs, self.like_xrays),
        )
        rate = self.config.training.learning_rate
        made = [
            torch.optim.Adam([p for m in group for p in m.parameters()], rate, betas=(0.5, 0.999)) for group in groups
        ]
        for optimiser in made:
            set_rate(optimiser, rate, self._rate)
        return made

    def on_fit_start(self) -> None:
        """Move the set to the device of the networks."""
        self._radiographs.to(self.device)
        self._step = fastest_step(self, self._improve)
        graphed = isinstance(self._step, Graphed)
        self._reverse = torch.cuda.Stream(self.device) if graphed else None  # type: ignore[no-untyped-call]
        self._judging = torch.cuda.Stream(self.device) if graphed else None  # type: ignore[no-untyped-call]

    def on_fit_end(self) -> None:
        """Let go of the graph, whose weights are about to move."""
        self._step, self._reverse, self._judging = self._improve, None, None

    def on_train_epoch_start(self) -> None:
        """Set the learning rate: constant in the first half of the epochs, then falling to zero."""
        data = self.config.training
        rate = data.learning_rate * min(1.0, 2 * (data.epochs - self.current_epoch) / data.epochs)
        for optimiser in self.optimizers():  # type: ignore[union-attr]  # there are two
            set_rate(optimiser, rate, self._rate)

    def on_train_epoch_end(self) -> None:
        """Write sample pictures."""
        if self.trainer.is_global_zero:
            self._save_samples(self._folder / f"epoch_{self.current_epoch:03d}.png")

    @torch.no_grad()
    def _save_samples(self, path: Path) -> None:
        """Write translations both ways of the same few pictures in every epoch."""
        shown = torch.linspace(0, max(self.counts) - 1, _SHOWN, device=self.device).long()
        given = self.batch(shown, 0)
        translate, untranslate = self.averaged.module.children()
        made = translate(given.xrays), untranslate(given.radiographs)
        rows = (given.xrays, made[0], given.radiographs, made[1])
        save_samples(path, [row[:, 0].float().cpu().numpy() for row in rows])

    def export(self, out: Path, so_far: dict[str, float]) -> None:
        """Put both generators, averaged, into the bundle at ``out``."""
        means = {k: float(v) for k, v in self.trainer.callback_metrics.items() if k.endswith("_epoch")}
        found = {k.removesuffix("_epoch"): value for k, value in means.items() if math.isfinite(value)}
        facts = StyleFacts(
            size=self.size,
            preprocessing=self._preprocessing,
            training=so_far | found,
            trained_on=device_name(self.device),
        )
        translate, untranslate = self.averaged.module.children()
        add_networks(out, self._owner, {"translate": (translate, facts), "untranslate": (untranslate, facts)})


def _judging_loss(judge: nn.Module, real: Tensor, made: Tensor) -> Tensor:
    of_real, of_made = judge(torch.cat([real, made])).chunk(2)  # each picture is normalised on its own
    loss: Tensor = (mse_loss(of_real, torch.ones_like(of_real)) + mse_loss(of_made, torch.zeros_like(of_made))) / 2
    return loss
