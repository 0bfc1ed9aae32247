"""Masks of the bone that somebody drew, or another program made, for the frames of a trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import FileFormatError
from fluoropose.io.frames import FrameSource, open_frames
from fluoropose.registration.pairing import trailing_number
from fluoropose.registration.trial import Trial, TrialFrames
from fluoropose.rig import Rig

__all__ = ["GivenMasks"]


@dataclass(frozen=True, eq=False)
class GivenMasks:
    """The masks that a trial names.

    Attributes
    ----------
    sources
        One per view.
    places
        Per view and pair, which of the source's images it is; None where there is none.
    sizes
        Per view (height, width) of the frames.
    """

    sources: tuple[FrameSource, ...]
    places: tuple[tuple[int | None, ...], ...]
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def open(cls, trial: Trial, frames: TrialFrames, rig: Rig) -> GivenMasks:
        """Open the masks and find each frame's, by the number at the end of its name, or by the whole name.

        Raises
        ------
        FileFormatError
            If two masks have one number, or none of them is of a frame of the trial.
        """
        sources = tuple(open_frames(path) for path in trial.masks)
        places = tuple(_places(mask, frame) for mask, frame in zip(sources, frames.sources, strict=True))
        return cls(sources, places, tuple((view.height, view.width) for view in rig.views))

    def read(self, index: int) -> tuple[list[NDArray[np.bool_]], str]:
        """Return the masks of a pair, per view (h, w), and "" or why there are none."""
        masks, reasons = [], []
        for k, (source, places, size) in enumerate(zip(self.sources, self.places, self.sizes, strict=True), start=1):
            place = places[index]
            if place is None:
                reasons.append(f"view {k}: no mask in {source.path}")
                continue
            try:
                stored = source.read(place)
            except FileFormatError as error:
                reasons.append(f"view {k}: {error}")
                continue
            if stored.shape != size:
                found, expected = (f"{w} x {h} pixels" for h, w in (stored.shape, size))
                reasons.append(f"view {k}: mask {source.name(place)}: expected {expected}, found {found}")
            elif not (stored > 0).any():
                reasons.append(f"view {k}: mask {source.name(place)} is empty")
            else:
                masks.append(stored > stored.max() / 2)  # edges may be smooth
        return masks, "; ".join(reasons)


def _places(masks: FrameSource, frames: FrameSource) -> tuple[int | None, ...]:
    keys = [_key(masks.name(i)) for i in range(len(masks))]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise FileFormatError(f"{masks.path}: two masks are called {twice}")
    place_of = {key: i for i, key in enumerate(keys)}
    places = tuple(place_of.get(_key(frames.name(i))) for i in range(len(frames)))
    if all(place is None for place in places):
        expected = f"masks of the frames in {frames.path}, such as {frames.name(0)}"
        raise FileFormatError(f"{masks.path}: expected {expected}, found {masks.name(0)}")
    return places


def _key(name: str) -> str:
    number = trailing_number(name)
    return name if number is None else str(number)
