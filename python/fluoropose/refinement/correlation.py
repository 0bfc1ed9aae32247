"""Normalised cross-correlation of images, of their gradients, and of their small tiles: all of them least squares.

See `TileCorrelation` for the numbers; those of gradient correlation, which refinement uses by default, are compiled.
"""

from __future__ import annotations

from dataclasses import dataclass

from fluoropose._checks import positive, whole_positive
from fluoropose.refinement.compiled import CompiledCorrelation
from fluoropose.refinement.features import Identity, LaplacianOfGaussian, gradient_features
from fluoropose.refinement.similarity import Image, LeastSquares
from fluoropose.refinement.tile_correlation import TileCorrelation

__all__ = ["CrossCorrelation", "GradientCorrelation", "LaplacianCorrelation", "LocalCrossCorrelation"]


@dataclass(frozen=True)
class CrossCorrelation:
    """Normalised cross-correlation (NCC) of the images."""

    reach_px = 0

    def against(self, fixed: Image, weights: Image) -> LeastSquares:
        """Prepare for a fixed image (h, w) with weights (h, w)."""
        return TileCorrelation(fixed, weights, (Identity(),), None)


@dataclass(frozen=True)
class LocalCrossCorrelation:
    """Mean over square tiles of their NCC, each weighted by the sum of its weights (patch NCC).

    Each tile has its own brightness and contrast. Tiles in which the fixed image is flat do not count.

    Attributes
    ----------
    tile_px
        Side of a tile.
    """

    tile_px: int = 16
    reach_px = 0

    def against(self, fixed: Image, weights: Image) -> LeastSquares:
        """Prepare for a fixed image (h, w) with weights (h, w)."""
        return TileCorrelation(fixed, weights, (Identity(),), whole_positive("tile_px", self.tile_px))


@dataclass(frozen=True)
class GradientCorrelation:
    """Mean of the NCC of the derivatives along u and along v (gradient correlation: Penney et al., IEEE TMI 1998).

    Attributes
    ----------
    sigma_px
        Of the Gaussian whose derivative is used.
    tile_px
        Compare tiles of this side, each with its own contrast, rather than the whole image.
    tiles_across
        At least so many of them side by side: in small images, as at the coarse levels of a schedule, they are smaller.
    """

    sigma_px: float = 1.0
    tile_px: int | None = None
    tiles_across: int = 1

    @property
    def reach_px(self) -> int:
        """How far the derivative looks."""
        return gradient_features(self.sigma_px)[0].reach_px

    def against(self, fixed: Image, weights: Image) -> LeastSquares:
        """Prepare for a fixed image (h, w) with weights (h, w)."""
        tile_px = self.tile_px
        if tile_px is not None:
            tile_px = max(
                1,
                min(
                    whole_positive("tile_px", tile_px),
                    fixed.shape[-1] // whole_positive("tiles_across", self.tiles_across),
                ),
            )
        return CompiledCorrelation(fixed, weights, self.sigma_px, tile_px)


@dataclass(frozen=True)
class LaplacianCorrelation:
    """NCC of the Laplacians of the images smoothed by a Gaussian of ``sigma_px``."""

    sigma_px: float = 1.0

    @property
    def reach_px(self) -> int:
        """How far the Laplacian looks."""
        return LaplacianOfGaussian(self.sigma_px).reach_px

    def against(self, fixed: Image, weights: Image) -> LeastSquares:
        """Prepare for a fixed image (h, w) with weights (h, w)."""
        return TileCorrelation(fixed, weights, (LaplacianOfGaussian(positive("sigma_px", self.sigma_px)),), None)
