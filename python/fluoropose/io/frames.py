"""Reading X-ray frames: folders of images, multi-page TIFF, multi-frame DICOM and video, one frame at a time."""

from __future__ import annotations

import re
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import tifffile
from numpy.typing import NDArray
from PIL import Image
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import pixel_array

from fluoropose.errors import FileFormatError, InputError, first_line

__all__ = ["FrameSource", "frame_range", "frame_slice", "open_frames"]

_IMAGES = {".png": "PNG", ".tif": "TIFF", ".tiff": "TIFF", ".dcm": "DICOM"}
_VIDEOS = {".avi", ".mp4", ".mov", ".mkv", ".mpg", ".mpeg", ".m4v", ".wmv", ".cine"}


class FrameSource(ABC):
    """The frames of one view, in order; every error names the file and the frame.

    Attributes
    ----------
    path
        What the frames are read from.
    bits
        Bits per pixel that carry signal, so that full scale is ``2**bits - 1``; None for floating point frames in 0..1.
    rate_hz
        Rate at which the frames were taken, where the file says so (DICOM does). That of a video is the rate at which
        it is to be shown, often another one.
    named
        Whether every frame has a name of its own, as files have.
    """

    path: Path
    bits: int | None
    rate_hz: float | None = None
    named: bool = False

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of frames."""

    @abstractmethod
    def name(self, index: int) -> str:
        """Return the frame's name: the file's stem, or the position as four digits."""

    @abstractmethod
    def _pixels(self, index: int) -> NDArray[Any]:
        """Return the frame as stored; whatever goes wrong inside a library may be raised as it is."""

    def read(self, index: int) -> NDArray[Any]:
        """Read frame ``index`` (0 is the first) as stored: (h, w), bright or dark as recorded.

        Raises
        ------
        InputError
            If there is no such frame.
        FileFormatError
            If the frame cannot be read, is cut short, or is not a grey image; the message names file and frame.
        """
        if not 0 <= index < len(self):
            raise InputError(f"{self.path}: frame {index}: expected 0 to {len(self) - 1}")
        where = f"{self.path}: frame {self.name(index)}"
        try:
            pixels = np.asarray(self._pixels(index))
        except FileFormatError:
            raise
        except Exception as error:  # image libraries raise anything, from struct.error to SyntaxError
            raise FileFormatError(f"{where}: cannot be read: {first_line(error)}") from error
        if pixels.ndim == 3 and pixels.shape[2] == 3 and (pixels == pixels[..., :1]).all():
            pixels = pixels[..., 0]
        if pixels.ndim != 2 or pixels.size == 0:
            raise FileFormatError(f"{where}: expected a grey image (h, w), found an array of shape {pixels.shape}")
        if pixels.dtype.kind not in "uif":
            raise FileFormatError(f"{where}: expected grey values, found {pixels.dtype}")
        return pixels


def open_frames(path: str | Path, bits: int | None = None) -> FrameSource:
    """Open the frames of one view.

    Parameters
    ----------
    path
        A folder of PNG, TIFF or single-frame DICOM files (in natural order: 2 before 10), a multi-page TIFF, a
        multi-frame DICOM file, or a video (needs the extra ``video``).
    bits
        Bits that carry signal where the file cannot tell, such as 12 for a 12-bit detector in 16-bit files.

    Raises
    ------
    FileFormatError
        If nothing is there, or it holds no frames.
    """
    path = Path(path)
    if path.is_dir():
        return _Folder(path, bits)
    if not path.is_file():
        raise FileFormatError(f"{path}: expected a folder of frames or a file, found nothing there")
    suffix = path.suffix.lower()
    if suffix in (".tif", ".tiff"):
        return _TiffStack(path, bits)
    if suffix in _VIDEOS:
        return _Video(path)
    if suffix == ".dcm" or _is_dicom(path):
        return _Dicom(path, bits)
    raise FileFormatError(
        f"{path}: expected a folder, a multi-page TIFF (.tif), a DICOM file (.dcm) or a video "
        f"({', '.join(sorted(_VIDEOS))}), found {path.suffix or 'a file without an ending'}"
    )


def frame_range(text: str | None, count: int) -> range:
    """Turn "A:B" (from A, up to but without B; either may be left out) into a range within ``count`` frames.

    Raises
    ------
    InputError
        If the text is no such range, or nothing is left of it.
    """
    chosen = range(count)[frame_slice(text)]
    if not chosen:
        raise InputError(f"frames: expected A:B with frames between 0 and {count}, found {text!r}")
    return chosen


def frame_slice(text: str | None) -> slice:
    """Turn "A:B", either of which may be left out, or None into a slice; raises InputError for other text."""
    start, separator, stop = (":" if text is None else text).partition(":")
    try:
        chosen = slice(int(start) if start else None, int(stop) if stop else None)
    except ValueError:
        separator = ""
    if not separator:
        raise InputError(f"frames: expected A:B (from A, up to but without B) such as 0:60, found {text!r}")
    return chosen


class _Folder(FrameSource):
    named = True

    def __init__(self, path: Path, bits: int | None) -> None:
        self.path = path
        # Some systems leave hidden companions of files behind (._0001.png).
        images = (f for f in path.iterdir() if f.suffix.lower() in _IMAGES and not f.name.startswith("."))
        self.files = sorted(images, key=_natural)
        kinds = {_IMAGES[f.suffix.lower()] for f in self.files}
        if len(kinds) != 1:
            found = " and ".join(sorted(kinds)) or "none"
            raise FileFormatError(f"{path}: expected PNG, TIFF or DICOM frames of one kind, found {found}")
        self.bits = _fewer(path, bits, self._bits_of_first_readable())

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return self.files[index].stem

    def _pixels(self, index: int) -> NDArray[Any]:
        file = self.files[index]
        if _IMAGES[file.suffix.lower()] == "TIFF":
            return _read_tiff(file, 0)
        if _IMAGES[file.suffix.lower()] == "DICOM":
            return _read_dicom(file)
        with Image.open(file) as image:
            if image.mode == "P":
                raise FileFormatError(f"{file}: expected grey values, found a palette image")
            return np.asarray(image)

    def _bits_of_first_readable(self) -> int | None:
        # A damaged first frame must not decide about the others.
        for index, file in enumerate(self.files):
            with suppress(FileFormatError, AttributeError, OSError, InvalidDicomError):
                if file.suffix.lower() == ".dcm":
                    return _dicom_bits(pydicom.dcmread(file, stop_before_pixels=True))
                return _bits(self.read(index).dtype)
        self.read(0)  # which says why
        raise FileFormatError(f"{self.path}: none of the {len(self.files)} frames can be read")


class _TiffStack(FrameSource):
    def __init__(self, path: Path, bits: int | None) -> None:
        self.path = path
        try:
            with tifffile.TiffFile(path) as tiff:
                self.count = len(tiff.pages)
                dtype = tiff.pages.first.dtype
        except Exception as error:
            raise FileFormatError(f"{path}: cannot be read as a TIFF file: {error}") from error
        if dtype is None:
            raise FileFormatError(f"{path}: expected grey values, found an unknown pixel type")
        self.bits = _fewer(path, bits, _bits(dtype))

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"{index:04d}"

    def _pixels(self, index: int) -> NDArray[Any]:
        return _read_tiff(self.path, index)


class _Dicom(FrameSource):
    def __init__(self, path: Path, bits: int | None) -> None:
        self.path = path
        try:
            header = pydicom.dcmread(path, stop_before_pixels=True)
            self.count = int(getattr(header, "NumberOfFrames", 1))
            stored = _dicom_bits(header)
            frame_time_ms = float(getattr(header, "FrameTime", None) or 0)
        except Exception as error:
            raise FileFormatError(f"{path}: cannot be read as a DICOM image: {error}") from error
        self.bits = _fewer(path, bits, stored)
        self.rate_hz = 1000 / frame_time_ms if frame_time_ms > 0 else None

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"{index:04d}"

    def _pixels(self, index: int) -> NDArray[Any]:
        return _read_dicom(self.path, index)


class _Video(FrameSource):
    """Decoded forwards; going back starts again at the first frame, so read in ascending order."""

    bits = 8

    def __init__(self, path: Path) -> None:
        try:
            import av
        except ImportError as error:
            raise FileFormatError(
                f"{path}: reading video needs PyAV, which is not installed: pip install 'fluoropose[video]'"
            ) from error
        self.path = path
        self._av = av
        try:
            # Containers often lie about the number of frames, or do not say; packets are counted without decoding.
            with av.open(str(path)) as container:
                self.count = sum(1 for packet in container.demux(video=0) if packet.size)
        except Exception as error:
            raise FileFormatError(f"{path}: cannot be read as a video: {error}") from error
        self._decoder = self._decode()
        self._next = 0

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"{index:04d}"

    def _decode(self) -> Iterator[NDArray[Any]]:
        with self._av.open(str(self.path)) as container:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="gray")

    def _pixels(self, index: int) -> NDArray[Any]:
        if index < self._next:
            self._decoder, self._next = self._decode(), 0
        try:
            while True:
                pixels = next(self._decoder)
                self._next += 1
                if self._next == index + 1:
                    return pixels
        except StopIteration:
            message = f"{self.path}: frame {index:04d}: the video ends after {self._next} frames"
        # A decoder that failed or ended stays useless; the next read starts a new one.
        self._decoder, self._next = self._decode(), 0
        raise FileFormatError(message)


def _bits(dtype: np.dtype[Any]) -> int | None:
    return None if dtype.kind == "f" else 8 * dtype.itemsize - (dtype.kind == "i")


def _dicom_bits(header: pydicom.Dataset) -> int:
    return int(header.BitsStored) - int(header.get("PixelRepresentation", 0))  # of signed numbers one is the sign


def _fewer(path: Path, bits: int | None, stored: int | None) -> int | None:
    """Return the bits that carry signal: those that are stored, unless fewer are said to."""
    if bits is None:
        return stored
    if stored is not None and bits > stored:
        raise FileFormatError(f"{path}: bit_depth: expected at most the {stored} bits of its pixels, found {bits}")
    return bits


def _natural(file: Path) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", file.name)]


def _read_tiff(file: Path, page: int) -> NDArray[Any]:
    with tifffile.TiffFile(file) as tiff:
        stored = tiff.pages[page]
        # tifffile fills missing strips with zeros without a word.
        needed = max(o + n for o, n in zip(stored.dataoffsets, stored.databytecounts, strict=True))
        if needed > file.stat().st_size:
            raise FileFormatError(
                f"{file}: page {page}: truncated: {needed} bytes expected, {file.stat().st_size} found"
            )
        return np.asarray(stored.asarray())


def _read_dicom(file: Path, index: int | None = None) -> NDArray[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # pydicom only warns when pixel data is short or padded
        if index is None:
            return np.asarray(pydicom.dcmread(file).pixel_array)
        return np.asarray(pixel_array(file, index=index))


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"
