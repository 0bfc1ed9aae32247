"""Files that several programs map into their memory: what the rings of frames and of poses have in common."""

from __future__ import annotations

import fcntl
import mmap
import os
import signal
from contextlib import suppress
from pathlib import Path
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from fluoropose._files import atomic_path
from fluoropose.errors import FileFormatError, InputError, first_line

__all__ = ["VERSION", "Mapped", "create", "padded"]

VERSION = 1


class Mapped:
    """A mapped file that begins with a header.

    Parameters
    ----------
    path
        The file.
    header
        Type of the header, with the fields "magic", "version", "written", "finished" and "session".
    magic
        The first bytes.
    what
        What the file holds, for messages.
    writes
        Whether to be its only writer.

    Raises
    ------
    FileFormatError
        If there is no such file.
    InputError
        If another program writes it.
    """

    def __init__(self, path: Path, header: np.dtype[np.void], magic: bytes, what: str, *, writes: bool) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR if writes else os.O_RDONLY)
            self._let_go = finalize(self, os.close, self._descriptor)
            if writes:
                _lock(self._descriptor, path)
            self._stat = os.fstat(self._descriptor)
            self.map = mmap.mmap(self._descriptor, 0, access=mmap.ACCESS_WRITE if writes else mmap.ACCESS_READ)
        except (OSError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise FileFormatError(f"{path}: expected {what}: {first_line(error)}") from error
        if len(self.map) < header.itemsize or self.map[: len(magic)] != magic:
            raise FileFormatError(f"{path}: expected {what}, which begins with {magic.decode()}")
        self.header = np.ndarray((), header, self.map)
        if self.header["version"] != VERSION:
            raise FileFormatError(f"{path}: version: expected {VERSION}, found {self.header['version']}")

    @property
    def replaced(self) -> bool:
        """Whether another file has taken its name, which nobody who maps this one will see."""
        try:
            now = os.stat(self.path)
        except OSError:
            return False  # removed, not replaced; whoever maps it may go on
        return (now.st_dev, now.st_ino) != (self._stat.st_dev, self._stat.st_ino)

    def begin(self) -> int:
        """Count this writer; return its session."""
        session = (int(self.header["session"]) + 1) % 2**32
        self.header["session"], self.header["finished"] = session, 0
        return session

    def remove(self) -> None:
        """Remove the file, unless another program still has it or another file has taken its name."""
        with suppress(OSError):
            # Granted only where nobody else has the file open or mapped; who opens it meanwhile causes a mere SIGURG.
            fcntl.fcntl(self._descriptor, fcntl.F_SETSIG, signal.SIGURG)
            fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_WRLCK)
            fcntl.fcntl(self._descriptor, fcntl.F_SETLEASE, fcntl.F_UNLCK)
            if not self.replaced:
                self.path.unlink()

    def close(self) -> None:
        """Let the file go; nobody may hold an array in it any more."""
        del self.header
        self.map.close()
        self._let_go()


def create(path: Path, header: NDArray[np.void], size: int) -> None:
    """Make a file of ``size`` bytes, zero after its header."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(header.tobytes())
        file.truncate(size)


def padded(size: int) -> int:
    """Return the next multiple of 64."""
    return -(-size // 64) * 64


def _lock(descriptor: int, path: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(f"{path}: another program writes it") from None
