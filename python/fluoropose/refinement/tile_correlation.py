"""Normalised cross-correlation of filtered images, in one piece or in tiles, as a sum of squares.

With A^ = (A - mean) / |A - mean|, and B^ likewise, 1 - NCC = |B^ - A^|^2 / 2. So the residuals r = B^ - A^ have the
derivative dB^ = (1 - B^ B^T) P dB / |P B|, P taking away the mean, and all that a Gauss-Newton step needs are the
weighted products of the images 1, A, B and dB with each other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluoropose.refinement.features import Feature
from fluoropose.refinement.similarity import Image, Step, checked_pair, like_the_fixed

__all__ = ["TileCorrelation"]

_FLAT = 1e-12  # share of an image's sum of squares: what varies less does not vary


class TileCorrelation:
    """Mean over features and tiles of the NCC with one fixed image."""

    def __init__(self, fixed: Image, weights: Image, features: tuple[Feature, ...], tile_px: int | None) -> None:
        image, weight = checked_pair(fixed, weights)
        weight = weight / weight.max()  # what is flat does not depend on their unit
        self._features, self._shape = features, image.shape
        self._index = _tiles(weight, tile_px)
        self._padded = tile_px is not None  # only then is a tile's pixel beyond the image
        self._root = np.sqrt(np.append(weight.ravel(), np.float32(0))[self._index])
        self._sum = np.maximum((self._root**2).sum(axis=1, dtype=np.float64), 1e-30)
        standard = [self._standard(feature.apply(image)) for feature in features]
        self._fixed = [unit for unit, _ in standard]
        # A tile counts as much as its pixels do, unless it is flat; all of them, over the features, count 1.
        shares = [self._sum * (length > 0) for _, length in standard]
        total = sum(float(share.sum()) for share in shares)
        self._shares = [share / total if total > 0 else np.full_like(share, np.nan) for share in shares]

    def value(self, moving: Image) -> float:
        """Return the mean correlation; NaN where one of the two images is flat."""
        return sum(self._compare(k, moving)[0] for k in range(len(self._features)))

    def value_and_gradient(self, moving: Image) -> tuple[float, Image]:
        """Return the mean correlation and its derivative (h, w) by the moving image's pixels."""
        value, gradient = 0.0, np.zeros(self._shape, np.float32)
        for k, feature in enumerate(self._features):
            one, unit, correlation, per_length = self._compare(k, moving)
            slope = (self._shares[k] * per_length)[:, None] * (self._fixed[k] - correlation[:, None] * unit)
            gradient += feature.adjoint(self._join(self._root * slope))
            value += one
        return value, gradient

    def step(self, moving: Image, jacobian: Image) -> Step:
        """Return the normal equations; see the head of this file."""
        n = len(jacobian)
        jacobian = like_the_fixed("jacobian", jacobian, (n, *self._shape))
        value, jtj, jtr = 0.0, np.zeros((n, n)), np.zeros(n)
        for k, feature in enumerate(self._features):
            one, unit, correlation, per_length = self._compare(k, moving)
            slopes = self._centred(feature.apply(jacobian)).swapaxes(0, 1)
            by_moving = np.matmul(slopes, unit[:, :, None])[..., 0].astype(np.float64)
            by_fixed = np.matmul(slopes, self._fixed[k][:, :, None])[..., 0].astype(np.float64)
            among = np.matmul(slopes, slopes.transpose(0, 2, 1)).astype(np.float64)
            among -= by_moving[:, :, None] * by_moving[:, None, :]
            jtj += np.einsum("t,tij->ij", self._shares[k] * per_length**2, among)
            jtr -= (self._shares[k] * per_length) @ (by_fixed - correlation[:, None] * by_moving)
            value += one
        independent = sum(float((self._root > 0).sum()) / feature.spread_px for feature in self._features)
        return Step(value, jtj, jtr, independent)

    def residual(self, moving: Image) -> Image:
        """Return |B^ - A^| of every pixel (h, w), over its root mean square; 0 where nothing counts."""
        squares = np.zeros(self._index.shape)
        for k in range(len(self._features)):
            # Both have unit length in each tile: a pixel's part is the smaller, the larger the tile.
            squares += (self._compare(k, moving)[1] - self._fixed[k]) ** 2 * self._sum[:, None]
        mean = max(float(squares.sum() / self._sum.sum()), 1e-30)  # images may be the same
        per_pixel = np.divide(squares, mean * self._root**2, out=np.zeros_like(squares), where=self._root > 0)
        return self._join(np.sqrt(per_pixel))

    def _compare(self, k: int, moving: Image) -> tuple[float, Image, NDArray[np.float64], NDArray[np.float64]]:
        """Return the share of feature k in the value, B^ (t, m), its correlation with A^ and 1 / |P B| by tile (t,)."""
        image = like_the_fixed("moving", moving, self._shape)
        unit, length = self._standard(self._features[k].apply(image))
        correlation = np.einsum("tm,tm->t", unit, self._fixed[k], dtype=np.float64)
        if not length.any():
            return float("nan"), unit, correlation, length
        per_length = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
        return float(self._shares[k] @ correlation), unit, correlation, per_length

    def _standard(self, image: Image) -> tuple[Image, NDArray[np.float64]]:
        """Return P f / |P f| by tile (t, m), times the roots of the weights, and |P f| (t,), 0 for a flat tile."""
        centred = self._centred(image)
        squares = np.einsum("tm,tm->t", centred, centred, dtype=np.float64)
        raw = image.ravel()
        length = np.sqrt(np.where(squares > _FLAT * max(float(raw @ raw), 1e-30), squares, 0.0))
        scale = np.divide(1, length, out=np.zeros_like(length), where=length > 0)
        return (centred * scale[:, None]).astype(np.float32), length

    def _centred(self, image: Image) -> Image:
        """Split images (..., h, w) into tiles (..., t, m), take weighted means away, multiply by the weights' roots."""
        flat = image.reshape(*image.shape[:-2], -1)
        if self._padded:
            flat = np.concatenate([flat, np.zeros_like(flat[..., :1])], axis=-1)
        tiles = np.take(flat, self._index, axis=-1)
        tiles *= self._root
        mean = np.einsum("...tm,tm->...t", tiles, self._root, dtype=np.float64) / self._sum
        tiles -= mean.astype(np.float32)[..., None] * self._root
        return tiles

    def _join(self, tiles: NDArray[np.floating]) -> Image:
        """Put tiles (t, m) together to an image (h, w)."""
        image = np.zeros(self._shape[0] * self._shape[1] + 1, np.float32)
        image[self._index] = tiles
        return image[:-1].reshape(self._shape)


def _tiles(weight: Image, tile_px: int | None) -> NDArray[np.intp]:
    """Return the pixels (t, m) of each tile that counts; the number of pixels stands for none."""
    height, width = weight.shape
    if tile_px is None:
        return np.flatnonzero(weight)[None]
    padded = np.pad(
        np.arange(weight.size).reshape(weight.shape),
        ((0, -height % tile_px), (0, -width % tile_px)),
        constant_values=weight.size,
    )
    rows, columns = padded.shape[0] // tile_px, padded.shape[1] // tile_px
    tiles = padded.reshape(rows, tile_px, columns, tile_px).swapaxes(1, 2).reshape(rows * columns, -1)
    counts = np.append(weight.ravel(), np.float32(0))[tiles].any(axis=1)
    return tiles[counts]
