"""What the networks are shown of frames, and what they see: crop, segment, translate, cut out, find landmarks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

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
    lit
        (pairs * views * looks, size, size) bool, which pixels carry signal.
    blank
        Per crop, why there was nothing to be seen in its window; "" where there was.
    masks
        (pairs * views * looks, size, size) bool, the bone in each crop; None without segmentation.
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
    blank
        Per view, why there was nothing to be seen; "" where there was.
    """

    px: NDArray[np.float64]
    sd_px: NDArray[np.float64]
    outlines: tuple[NDArray[np.float64] | None, ...]
    blank: tuple[str, ...]


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
        return self.translated(self.segmented(self.cropped(pairs, regions, looks), masks))

    def cropped(self, pairs: Sequence[Frames], regions: Sequence[Sequence[Region]], looks: int = 1) -> Look:
        """Begin a look: crop and normalise."""
        facts = self.bundle.landmarks.facts
        size, normalise = facts.size, facts.preprocessing.apply
        windows = tuple(look for of_pair in regions for region in of_pair for look in jittered(region, looks))
        images = [frame for frames in pairs for frame in frames for _ in range(looks)]
        scopes = [scope for _ in pairs for scope in self.rig.fluoroscopes for _ in range(looks)]
        crops = np.zeros((len(windows), size, size), np.float32)
        lit = np.zeros(crops.shape, bool)
        blank = []
        for k, (image, window, scope) in enumerate(zip(images, windows, scopes, strict=True)):
            lit[k] = lit_pixels(scope, window, size)
            try:
                crops[k] = normalise(crop_frame(image, window, size), lit[k])
                blank.append("")
            except InputError as error:  # nothing to be seen in this window
                blank.append(str(error))
        return Look(crops, windows, lit, tuple(blank), None, len(pairs), looks)

    def segmented(self, look: Look, masks: Sequence[Masks] | None = None) -> Look:
        """Go on with a look that is ``cropped``: find the bone in it, or where masks are given take those."""
        size = self.bundle.landmarks.facts.size
        if masks is not None:
            drawn = [mask for of_pair in masks for mask in of_pair for _ in range(look.looks)]
            windows = zip(look.windows, drawn, strict=True)
            found = np.stack([window.crop(mask.astype(np.float32), size) for window, mask in windows]) > 0.5
        elif self.segmenter is not None:
            found = self.segmenter.predict(look.crops) > 0.5
        else:
            return look
        found &= look.lit
        found[np.array(look.blank) != ""] = False
        return replace(look, masks=found)

    def translated(self, look: Look) -> Look:
        """End a look that is ``segmented``: make radiographs of the crops, and show the masked part alone."""
        crops = look.crops
        if self.translator is not None:
            crops = np.where(look.lit, self.translator.translate(crops), np.float32(1))  # as in plain radiographs
        if look.masks is not None:
            cut_out = self.bundle.landmarks.facts.preprocessing.cut_out
            crops = cut_out(torch.from_numpy(crops), torch.from_numpy(look.masks)).numpy()
        return replace(look, crops=crops)

    def see(self, look: Look) -> list[Seen]:
        """Find the landmarks, per pair; of several looks the mean."""
        views, size = len(self.rig.fluoroscopes), self.bundle.landmarks.facts.size
        index = np.tile(np.repeat(np.arange(views), look.looks), look.pairs).tolist()
        found = self.bundle.landmarks.predict(look.crops, index)
        inside = ((found.px >= -0.5) & (found.px < size - 0.5)).all(axis=2)  # beyond it the network only guesses
        inside &= (np.array(look.blank) == "")[:, None]
        if look.masks is not None:
            inside &= _on(look.masks, found.px, inside)
        px = [window.to_frame(one, size) for one, window in zip(found.px, look.windows, strict=True)]
        scales = np.array([window.side_px / size for window in look.windows])
        by_look = (look.pairs, views, look.looks, -1)
        kept = inside.reshape(by_look)
        places = _mean(np.stack(px).reshape(*by_look, 2), kept[..., None])
        deviations = np.sqrt(_mean((found.sd_px * scales[:, None]).reshape(by_look) ** 2, kept))
        # Of the first look alone: the box round the mask, and why it is blank.
        first = range(0, len(look.windows), look.looks)
        boxes = [None if look.masks is None else _box(look.masks[k], look.windows[k], size) for k in first]
        blank = [look.blank[k] for k in first]
        of_pair = [slice(k, k + views) for k in range(0, len(boxes), views)]
        return [
            Seen(px, sd_px, tuple(boxes[one]), tuple(blank[one]))
            for px, sd_px, one in zip(places, deviations, of_pair, strict=True)
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
