"""The domain of X-rays: pictures cut out of recorded frames, preprocessed as registration does it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch import Tensor

from fluoropose.errors import FileFormatError, InputError
from fluoropose.io.frames import FrameSource, frame_range, open_frames
from fluoropose.io.stored_frame import attenuating, why_unusable
from fluoropose.learning.preprocess import Preprocessing, crop_frame, lit_pixels
from fluoropose.learning.translation.config import TranslationConfig, XRays
from fluoropose.region import Region
from fluoropose.rig import Fluoroscope, Rig
from fluoropose.silhouette import field_mask

__all__ = ["XRayPictures", "load_xrays"]


@dataclass(frozen=True, eq=False)
class XRayPictures:
    """The domain in memory.

    Attributes
    ----------
    pictures
        (n, size, size) float32 in [-1, 1].
    lit
        (n, size, size) bool.
    frame
        (n,) number of the frame that each picture was cut out of.
    left_out
        Why frames were left out, one line each.
    """

    pictures: Tensor
    lit: Tensor
    frame: Tensor
    left_out: tuple[str, ...]


def load_xrays(config: TranslationConfig, rig: Rig, size: int, preprocessing: Preprocessing) -> XRayPictures:
    """Cut ``config.crops_per_frame`` pictures out of every frame; the same ones from the same seed.

    Of those, pictures in which nothing can be seen are left out, and frames that have no others.

    Raises
    ------
    FileFormatError
        If frames cannot be opened, there are not as many sources as views, or not one frame can be used.
    """
    pictures, lit, numbers, left_out = [], [], [], []
    rng = np.random.default_rng(config.training.seed)
    frames = [frame for xrays in config.xrays for frame in _frames(xrays, rig)]
    for number, frame in enumerate(track(frames, "reading X-rays")):
        try:
            image = frame.read()
        except (FileFormatError, InputError) as error:
            left_out.append(f"{frame}: {error}")
            continue
        blank: list[InputError] = []
        for _ in range(config.crops_per_frame):
            region = _region(frame.scope, config, rng)
            seen = lit_pixels(frame.scope, region, size)
            try:
                picture = preprocessing.apply(crop_frame(image, region, size), seen)
            except InputError as error:
                blank.append(error)
                continue
            pictures.append(picture)
            lit.append(seen)
            numbers.append(number)
        if len(blank) == config.crops_per_frame:
            left_out.append(f"{frame}: {blank[0]}")
    if not pictures:
        why = left_out[0] if left_out else "there are none"
        raise FileFormatError(f"xrays: not one of {len(frames)} frames can be used: {why}")
    shown = torch.from_numpy(np.stack(pictures)), torch.from_numpy(np.stack(lit))
    return XRayPictures(*shown, torch.tensor(numbers), tuple(left_out))


@dataclass(frozen=True, eq=False)
class _Frame:
    source: FrameSource
    index: int
    scope: Fluoroscope
    xrays: XRays

    def __str__(self) -> str:
        return f"{self.source.path}: frame {self.source.name(self.index)}"

    def read(self) -> NDArray[np.float32]:
        """Return the frame (h, w), bright = attenuating; FileFormatError where nothing can be seen in it."""
        stored = self.source.read(self.index)
        reason = why_unusable(stored, self.source.bits, self.scope.view.size_px, field_mask(self.scope))
        if reason:
            raise FileFormatError(reason)
        return attenuating(stored, self.source.bits, self.xrays.polarity)


def _frames(xrays: XRays, rig: Rig) -> Iterator[_Frame]:
    if len(xrays.frames) != len(rig.fluoroscopes):
        raise FileFormatError(
            f"xrays.frames: expected one source for each of the rig's {len(rig.fluoroscopes)} views, "
            f"found {len(xrays.frames)}"
        )
    for path, scope in zip(xrays.frames, rig.fluoroscopes, strict=True):
        source = open_frames(path, xrays.bit_depth)
        yield from (_Frame(source, index, scope, xrays) for index in frame_range(xrays.range, len(source)))


def _region(scope: Fluoroscope, config: TranslationConfig, rng: np.random.Generator) -> Region:
    whole = scope.whole
    side = whole.side_px * float(np.exp(rng.uniform(*np.log(config.side))))
    room = max(whole.side_px - side, 0.0) / 2 + whole.side_px * config.shift
    du, dv = (whole.side_px - side) / 2 + rng.uniform(-room, room, 2)
    return Region(whole.left_px + float(du), whole.top_px + float(dv), side)
