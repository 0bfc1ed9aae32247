"""Which samples make up a batch, and in which styles they are drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import IterableDataset

__all__ = ["Batches"]

_STEP = 100_003  # between the seeds of epochs, more than there are batches in one


@dataclass
class Batches(IterableDataset[tuple[Tensor, int]]):
    """Rows of a set, in batches, each with the seed of its styles; another order and other styles every epoch.

    Several batches may be handed over together, to be drawn at once and trained on one after the other.

    Where several processes train together, each takes its share of the batches, the same number in all of them: with
    ``shuffle`` some are left for another epoch, otherwise the first may be taken more than once.

    Attributes
    ----------
    rows
        (n,) rows of the set.
    batch
        Samples per batch and process.
    seed
        Of order and styles.
    shuffle
        Whether to change both from epoch to epoch; otherwise they stay.
    together
        Most batches that are handed over together, as rows of one and with the seed of the first.
    epoch
        Lightning counts it up, also across a resume.
    """

    rows: Tensor
    batch: int
    seed: int
    shuffle: bool
    together: int = 1
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Follow Lightning's count of epochs; a resumed training goes on with the order it would have had."""
        self.epoch = epoch

    @property
    def steps(self) -> int:
        """Number of batches in an epoch, of this process."""
        _, processes = _rank()
        n = len(self.rows)
        if self.shuffle:
            return max(1, n // self.batch // processes)
        return math.ceil(math.ceil(n / self.batch) / processes)

    def __len__(self) -> int:
        return math.ceil(self.steps / self.together)

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        order = self.rows
        first = (self.seed * _STEP + self.epoch) * _STEP if self.shuffle else 0
        if self.shuffle:
            order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(first))]
        rank, processes = _rank()
        share = [k * processes + rank for k in range(self.steps)]
        for start in range(0, len(share), self.together):
            part = share[start : start + self.together]
            rows = torch.cat([order[i * self.batch : (i + 1) * self.batch] for i in part])
            yield (rows if len(rows) else order[: self.batch]), first + part[0] + 1


def _rank() -> tuple[int, int]:
    """Return this process's number and how many train together."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return 0, 1
