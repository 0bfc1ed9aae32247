"""What a style training learns from: X-rays of one rig, and radiographs that were rendered for it."""

from __future__ import annotations

import warnings

from fluoropose.errors import FileFormatError
from fluoropose.learning.bundle import RigFacts
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.translation.config import TranslationConfig
from fluoropose.learning.translation.xrays import XRayPictures, load_xrays
from fluoropose.rig import Rig

__all__ = ["load_domains"]


def load_domains(config: TranslationConfig) -> tuple[XRayPictures, RadiographSet]:
    """Load both domains; warns of frames that were left out.

    Raises
    ------
    FileFormatError
        If a file cannot be used, or the set was made for another rig.
    """
    radiographs, rig = RadiographSet.load(config.set), Rig.load(config.rig)
    made_for = radiographs.owner.rig
    if radiographs.owner.views != len(rig.fluoroscopes):
        raise FileFormatError(
            f"{config.set}: made for {radiographs.owner.views} views, found {len(rig.fluoroscopes)} in {config.rig}"
        )
    said, within = ([], True) if made_for is None else made_for.differences(RigFacts.of(rig))
    if not within:
        raise FileFormatError(f"{config.set}: made for another rig than {config.rig}: {'; '.join(said)}")
    data = radiographs.config
    xrays = load_xrays(config, rig, data.dataset.size, data.preprocessing)
    if xrays.left_out:
        warnings.warn(f"{len(xrays.left_out)} frames left out, the first: {xrays.left_out[0]}", stacklevel=2)
    return xrays, radiographs
