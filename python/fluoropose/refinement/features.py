"""Linear filters whose outputs similarity measures compare, each with its adjoint."""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import positive

__all__ = ["Feature", "Identity", "LaplacianOfGaussian", "gradient_features", "gradient_kernels", "spread_px"]

Image = NDArray[np.float32]


class Feature(Protocol):
    """A linear map of images with zeros beyond their edge.

    Attributes
    ----------
    reach_px
        How far from the edge of an image those zeros matter.
    spread_px
        Number of pixels over which the noise of one is spread.
    """

    reach_px: int
    spread_px: float

    def apply(self, image: Image) -> Image:
        """Filter an image (h, w), or each of a stack (n, h, w)."""
        ...

    def adjoint(self, image: Image) -> Image:
        """Apply the transposed map: <apply(x), y> = <x, adjoint(y)>."""
        ...


class Identity:
    """The image itself."""

    reach_px = 0
    spread_px = 1.0

    def apply(self, image: Image) -> Image:
        """Return the image."""
        return image

    def adjoint(self, image: Image) -> Image:
        """Return the image."""
        return image


class _Derivative:
    """Derivative of a Gaussian along one axis, smoothed by the Gaussian along the other."""

    def __init__(self, along_u: NDArray[np.float64], along_v: NDArray[np.float64], sigma_px: float) -> None:
        self._u, self._v = along_u, along_v
        self.reach_px, self.spread_px = len(along_u) // 2, spread_px(sigma_px)

    def apply(self, image: Image) -> Image:
        return _separable(image, self._u, self._v)

    def adjoint(self, image: Image) -> Image:
        # One of the two is odd: turned round, the kernel changes its sign.
        return -_separable(image, self._u, self._v)


class LaplacianOfGaussian:
    """Laplacian of the image smoothed by a Gaussian of ``sigma_px``, times sigma squared."""

    def __init__(self, sigma_px: float) -> None:
        self._smooth, _, self._second = _gaussian(sigma_px)
        self.reach_px, self.spread_px = len(self._smooth) // 2, spread_px(sigma_px)

    def apply(self, image: Image) -> Image:
        """Filter an image (h, w)."""
        return _separable(image, self._second, self._smooth) + _separable(image, self._smooth, self._second)

    def adjoint(self, image: Image) -> Image:
        """Apply the transposed map, which is the same."""
        return self.apply(image)


def gradient_features(sigma_px: float) -> tuple[Feature, Feature]:
    """Return the derivatives along u and v of the image smoothed by a Gaussian of ``sigma_px``."""
    smooth, slope, _ = _gaussian(sigma_px)
    return _Derivative(slope, smooth, sigma_px), _Derivative(smooth, slope, sigma_px)


def gradient_kernels(sigma_px: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the Gaussian and its derivative, of which `gradient_features` are made."""
    return _gaussian(sigma_px)[:2]


def spread_px(sigma_px: float) -> float:
    """Return the integral of the autocorrelation of noise that a Gaussian has smoothed, at least one pixel."""
    return max(1.0, 4 * np.pi * sigma_px**2)


def _gaussian(sigma_px: float) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return a sampled Gaussian with sum 1, and its first (as correlation) and second derivative kernels."""
    sigma = max(positive("sigma_px", sigma_px), 0.05)  # of one pixel nothing is left beside it, whatever is smaller
    x = np.arange(-int(np.ceil(2.5 * sigma)), int(np.ceil(2.5 * sigma)) + 1, dtype=np.float64)
    smooth = np.exp(-0.5 * (x / sigma) ** 2)
    smooth /= smooth.sum()
    slope = x * smooth
    slope /= slope @ x  # a ramp has its true slope
    second = ((x / sigma) ** 2 - 1) * smooth
    second -= second.mean()
    second *= 2 / (second @ x**2)
    return smooth, slope, second * sigma**2


def _separable(image: Image, along_u: NDArray[np.float64], along_v: NDArray[np.float64]) -> Image:
    if image.ndim == 2:
        return np.asarray(cv2.sepFilter2D(image, cv2.CV_32F, along_u, along_v, borderType=cv2.BORDER_CONSTANT))
    # One image below the other, with rows of zeros between them: one call is faster than many.
    n, height, width = image.shape
    spaced = np.zeros((n, height + len(along_v) // 2, width), np.float32)
    spaced[:, :height] = image
    filtered = cv2.sepFilter2D(spaced.reshape(-1, width), cv2.CV_32F, along_u, along_v, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(filtered.reshape(spaced.shape)[:, :height])
