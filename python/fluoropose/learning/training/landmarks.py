"""Training the landmark network (Zhou et al. 2021, 2.1)."""

from __future__ import annotations

import math
from pathlib import Path

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn.functional import smooth_l1_loss

from fluoropose.learning.bundle import LandmarkFacts, add_networks
from fluoropose.learning.config import LearningConfig, TrainingConfig
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.landmark_net import LandmarkNet
from fluoropose.learning.training.fit import device_name
from fluoropose.learning.training.module import TEST_STYLES, SetTraining, train_on_set, work_folder

__all__ = ["LandmarkTraining", "train_landmarks"]


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
        By default ``landmarks`` in a folder named as ``out`` with ".work" appended.

    Raises
    ------
    FileFormatError
        If the set or the checkpoint cannot be used, or ``out`` holds networks of another bone or rig.
    """
    radiographs = RadiographSet.load(set_path)
    config = config or radiographs.config
    pl.seed_everything(config.training.seed, verbose=False)
    work = work_folder(work_dir, Path(out), "landmarks")
    return train_on_set(LandmarkTraining(radiographs, config), "landmarks", Path(out), work)


class LandmarkTraining(SetTraining):
    """The network, its loss and its measures.

    Parameters
    ----------
    radiographs
        The set.
    config
        Style, preprocessing and training.
    """

    def __init__(self, radiographs: RadiographSet, config: LearningConfig) -> None:
        super().__init__(radiographs, config, config.training)
        owner = radiographs.owner
        self.net = LandmarkNet(len(owner.landmark_names), owner.views, self.size, config.training.width)
        self.net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch leaves this form untyped

    def given(self, rows: Tensor, seed: int) -> tuple[Tensor, ...]:
        """Draw crops; also returns the view of each, and the labels."""
        crops, labels = self.shown(rows, seed)
        return crops, self.radiographs.view[rows], labels

    def loss(self, *given: Tensor) -> Tensor:
        """Return the loss of one batch: of the positions, and half that of what they are mixed from.

        Without the latter, whichever finds landmarks first would keep the other from learning.
        """
        crops, views, labels = given
        config = self.config.training
        read, mapped, share = self.net.candidates(self.net.features(crops), views)
        on_map = (labels.abs() < 1).all(-1, keepdim=True)  # no map reaches past the picture
        parts = landmark_loss(read, labels, config) + landmark_loss(torch.where(on_map, mapped, labels), labels, config)
        return landmark_loss(torch.lerp(read, mapped, share), labels, config) + parts / 2

    def validation_step(self, batch: tuple[Tensor, int], index: int, dataloader_idx: int = 0) -> None:
        """Log loss, MSE (all landmarks, and those inside the picture) and the median error in pixels."""
        rows, seed = batch
        crops, views, labels = self.given(rows, seed + TEST_STYLES)
        predicted = self.net(crops, views).float()
        part = ("test", "train")[dataloader_idx]
        inside = (labels.abs() < 1).all(-1)
        square = (predicted - labels) ** 2
        values = {f"{part}_mse": square.mean(), f"{part}_mse_inside": square[inside].mean()}
        if part == "test":
            values["test_loss"] = landmark_loss(predicted, labels, self.config.training)
            values["test_median_px"] = (square.sum(-1).sqrt()[inside] * self.size / 2).median()
        self.log_dict(values, prog_bar=True, batch_size=len(rows), sync_dist=True, add_dataloader_idx=False)

    def export(self, out: Path, so_far: dict[str, float]) -> None:
        """Put the network, as it is, into a bundle."""
        logged = self.logged()
        logs = {k.replace("_mse", "_log10_mse"): math.log10(v + 1e-12) for k, v in logged.items() if "_mse" in k}
        facts = LandmarkFacts(
            size=self.size,
            preprocessing=self.config.preprocessing,
            crop_margin=self.config.training.crop_margin,
            plain=self.config.style.plain,
            training=so_far | {k: v for k, v in logged.items() if "_mse" not in k} | logs,
            trained_on=device_name(self.device),
        )
        add_networks(out, self.radiographs.owner, {"landmarks": (self.net, facts)}, self.loop.stored)


def landmark_loss(predicted: Tensor, labels: Tensor, config: TrainingConfig) -> Tensor:
    """Return the mean loss over landmarks (b, n, 2), normalised; those outside the picture weigh ``outside_weight``."""
    inside = (labels.abs() < 1).all(-1, keepdim=True)
    weight = (config.outside_weight + (1 - config.outside_weight) * inside).expand_as(labels)
    if config.loss == "mse":
        each = (predicted - labels) ** 2
    else:
        each = smooth_l1_loss(predicted, labels, reduction="none", beta=config.beta)
    return (each * weight).sum() / weight.sum().clamp_min(1e-6)
