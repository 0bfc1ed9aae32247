"""One way to train any network of a bundle: resumable, on one or many devices, exported whenever it got better."""

from __future__ import annotations

import json
import logging
import os
import pickle
import platform
import time
import warnings
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from pydantic import BaseModel
from torch.utils.data import DataLoader

from fluoropose.errors import FileFormatError
from fluoropose.learning.bundle.archive import read_archive
from fluoropose.learning.bundle.manifest import NetworkName
from fluoropose.learning.config import EpochsConfig
from fluoropose.learning.training.batches import Batches
from fluoropose.learning.training.resume import Patience, WholeCheckpoints

__all__ = ["Exportable", "Recipe", "device_name", "fit", "training_precision"]

_SCORE = "test_loss"


class Exportable(Protocol):
    """A Lightning module that can put its networks, as they are, into a bundle."""

    def export(self, out: Path, so_far: dict[str, float]) -> None:
        """Add to the bundle at ``out``; ``so_far``: how many epochs and seconds the training has taken."""


class Recipe(str):
    """All that a training depends on but how long it lasts, as text; a checkpoint of another one is not resumed."""

    @classmethod
    def of(cls, loop: EpochsConfig, pictures: str, *others: BaseModel, but: Collection[str] = ()) -> Recipe:
        """Gather the loop, the fingerprint of what it is shown, and the rest without the keys in ``but``."""
        steps = loop.model_dump(mode="json", exclude={"epochs", "patience", "precision", "stored"})
        rest = [other.model_dump(mode="json", exclude=set(but)) for other in others]
        return cls(json.dumps([steps, pictures, *rest], sort_keys=True))


def fit(
    module: pl.LightningModule,
    name: NetworkName,
    batches: Batches,
    tests: Sequence[Batches],
    config: EpochsConfig,
    recipe: Recipe,
    out: Path,
    work: Path,
    patience: int | None = None,
) -> None:
    """Train a module, ``Exportable``, and export it after every epoch, or where it is tested, after the better ones.

    Better: "test_loss" was less than ever before.

    Checkpoints and ``log/version_N/metrics.csv`` go to ``work``; where that holds a last checkpoint, training resumes.
    Started by torchrun, the processes train together, on several GPUs, machines or processors. Where the GPU's memory
    does not suffice, training goes on, with a warning, on the processor.

    Parameters
    ----------
    module
        Logs "test_loss" in its validation step, with ``sync_dist``, if there are ``tests``.
    name
        A network that it exports.
    batches, tests
        What to train on and what to validate on, one loader for each.
    config
        Epochs and precision.
    recipe
        What is trained; a checkpoint in ``work`` must be of the same.
    out, work
        The bundle, and the folder for checkpoints and logs.
    patience
        Epochs without a better test loss after which training stops; None: it never stops early.

    Raises
    ------
    FileFormatError
        If the last checkpoint cannot be used, or is of another training; or if that is over, and the bundle holds no
        such network: it was taken out, or no epoch's loss was a number.
    """
    try:
        found = _fit(module, batches, tests, config, recipe, out, work, patience, "auto")
    except torch.OutOfMemoryError as error:
        if "LOCAL_WORLD_SIZE" in os.environ:
            raise
        reason = str(error).split(". ")[0]
        warnings.warn(f"{reason}: training goes on with the processor; a smaller batch may fit", stacklevel=2)
        module.zero_grad()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        found = _fit(module, batches, tests, config, recipe, out, work, patience, "cpu")
    if not found or not out.exists() or name not in read_archive(out)[0].networks.named():
        raise FileFormatError(
            f"{out}: expected the network {name!r} of the training in {work}, which is over, found none: it was taken "
            "out, or no loss was a number; delete that folder to train anew"
        )


def _fit(
    module: pl.LightningModule,
    batches: Batches,
    tests: Sequence[Batches],
    config: EpochsConfig,
    recipe: Recipe,
    out: Path,
    work: Path,
    patience: int | None,
    accelerator: Literal["auto", "cpu"],
) -> bool:
    """Train, and return whether there was anything to export, now or before a resume."""
    clock = _Clock()
    exporting = _ExportBetter(out, clock) if tests else _ExportEvery(out, clock)
    callbacks: list[Callback] = [
        ModelCheckpoint(work, "last", enable_version_counter=False),
        _SameTraining(recipe),
        clock,
        exporting,
    ]
    if patience is not None:
        callbacks += [Patience(_SCORE, patience=patience)]
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_no_advertisement)
    trainer = pl.Trainer(
        max_epochs=config.epochs,
        accelerator=accelerator,
        precision=training_precision(accelerator) if config.precision == "auto" else config.precision,
        callbacks=callbacks,
        plugins=[WholeCheckpoints()],
        logger=CSVLogger(work, name="log"),
        log_every_n_steps=20,
        benchmark=True,
        default_root_dir=work,
        enable_model_summary=False,
        **_together(module),
    )
    last = work / "last.ckpt"
    loaders = DataLoader(batches, batch_size=None), [DataLoader(test, batch_size=None) for test in tests] or None
    try:
        with _quiet():
            trainer.fit(module, *loaders, ckpt_path=last if last.exists() else None)
    except torch.OutOfMemoryError:
        raise
    except MisconfigurationException as error:
        raise FileFormatError(f"{last}: cannot resume from this checkpoint: {error}") from error
    except (RuntimeError, EOFError, KeyError, OSError, ValueError, pickle.UnpicklingError) as error:
        if last.exists() and trainer.global_step == 0:
            raise FileFormatError(f"{last}: cannot resume from this checkpoint: {error}") from error
        raise
    return not isinstance(exporting, _ExportBetter) or exporting.score is not None


def training_precision(accelerator: Literal["auto", "cpu"]) -> Literal["32-true", "bf16-mixed", "16-mixed"]:
    """Return the precision that the device Lightning will choose trains fastest in."""
    if accelerator == "auto" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if torch.ops.mkldnn._is_mkldnn_bf16_supported() else "32-true"


def device_name(device: torch.device) -> str:
    """Return what people call a device that is there."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else f"{device.type}, {platform.machine()}"


def _no_advertisement(record: logging.LogRecord) -> bool:
    return " Tip: " not in record.getMessage()


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence advice on what is as it should be: a folder to resume from, loading without workers, graphed steps."""
    loading = (".*IterableDataset", ".*does not have many workers", ".*smaller than the logging interval")
    lightning_says = ("Checkpoint directory", *loading, ".*LeafSpec")
    torch_says = (".*capturable=True", ".*AccumulateGrad node's stream")
    with warnings.catch_warnings():
        for message in (*lightning_says, *torch_says):
            warnings.filterwarnings("ignore", message=message)
        yield


def _together(module: pl.LightningModule) -> dict[str, Any]:
    """Return what Lightning must be told of the processes that torchrun started.

    Where several optimisers take turns, each backward pass reaches but some of the weights.
    """
    if "LOCAL_WORLD_SIZE" not in os.environ:
        return {}
    strategy = "ddp" if module.automatic_optimization else "ddp_find_unused_parameters_true"
    local, every = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return {"devices": local, "num_nodes": every // local, "strategy": strategy}


class _SameTraining(Callback):
    """Refuse to resume another training."""

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe

    def state_dict(self) -> dict[str, str]:
        """Say in the checkpoint what is trained."""
        return {"recipe": str(self._recipe)}

    def load_state_dict(self, state_dict: dict[str, str]) -> None:
        """Compare."""
        if state_dict["recipe"] != self._recipe:
            raise FileFormatError(
                "begun with another set, style or configuration; delete its folder, or give another name for the bundle"
            )


class _Clock(Callback):
    """How long the training has taken, all its parts together where it was resumed."""

    def __init__(self) -> None:
        self._before, self._begun = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Until now."""
        return self._before + time.monotonic() - self._begun

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin, or go on."""
        self._begun = time.monotonic()

    def state_dict(self) -> dict[str, float]:
        """Remember the time in the checkpoint."""
        return {"seconds": self.seconds}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on from a checkpoint's time."""
        self._before = state_dict["seconds"]

    def so_far(self, trainer: pl.Trainer) -> dict[str, float]:
        """Return the epochs and seconds that the present weights have taken."""
        return {"epochs": float(trainer.current_epoch + 1), "seconds": round(self.seconds, 1)}


class _ExportEvery(Callback):
    """Export after every epoch; stop where its losses are no numbers, and leave what was exported before."""

    def __init__(self, out: Path, clock: _Clock) -> None:
        self._out, self._clock = out, clock

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export."""
        lost = not all(bool(torch.isfinite(loss)) for loss in trainer.callback_metrics.values())
        if trainer.strategy.reduce_boolean_decision(lost, all=False):
            warnings.warn(
                f"epoch {trainer.current_epoch + 1}: losses are no numbers any more: training stops there", stacklevel=2
            )
            trainer.should_stop = True
        elif trainer.is_global_zero:
            cast(Exportable, pl_module).export(self._out, self._clock.so_far(trainer))


class _ExportBetter(Callback):
    """Export after every epoch with a lower test loss than all before, also across a resume."""

    def __init__(self, out: Path, clock: _Clock) -> None:
        self._out, self._clock = out, clock
        self.score: float | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Export after a better epoch."""
        score = trainer.callback_metrics.get(_SCORE)
        if trainer.sanity_checking or score is None:
            return
        if torch.isfinite(score) and (self.score is None or float(score) < self.score):
            self.score = float(score)
            if trainer.is_global_zero:
                cast(Exportable, pl_module).export(self._out, self._clock.so_far(trainer))

    def state_dict(self) -> dict[str, float | None]:
        """Remember the best score in the checkpoint."""
        return {"score": self.score}

    def load_state_dict(self, state_dict: dict[str, float | None]) -> None:
        """Go on from a checkpoint's best score."""
        self.score = state_dict["score"]
