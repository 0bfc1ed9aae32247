"""Gradient correlation by the compiled core: the numbers of `TileCorrelation`, many times as fast."""

from __future__ import annotations

from functools import cached_property

from fluoropose import _core
from fluoropose.refinement.features import gradient_features, gradient_kernels, spread_px
from fluoropose.refinement.similarity import Image, Step, checked_pair, like_the_fixed
from fluoropose.refinement.tile_correlation import TileCorrelation
from fluoropose.refinement.tone import Tone

__all__ = ["CompiledCorrelation"]


class CompiledCorrelation:
    """Mean of the NCC of the derivatives along u and v with those of one fixed image, over tiles.

    Parameters
    ----------
    fixed, weights, tile_px
        As for `TileCorrelation`.
    sigma_px
        Of the Gaussian whose derivatives are used.

    Attributes
    ----------
    core
        What is compiled.
    independent
        See `Step`.
    """

    def __init__(self, fixed: Image, weights: Image, sigma_px: float, tile_px: int | None) -> None:
        image, weight = checked_pair(fixed, weights)
        self._pair, self._sigma_px, self._tile_px = (image, weight), sigma_px, tile_px
        self._shape = image.shape
        smooth, slope = (kernel.tolist() for kernel in gradient_kernels(sigma_px))
        self.core = _core.GradientCorrelation(image, weight, smooth, slope, tile_px or 0)
        self.independent = 2 * self.core.counted / spread_px(sigma_px)

    @cached_property
    def _reference(self) -> TileCorrelation:
        return TileCorrelation(*self._pair, gradient_features(self._sigma_px), self._tile_px)

    def value(self, moving: Image) -> float:
        """Return the mean correlation; NaN where one of the two images is flat."""
        return self.core.value(like_the_fixed("moving", moving, self._shape))

    def value_and_gradient(self, moving: Image) -> tuple[float, Image]:
        """Return the mean correlation and its derivative (h, w) by the moving image's pixels."""
        return self._reference.value_and_gradient(moving)

    def step(self, moving: Image, jacobian: Image) -> Step:
        """Return the normal equations by n parameters; compiled for the six of a pose."""
        if len(jacobian) != 6:
            return self._reference.step(moving, jacobian)
        image = like_the_fixed("moving", moving, self._shape)
        value, jtj, jtr = self.core.step(image, like_the_fixed("jacobian", jacobian, (6, *self._shape)))
        return Step(value, jtj, jtr, self.independent)

    def residual(self, moving: Image) -> Image:
        """Return |B^ - A^| of every pixel (h, w), over its root mean square; 0 where nothing counts."""
        return self._reference.residual(moving)

    def best_tone(self, line_integral: Image, tones: tuple[Tone, ...]) -> Tone:
        """Return the tone through which an image is most alike."""
        image = like_the_fixed("line_integral", line_integral, self._shape)
        return tones[self.core.best_veil(image, [tone.veil for tone in tones])]
