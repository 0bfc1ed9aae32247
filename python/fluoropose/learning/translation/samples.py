"""Pictures of what a style training makes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fluoropose._files import atomic_path

__all__ = ["save_samples"]


def save_samples(path: Path, rows: Sequence[NDArray[np.float32]]) -> None:
    """Write rows of pictures (n, h, w) in [-1, 1] as one PNG, with a thin line between them."""
    sheet = np.concatenate([np.concatenate([np.pad(picture, 1) for picture in row], axis=1) for row in rows], axis=0)
    grey = np.clip(np.rint((sheet + 1) * 127.5), 0, 255).astype(np.uint8)
    with atomic_path(path) as temporary:
        Image.fromarray(grey).save(temporary)
