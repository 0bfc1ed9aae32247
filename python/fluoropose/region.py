"""Square windows of a recorded frame: where the network looks, and how its pixels map to the frame's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from fluoropose._checks import finite_array, positive
from fluoropose.errors import InputError

__all__ = ["Frame", "Region", "Stored"]


class Frame(Protocol):
    """An image (h, w): an array, or what makes one of the parts that are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns."""

    def __getitem__(self, part: tuple[slice, slice], /) -> NDArray[Any]:
        """Return some rows and columns."""


@runtime_checkable
class Stored(Protocol):
    """A frame whose numbers are stored as they came, and what they stand for."""

    pixels: NDArray[Any]

    @property
    def line(self) -> tuple[float, float]:
        """Offset and factor: a stored number stands for offset + factor * number."""


@dataclass(frozen=True)
class Region:
    """A square window of a frame, in its pixels; it may reach past the frame's edge.

    Resampled to ``size`` pixels, the frame's pixel u becomes u' = (u - left_px + 0.5) size / side_px - 0.5, the same
    rule as ``View.crop``.

    Parameters
    ----------
    left_px, top_px
        Pixel that would become the window's first one without resampling.
    side_px
        Side of the square, > 0.

    Raises
    ------
    InputError
        If a number is not finite or the side is not positive.
    """

    left_px: float
    top_px: float
    side_px: float

    def __post_init__(self) -> None:
        positive("side_px", self.side_px)
        finite_array("left_px, top_px", [self.left_px, self.top_px], (2,))

    @classmethod
    def of_image(cls, width: int, height: int) -> Region:
        """Return the smallest centred square that holds a whole image."""
        side = float(max(width, height))
        return cls((width - side) / 2, (height - side) / 2, side)

    @classmethod
    def of_circle(cls, u: float, v: float, radius: float) -> Region:
        """Return the square around a circle: centre (u, v) and radius, pixels."""
        return cls(u + 0.5 - radius, v + 0.5 - radius, 2 * positive("radius", radius))

    @classmethod
    def around(cls, points_px: NDArray[np.float64], margin: float) -> Region:
        """Return the square around points (n, 2), NaN rows ignored, ``margin`` times as large as their box.

        Raises
        ------
        InputError
            If fewer than two points are finite or all lie in one place.
        """
        points = np.asarray(points_px, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 2:
            raise InputError(f"points_px: expected shape (n, 2), found {points.shape}")
        known = points[np.isfinite(points).all(axis=1)]
        if len(known) < 2:
            raise InputError(f"points_px: expected at least two finite points, found {len(known)}")
        low, high = known.min(axis=0), known.max(axis=0)
        side = float((high - low).max()) * positive("margin", margin)
        left, top = (low + high) / 2 + 0.5 - side / 2
        return cls(float(left), float(top), side)

    def from_frame(self, points_px: NDArray[np.float64], size: int) -> NDArray[np.float64]:
        """Map frame pixels (n, 2) to pixels of the window resampled to ``size``; NaN stays NaN."""
        scale = size / self.side_px
        return np.asarray((points_px - (self.left_px, self.top_px) + 0.5) * scale - 0.5)

    def to_frame(self, points_px: NDArray[np.float64], size: int) -> NDArray[np.float64]:
        """Map pixels (n, 2) of the window resampled to ``size`` back to frame pixels; NaN stays NaN."""
        scale = self.side_px / size
        return np.asarray((points_px + 0.5) * scale - 0.5 + (self.left_px, self.top_px))

    def crop(self, frame: Frame, size: int, outside: float = 0.0) -> NDArray[np.float32]:
        """Resample the window of a frame (h, w) to (size, size), each pixel the mean over its area.

        Parameters
        ----------
        frame
            (h, w) image; only the window is read.
        size
            Side of the result, pixels.
        outside
            Value where the window reaches past the frame.
        """
        if len(frame.shape) != 2:
            raise InputError(f"frame: expected shape (h, w), found {frame.shape}")
        # Bilinear samples on a grid no coarser than the frame's, then their means: area averaging for any window. Both
        # are separable: what every row (and column) of the frame weighs in each of the window's.
        height, width = frame.shape
        across, rows = _weights(self.top_px, self.side_px, size, height)
        along, columns = _weights(self.left_px, self.side_px, size, width)
        part = frame[across, along].astype(np.float32, copy=False)
        resampled = cv2.transpose(columns @ cv2.transpose(rows @ part))
        if outside:
            resampled += np.float32(outside) * (1 - np.outer(rows.sum(axis=1), columns.sum(axis=1)))
        return np.asarray(resampled)


def _weights(first: float, side: float, size: int, length: int) -> tuple[slice, csr_array]:
    """Return which of ``length`` frame pixels count, and (size, their number) how much in each window pixel.

    The window begins at pixel ``first`` and is ``side`` pixels wide; a row's sum falls short of 1 where it leaves the
    frame.
    """
    fine = max(1, int(np.ceil(side / size)))
    step = side / (size * fine)
    samples = first - 0.5 + step * (np.arange(size * fine) + 0.5)
    before = np.floor(samples)
    share = ((samples - before) / fine).astype(np.float32)
    start = min(max(int(before[0]), 0), length - 1)
    stop = max(min(int(before[-1]) + 2, length), start + 1)
    pixels = (before.astype(np.int32) - start)[:, None] + np.arange(2, dtype=np.int32)
    weights = np.stack([np.float32(1 / fine) - share, share], axis=1)
    weights[(pixels < 0) | (pixels >= stop - start)] = 0
    np.clip(pixels, 0, stop - start - 1, out=pixels)
    ends = np.arange(0, 2 * size * fine + 1, 2 * fine, dtype=np.int32)
    made = csr_array((weights.ravel(), pixels.ravel(), ends), shape=(size, stop - start))
    made.sum_duplicates()
    return slice(start, stop), made
