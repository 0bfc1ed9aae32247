"""A memory of translated pictures, so that a discriminator does not forget what the generator made before."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Pool"]


class Pool:
    """Remembers up to ``size`` pictures (Shrivastava et al. 2017, 2.3, as in CycleGAN).

    Begins empty after a resume: the first steps refill it.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: list[Tensor] = []

    def exchange(self, pictures: Tensor, rng: torch.Generator) -> Tensor:
        """Return as many pictures as given, (b, ...), half of them older ones that the new ones replace."""
        return torch.stack([self._one(picture, rng) for picture in pictures.detach()])

    def _one(self, picture: Tensor, rng: torch.Generator) -> Tensor:
        if len(self._kept) < self._size:
            self._kept.append(picture)
            return picture
        if self._size == 0 or float(torch.rand((), generator=rng, device=rng.device)) < 0.5:
            return picture
        place = int(torch.randint(self._size, (), generator=rng, device=rng.device))
        old = self._kept[place]
        self._kept[place] = picture
        return old
