"""What a network's positions mean: pixels of a crop, and the same between -1 and 1."""

from __future__ import annotations

from torch import Tensor

__all__ = ["normalised_from_px", "px_from_normalised"]


def normalised_from_px(points_px: Tensor, size: int) -> Tensor:
    """Map pixels of a size x size picture to [-1, 1]: its outer edges; landmarks outside go beyond."""
    return (2 * points_px + 1) / size - 1


def px_from_normalised(points: Tensor, size: int) -> Tensor:
    """Undo ``normalised_from_px``."""
    return ((points + 1) * size - 1) / 2
