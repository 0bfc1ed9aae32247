"""The networks one after the other: from crops to landmarks, as one function of tensors on one device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from fluoropose.learning.bundle.captured import Function
from fluoropose.learning.preprocess import Preprocessing

__all__ = ["Chain"]


def _unheard(stage: str) -> None:
    pass


@dataclass(frozen=True, eq=False)
class Chain:
    """Normalises crops, finds the bone in them, makes radiographs of them, cuts the bone out, finds its landmarks.

    Attributes
    ----------
    preprocessing
        Of all the networks.
    landmarks
        From crops (b, 1, size, size) and indices of views (b,) to landmarks, see ``LandmarkFacts``.
    segmenter, translator
        From crops to crops, see ``SegmentFacts`` and ``StyleFacts``; None: masks that are given, or none; as they are.
    """

    preprocessing: Preprocessing
    landmarks: Function
    segmenter: Function | None = None
    translator: Function | None = None

    @torch.inference_mode()
    def __call__(
        self,
        crops: Tensor,
        lit: Tensor,
        clear: Tensor,
        views: Tensor,
        masks: Tensor | None = None,
        *,
        lap: Callable[[str], None] = _unheard,
    ) -> tuple[Tensor, ...]:
        """Look at crops.

        Parameters
        ----------
        crops
            (b, size, size) as ``crop_frame`` gives them.
        lit
            (b, size, size) bool, see ``lit_pixels``.
        clear
            (b,) bool, whether there is anything to be seen; the networks are shown grey where there is not.
        views
            (b,) index of the view that each crop is of.
        masks
            (b, size, size) bool, where the bone is; None: where the segmenter finds it, if any.
        lap
            Called with the stage's name when "segment", "translate" and "landmarks" have been done.

        Returns
        -------
        What the landmark network says; and the masks (b, size, size) bool, if any.
        """
        clear = clear[:, None, None]
        shown = self.preprocessing(crops, lit).masked_fill(~clear, 0.0)
        if masks is None and self.segmenter is not None:
            masks = _pictures(self.segmenter, shown) > 0.5
        if masks is not None:
            masks = masks & lit & clear
        lap("segment")
        if self.translator is not None:
            # Beyond the field white, as in plain radiographs.
            shown = _pictures(self.translator, shown).clamp(-1, 1).masked_fill(~lit, 1.0)
        if masks is not None:
            shown = self.preprocessing.cut_out(shown, masks)
        lap("translate")
        found = self.landmarks(shown[:, None], views)
        assert isinstance(found, Tensor)
        lap("landmarks")
        return (found,) if masks is None else (found, masks)


def _pictures(network: Function, crops: Tensor) -> Tensor:
    pictures = network(crops[:, None])
    assert isinstance(pictures, Tensor)
    return pictures[:, 0].float()
