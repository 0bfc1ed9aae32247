"""Mutual information of grey levels (Mattes et al., IEEE TMI 2003)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import whole_positive
from fluoropose.errors import InputError
from fluoropose.refinement.similarity import Image, Similarity, checked_pair, like_the_fixed

__all__ = ["MutualInformation"]

_RANGE = (-3.0, 5.0)  # standard deviations from the mean that have bins of their own; radiographs have long upper tails
_TINY = 1e-12


@dataclass(frozen=True)
class MutualInformation:
    """How much one image's grey tells of the other's, nats; whatever curve ties the two.

    Grey levels are standard deviations from the mean. The joint histogram is smoothed by cubic B-splines along the
    moving image's axis, which makes it differentiable, and by linear ones along the fixed image's.

    Attributes
    ----------
    bins
        Of each axis, at least 5: the spline reaches over 4.
    """

    bins: int = 32
    reach_px = 0

    def __post_init__(self) -> None:
        if whole_positive("bins", self.bins) < 5:
            raise InputError(f"bins: expected at least 5, found {self.bins}")

    def against(self, fixed: Image, weights: Image) -> Similarity:
        """Prepare for a fixed image (h, w) with weights (h, w)."""
        return _Information(fixed, weights, self.bins)


class _Information:
    def __init__(self, fixed: Image, weights: Image, bins: int) -> None:
        image, weight = checked_pair(fixed, weights)
        self._shape, self._bins = image.shape, bins
        self._pixels = np.flatnonzero(weight)
        self._weight = weight.ravel()[self._pixels].astype(np.float64)
        self._weight /= self._weight.sum()
        self._per_bin = (_RANGE[1] - _RANGE[0]) / (bins - 4)
        grey, self._fixed_scale = self._standard(image)
        place, _ = self._places(grey)
        low = np.floor(place).astype(np.intp)
        part = place - low
        self._fixed = [(low, 1 - part), (low + 1, part)]

    def value(self, moving: Image) -> float:
        """Return the mutual information with an image (h, w); NaN where one of the two is flat."""
        return self.value_and_gradient(moving)[0]

    def value_and_gradient(self, moving: Image) -> tuple[float, Image]:
        """Return the mutual information and its derivative (h, w) by the moving image's pixels."""
        out = np.zeros(self._shape[0] * self._shape[1], np.float32)
        grey, scale = self._standard(like_the_fixed("moving", moving, self._shape))
        if scale == 0 or self._fixed_scale == 0:
            return float("nan"), out.reshape(self._shape)
        place, inside = self._places(grey)
        first = np.floor(place).astype(np.intp) - 1
        kernels = [_cubic(place - (first + k)) for k in range(4)]
        joint = np.zeros(self._bins * self._bins)
        for row, share in self._fixed:
            for k, (kernel, _) in enumerate(kernels):
                joint += np.bincount(row * self._bins + first + k, self._weight * share * kernel, joint.size)
        table = joint.reshape(self._bins, self._bins)
        expected = np.outer(table.sum(axis=1), table.sum(axis=0))
        log = np.log(np.maximum(table, _TINY) / np.maximum(expected, _TINY))
        # The constants that differentiating the marginals leaves cancel: B-splines sum to one.
        by_grey = np.zeros_like(grey)
        for row, share in self._fixed:
            for k, (_, slope) in enumerate(kernels):
                by_grey += share * slope * log[row, first + k]
        by_grey *= self._weight * inside / self._per_bin
        # Mean and standard deviation depend on all pixels.
        by_pixel = by_grey - self._weight * (by_grey.sum() + grey * float(by_grey @ grey))
        out[self._pixels] = by_pixel / scale
        return float((table * log).sum()), out.reshape(self._shape)

    def _standard(self, image: Image) -> tuple[NDArray[np.float64], float]:
        values = image.ravel()[self._pixels].astype(np.float64)
        centred = values - self._weight @ values
        scale = float(np.sqrt(self._weight @ centred**2))
        return (centred / scale, scale) if scale > _TINY else (centred, 0.0)

    def _places(self, grey: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return the bin of each grey, not rounded, and whether it has one of its own."""
        clipped = np.clip(grey, *_RANGE)
        return (clipped - _RANGE[0]) / self._per_bin + 1.5, clipped == grey


def _cubic(distance: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the cubic B-spline at a distance in bins, and its derivative."""
    d = np.abs(distance)
    near, far = d < 1, d < 2
    value = np.where(near, 2 / 3 - d**2 + d**3 / 2, np.where(far, (2 - d) ** 3 / 6, 0.0))
    slope = np.where(near, -2 * d + 1.5 * d**2, np.where(far, -((2 - d) ** 2) / 2, 0.0))
    return value, slope * np.sign(distance)
