"""What it means for a moving image to look like a fixed one.

A `Metric` is a choice with its parameters; `Metric.against` prepares it for one fixed image and gives a `Similarity`:
a number, greater for more alike, with its gradient with respect to the moving image. Where the number can be
written as 1 - |r|^2 / 2 with residuals r, it also gives what a Gauss-Newton step needs (`LeastSquares`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError

__all__ = [
    "Image",
    "LeastSquares",
    "LeastSquaresMetric",
    "Metric",
    "Similarity",
    "Step",
    "checked_pair",
    "like_the_fixed",
]

Image = NDArray[np.float32]


class Similarity(Protocol):
    """Likeness to one fixed image, 1 for the best there can be (mutual information: nats, unbounded)."""

    def value(self, moving: Image) -> float:
        """Return the likeness of an image (h, w); NaN where one of the two shows nothing."""
        ...

    def value_and_gradient(self, moving: Image) -> tuple[float, Image]:
        """Return the likeness and its derivative (h, w) with respect to the moving image's pixels."""
        ...


@dataclass(frozen=True, eq=False)
class Step:
    """Of the residuals r with the derivative J by n parameters: what Gauss-Newton needs.

    Attributes
    ----------
    value
        1 - r^T r / 2, the similarity.
    jtj, jtr
        J^T J (n, n) and J^T r (n,).
    independent
        Number of residuals that noise makes independent of each other: filters spread it over neighbours.
    """

    value: float
    jtj: NDArray[np.float64]
    jtr: NDArray[np.float64]
    independent: float


@runtime_checkable
class LeastSquares(Similarity, Protocol):
    """A similarity that is a sum of squares."""

    def step(self, moving: Image, jacobian: Image) -> Step:
        """Return the normal equations for the image (h, w) and its derivative (n, h, w) by n parameters."""
        ...

    def residual(self, moving: Image) -> Image:
        """Return the size (h, w) of the residuals of every pixel, over their root mean square of all."""
        ...


class Metric(Protocol):
    """A similarity measure before it knows the fixed image."""

    @property
    def reach_px(self) -> int:
        """How far a pixel's neighbourhood reaches that the measure looks at."""
        ...

    def against(self, fixed: Image, weights: Image) -> Similarity:
        """Prepare the comparison with ``fixed`` (h, w); ``weights`` (h, w) >= 0 say how much each pixel counts."""
        ...


class LeastSquaresMetric(Metric, Protocol):
    """A metric whose similarities are sums of squares."""

    def against(self, fixed: Image, weights: Image) -> LeastSquares:
        """As `Metric.against`."""
        ...


def checked_pair(fixed: Image, weights: Image) -> tuple[Image, Image]:
    """Return both as float32, or raise InputError where they do not fit each other or nothing counts."""
    image, weight = np.asarray(fixed, dtype=np.float32), np.asarray(weights, dtype=np.float32)
    if image.ndim != 2 or weight.shape != image.shape or not image.size:
        raise InputError(f"fixed, weights: expected one shape (h, w), found {image.shape} and {weight.shape}")
    if not (np.isfinite(image).all() and np.isfinite(weight).all()):
        raise InputError("fixed, weights: expected finite numbers, found NaN or infinity")
    if weight.min() < 0 or not weight.any():
        raise InputError(f"weights: expected none below zero and some above, found {weight.min()} to {weight.max()}")
    return np.ascontiguousarray(image), np.ascontiguousarray(weight)


def like_the_fixed(name: str, images: Image, shape: tuple[int, ...]) -> Image:
    """Return an image (h, w), or a stack, as contiguous float32; InputError unless its shape is as expected."""
    given = np.ascontiguousarray(images, dtype=np.float32)
    if given.shape != shape:
        raise InputError(f"{name}: expected shape {shape} of the fixed image, found {given.shape}")
    return given
