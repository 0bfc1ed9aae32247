"""A memory of translated pictures, so that a discriminator does not forget what the generator made before."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Pool"]


class Pool(nn.Module):
    """Remembers pictures (Shrivastava et al. 2017, 2.3, as in CycleGAN); a checkpoint holds them.

    Parameters
    ----------
    size
        How many pictures.
    side
        Their side, pixels.
    """

    kept: Tensor
    seen: Tensor

    def __init__(self, size: int, side: int) -> None:
        super().__init__()
        self.register_buffer("kept", torch.zeros(size, 1, side, side))
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))

    def forward(self, pictures: Tensor, chance: Tensor) -> Tensor:
        """Return as many pictures as given, (b, 1, side, side), half of them older ones that the new ones replace.

        ``chance``, (b, 2) uniform in [0, 1), decides which. Until it is full, new ones are remembered and returned.
        """
        if len(self.kept) == 0:
            return pictures.detach()
        return torch.stack([self._one(*each) for each in zip(pictures.detach(), *chance.unbind(1), strict=True)])

    def _one(self, picture: Tensor, which: Tensor, whether: Tensor) -> Tensor:
        """Decide on the device, which waits for nobody."""
        size = len(self.kept)
        full = self.seen >= size
        place = torch.where(full, (which * size).long().clamp_max(size - 1), self.seen)[None]
        old = self.kept.index_select(0, place)[0]
        swapped = full & (whether < 0.5)
        self.kept.index_copy_(0, place, torch.where(swapped | ~full, picture, old)[None])
        self.seen += 1
        return torch.where(swapped, old, picture)
