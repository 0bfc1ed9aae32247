"""The fixed images of a refinement: what a frame shows round the bone, on ideal pixels, with what of it counts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from fluoropose import _core
from fluoropose.errors import InputError
from fluoropose.geometry import View
from fluoropose.region import Frame, Stored
from fluoropose.rig import Fluoroscope

__all__ = ["FixedView", "fixed_view"]

_LIT_SHARE = 0.97  # of the field's radius: its rim is blurred and shaded
# Share of full scale added before the logarithm. The deeper a shadow, the less its grey says; and a logarithm without
# such a floor moves the blurred edges of metal inwards.
_FLOOR = 0.3
# Attenuation: less of it has met the end of the camera's range. Where the range just suffices, noise would show.
_WHITE = -float(np.log(1 + _FLOOR - 0.002))
_BESIDE_PX = 3  # that blur carries the light of the open field
_LEAST_EXPOSED = 0.5  # share of a window that must be left
_GRID_PX = 8  # distortion is smooth: a grid of it is enough
_BEYOND = 0.1  # share of the ideal image by which that reaches past each edge, as windows do
_NOWHERE = -1e6  # px; also where that is interpolated
_COMPILED = (np.uint8, np.uint16, np.float32)  # what stored numbers may be


@dataclass(frozen=True, eq=False)
class FixedView:
    """One view's window round the bone, free of distortion.

    Attributes
    ----------
    view
        The window as a view, with the image's pixels.
    image
        (h, w) attenuation, -log of the signal: dimensionless, up to a constant.
    weights
        (h, w) 0 to 1, how much of each pixel carries signal: none beyond the frame and its field.
    white
        (h, w) where the frame is overexposed; None where it is nowhere.
    """

    view: View
    image: NDArray[np.float32]
    weights: NDArray[np.float32]
    white: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        size = (self.view.height, self.view.width)
        if self.image.shape != size or self.weights.shape != size:
            raise InputError(
                f"image, weights: expected shape {size} of the view, found {self.image.shape}, {self.weights.shape}"
            )

    def exposed(self) -> FixedView:
        """Return the window without what lies beside overexposed pixels; the same where too little would be left.

        There only the dark end of an edge's blur shows, and it lies within what casts the shadow: the femoral component
        of a simulated knee, before open air, stood 0.53 mm beside its place, and stands 0.13 mm beside it.
        """
        if self.white is None:
            return self
        disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * _BESIDE_PX + 1, 2 * _BESIDE_PX + 1))
        weights = np.where(cv2.dilate(self.white.astype(np.uint8), disc) > 0, np.float32(0), self.weights)
        enough = weights.sum() >= _LEAST_EXPOSED * self.weights.sum()
        return FixedView(self.view, self.image, weights) if enough else self

    def halved(self) -> FixedView:
        """Return the same window with half as many pixels a side, each the mean of four; of white it knows nothing."""
        height, width = self.image.shape
        if height % 2 or width % 2:
            raise InputError(f"image: expected even sides to halve, found {self.image.shape}")
        half = (width // 2, height // 2)
        total = _means(self.weights, half)
        image = np.asarray(_means(self.image * self.weights, half) / np.maximum(total, 1e-6), dtype=np.float32)
        return FixedView(self.view.resized(half), image, np.floor(total + np.float32(1e-3)))


def fixed_view(
    fluoroscope: Fluoroscope,
    frame: Frame,
    points_mm: NDArray[np.float64],
    most_px: int = 256,
    margin: float = 1.15,
    multiple: int = 8,
) -> FixedView:
    """Cut the window round world points out of a frame and resample it onto ideal pixels.

    Parameters
    ----------
    fluoroscope
        The view, its distortion and its field.
    frame
        (h, w) recorded pixels, bright = attenuating, full scale 1.
    points_mm
        (n, 3) mm, world frame: what the window is to hold, the surface of the bone.
    most_px
        Side of the window in pixels of the result, unless the frame itself has fewer there.
    margin
        Side of the window relative to the box round the projected points that lie in the field.
    multiple
        The side is a multiple of this, so that it can be halved.

    Raises
    ------
    InputError
        If the frame does not have the view's size, or no point falls into the field.
    """
    view = fluoroscope.view
    if frame.shape != (view.height, view.width):
        raise InputError(f"frame: expected shape {(view.height, view.width)}, found {frame.shape}")
    window = _window(fluoroscope, points_mm, most_px, margin, multiple)
    size = window.width
    # Samples no further apart than the frame's pixels, then means: nothing aliases.
    fine = max(1, round(float(np.linalg.norm(window.u_step) / np.linalg.norm(view.u_step))))
    # Many small pixels become fewer larger ones first, which is quicker than many samples: two a side are enough.
    block = -(-fine // 2)
    fine = -(-fine // block)
    u, v = _recorded(fluoroscope, window.resized((size * fine, size * fine)))
    lit = _means(_in_field(fluoroscope, u, v).astype(np.float32), (size, size))
    image = _means(_attenuation_at(frame, u, v, block), (size, size))
    weights = np.floor(lit + np.float32(1e-3))
    white = (image < _WHITE) & (weights > 0)
    return FixedView(window, image, weights, white if white.any() else None)


def _attenuation_at(frame: Frame, u: NDArray[np.float32], v: NDArray[np.float32], block: int) -> NDArray[np.float32]:
    """Return the attenuation (h, w) at places (u, v) (h, w) of a frame, between means over blocks of so many pixels."""
    # Only of what is looked at: logarithms take their time.
    rows, columns = (_span(float(c.min()), float(c.max()), n, block) for c, n in zip((v, u), frame.shape, strict=True))
    attenuation = _attenuation(frame, rows, columns, block)
    u, v = (
        (c + np.float32(0.5 - first)) / np.float32(block) - np.float32(0.5)
        for c, first in ((u, columns.start), (v, rows.start))
    )
    samples = cv2.remap(attenuation, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(samples, dtype=np.float32)


def _attenuation(frame: Frame, rows: slice, columns: slice, block: int) -> NDArray[np.float32]:
    """Return the attenuation of part of a frame, means over blocks of so many pixels, which divide the part."""
    pixels, (offset, factor) = (frame.pixels, frame.line) if isinstance(frame, Stored) else (frame, (0.0, 1.0))
    part = pixels[rows, columns]
    if part.dtype not in _COMPILED or part.strides[1] != part.itemsize or not part.flags.aligned:
        part = np.ascontiguousarray(part, dtype=np.float32)
    return _core.mean_attenuation(part, block, 1 + _FLOOR - offset, -factor, _FLOOR)


def _span(first: float, last: float, size: int, block: int) -> slice:
    """Return the pixels, of ``size``, that interpolation between two places reads: whole blocks, at least one."""
    start = int(np.clip(np.floor(first) - block, 0, size - block))
    stop = int(np.clip(np.ceil(last) + 1 + 2 * block, start + block, size))
    return slice(start, stop - (stop - start) % block)


def _window(
    fluoroscope: Fluoroscope, points_mm: NDArray[np.float64], most_px: int, margin: float, multiple: int
) -> View:
    projected = fluoroscope.view.project(points_mm)
    seen = projected[_seen(fluoroscope, projected)]
    if len(seen) < 2:
        raise InputError("points_mm: expected some in the field of the view, found the bone out of it")
    low, high = seen.min(axis=0), seen.max(axis=0)
    side = float((high - low).max()) * margin + 1
    left, top = (low + high) / 2 + 0.5 - side / 2
    size = min(most_px // multiple, int(np.ceil(side / multiple))) * multiple
    return fluoroscope.view.crop(float(left), float(top), (side, side), (size, size))


def _in_field(fluoroscope: Fluoroscope, u: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell which recorded pixels carry signal: those of the frame, and of its field but for the rim."""
    inside = (u >= 0) & (v >= 0) & (u <= fluoroscope.view.width - 1) & (v <= fluoroscope.view.height - 1)
    field = fluoroscope.field
    if field is not None:
        inside &= (u - field.u) ** 2 + (v - field.v) ** 2 <= (_LIT_SHARE * field.radius) ** 2
    return np.asarray(inside)


def _recorded(fluoroscope: Fluoroscope, window: View) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return where the pixels of a window of the ideal image lie in the recorded frame: u and v, (h, w) each."""
    view, size = fluoroscope.view, np.array([window.width, window.height])
    corners = window.pixel_to_world(np.array([[0.0, 0.0], [window.width - 1.0, window.height - 1.0]]))
    first, last = view.pixel_from_plane_point(corners)
    along = np.linspace(first[0], last[0], window.width, dtype=np.float32)
    down = np.linspace(first[1], last[1], window.height, dtype=np.float32)[:, None]
    offsets = _offsets(fluoroscope)
    if offsets is None:
        u, v = np.broadcast_arrays(along, down)
        return np.ascontiguousarray(u), np.ascontiguousarray(v)
    step = (last - first) / np.maximum(size - 1, 1)
    grid = np.column_stack([np.diag(step), first + _beyond_px(fluoroscope)]) / _GRID_PX
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    u, v = (cv2.warpAffine(one, grid, size.tolist(), None, how, cv2.BORDER_CONSTANT, _NOWHERE) for one in offsets)
    return u + along, v + down


def _seen(fluoroscope: Fluoroscope, ideal_px: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Tell what ``Fluoroscope.sees`` tells for ideal pixels (n, 2), to some hundredths of a pixel, and sooner."""
    offsets = _offsets(fluoroscope)
    if offsets is None:
        return fluoroscope.sees(ideal_px)
    u, v = np.ascontiguousarray((ideal_px + _beyond_px(fluoroscope)).T / _GRID_PX, dtype=np.float32)
    moved = [cv2.remap(one, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).ravel() for one in offsets]
    return fluoroscope.shows(ideal_px, ideal_px + np.column_stack(moved))


@lru_cache(maxsize=32)
def _offsets(fluoroscope: Fluoroscope) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
    """Return recorded minus ideal pixels, u and v, at every `_GRID_PX`-th ideal pixel, from beyond the image on."""
    if fluoroscope.distortion is None:
        return None
    sizes = zip(fluoroscope.view.size_px, _beyond_px(fluoroscope).tolist(), strict=True)
    columns, rows = (np.arange(-beyond, size + beyond + _GRID_PX, _GRID_PX) for size, beyond in sizes)
    ideal = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2).astype(np.float64)
    recorded = fluoroscope.recorded_from_ideal(ideal)
    # Where the model folds over there is no image either.
    offset = np.where(np.isfinite(recorded), recorded - ideal, _NOWHERE).astype(np.float32)
    u, v = (np.ascontiguousarray(one.reshape(len(rows), len(columns))) for one in offset.T)
    return u, v


def _beyond_px(fluoroscope: Fluoroscope) -> NDArray[np.intp]:
    """Return how far the grid of offsets reaches past the left (and right) and the upper (and lower) edge."""
    return _GRID_PX * np.ceil(_BEYOND * np.array(fluoroscope.view.size_px) / _GRID_PX).astype(np.intp)


def _means(image: NDArray[np.float32], size_px: tuple[int, int]) -> NDArray[np.float32]:
    """Return the means over blocks; ``size_px`` (width, height) divides the image's."""
    return np.asarray(cv2.resize(image, size_px, interpolation=cv2.INTER_AREA), dtype=np.float32)
