"""Measures of image gradients that are no correlations: gradient information and gradient difference.

Both compare amounts, so the gradients of each image are first divided by their own root mean square.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoropose.refinement.features import gradient_features
from fluoropose.refinement.similarity import Image, Similarity, checked_pair, like_the_fixed

__all__ = ["GradientDifference", "GradientInformation"]

_TINY = 1e-12
_FLAT = 1e-6  # share of an image's largest value: slopes below it are rounding


@dataclass(frozen=True)
class GradientInformation:
    """Normalised gradient information (Otake et al., Phys. Med. Biol. 2013, after Pluim et al., IEEE TMI 2000).

    The sum over pixels of cos^2(angle between the gradients) times the lesser of their lengths, relative to the fixed
    image with itself: edges count only where both images have one, in the same or the opposite direction.

    Attributes
    ----------
    sigma_px
        Of the Gaussian whose derivative is used.
    """

    sigma_px: float = 1.0

    @property
    def reach_px(self) -> int:
        """How far the derivative looks."""
        return gradient_features(self.sigma_px)[0].reach_px

    def against(self, fixed: Image, weights: Image) -> Similarity:
        """Prepare for a fixed image (h, w) with weights (h, w)."""
        return _Information(fixed, weights, self.sigma_px)


@dataclass(frozen=True)
class GradientDifference:
    """Gradient difference (Penney et al., IEEE TMI 1998): the weighted mean of 1 / (1 + d^2 / s^2).

    d is the difference of one component of the gradients, s the standard deviation of that component in the fixed
    image: structures that only one of the images shows do not cost more and more.

    Attributes
    ----------
    sigma_px
        Of the Gaussian whose derivative is used.
    """

    sigma_px: float = 1.0

    @property
    def reach_px(self) -> int:
        """How far the derivative looks."""
        return gradient_features(self.sigma_px)[0].reach_px

    def against(self, fixed: Image, weights: Image) -> Similarity:
        """Prepare for a fixed image (h, w) with weights (h, w)."""
        return _Difference(fixed, weights, self.sigma_px)


class _Gradients:
    """Gradients (2, h, w) of the fixed image and of moving ones, over their weighted root mean square."""

    def __init__(self, fixed: Image, weights: Image, sigma_px: float) -> None:
        image, weight = checked_pair(fixed, weights)
        self._features = gradient_features(sigma_px)
        self._weight = weight.astype(np.float64) / float(weight.sum(dtype=np.float64))
        self._fixed, self._fixed_scale = self._scaled(image)

    def value(self, moving: Image) -> float:
        """Return the likeness of an image (h, w); NaN where one of the two is flat."""
        return self.value_and_gradient(moving)[0]

    def value_and_gradient(self, moving: Image) -> tuple[float, Image]:
        """Return the likeness and its derivative (h, w) by the moving image's pixels."""
        moving = like_the_fixed("moving", moving, self._weight.shape)
        b, scale = self._scaled(moving)
        if scale == 0 or self._fixed_scale == 0:
            return float("nan"), np.zeros_like(moving)
        value, by_b = self._compare(b)
        # b is the gradient over its RMS, which depends on all pixels.
        by_gradient = (by_b - self._weight * b * float((by_b * b).sum())) / scale
        parts = [f.adjoint(g.astype(np.float32)) for f, g in zip(self._features, by_gradient, strict=True)]
        return value, np.asarray(parts[0] + parts[1])

    def _compare(self, b: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        """Return the likeness to scaled gradients b (2, h, w), and its derivative (2, h, w) by them."""
        raise NotImplementedError

    def _scaled(self, image: Image) -> tuple[NDArray[np.float64], float]:
        gradient = np.stack([feature.apply(image) for feature in self._features]).astype(np.float64)
        scale = float(np.sqrt((self._weight * gradient**2).sum()))
        flat = scale <= _FLAT * float(np.abs(image).max(initial=0.0))
        return (gradient, 0.0) if flat else (gradient / scale, scale)


class _Information(_Gradients):
    def _compare(self, b: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a = self._fixed
        long_a, long_b = (np.sqrt((g**2).sum(axis=0)) + _TINY for g in (a, b))
        inner = (a * b).sum(axis=0)
        least = np.minimum(long_a, long_b)
        share = inner**2 / (long_a * long_b) ** 2
        whole = float((self._weight * long_a).sum())
        # d(share * least): of the cosine, and of |b| where it is the lesser.
        by_cosine = 2 * inner * least / (long_a * long_b) ** 2 * (a - inner / long_b**2 * b)
        by_length = np.where(long_b < long_a, share / long_b, 0.0) * b
        return float((self._weight * share * least).sum()) / whole, self._weight * (by_cosine + by_length) / whole


class _Difference(_Gradients):
    def _compare(self, b: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        a = self._fixed
        mean = (self._weight * a).sum(axis=(1, 2), keepdims=True)
        variance = (self._weight * (a - mean) ** 2).sum(axis=(1, 2), keepdims=True) + _TINY
        likeness = 1 / (1 + (b - a) ** 2 / variance)
        by_b = -self._weight * likeness**2 * (b - a) / variance
        return 0.5 * float((self._weight * likeness).sum()), by_b
