"""Running a bundle's networks on crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fluoropose.errors import InputError
from fluoropose.learning.bundle.manifest import LandmarkFacts, NetworkFacts, SegmentFacts, StyleFacts
from fluoropose.learning.bundle.placed import Placed
from fluoropose.learning.coordinates import px_from_normalised

__all__ = ["LandmarkNetwork", "Landmarks", "SegmentNetwork", "StyleNetwork"]


class Landmarks(NamedTuple):
    """Where the landmarks of some crops lie.

    Attributes
    ----------
    px
        (b, n, 2) pixels of the crop; landmarks outside the crop have positions outside it.
    sd_px
        (b, n) standard deviation per axis, pixels of the crop; NaN from a network that does not tell it.
    """

    px: NDArray[np.float64]
    sd_px: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class LandmarkNetwork:
    """Finds the landmarks in crops."""

    facts: LandmarkFacts
    views: int
    module: Placed

    def predict(self, crops: NDArray[np.float32], views: Sequence[int]) -> Landmarks:
        """Predict where the landmarks lie.

        Parameters
        ----------
        crops
            (b, size, size) in [-1, 1], from ``crop_frame`` and ``facts.preprocessing.apply``.
        views
            (b,) index of the view each crop is of.

        Raises
        ------
        InputError
            If shapes, ranges or view indices are not as expected.
        """
        images = _checked(crops, self.facts)
        index = np.asarray(views)
        if index.shape != (len(images),) or not np.isin(index, np.arange(self.views)).all():
            raise InputError(f"views: expected {len(images)} indices from 0 to {self.views - 1}, found {list(views)}")
        with torch.inference_mode():
            (output,) = self.module(images, torch.from_numpy(index.astype(np.int64)))
        return self.decoded(output)

    def decoded(self, output: Tensor) -> Landmarks:
        """Return what the network's output (b, n, 2 or 3) means."""
        output = output.double()
        px = np.asarray(px_from_normalised(output[..., :2], self.facts.size).numpy())
        if not self.facts.deviations:
            return Landmarks(px, np.full(px.shape[:2], np.nan))
        return Landmarks(px, np.asarray((torch.exp(output[..., 2]) * (self.facts.size / 2)).numpy()))


@dataclass(frozen=True, eq=False)
class SegmentNetwork:
    """Finds the bone's shadow in crops."""

    facts: SegmentFacts
    module: Placed

    def predict(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return (b, size, size), per pixel the probability that its ray meets the bone.

        ``crops`` (b, size, size) in [-1, 1], preprocessed as ``facts`` say; InputError where they are not.
        """
        return _pictures(self.module, _checked(crops, self.facts))


@dataclass(frozen=True, eq=False)
class StyleNetwork:
    """Turns crops of one style into another's."""

    facts: StyleFacts
    module: Placed

    def translate(self, crops: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the crops in the other style: (b, size, size) in [-1, 1], bright = attenuating, as they came.

        ``crops`` (b, size, size) in [-1, 1], preprocessed as ``facts`` say; InputError where they are not.
        """
        return np.clip(_pictures(self.module, _checked(crops, self.facts)), -1, 1)


def _checked(crops: NDArray[np.float32], facts: NetworkFacts) -> Tensor:
    images = np.ascontiguousarray(crops, dtype=np.float32)
    if images.ndim != 3 or images.shape[1:] != (facts.size, facts.size):
        raise InputError(f"crops: expected shape (b, {facts.size}, {facts.size}), found {images.shape}")
    if not np.isfinite(images).all() or np.abs(images).max(initial=0) > 1 + 1e-4:
        raise InputError("crops: expected finite numbers in [-1, 1], as preprocessing gives them")
    return torch.from_numpy(images)[:, None]


def _pictures(module: Placed, images: Tensor) -> NDArray[np.float32]:
    with torch.inference_mode():
        (pictures,) = module(images)
        return np.asarray(pictures[:, 0].float().numpy())
