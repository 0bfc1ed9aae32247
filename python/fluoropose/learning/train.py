"""Training the landmark network with Lightning: progress, checkpoints, resume, early stop, CSV log."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor
from torch.nn.functional import smooth_l1_loss
from torch.utils.data import DataLoader, IterableDataset

from fluoropose.errors import FileFormatError
from fluoropose.learning.bundle import LandmarkFacts, add_networks, require_room
from fluoropose.learning.config import LearningConfig, TrainingConfig
from fluoropose.learning.coordinates import normalised_from_px
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.landmark_net import LandmarkNet
from fluoropose.learning.style import draw

__all__ = ["LandmarkTraining", "train_landmarks"]

_WARM_UP = 0.05  # share of all steps; Adam at 1e-3 from random weights diverges in bfloat16 without it
_TEST_STYLES = 20261  # seed of the styles the test samples wear, the same every time


def train_landmarks(
    set_path: str | Path, out: str | Path, config: LearningConfig | None = None, work_dir: str | Path | None = None
) -> Path:
    """Train on a radiograph set and put the network into a bundle; one that exists keeps its other networks.

    The bundle is written anew whenever the test loss has improved, so it can be used while the training goes on.
    Checkpoints and the logs ``log/version_N/metrics.csv`` go to ``work_dir``; where that holds a last checkpoint,
    training resumes.

    Parameters
    ----------
    set_path
        A finished set.
    out
        The bundle, ``.fpbundle``.
    config
        Style, preprocessing and training; by default those stored in the set.
    work_dir
        By default ``out`` with ".work" appended.

    Raises
    ------
    FileFormatError
        If the set or the checkpoint cannot be used, or ``out`` holds networks of another bone or rig.
    """
    out = Path(out)
    work = Path(work_dir) if work_dir is not None else out.with_name(out.name + ".work")
    radiographs = RadiographSet.load(set_path)
    config = config or radiographs.config
    require_room(out, radiographs.owner, {"landmarks"})
    pl.seed_everything(config.training.seed, verbose=False)
    module = LandmarkTraining(radiographs, config)
    data = config.training
    test = radiographs.config.dataset.test_count
    rows = torch.arange(len(radiographs))
    batches = _Batches(rows[:-test], data.batch, data.seed, shuffle=True)
    tests = _Batches(rows[-test:], data.batch, 0, shuffle=False)
    best = ModelCheckpoint(work, "best", monitor="test_loss", enable_version_counter=False)
    every = ModelCheckpoint(work, "last", enable_version_counter=False)
    trainer = pl.Trainer(
        max_epochs=data.epochs,
        accelerator="auto",
        precision=fastest_precision() if data.precision == "auto" else data.precision,
        callbacks=[every, best, EarlyStopping("test_loss", patience=data.patience), _Export(out)],
        logger=CSVLogger(work, name="log"),
        log_every_n_steps=20,
        default_root_dir=work,
        enable_model_summary=False,
    )
    last = work / "last.ckpt"
    try:
        trainer.fit(
            module,
            DataLoader(batches, batch_size=None),
            DataLoader(tests, batch_size=None),
            ckpt_path=last if last.exists() else None,
        )
    except (RuntimeError, EOFError, KeyError) as error:
        if last.exists() and trainer.global_step == 0:
            raise FileFormatError(f"{last}: cannot resume from this checkpoint: {error}") from error
        raise
    return out


def fastest_precision() -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    """Return the precision that the device Lightning will choose trains fastest in."""
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "32-true"


class LandmarkTraining(pl.LightningModule):
    """The network, its loss and its styles.

    Parameters
    ----------
    radiographs
        The set; it moves to the training device as a whole.
    config
        Style, preprocessing and training.
    """

    def __init__(self, radiographs: RadiographSet, config: LearningConfig) -> None:
        super().__init__()
        self.radiographs, self.config = radiographs, config
        self.size = radiographs.config.dataset.size
        owner = radiographs.owner
        self.net = LandmarkNet(len(owner.landmark_names), owner.views, self.size, config.training.width)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch leaves this form untyped

    def pictures(self, rows: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        """Draw the network's input (b, 1, h, w) and its labels (b, n, 2), normalised, for rows of the set."""
        drawn = draw(self.radiographs.samples(rows), self.size, self.config.style, rng)
        inputs = self.config.preprocessing(drawn.crops, drawn.lit)[:, None]
        return inputs.contiguous(memory_format=torch.channels_last), normalised_from_px(drawn.landmarks_px, self.size)

    def training_step(self, batch: tuple[Tensor, int]) -> Tensor:
        """Log loss and log10 MSE of one batch; ``batch`` is (rows, seed of its styles)."""
        predicted, labels = self._predict(*batch)
        loss = landmark_loss(predicted, labels, self.config.training)
        self.log_dict({"train_loss": loss, "train_log10_mse": _log10_mse(predicted, labels)}, prog_bar=True)
        return loss

    def loss(self, batch: tuple[Tensor, int]) -> Tensor:
        """Return the loss of one batch."""
        return landmark_loss(*self._predict(*batch), self.config.training)

    def validation_step(self, batch: tuple[Tensor, int]) -> None:
        """Log loss, log10 MSE (all landmarks, and those inside the picture) and the median error in pixels."""
        rows, seed = batch
        predicted, labels = self._predict(rows, seed + _TEST_STYLES)
        inside = (labels.abs() < 1).all(-1)
        distance = (predicted - labels).norm(dim=-1)[inside] * self.size / 2
        self.log_dict(
            {
                "test_loss": landmark_loss(predicted, labels, self.config.training),
                "test_log10_mse": _log10_mse(predicted, labels),
                "test_log10_mse_inside": _log10_mse(predicted[inside], labels[inside]),
                "test_median_px": distance.median(),
            },
            prog_bar=True,
            batch_size=len(rows),
        )

    def _predict(self, rows: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        rng = torch.Generator(device=self.device).manual_seed(seed)
        with torch.no_grad(), torch.autocast(self.device.type, enabled=False):
            crops, labels = self.pictures(rows, rng)
        return self.net(crops, self.radiographs.view[rows]).float(), labels

    def configure_optimizers(self) -> Any:
        """Adam with warm-up and cosine decay, per step."""
        data = self.config.training
        fused = self.device.type == "cpu" or self.device.type == "cuda"
        optimiser = torch.optim.AdamW(
            self.net.parameters(), data.learning_rate, weight_decay=data.weight_decay, fused=fused
        )
        total = max(1, int(self.trainer.estimated_stepping_batches))
        warm = max(1, int(_WARM_UP * total))

        def rate(step: int) -> float:
            if step < warm:
                return (step + 1) / warm
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm) / max(1, total - warm))))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_fit_start(self) -> None:
        """Move the set to the device of the network."""
        r = self.radiographs
        for name in ("layers", "mask", "landmarks_px", "view", "field", "segmented"):
            setattr(r, name, getattr(r, name).to(self.device))

    def export(self, out: Path) -> None:
        """Put the network, as it is, into a bundle."""
        metrics = {k: float(v) for k, v in self.trainer.callback_metrics.items() if torch.isfinite(v)}
        facts = LandmarkFacts(
            size=self.size,
            preprocessing=self.config.preprocessing,
            crop_margin=self.config.training.crop_margin,
            training={"epochs": self.current_epoch + 1, **metrics},
        )
        add_networks(out, self.radiographs.owner, {"landmarks": (self.net, facts)}, self.config.training.stored)


def landmark_loss(predicted: Tensor, labels: Tensor, config: TrainingConfig) -> Tensor:
    """Return the mean loss over landmarks (b, n, 2), normalised; those outside the picture weigh ``outside_weight``."""
    inside = (labels.abs() < 1).all(-1, keepdim=True)
    weight = torch.where(inside, 1.0, config.outside_weight).expand_as(labels)
    if config.loss == "mse":
        each = (predicted - labels) ** 2
    else:
        each = smooth_l1_loss(predicted, labels, reduction="none", beta=config.beta)
    return (each * weight).sum() / weight.sum().clamp_min(1e-6)


def _log10_mse(predicted: Tensor, labels: Tensor) -> Tensor:
    return torch.log10(((predicted.detach() - labels) ** 2).mean() + 1e-12)


@dataclass
class _Batches(IterableDataset[tuple[Tensor, int]]):
    """Rows of the set, in batches, each with the seed of its styles; another order and other styles every epoch."""

    rows: Tensor
    batch: int
    seed: int
    shuffle: bool
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Follow Lightning's count of epochs; a resumed training goes on with the order it would have had."""
        self.epoch = epoch

    def __len__(self) -> int:
        n = len(self.rows)
        return max(1, n // self.batch) if self.shuffle else math.ceil(n / self.batch)

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        order = self.rows
        first = (self.seed * 100_003 + self.epoch) * 100_003 if self.shuffle else 0
        if self.shuffle:
            order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(first))]
        for i in range(len(self)):
            yield order[i * self.batch : (i + 1) * self.batch], first + i + 1


class _Export(Callback):
    """Write the bundle after every epoch with a better test loss than all before, also across a resume."""

    def __init__(self, out: Path) -> None:
        self._out = out
        self._score: float | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export after a better epoch."""
        score = trainer.callback_metrics.get("test_loss")
        if trainer.sanity_checking or score is None or not isinstance(pl_module, LandmarkTraining):
            return
        if self._score is None or float(score) < self._score:
            self._score = float(score)
            pl_module.export(self._out)

    def state_dict(self) -> dict[str, float | None]:
        """Remember the best loss in the checkpoint."""
        return {"score": self._score}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Go on from a checkpoint's best loss."""
        self._score = state_dict["score"]
