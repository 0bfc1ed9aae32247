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
44        uint32   session: writers that have opened the ring so far
48        16       zero
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
36        uint32   session: the header's, as the writer of this frame found it after counting itself
40        24       zero
========  =======  =================================================================================================

Frame n goes to slot n modulo the number of slots. The writer sets the slot's first field to 2 n + 1, writes the frame
and the other fields, sets the first field to 2 n + 2, then the ring's count to n + 1, each with a plain aligned store
in this order (on processors other than x86 with a release fence before the last two). A reader that finds another
first field after copying than before has been overtaken. A writer holds an exclusive flock on the file, so that there
is one at a time. One that dies leaves the count as it was; the next one opens the same ring, counts the session up and
goes on. Zero is a good session for writers that know nothing of it, as long as their numbers never start anew.

``fluoropose/embed/fluoropose.h`` does all of this for C and for whatever can call C.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import whole_positive
from fluoropose.errors import FileFormatError, InputError
from fluoropose.streaming.frame import Frame
from fluoropose.streaming.mapped import VERSION, Mapped, create, padded

__all__ = ["RingReader", "RingWriter", "frame_layout", "frame_ring"]

_MAGIC = b"FPRING"
_HEADER = np.dtype(
    [("magic", "S8"), *((name, "<u4") for name in ("version", "slots", "width", "height", "bytes", "bits"))]
    + [("written", "<u8"), ("finished", "<u4"), ("session", "<u4"), ("zero", "V16")]
)
_SLOT = np.dtype(
    [("state", "<u8"), ("number", "<u8"), ("time_s", "<f8"), ("arrived_ns", "<u8")]
    + [("view", "<u4"), ("session", "<u4"), ("zero", "V24")]
)
_LAYOUT = ("version", "slots", "width", "height", "bytes", "bits")
_POLL_S = 0.0005
_LOOK_S = 0.2  # how often a reader that waits looks whether its file is still the one of that name


class _Ring(Mapped):
    """The mapped ring of frames."""

    def __init__(self, path: Path, *, writes: bool = False) -> None:
        super().__init__(path, _HEADER, _MAGIC, "a ring of frames", writes=writes)
        self.slots, self.bits = int(self.header["slots"]), int(self.header["bits"])
        shape = (int(self.header["height"]), int(self.header["width"]))
        each = _SLOT.itemsize + padded(shape[0] * shape[1] * int(self.header["bytes"]))
        filled = len(self.map) == _HEADER.itemsize + self.slots * each
        if self.header["bytes"] not in (1, 2) or self.slots < 1 or not filled:
            raise FileFormatError(
                f"{path}: {self.slots} slots of {shape[1]} x {shape[0]} pixels of {self.header['bytes']} bytes "
                f"do not fill {len(self.map)} bytes"
            )
        starts = [_HEADER.itemsize + k * each for k in range(self.slots)]
        dtype = f"<u{self.header['bytes']}"
        self.states = [np.ndarray((), _SLOT, self.map, start) for start in starts]
        self.frames = [np.ndarray(shape, dtype, self.map, start + _SLOT.itemsize) for start in starts]

    @property
    def layout(self) -> tuple[int, ...]:
        """Version, slots, width, height, bytes and bits."""
        return tuple(int(self.header[name]) for name in _LAYOUT)

    def close(self) -> None:
        self.states, self.frames = [], []
        super().close()


def frame_ring(path: str | Path, size_px: tuple[int, int], bits: int, slots: int = 32) -> bool:
    """Make a ring that waits for its writer; one with the same layout is left as it is, another one replaced.

    Returns whether it was made.

    Parameters
    ----------
    path
        The ring, such as ``/dev/shm/fluoropose.frames``.
    size_px
        (width, height) of the frames of both views.
    bits
        Bits that carry signal, 1 to 16; up to 8 are stored in one byte, more in two.
    slots
        Frames of both views together that the ring holds.

    Raises
    ------
    FileFormatError
        If the file is something else.
    InputError
        If another program writes a ring of another layout there.
    """
    width, height = (whole_positive("size_px", side) for side in size_px)
    if not 1 <= bits <= 16:
        raise InputError(f"bits: expected 1 to 16, found {bits}")
    layout = (VERSION, whole_positive("slots", slots), width, height, 1 if bits <= 8 else 2, bits)
    path = Path(path)
    if path.exists():
        ring = _Ring(path)
        found = ring.layout
        ring.close()
        if found == layout:
            return False
        _Ring(path, writes=True).close()  # what another program writes is not taken from under it
    header = np.zeros((), _HEADER)
    header["magic"] = _MAGIC
    for name, value in zip(_LAYOUT, layout, strict=True):
        header[name] = value
    create(path, header, _HEADER.itemsize + layout[1] * (_SLOT.itemsize + padded(width * height * layout[4])))
    return True


def frame_layout(path: str | Path) -> tuple[tuple[int, int], int, int]:
    """Return (width, height), bits and slots of a ring that is there; raises FileFormatError where there is none."""
    ring = _Ring(Path(path))
    _, slots, width, height, _, bits = ring.layout
    ring.close()
    return (width, height), bits, slots


class RingWriter:
    """Writes frames into a ring.

    Parameters
    ----------
    path, size_px, bits, slots
        As in ``frame_ring``. A ring that exists with the same layout is continued, another one is replaced.

    Raises
    ------
    InputError
        If another program writes this ring.
    """

    def __init__(self, path: str | Path, size_px: tuple[int, int], bits: int, slots: int = 32) -> None:
        frame_ring(path, size_px, bits, slots)
        self._ring = _Ring(Path(path), writes=True)
        self._session = self._ring.begin()

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
        state["number"], state["time_s"], state["arrived_ns"] = number, time_s, arrived
        state["view"], state["session"] = view, self._session
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

    Where another file takes the ring's name, the reader goes on with that one, from its beginning.

    Parameters
    ----------
    path
        The ring.
    from_start
        Begin with the oldest frame that is there.
    lasting
        Wait for the next writer when one has finished.
    owned
        Remove the file when stopped, unless another program still has it.

    Attributes
    ----------
    bits
        Bits per pixel that carry signal.
    overtaken
        Frames that the writer overwrote before they were read.
    malformed
        Frames of a view that does not exist.

    Raises
    ------
    FileFormatError
        If there is no ring, or its header and size do not agree; while reading, if the ring was replaced by one of
        another layout.
    """

    def __init__(
        self, path: str | Path, *, from_start: bool = False, lasting: bool = False, owned: bool = False
    ) -> None:
        self._ring = _Ring(Path(path))
        self.name = f"ring:{path}"
        self.bits: int | None = self._ring.bits
        self.overtaken = self.malformed = self.refused = self.disconnected = 0
        written = int(self._ring.header["written"])
        self._next = max(0, written - self._ring.slots) if from_start else written
        self._lasting, self._owned = lasting, owned
        self._stopped = Event()

    @property
    def size_px(self) -> tuple[int, int]:
        """(width, height) of the frames."""
        return int(self._ring.header["width"]), int(self._ring.header["height"])

    def __iter__(self) -> Iterator[Frame]:
        """Give frames as they are written."""
        look = time.monotonic() + _LOOK_S
        while not self._stopped.is_set():
            written = int(self._ring.header["written"])
            if self._next >= written:
                # Asked for in this order: a finished writer writes no more, so what it wrote has been read.
                if self._ring.header["finished"] and not self._lasting and self._next >= self._ring.header["written"]:
                    return
                if time.monotonic() > look:
                    self._follow()
                    look = time.monotonic() + _LOOK_S
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
            elif frame.view in (0, 1):
                yield frame
            else:
                self.malformed += 1

    def stop(self) -> None:
        """End the iteration."""
        self._stopped.set()
        if self._owned:
            self._ring.remove()

    def _follow(self) -> None:
        """Go over to the file that has taken the ring's name, if any has."""
        if not self._ring.replaced:
            return
        new = _Ring(self._ring.path)
        (_, _, *before), (_, _, *now) = self._ring.layout, new.layout
        if now != before:
            raise FileFormatError(
                f"{new.path}: replaced by a ring of another layout: "
                f"expected width, height, bytes, bits {before}, found {now}"
            )
        self._ring.close()
        self._ring, self._next, self._owned = new, 0, False

    def _copied(self, n: int) -> Frame | None:
        """Return frame ``n``, None where the writer has begun to overwrite it."""
        state = self._ring.states[n % self._ring.slots]
        before = state.copy()
        pixels = self._ring.frames[n % self._ring.slots].copy()
        if before["state"] != 2 * n + 2 or state["state"] != 2 * n + 2:
            return None
        return Frame(
            int(before["view"]),
            int(before["number"]),
            float(before["time_s"]),
            pixels,
            float(before["arrived_ns"]) * 1e-9,
            session=int(before["session"]),
        )
