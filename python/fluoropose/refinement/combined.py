"""Weighted sums of measures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fluoropose.errors import InputError
from fluoropose.refinement.similarity import Image, Metric, Similarity

__all__ = ["WeightedSum"]


@dataclass(frozen=True)
class WeightedSum:
    """The sum of several measures, each times its factor.

    Attributes
    ----------
    metrics, factors
        As many of both.
    """

    metrics: tuple[Metric, ...]
    factors: tuple[float, ...]

    def __post_init__(self) -> None:
        if not self.metrics or len(self.metrics) != len(self.factors):
            raise InputError(f"factors: expected one per metric, {len(self.metrics)}, found {len(self.factors)}")

    @property
    def reach_px(self) -> int:
        """The farthest of the measures' reaches."""
        return max(metric.reach_px for metric in self.metrics)

    def against(self, fixed: Image, weights: Image) -> Similarity:
        """Prepare for a fixed image (h, w) with weights (h, w)."""
        return _Sum([metric.against(fixed, weights) for metric in self.metrics], self.factors)


class _Sum:
    def __init__(self, parts: list[Similarity], factors: tuple[float, ...]) -> None:
        self._parts = list(zip(parts, factors, strict=True))

    def value(self, moving: Image) -> float:
        return sum(factor * part.value(moving) for part, factor in self._parts)

    def value_and_gradient(self, moving: Image) -> tuple[float, Image]:
        value, gradient = 0.0, np.zeros_like(moving)
        for part, factor in self._parts:
            one, by_pixel = part.value_and_gradient(moving)
            value += factor * one
            gradient += np.float32(factor) * by_pixel
        return value, gradient
