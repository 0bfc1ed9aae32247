"""A ring of frames in shared memory: acquisition software writes, the tracker reads, and neither waits for the other.

The ring is a file that both map into their memory; below ``/dev/shm`` (Linux) it never touches a disk. Any language
that can map a file can write it. All numbers are little-endian; the layout, version 1, is

========  =======  =================================================================================================
offset    type     header, 64 bytes
========  =======  =================================================================================================
0         8 bytes  "FPRING" and two zero bytes
8         uint32   version, 1
12        uint32   number of slots
16        uint32   width of a frame, pixels
20        uint32   height of a frame, pixels
24        uint32   bytes per pixel, 1 or 2 (unsigned)
28        uint32   bits per pixel that carry signal
32        uint64   frames written so far
40        uint32   1 when the writer has finished
44        20       zero
========  =======  =================================================================================================

Then the slots follow, each a header of 64 bytes and the rows of one frame, filled up to a multiple of 64 bytes:

========  =======  =================================================================================================
offset    type     header of a slot, 64 bytes
========  =======  =================================================================================================
0         uint64   2 n + 1 while frame n (the first is 0) is being written here, 2 n + 2 when it is complete
8         uint64   sequence number of the frame, as the cameras count
16        float64  when it was taken, s
24        uint64   when its last byte was in: monotonic clock, ns (CLOCK_MONOTONIC on Linux)
32        uint32   view, 0 or 1
36        28       zero
========  =======  =================================================================================================

Frame n goes to slot n modulo the number of slots. The writer sets the slot's first field to 2 n + 1, writes the frame
and the other fields, sets the first field to 2 n + 2, then the ring's count to n + 1, each with a plain aligned store
in this order (on processors other than x86 with a release fence before the last two). A reader that finds another
first field after copying than before has been overtaken. A writer that dies leaves the count as it was; the next one
opens the same ring and goes on.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import whole_positive
from fluoropose._files import atomic_path
from fluoropose.errors import FileFormatError, InputError
from fluoropose.streaming.frame import Frame

__all__ = ["RingReader", "RingWriter"]

_MAGIC = b"FPRING"
_HEADER = np.dtype(
    [("magic", "S8"), *((name, "<u4") for name in ("version", "slots", "width", "height", "bytes", "bits"))]
    + [("written", "<u8"), ("finished", "<u4"), ("zero", "V20")]
)
_SLOT = np.dtype(
    [("state", "<u8"), ("number", "<u8"), ("time_s", "<f8"), ("arrived_ns", "<u8"), ("view", "<u4"), ("zero", "V28")]
)
_POLL_S = 0.0005


class _Ring:
    """The mapped file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("r+b") as file:
                self._map = mmap.mmap(file.fileno(), 0)
        except (OSError, ValueError) as error:
            raise FileFormatError(f"{path}: expected a ring of frames: {error}") from error
        if len(self._map) < _HEADER.itemsize or self._map[:6] != _MAGIC:
            raise FileFormatError(f"{path}: expected a ring of frames, which begins with {_MAGIC.decode()}")
        self.header = np.ndarray((), _HEADER, self._map)
        if self.header["version"] != 1:
            raise FileFormatError(f"{path}: version: expected 1, found {self.header['version']}")
        self.slots, self.bits = int(self.header["slots"]), int(self.header["bits"])
        shape = (int(self.header["height"]), int(self.header["width"]))
        each = _SLOT.itemsize + _padded(shape[0] * shape[1] * int(self.header["bytes"]))
        if self.header["bytes"] not in (1, 2) or len(self._map) != _HEADER.itemsize + self.slots * each:
            raise FileFormatError(
                f"{path}: {self.slots} slots of {shape[1]} x {shape[0]} pixels of {self.header['bytes']} bytes "
                f"do not fill {len(self._map)} bytes"
            )
        starts = [_HEADER.itemsize + k * each for k in range(self.slots)]
        dtype = f"<u{self.header['bytes']}"
        self.states = [np.ndarray((), _SLOT, self._map, start) for start in starts]
        self.frames = [np.ndarray(shape, dtype, self._map, start + _SLOT.itemsize) for start in starts]

    def close(self) -> None:
        """Let the file go."""
        self.states, self.frames = [], []
        del self.header
        self._map.close()


class RingWriter:
    """Writes frames into a ring; use one writer at a time.

    Parameters
    ----------
    path
        The ring, such as ``/dev/shm/fluoropose``. One that exists with the same layout is continued.
    size_px
        (width, height) of the frames of both views.
    bits
        Bits that carry signal, 1 to 16; up to 8 are stored in one byte, more in two.
    slots
        Frames of both views together that the ring holds.
    """

    def __init__(self, path: str | Path, size_px: tuple[int, int], bits: int, slots: int = 32) -> None:
        width, height = (whole_positive("size_px", side) for side in size_px)
        if not 1 <= bits <= 16:
            raise InputError(f"bits: expected 1 to 16, found {bits}")
        layout = (1, whole_positive("slots", slots), width, height, 1 if bits <= 8 else 2, bits)
        if not Path(path).exists() or not _continues(Path(path), layout):
            _create(Path(path), layout)
        self._ring = _Ring(Path(path))
        self._ring.header["finished"] = 0

    def write(self, view: int, number: int, time_s: float, pixels: NDArray[Any]) -> None:
        """Write a frame (h, w) of view 0 or 1; it counts as arrived when this is called."""
        arrived = time.monotonic_ns()
        n = int(self._ring.header["written"])
        state, frame = self._ring.states[n % self._ring.slots], self._ring.frames[n % self._ring.slots]
        if pixels.shape != frame.shape or pixels.dtype != frame.dtype:
            raise InputError(f"pixels: expected {frame.dtype} {frame.shape}, found {pixels.dtype} {pixels.shape}")
        if view not in (0, 1):
            raise InputError(f"view: expected 0 or 1, found {view}")
        state["state"] = 2 * n + 1
        frame[:] = pixels
        state["number"], state["time_s"], state["arrived_ns"], state["view"] = number, time_s, arrived, view
        state["state"] = 2 * n + 2
        self._ring.header["written"] = n + 1

    def close(self) -> None:
        """Tell readers that no more frames will come."""
        self._ring.header["finished"] = 1
        self._ring.close()

    def abandon(self) -> None:
        """Let the ring go without a word, as a writer does that another one follows."""
        self._ring.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RingReader:
    """Gives the frames of a ring as they are written, from the next one on, until the writer finishes.

    Attributes
    ----------
    bits
        Bits per pixel that carry signal.
    overtaken
        Frames that the writer overwrote before they were read.

    Raises
    ------
    FileFormatError
        If there is no ring, or its header and size do not agree.
    """

    def __init__(self, path: str | Path, *, from_start: bool = False) -> None:
        self._ring = _Ring(Path(path))
        self.bits: int | None = self._ring.bits
        self.overtaken = 0
        written = int(self._ring.header["written"])
        self._next = max(0, written - self._ring.slots) if from_start else written
        self._stopped = Event()

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the frames."""
        return int(self._ring.header["width"]), int(self._ring.header["height"])

    def __iter__(self) -> Iterator[Frame]:
        """Give frames as they are written."""
        while not self._stopped.is_set():
            written = int(self._ring.header["written"])
            if self._next >= written:
                if self._ring.header["finished"]:
                    return
                time.sleep(_POLL_S)
                continue
            oldest = written - self._ring.slots
            if self._next < oldest:
                self.overtaken += oldest - self._next
                self._next = oldest
            frame = self._copied(self._next)
            self._next += 1
            if frame is None:
                self.overtaken += 1
            else:
                yield frame

    def stop(self) -> None:
        """End the iteration."""
        self._stopped.set()

    def _copied(self, n: int) -> Frame | None:
        """Return frame ``n``, None where the writer has begun to overwrite it."""
        state = self._ring.states[n % self._ring.slots]
        before = state.copy()
        pixels = self._ring.frames[n % self._ring.slots].copy()
        if before["state"] != 2 * n + 2 or state["state"] != 2 * n + 2:
            return None
        arrived = float(before["arrived_ns"]) * 1e-9
        view = int(before["view"])
        return Frame(view, int(before["number"]), float(before["time_s"]), pixels, arrived) if view in (0, 1) else None


def _continues(path: Path, layout: tuple[int, ...]) -> bool:
    ring = _Ring(path)
    found = tuple(int(ring.header[name]) for name in ("version", "slots", "width", "height", "bytes", "bits"))
    ring.close()
    return found == layout


def _create(path: Path, layout: tuple[int, ...]) -> None:
    _, slots, width, height, size, _ = layout
    header = np.zeros((), _HEADER)
    header["magic"] = _MAGIC
    for name, value in zip(("version", "slots", "width", "height", "bytes", "bits"), layout, strict=True):
        header[name] = value
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header.tobytes())
        file.truncate(_HEADER.itemsize + slots * (_SLOT.itemsize + _padded(width * height * size)))


def _padded(size: int) -> int:
    return -(-size // 64) * 64
