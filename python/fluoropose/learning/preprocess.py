"""From a frame to the network's input; the very same arithmetic when training and when registering."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field

from fluoropose._toml import Config
from fluoropose.errors import InputError
from fluoropose.io.stored_frame import StoredFrame
from fluoropose.region import Frame, Region
from fluoropose.rig import Fluoroscope

__all__ = ["LIT_SHARE", "Preprocessing", "crop_frame", "lit_pixels"]

LIT_SHARE = 0.98  # of the field's radius: its rim is blurred, and no circle exactly


def crop_frame(frame: Frame, region: Region, size: int) -> NDArray[np.float32]:
    """Cut a region out of a frame and resample it to (size, size).

    Parameters
    ----------
    frame
        (h, w) in [0, 1], bright = attenuating: 0 where the beam is open (full scale), 1 where there is no signal.
        A stored frame whose background is bright becomes ``1 - pixel / full_scale``.
    region
        Window of the frame; what lies past the frame's edge has no signal.
    size
        Side of the crop, pixels.

    Raises
    ------
    InputError
        If the frame is not two-dimensional, or what it shows there is not finite or not in [0, 1].
    """
    if len(frame.shape) != 2 or 0 in frame.shape:
        raise InputError(f"frame: expected shape (h, w), found {frame.shape}")
    if isinstance(frame, StoredFrame):  # the means of stored pixels are converted, which are fewer
        crop = frame.converted(region.crop(frame.pixels, size, outside=frame.no_signal))
    else:
        crop = region.crop(frame, size, outside=1.0)
    low, high = float(crop.min()), float(crop.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError("frame: expected finite numbers, found NaN or infinity")
    if low < -1e-3 or high > 1 + 1e-3:
        raise InputError(f"frame: expected values in [0, 1], found {low:.4g} to {high:.4g}")
    return crop


def lit_pixels(fluoroscope: Fluoroscope, region: Region, size: int) -> NDArray[np.bool_]:
    """Return which pixels (size, size) of a crop carry signal: those in the frame and in its circular field."""
    window = np.arange(size, dtype=np.float64)
    u, v = region.to_frame(np.column_stack([window, window]), size).T
    width, height = fluoroscope.view.size_px
    lit = ((v >= 0) & (v <= height - 1))[:, None] & ((u >= 0) & (u <= width - 1))
    rim = fluoroscope.field
    if rim is not None:
        lit &= (u - rim.u) ** 2 + ((v - rim.v) ** 2)[:, None] <= (LIT_SHARE * rim.radius) ** 2
    return np.asarray(lit)


class Preprocessing(Config):
    """Logarithm of the signal, then the range of the lit pixels to [-1, 1]; its numbers travel with the network.

    What is not lit becomes 1, however black the camera draws it: otherwise a crop at the field's rim would spend its
    grey scale on the black beside it, and the bone would lose its contrast.

    Attributes
    ----------
    floor
        Share of full scale added to the signal before the logarithm, so that black stays finite.
    low, high
        Quantiles of the lit pixels that become -1 and 1; what lies outside is clipped.
    """

    floor: float = Field(default=0.03, gt=0, lt=1)
    low: float = Field(default=0.02, ge=0, lt=0.5)
    high: float = Field(default=0.98, gt=0.5, le=1)

    def __call__(self, crops: torch.Tensor, lit: torch.Tensor) -> torch.Tensor:
        """Normalise crops (b, h, w) in [0, 1], bright = attenuating, to [-1, 1]; a constant crop becomes -1.

        ``lit`` (b, h, w) bool says which pixels carry signal; at least one in every crop.
        """
        stretched = self._stretched(-torch.log((1 - crops).clamp_min(0) + self.floor), lit)
        return stretched.masked_fill(~lit, 1.0)

    def cut_out(self, images: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Show the masked part of normalised crops (b, h, w) alone: its range to [-1, 1], all else -1, the open beam.

        ``mask`` (b, h, w) bool; where it is empty the whole picture becomes -1.
        """
        return self._stretched(images, mask).masked_fill(~mask, -1.0)

    def _stretched(self, images: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
        # A quarter of the pixels is enough for quantiles, which sort.
        sample = images.masked_fill(~where, torch.nan)[:, ::2, ::2].flatten(1)
        levels = torch.linspace(self.low, self.high, 2, dtype=sample.dtype, device=sample.device)  # without an upload
        low, high = _nanquantile(sample, levels).nan_to_num()[:, :, None, None]
        scaled: torch.Tensor = 2 * (images - low) / (high - low).clamp_min(1e-3) - 1
        return scaled.clamp(-1, 1)

    def check(self, crop: NDArray[np.float32], lit: NDArray[np.bool_]) -> None:
        """Raise InputError unless something can be seen in a crop (h, w), as ``crop_frame`` returns it.

        One that is not finite, hardly lit by its ``lit_pixels`` or all one grey shows nothing.
        """
        if crop.ndim != 2 or lit.shape != crop.shape:
            raise InputError(f"crop, lit: expected one shape (h, w), found {crop.shape} and {lit.shape}")
        seen = crop[lit]
        if not np.isfinite(crop).all():
            raise InputError("crop: expected finite numbers, found NaN or infinity")
        if seen.size < 0.02 * crop.size:
            raise InputError(f"crop: outside the field, {seen.size / crop.size:.1%} of it is lit")
        if float(np.ptp(seen)) < 1e-3:
            raise InputError(f"crop: blank, all pixels near {float(crop.mean()):.3f}")

    def apply(self, crop: NDArray[np.float32], lit: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Normalise one crop (h, w); raises InputError as ``check`` does."""
        self.check(crop, lit)
        image = torch.from_numpy(np.ascontiguousarray(crop, dtype=np.float32))
        return np.asarray(self(image[None], torch.from_numpy(lit)[None])[0].numpy())


def _nanquantile(samples: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Return quantiles (k, b) of samples (b, n) at levels (k,), NaN left out: exactly ``torch.nanquantile``.

    That sorts with indices, which nobody needs; on a processor NumPy's sort is thirty times as fast.
    """
    if samples.device.type == "cpu":
        ordered = torch.from_numpy(np.sort(samples.numpy(), axis=1))
    else:
        ordered = samples.sort(dim=1).values
    last = (~samples.isnan()).sum(1, keepdim=True) - 1
    rank = (levels * last).clamp_min(0)
    below = rank.long()
    quantiles = torch.lerp(ordered.gather(1, below), ordered.gather(1, rank.ceil().long()), rank - below)
    return quantiles.T
