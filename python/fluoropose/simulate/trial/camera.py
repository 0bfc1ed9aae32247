"""A fluoroscope of a rig as a simulator: what to render for it, and how that reaches the recorded image."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.geometry import View
from fluoropose.rig import Fluoroscope
from fluoropose.simulate.chain import ImageChain, Recorder

__all__ = ["Camera"]

_MARGIN_PX = 3  # cubic interpolation looks two pixels around


class Camera:
    """One view, with the inverse of its fitted distortion.

    Attributes
    ----------
    view
        The part of the ideal image plane that the recorded field shows; to be rendered.
    recorder
        What happens to its signal.

    Raises
    ------
    InputError
        If the view has a parallel beam, or its distortion cannot be inverted inside its field.
    """

    def __init__(self, fluoroscope: Fluoroscope, chain: ImageChain) -> None:
        full = fluoroscope.view
        if full.beam != "point":
            raise InputError("rig: expected views with a point source")
        shape = full.height, full.width
        v, u = np.indices(shape)
        pixels = np.column_stack([u.ravel(), v.ravel()]).astype(np.float64)
        if (field := fluoroscope.field) is not None:
            # Outside the field, where polynomials run wild, the rim goes on: blur and scatter look across the edge.
            away = pixels - (field.u, field.v)
            reach = np.maximum(np.hypot(away[:, 0], away[:, 1]) / (field.radius + 1), 1)
            pixels = (field.u, field.v) + away / reach[:, None]
        ideal = fluoroscope.ideal_from_recorded(pixels)
        if not np.isfinite(ideal).all():
            raise InputError("rig: distortion: expected every pixel of the field to have an ideal position")
        low = np.floor(ideal.min(axis=0)) - _MARGIN_PX
        side = np.ceil(ideal.max(axis=0)) + _MARGIN_PX - low + 1
        if (side > 2 * np.array(full.size_px)).any():
            raise InputError(f"rig: distortion: the field would come from {side.tolist()} ideal pixels")
        width, height = int(side[0]), int(side[1])
        self.view: View = full.crop(low[0], low[1], (width, height), (width, height))
        place = (ideal - low).astype(np.float32)
        self._u, self._v = place[:, 0].reshape(shape), place[:, 1].reshape(shape)
        self.recorder = Recorder(shape, float(np.mean(full.pixel_pitch_mm)), fluoroscope.field, chain)

    def record(self, primary: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the signal (h, w) at recorded pixels of what ``view`` sees of the primary beam."""
        seen = cv2.remap(primary, self._u, self._v, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return self.recorder.signal(np.clip(np.asarray(seen), 0, 1))
