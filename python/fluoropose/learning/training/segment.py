"""Training the segmentation network: the bone's mask in pictures of random styles (Zhou et al. 2021, 4.4)."""

from __future__ import annotations

from pathlib import Path

import lightning.pytorch as pl
import torch
from monai.losses.dice import DiceCELoss
from torch import Tensor, nn

from fluoropose.learning.bundle import SegmentFacts, add_networks
from fluoropose.learning.config import LearningConfig
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.segment_net import SegmentNet
from fluoropose.learning.training.fit import device_name
from fluoropose.learning.training.module import TEST_STYLES, SetTraining, train_on_set, work_folder

__all__ = ["SegmentTraining", "train_segment"]


def train_segment(
    set_path: str | Path, out: str | Path, config: LearningConfig | None = None, work_dir: str | Path | None = None
) -> Path:
    """Train on a radiograph set and put the network into a bundle; as ``train_landmarks``, with its own work folder.

    Raises
    ------
    FileFormatError
        If the set or the checkpoint cannot be used, or ``out`` holds networks of another bone or rig.
    """
    radiographs = RadiographSet.load(set_path)
    config = config or radiographs.config
    pl.seed_everything(config.segmentation.seed, verbose=False)
    work = work_folder(work_dir, Path(out), "segment")
    return train_on_set(SegmentTraining(radiographs, config), "segment", Path(out), work)


class SegmentTraining(SetTraining):
    """The network, its loss and its measures.

    Parameters
    ----------
    radiographs
        The set.
    config
        Style, preprocessing and segmentation.
    """

    def __init__(self, radiographs: RadiographSet, config: LearningConfig) -> None:
        super().__init__(radiographs, config, config.segmentation)
        self.net = SegmentNet(config.segmentation.width)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch leaves this form untyped
        self._loss = DiceCELoss(sigmoid=True)

    def given(self, rows: Tensor, seed: int) -> tuple[Tensor, ...]:
        """Draw crops and the bone's masks, both (b, 1, size, size)."""
        pictures, inputs = self.drawn(rows, seed)
        return inputs[:, None].contiguous(memory_format=torch.channels_last), pictures.mask[:, None].float()

    def loss(self, *given: Tensor) -> Tensor:
        """Return the loss of one batch."""
        crops, mask = given
        loss: Tensor = self._loss(self.net(crops).float(), mask)
        return loss

    def validation_step(self, batch: tuple[Tensor, int], index: int, dataloader_idx: int = 0) -> None:
        """Log loss and, per picture on average, IoU and Dice coefficient."""
        rows, seed = batch
        crops, mask = self.given(rows, seed + TEST_STYLES)
        logits = self.net(crops).float()
        part = ("test", "train")[dataloader_idx]
        overlaps = overlap(logits > 0, mask > 0.5)
        values = {f"{part}_iou": overlaps.mean(), f"{part}_dice": (2 * overlaps / (1 + overlaps)).mean()}
        if part == "test":
            values["test_loss"] = self._loss(logits, mask)
        self.log_dict(values, prog_bar=True, batch_size=len(rows), sync_dist=True, add_dataloader_idx=False)

    def export(self, out: Path, so_far: dict[str, float]) -> None:
        """Put the network, as it is, into a bundle."""
        facts = SegmentFacts(
            size=self.size,
            preprocessing=self.config.preprocessing,
            training=so_far | self.logged(),
            trained_on=device_name(self.device),
        )
        network = nn.Sequential(self.net, nn.Sigmoid())
        add_networks(out, self.radiographs.owner, {"segment": (network, facts)}, self.loop.stored)


def overlap(found: Tensor, mask: Tensor) -> Tensor:
    """Return intersection over union of two boolean masks (b, ...): (b,), 1 where both are empty."""
    both = (found & mask).flatten(1).sum(1)
    either = (found | mask).flatten(1).sum(1)
    return torch.where(either > 0, both / either.clamp_min(1), 1.0)
