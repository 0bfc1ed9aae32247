"""The fixed images of a refinement: what a frame shows round the bone, on ideal pixels, with what of it counts."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.geometry import View
from fluoropose.rig import Fluoroscope

__all__ = ["FixedView", "fixed_view"]

_LIT_SHARE = 0.97  # of the field's radius: its rim is blurred and shaded
# Share of full scale added before the logarithm. The deeper a shadow, the less its grey says; and a logarithm without
# such a floor moves the blurred edges of metal inwards.
_FLOOR = 0.3


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
    """

    view: View
    image: NDArray[np.float32]
    weights: NDArray[np.float32]

    def __post_init__(self) -> None:
        size = (self.view.height, self.view.width)
        if self.image.shape != size or self.weights.shape != size:
            raise InputError(
                f"image, weights: expected shape {size} of the view, found {self.image.shape}, {self.weights.shape}"
            )

    def halved(self) -> FixedView:
        """Return the same window with half as many pixels a side, each the mean of four."""
        height, width = self.image.shape
        if height % 2 or width % 2:
            raise InputError(f"image: expected even sides to halve, found {self.image.shape}")
        total = _of_four(self.weights)
        image = np.asarray(_of_four(self.image * self.weights) / np.maximum(total, 1e-6), dtype=np.float32)
        return FixedView(
            self.view.resized((width // 2, height // 2)), image, np.floor(total + np.float32(1e-3)).astype(np.float32)
        )


def fixed_view(
    fluoroscope: Fluoroscope,
    frame: NDArray[np.float32],
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
    ideal = _pixels(view, window.resized((size * fine, size * fine)))
    recorded = _recorded(fluoroscope, ideal, size * fine)
    signal = np.log(np.clip(1 - frame, 0, 1) + np.float32(_FLOOR))
    samples = cv2.remap(
        -signal.astype(np.float32),
        recorded[..., 0],
        recorded[..., 1],
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    inside = (recorded >= 0).all(axis=-1) & (recorded <= (view.width - 1, view.height - 1)).all(axis=-1)
    field = fluoroscope.field
    if field is not None:
        inside &= np.hypot(recorded[..., 0] - field.u, recorded[..., 1] - field.v) <= _LIT_SHARE * field.radius
    shape = (size, fine, size, fine)
    lit = inside.astype(np.float32).reshape(shape).mean(axis=(1, 3))
    image = samples.reshape(shape).mean(axis=(1, 3))
    return FixedView(window, image.astype(np.float32), np.floor(lit + 1e-3).astype(np.float32))


def _window(
    fluoroscope: Fluoroscope, points_mm: NDArray[np.float64], most_px: int, margin: float, multiple: int
) -> View:
    projected = fluoroscope.view.project(points_mm)
    seen = projected[fluoroscope.sees(projected)]
    if len(seen) < 2:
        raise InputError("points_mm: expected some in the field of the view, found the bone out of it")
    low, high = seen.min(axis=0), seen.max(axis=0)
    side = float((high - low).max()) * margin + 1
    left, top = (low + high) / 2 + 0.5 - side / 2
    size = min(most_px // multiple, int(np.ceil(side / multiple))) * multiple
    return fluoroscope.view.crop(float(left), float(top), (side, side), (size, size))


def _pixels(view: View, window: View) -> NDArray[np.float64]:
    """Return the pixels (h w, 2) of ``view`` that those of a window of it are."""
    v, u = np.mgrid[: window.height, : window.width]
    return view.pixel_from_plane_point(window.pixel_to_world(np.column_stack([u.ravel(), v.ravel()])))


def _recorded(fluoroscope: Fluoroscope, ideal: NDArray[np.float64], size: int) -> NDArray[np.float32]:
    """Return where (size, size, 2) the ideal pixels lie in the recorded frame; smooth, so a coarse grid is computed."""
    grid = ideal.reshape(size, size, 2)
    if fluoroscope.distortion is None:
        return grid.astype(np.float32)
    at = np.unique(np.linspace(0, size - 1, 33).round().astype(int))
    coarse = grid[np.ix_(at, at)].reshape(-1, 2)
    moved = fluoroscope.recorded_from_ideal(coarse)
    moved = np.where(np.isfinite(moved), moved, -1e4)
    offset = (moved - coarse).reshape(len(at), len(at), 2).astype(np.float32)
    place = np.interp(np.arange(size), at, np.arange(len(at))).astype(np.float32)
    u, v = np.meshgrid(place, place)
    return (grid + cv2.remap(offset, u, v, cv2.INTER_CUBIC)).astype(np.float32)


def _of_four(image: NDArray[np.float32]) -> NDArray[np.float32]:
    height, width = image.shape
    return np.asarray(image.reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3)), dtype=np.float32)
