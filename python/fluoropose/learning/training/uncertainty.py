"""Teaching a trained landmark network to tell how sure it is of each landmark."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Self

import lightning.pytorch as pl
import torch
from torch import Tensor, nn

from fluoropose.errors import FileFormatError
from fluoropose.learning.bundle import Bundle, LandmarkFacts, Owner, add_networks, require_room
from fluoropose.learning.config import LearningConfig
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.landmark_net import LandmarkNet, UncertainLandmarkNet
from fluoropose.learning.training.module import TEST_STYLES, SetTraining, train_on_set, work_folder

__all__ = ["UncertaintyTraining", "spread_loss", "train_uncertainty"]

_BINS = 5  # of the reliability table
_SD_PER_SPREAD = 3**0.5  # per axis, of the distribution that spread_loss assumes


def train_uncertainty(
    set_path: str | Path, out: str | Path, config: LearningConfig | None = None, work_dir: str | Path | None = None
) -> Path:
    """Add standard deviations to the landmark network in the bundle ``out``; its positions do not change.

    Where errors are large is learnt from the training samples; how large, one factor, from half of the test samples,
    which the network has not seen. The other half tells how reliable that is: the bundle's training numbers hold, in
    five parts of equal size by predicted standard deviation, its root mean square and that of the errors, pixels.

    Raises
    ------
    FileFormatError
        If the set or the checkpoint cannot be used, the set has but one test sample, or ``out`` has no landmark network
        of the set's bone and size.
    """
    out, radiographs = Path(out), RadiographSet.load(set_path)
    if radiographs.config.dataset.test_count < 2:
        raise FileFormatError(f"{set_path}: test_count: expected at least 2, one half to fit and one to check, found 1")
    config = config or radiographs.config
    pl.seed_everything(config.uncertainty.seed, verbose=False)
    bundle = Bundle.load(out)
    facts = bundle.landmarks.facts
    # The network stays what it is, and so what is shown to it must be what it was trained on.
    require_room(out, radiographs.owner, set(), radiographs.config.dataset.size, config.preprocessing)
    net = _base(bundle)
    digest = hashlib.sha256(net.head.weight.detach().numpy().tobytes()).hexdigest()[:12]
    # Each landmark network has a folder of its own: the next one must not resume what the last one learnt.
    work = work_folder(work_dir, out, f"uncertainty-{digest}")
    return train_on_set(
        UncertaintyTraining(radiographs, config, net, facts, bundle.manifest.owner), "landmarks", out, work
    )


def _base(bundle: Bundle) -> LandmarkNet:
    """Rebuild the landmark network from its export, without the standard deviations it may already tell."""
    weights = {k: v.float() for k, v in bundle.module("landmarks").state_dict().items()}
    if bundle.landmarks.facts.deviations:
        weights = {k.removeprefix("net."): v for k, v in weights.items() if k.startswith("net.")}
    for name, value in weights.items():
        if name.endswith("num_batches_tracked"):
            weights[name] = value.long()
    try:
        return LandmarkNet.of_weights(weights, bundle.manifest.views, bundle.landmarks.facts.size)
    except (KeyError, RuntimeError) as error:
        raise FileFormatError(
            f"{bundle.path}: landmarks: expected a network that this version trains: {error}"
        ) from error


class UncertaintyTraining(SetTraining):
    """The head that tells the standard deviations, on the features of a network that stays as it is.

    Parameters
    ----------
    radiographs
        The set.
    config
        Style and uncertainty.
    net
        The landmark network.
    facts, owner
        Its facts in the bundle, and what it was trained for.
    """

    def __init__(
        self, radiographs: RadiographSet, config: LearningConfig, net: LandmarkNet, facts: LandmarkFacts, owner: Owner
    ) -> None:
        super().__init__(radiographs, config, config.uncertainty)
        self.facts, self._owner = facts, owner
        self.net = UncertainLandmarkNet(net.eval().requires_grad_(False), radiographs.owner.views)
        self._checked: list[Tensor] = []

    def train(self, mode: bool = True) -> Self:
        """Keep the landmark network as it is in use."""
        super().train(mode)
        self.net.net.eval()
        return self

    def learning(self) -> Iterable[nn.Parameter]:
        """Return the head's parameters."""
        return self.net.spread.parameters()

    def tests(self, known: Tensor, unknown: Tensor) -> list[Tensor]:
        """Return the samples that fit the factor, and those that check it."""
        return [unknown[::2], unknown[1::2]]

    def given(self, rows: Tensor, seed: int) -> tuple[Tensor, ...]:
        """Draw crops; also returns the view of each, and the labels."""
        crops, labels = self.shown(rows, seed)
        return crops, self.radiographs.view[rows], labels

    def loss(self, *given: Tensor) -> Tensor:
        """Return the loss of one batch, of the predictions inside the picture."""
        distance, log_spread, inside = self._predict(*given)
        share = inside.float().mean().clamp_min(1 / inside.numel())
        return spread_loss(distance * inside, log_spread * inside) / share  # zeros add nothing to the sum

    def on_validation_epoch_start(self) -> None:
        """Begin a new table."""
        self._checked = []

    def validation_step(self, batch: tuple[Tensor, int], index: int, dataloader_idx: int = 0) -> None:
        """Log the loss and the factor on the first part, keep what the second part shows."""
        rows, seed = batch
        distance, log_spread, inside = self._predict(*self.given(rows, seed + TEST_STYLES))
        distance, log_spread = distance[inside], log_spread[inside]
        if dataloader_idx == 0:
            values = {
                "test_loss": spread_loss(distance, log_spread),
                "factor": (distance / log_spread.exp()).mean() / 2,  # where spread_loss is least
            }
            self.log_dict(values, prog_bar=True, batch_size=len(rows), sync_dist=True, add_dataloader_idx=False)
        else:
            self._checked.append(torch.stack([distance, log_spread.exp()], 1))

    def _predict(self, crops: Tensor, views: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return distances (b, n), normalised, their logarithmic spreads, and which predictions are inside."""
        with torch.no_grad():
            features = self.net.net.features(crops)
            predicted = self.net.net.positions(features, views)
            flat = features.flat.float()
        distance = (predicted - labels).norm(dim=-1)
        return distance, self.net.log_spread(flat, views).float(), (predicted.abs() < 1).all(-1)

    def export(self, out: Path, so_far: dict[str, float]) -> None:
        """Put the network, as it is, in place of the landmark network it rests on."""
        logged = self.logged()
        factor = torch.tensor(logged["factor"] * _SD_PER_SPREAD)
        self.net.log_factor = factor.log().to(self.device)
        training = self.facts.training | self._reliability(float(factor))
        training["uncertainty_seconds"] = so_far["seconds"]
        facts = self.facts.model_copy(update={"deviations": True, "training": training})
        add_networks(out, self._owner, {"landmarks": (self.net, facts)}, self.config.training.stored)

    def _reliability(self, factor: float) -> dict[str, float]:
        """Return per part, from the surest to the least sure, predicted and actual root mean squares per axis, px."""
        distance, spread = torch.cat(self._checked).cpu().T
        order = torch.argsort(spread)
        table: dict[str, float] = {}
        for k, part in enumerate(torch.tensor_split(order, _BINS), start=1):
            if not len(part):  # hardly a prediction lies inside its picture
                continue
            half = self.size / 2
            table[f"sd_predicted_px_{k}"] = float((spread[part] * factor).square().mean().sqrt()) * half
            table[f"sd_actual_px_{k}"] = float(distance[part].square().mean().div(2).sqrt()) * half
        return table


def spread_loss(distance: Tensor, log_spread: Tensor) -> Tensor:
    """Return the mean negative logarithmic likelihood of distances (m,) under p ~ exp(-distance / s) / s^2.

    Heavier tails than a normal distribution's: a few landmarks far off do not make all others unsure. The standard
    deviation per axis is sqrt(3) s.
    """
    return (2 * log_spread + distance * torch.exp(-log_spread)).mean()
