"""What lets a training be interrupted at any moment, and go on with another number of epochs or more patience."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import EarlyStopping

from fluoropose._files import atomic_path

__all__ = ["Patience", "WholeCheckpoints"]


class WholeCheckpoints(TorchCheckpointIO):
    """Writes a checkpoint beside the one whose place it takes.

    Lightning writes it into the system's folder for temporary files. Where that is another disk it is then copied over
    the last one, which a full disk or a kill cuts short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; ``path`` is a file's."""
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)  # given a file, it does not say that a disk is full
        with atomic_path(Path(path)) as temporary:
            temporary.write_bytes(buffer.getbuffer())


class Patience(EarlyStopping):
    """Stops early with the patience asked for now, not with the checkpoint's; at once where that is already over."""

    @property
    def state_key(self) -> str:
        """Return the name of its state in a checkpoint: that of Lightning's own, as older ones have it."""
        return EarlyStopping(self.monitor).state_key

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state_dict | {"patience": self.patience})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop a training that had stopped before."""
        trainer.should_stop = self.wait_count >= self.patience
