"""What the networks are shown of frames, and what they see."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.learning.bundle import Bundle, Chain, Landmarks, Placed, SegmentNetwork, StyleNetwork
from fluoropose.learning.preprocess import crop_frame, lit_pixels
from fluoropose.region import Frame, Region
from fluoropose.registration.locate import jittered
from fluoropose.rig import Rig

__all__ = ["Found", "Frames", "Look", "Masks", "Seen", "Sight"]

Frames = Sequence[Frame]
Masks = Sequence[NDArray[np.bool_]]

# A landmark this share of the crop's side off the mask is still believed to be on the bone: masks have ragged edges,
# landmarks lie on the outline.
_PLAY = 0.03


@dataclass(frozen=True, eq=False)
class Look:
    """What the networks are shown of some frame pairs.

    Attributes
    ----------
    crops
        (pairs * views * looks, size, size) as ``crop_frame`` gives them; 0 where there is nothing to be seen.
    windows
        Where each crop lies in its frame.
    lit
        (pairs * views * looks, size, size) bool, which pixels carry signal.
    blank
        Per crop, why there was nothing to be seen in its window; "" where there was.
    masks
        (pairs * views * looks, size, size) bool, the bone in each crop as it is given; None where it is not.
    pairs, looks
        Number of pairs, and of crops per frame.
    """

    crops: NDArray[np.float32]
    windows: tuple[Region, ...]
    lit: NDArray[np.bool_]
    blank: tuple[str, ...]
    masks: NDArray[np.bool_] | None
    pairs: int
    looks: int


class Found(NamedTuple):
    """What the networks say about a look.

    Attributes
    ----------
    landmarks
        In pixels of the crops.
    masks
        (pairs * views * looks, size, size) bool, the bone in each crop; None without segmentation.
    """

    landmarks: Landmarks
    masks: NDArray[np.bool_] | None


@dataclass(frozen=True, eq=False)
class Seen:
    """What the networks saw of one frame pair.

    Attributes
    ----------
    px
        (views, n, 2) recorded px; NaN where a landmark is outside all crops or off the bone's mask.
    sd_px
        (views, n) standard deviation per axis, recorded px; NaN where it is not known.
    blank
        Per view, why there was nothing to be seen; "" where there was.
    windows, masks
        Of the first look at each view: where its crop lies in the frame, and the bone in it (views, size, size) bool;
        None without segmentation.
    """

    px: NDArray[np.float64]
    sd_px: NDArray[np.float64]
    blank: tuple[str, ...]
    windows: tuple[Region, ...]
    masks: NDArray[np.bool_] | None

    @property
    def outlines(self) -> tuple[NDArray[np.float64] | None, ...]:
        """Per view the corners (4, 2) of the mask's box, recorded px; None where there is no mask or it is empty."""
        if self.masks is None:
            return (None,) * len(self.windows)
        return tuple(_box(mask, window) for mask, window in zip(self.masks, self.windows, strict=True))


@dataclass(frozen=True, eq=False)
class Sight:
    """The networks in the order in which they look.

    Attributes
    ----------
    rig, bundle
        The installation, and the networks.
    segmenter
        Finds the bone, which alone is then shown; None: masks that are given, or the whole crop.
    translator
        Makes radiographs of the X-rays before they are cut out; None: as they are.

    Raises
    ------
    InputError
        If a network takes other crops than the landmark network does.
    """

    rig: Rig
    bundle: Bundle
    segmenter: SegmentNetwork | None = None
    translator: StyleNetwork | None = None

    def __post_init__(self) -> None:
        facts = self.bundle.landmarks.facts
        for name, network in (("segmentation", self.segmenter), ("translation", self.translator)):
            if network is None:
                continue
            for key in ("size", "preprocessing"):
                found, expected = getattr(network.facts, key), getattr(facts, key)
                if found != expected:
                    differs = f"the {name} network's {key} is {found}, the landmark network's {expected}"
                    raise InputError(f"{self.bundle.path}: {differs}; train them on one set")

    @cached_property
    def _chain(self) -> Placed:
        landmarks = self.bundle.landmarks

        def make(device: torch.device) -> Chain:
            before = (None if one is None else one.module.make(device) for one in (self.segmenter, self.translator))
            return Chain(landmarks.facts.preprocessing, landmarks.module.make(device), *before)

        return Placed(make, landmarks.module.device, self.bundle.path.name)

    @property
    def problem(self) -> str:
        """Why the networks went over to the processor; "" where they did not."""
        return self._chain.problem

    def look(
        self,
        pairs: Sequence[Frames],
        regions: Sequence[Sequence[Region]],
        looks: int = 1,
        masks: Sequence[Masks] | None = None,
    ) -> Look:
        """Cut out what the networks will see: per pair and view ``looks`` slightly moved crops of its region.

        ``masks``: per pair and view (h, w) bool, the bone in the frame; None: what the segmenter finds.
        """
        facts = self.bundle.landmarks.facts
        size, check = facts.size, facts.preprocessing.check
        windows = tuple(look for of_pair in regions for region in of_pair for look in jittered(region, looks))
        images = [frame for frames in pairs for frame in frames for _ in range(looks)]
        scopes = [scope for _ in pairs for scope in self.rig.fluoroscopes for _ in range(looks)]
        crops = np.zeros((len(windows), size, size), np.float32)
        lit = np.zeros(crops.shape, bool)
        blank = []
        for k, (image, window, scope) in enumerate(zip(images, windows, scopes, strict=True)):
            lit[k] = lit_pixels(scope, window, size)
            try:
                crop = crop_frame(image, window, size)
                check(crop, lit[k])
                crops[k] = crop
                blank.append("")
            except InputError as error:  # nothing to be seen in this window
                blank.append(str(error))
        given = None
        if masks is not None:
            drawn = [mask for of_pair in masks for mask in of_pair for _ in range(looks)]
            of_window = zip(windows, drawn, strict=True)
            given = np.stack([window.crop(mask.astype(np.float32), size) for window, mask in of_window]) > 0.5
        return Look(crops, windows, lit, tuple(blank), given, len(pairs), looks)

    def found(self, look: Look, lap: Callable[[str], None] | None = None) -> Found:
        """Let the networks look; ``lap`` as for ``Chain``, where they run on the processor."""
        index = np.tile(np.repeat(np.arange(len(self.rig.fluoroscopes)), look.looks), look.pairs)
        inputs = [look.crops, look.lit, np.array(look.blank) == "", index]
        if look.masks is not None:
            inputs.append(look.masks)
        told = {} if lap is None else {"lap": lap}
        output, *masks = self._chain(*map(torch.from_numpy, inputs), **told)
        return Found(self.bundle.landmarks.decoded(output), masks[0].numpy() if masks else None)

    def see(self, look: Look, lap: Callable[[str], None] | None = None) -> list[Seen]:
        """Find the landmarks, per pair; of several looks the mean."""
        views, size = len(self.rig.fluoroscopes), self.bundle.landmarks.facts.size
        (found, sd_px), masks = self.found(look, lap)
        inside = ((found >= -0.5) & (found < size - 0.5)).all(axis=2)  # beyond it the network only guesses
        inside &= (np.array(look.blank) == "")[:, None]
        if masks is not None:
            inside &= _on(masks, found, inside)
        px = [window.to_frame(one, size) for one, window in zip(found, look.windows, strict=True)]
        scales = np.array([window.side_px / size for window in look.windows])
        by_look = (look.pairs, views, look.looks, -1)
        kept = inside.reshape(by_look)
        places = _mean(np.stack(px).reshape(*by_look, 2), kept[..., None])
        deviations = np.sqrt(_mean((sd_px * scales[:, None]).reshape(by_look) ** 2, kept))
        per_pair = views * look.looks
        first = [slice(k, k + per_pair, look.looks) for k in range(0, len(look.windows), per_pair)]
        return [
            Seen(px, sd_px, look.blank[one], look.windows[one], None if masks is None else masks[one])
            for px, sd_px, one in zip(places, deviations, first, strict=True)
        ]


def _on(masks: NDArray[np.bool_], px: NDArray[np.float64], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Tell which of the positions (b, n, 2) that lie inside the crop are on the mask (b, size, size), or nearly."""
    reach = round(_PLAY * masks.shape[1])
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    on = np.zeros(inside.shape, bool)
    for k, mask in enumerate(masks):
        wide = cv2.dilate(mask.astype(np.uint8), kernel) > 0
        u, v = np.rint(px[k][inside[k]]).astype(np.intp).T.clip(0, masks.shape[1] - 1)
        on[k, inside[k]] = wide[v, u]
    return on


def _box(mask: NDArray[np.bool_], window: Region) -> NDArray[np.float64] | None:
    """Return the corners (4, 2) of the box round the largest piece of a mask, frame px; None for an empty mask."""
    _, _, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if len(boxes) < 2:  # the background is the first
        return None
    left, top, width, height, _ = boxes[1 + int(np.argmax(boxes[1:, cv2.CC_STAT_AREA]))]
    u, v = (left, left + width - 1), (top, top + height - 1)
    return window.to_frame(np.array([(x, y) for x in u for y in v], dtype=np.float64), len(mask))


def _mean(values: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average over the looks (axis 2) that are kept; NaN where there is none."""
    count = kept.sum(axis=2)
    total = np.where(kept, values, 0.0).sum(axis=2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
