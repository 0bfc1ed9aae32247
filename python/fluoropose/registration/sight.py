"""What the networks are shown of frames, and what they see: crop, segment, translate, cut out, find landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.learning.bundle import Bundle, SegmentNetwork, StyleNetwork
from fluoropose.learning.preprocess import crop_frame, lit_pixels
from fluoropose.region import Region
from fluoropose.registration.locate import jittered
from fluoropose.rig import Rig

__all__ = ["Frames", "Look", "Masks", "Seen", "Sight"]

Frames = Sequence[NDArray[np.float32]]
Masks = Sequence[NDArray[np.bool_]]

# A landmark this share of the crop's side off the mask is still believed to be on the bone: masks have ragged edges,
# landmarks lie on the outline.
_PLAY = 0.03


@dataclass(frozen=True, eq=False)
class Look:
    """What the landmark network is shown of some frame pairs.

    Attributes
    ----------
    crops
        (pairs * views * looks, size, size), as the network takes them.
    windows
        Where each crop lies in its frame.
    blank
        Per crop, whether there was nothing to be seen in its window.
    masks
        (pairs * views * looks, size, size) bool, the bone in each crop; None without segmentation.
    pairs, looks
        Number of pairs, and of crops per frame.
    """

    crops: NDArray[np.float32]
    windows: tuple[Region, ...]
    blank: NDArray[np.bool_]
    masks: NDArray[np.bool_] | None
    pairs: int
    looks: int


@dataclass(frozen=True, eq=False)
class Seen:
    """What the networks saw of one frame pair.

    Attributes
    ----------
    px
        (views, n, 2) recorded px; NaN where a landmark is outside all crops or off the bone's mask.
    sd_px
        (views, n) standard deviation per axis, recorded px; NaN where it is not known.
    outlines
        Per view the corners (4, 2) of the mask's box, recorded px; None where there is no mask or it is empty.
    """

    px: NDArray[np.float64]
    sd_px: NDArray[np.float64]
    outlines: tuple[NDArray[np.float64] | None, ...]


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

    def look(
        self,
        pairs: Sequence[Frames],
        regions: Sequence[Sequence[Region]],
        looks: int = 1,
        masks: Sequence[Masks] | None = None,
    ) -> Look:
        """Cut out what the landmark network will see: per pair and view ``looks`` slightly moved crops of its region.

        ``masks``: per pair and view (h, w) bool, the bone in the frame; None: what the segmenter finds.
        """
        facts = self.bundle.landmarks.facts
        size, normalise = facts.size, facts.preprocessing.apply
        windows = tuple(look for of_pair in regions for region in of_pair for look in jittered(region, looks))
        images = [frame for frames in pairs for frame in frames for _ in range(looks)]
        scopes = [scope for _ in pairs for scope in self.rig.fluoroscopes for _ in range(looks)]
        crops = np.zeros((len(windows), size, size), np.float32)
        lit = np.zeros(crops.shape, bool)
        blank = np.zeros(len(windows), bool)
        for k, (image, window, scope) in enumerate(zip(images, windows, scopes, strict=True)):
            lit[k] = lit_pixels(scope, window, size)
            try:
                crops[k] = normalise(crop_frame(image, window, size), lit[k])
            except InputError:  # nothing to be seen in this window
                blank[k] = True
        found = None
        if masks is not None:
            drawn = [mask for of_pair in masks for mask in of_pair for _ in range(looks)]
            found = np.stack([w.crop(m.astype(np.float32), size) for w, m in zip(windows, drawn, strict=True)]) > 0.5
        elif self.segmenter is not None:
            found = self.segmenter.predict(crops) > 0.5
        if self.translator is not None:
            crops = np.where(lit, self.translator.translate(crops), np.float32(1))  # as in plain radiographs
        if found is not None:
            found &= lit
            found[blank] = False
            crops = facts.preprocessing.cut_out(torch.from_numpy(crops), torch.from_numpy(found)).numpy()
        return Look(crops, windows, blank, found, len(pairs), looks)

    def see(self, look: Look) -> list[Seen]:
        """Find the landmarks, per pair; of several looks the mean."""
        views, size = len(self.rig.fluoroscopes), self.bundle.landmarks.facts.size
        index = np.tile(np.repeat(np.arange(views), look.looks), look.pairs).tolist()
        found = self.bundle.landmarks.predict(look.crops, index)
        inside = ((found.px >= -0.5) & (found.px < size - 0.5)).all(axis=2)  # beyond it the network only guesses
        inside &= ~look.blank[:, None]
        if look.masks is not None:
            inside &= _on(look.masks, found.px, inside)
        px = [window.to_frame(one, size) for one, window in zip(found.px, look.windows, strict=True)]
        scales = np.array([window.side_px / size for window in look.windows])
        by_look = (look.pairs, views, look.looks, -1)
        kept = inside.reshape(by_look)
        places = _mean(np.stack(px).reshape(*by_look, 2), kept[..., None])
        deviations = np.sqrt(_mean((found.sd_px * scales[:, None]).reshape(by_look) ** 2, kept))
        outlines = self._outlines(look)
        return [Seen(*one) for one in zip(places, deviations, outlines, strict=True)]

    def _outlines(self, look: Look) -> list[tuple[NDArray[np.float64] | None, ...]]:
        """Return per pair and view the corners of the box round the first look's mask."""
        views = len(self.rig.fluoroscopes)
        size = self.bundle.landmarks.facts.size
        corners = [
            None if look.masks is None else _box(look.masks[k], look.windows[k], size)
            for k in range(0, len(look.windows), look.looks)
        ]
        return [tuple(corners[k : k + views]) for k in range(0, len(corners), views)]


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


def _box(mask: NDArray[np.bool_], window: Region, size: int) -> NDArray[np.float64] | None:
    """Return the corners (4, 2) of the box round the largest piece of a mask, frame px; None for an empty mask."""
    _, _, boxes, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    if len(boxes) < 2:  # the background is the first
        return None
    left, top, width, height, _ = boxes[1 + int(np.argmax(boxes[1:, cv2.CC_STAT_AREA]))]
    u, v = (left, left + width - 1), (top, top + height - 1)
    return window.to_frame(np.array([(x, y) for x in u for y in v], dtype=np.float64), size)


def _mean(values: NDArray[np.float64], kept: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Average over the looks (axis 2) that are kept; NaN where there is none."""
    count = kept.sum(axis=2)
    total = np.where(kept, values, 0.0).sum(axis=2)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
