"""What a style training learns from: X-rays of one rig, and radiographs that were rendered for it."""

from __future__ import annotations

import json
import os
import warnings
from pathlib import Path

from fluoropose.errors import FileFormatError
from fluoropose.learning.bundle import RigFacts
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.translation.config import TranslationConfig
from fluoropose.learning.translation.xrays import XRayPictures, load_xrays
from fluoropose.rig import Rig

__all__ = ["load_domains", "shown"]


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


def shown(config: TranslationConfig, radiographs: RadiographSet, work: Path) -> str:
    """Return what a training is shown, as text.

    Frames are named as seen from the folder of its checkpoints: the same wherever the command is called from, or the
    study is moved to.
    """
    frames = [
        [os.path.relpath(path, work) for path in xrays.frames] + [xrays.model_dump(mode="json", exclude={"frames"})]
        for xrays in config.xrays
    ]
    return f"{radiographs.fingerprint} {json.dumps(frames)}"
