"""The content-preserving loss (Zhou et al. 2021, Eq. 1): a translation may change greys, not move edges."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["content_loss", "phi"]

_TINY = 1e-12  # of a product of two variances; below it a picture is constant and correlates with nothing


def phi(a: Tensor, b: Tensor, lit: Tensor | None = None) -> Tensor:
    """Return the mean of the zero-normalised cross-correlations of the x and of the y derivatives of two pictures.

    Parameters
    ----------
    a, b
        (n, h, w), both of the same polarity; central differences give their derivatives.
    lit
        (n, h, w) bool, pixels that count; all by default. The edge of a round field is in both pictures whatever else
        they show, and would outweigh everything inside.

    Returns
    -------
    (n,) in [-1, 1]: 1 where b = s a + t with s > 0, 0 where either is constant.
    """
    counts = torch.ones_like(a, dtype=torch.bool) if lit is None else lit
    return (_correlation(a, b, counts, 1) + _correlation(a, b, counts, 2)) / 2


def content_loss(pictures: Tensor, translated: Tensor, lit: Tensor) -> Tensor:
    """Return what one direction of translation adds to l_cp = 1 - (phi(rX, fD) + phi(rD, fX)) / 2, Eq. 1: from 0 to 1.

    (1 - phi) / 2, averaged over the batch; all (n, h, w).
    """
    return (1 - phi(pictures, translated, lit).mean()) / 2


def _correlation(a: Tensor, b: Tensor, lit: Tensor, axis: int) -> Tensor:
    """Correlate the derivatives along one axis where both neighbours of a pixel count."""
    last = a.shape[axis] - 2
    before, after = (slice(None),) * axis + (slice(0, last),), (slice(None),) * axis + (slice(2, None),)
    weight = (lit[before] & lit[after]).flatten(1).float()
    weight = weight / weight.sum(1, keepdim=True).clamp_min(1)
    da, db = ((x[after] - x[before]).flatten(1) / 2 for x in (a.float(), b.float()))
    da = da - (weight * da).sum(1, keepdim=True)
    db = db - (weight * db).sum(1, keepdim=True)
    product = (weight * da * da).sum(1) * (weight * db * db).sum(1)
    return (weight * da * db).sum(1) / product.clamp_min(_TINY).sqrt()
