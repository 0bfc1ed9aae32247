"""Calibration images: one picture, or frames that are averaged."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import FileFormatError, first_line
from fluoropose.io.frames import open_frames
from fluoropose.io.stored_frame import Polarity, attenuating

__all__ = ["read_still"]

_PICTURES = {".png", ".bmp", ".jpg", ".jpeg", ".pgm"}


def read_still(path: Path, polarity: Polarity, bits: int | None = None) -> NDArray[np.float64]:
    """Read a calibration image (h, w), bright where nothing is in the beam, full scale 1.

    A folder, stack or video gives the mean of its frames. ``bits`` carry signal where the file cannot tell.

    Raises
    ------
    FileFormatError
        If it cannot be read, is no grey image, or holds no contrast.
    """
    if path.suffix.lower() in _PICTURES:
        frames = [_picture(path)]
        stored = 8 * frames[0].dtype.itemsize
        if bits is not None and bits > stored:
            raise FileFormatError(f"{path}: bit_depth: expected at most the {stored} bits of its pixels, found {bits}")
        bits = bits or stored
    else:
        source = open_frames(path, bits)
        frames, bits = [source.read(k) for k in range(len(source))], source.bits
    if not frames or any(frame.shape != frames[0].shape for frame in frames):
        raise FileFormatError(f"{path}: expected frames of one size")
    highest = max(frame.max() for frame in frames)
    if bits is not None and highest >= 2**bits:
        raise FileFormatError(f"{path}: bit_depth: expected values below {2**bits}, found {highest:g}")
    mean = np.mean([1.0 - attenuating(frame, bits, polarity).astype(np.float64) for frame in frames], axis=0)
    if not np.isfinite(mean).all() or np.ptp(mean) < 1e-3:
        raise FileFormatError(f"{path}: expected an image with contrast, found grey values that hardly differ")
    return np.asarray(mean)


def _picture(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    try:
        picture = np.asarray(iio.imread(path))
    except Exception as error:  # image libraries raise anything
        raise FileFormatError(f"{path}: cannot be read: {first_line(error)}") from error
    if picture.ndim == 3 and (picture[..., :3] == picture[..., :1]).all():
        picture = picture[..., 0]
    if picture.ndim != 2 or picture.dtype not in (np.uint8, np.uint16):
        raise FileFormatError(
            f"{path}: expected a grey image of 8 or 16 bits, found shape {picture.shape}, {picture.dtype}"
        )
    return picture
