"""Frames that other programs send as OpenIGTLink IMAGE messages (PLUS, 3D Slicer)."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from itertools import count
from threading import Lock
from typing import Any

import numpy as np

from fluoropose.streaming.endpoint import Token
from fluoropose.streaming.frame import Frame
from fluoropose.streaming.igtl import Clients, MalformedError, received
from fluoropose.streaming.queues import BoundedQueue

__all__ = ["IgtlSource"]

_QUEUE = 8  # frames
_EXTRA_BYTES = 65536  # of an IMAGE beyond its pixels: headers and metadata


class IgtlSource:
    """Listens for clients, which send the frames of one view or of both, and gives these until it is stopped.

    The device's name ends in 1 or 2, which is the view; the image is scalar uint8 or uint16, one slice, brought as the
    camera stores it. The message's timestamp is the frame's time; one without is taken for now. Its number is the
    message's ID where it has one (header version 2), else the client's images of this view are counted.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one, see ``port``.
    size_px
        (width, height) per view.
    bits
        Bits that carry signal.
    token
        Needed where others can reach the host; a client says it in a STRING of the device "token".

    Attributes
    ----------
    malformed
        Messages that were no frame of this size and depth. Where nobody could know where the next one begins, or one
        is far too long, the client is let go.
    """

    def __init__(
        self, host: str, port: int, size_px: tuple[tuple[int, int], ...], bits: int, token: Token | None = None
    ) -> None:
        self.bits: int | None = bits
        self.malformed = 0
        self._dtype = np.dtype(np.uint8 if bits <= 8 else np.uint16)
        self._size_px = size_px
        self._most_bytes = 4 * max(w * h for w, h in size_px) * self._dtype.itemsize + _EXTRA_BYTES
        self._frames: BoundedQueue[Frame] = BoundedQueue(_QUEUE, "every")
        self._lock = Lock()
        self._session = self._sending = 0
        self._clients = Clients(host, port, token or Token(), self._receive)
        self.port, self.name = self._clients.port, self._clients.name
        self.overtaken = 0

    @property
    def refused(self) -> int:
        """Clients that were turned away."""
        return self._clients.refused

    @property
    def disconnected(self) -> int:
        """Clients that left or were let go."""
        return self._clients.disconnected

    def __iter__(self) -> Iterator[Frame]:
        """Give frames as they arrive."""
        while (frame := self._frames.get()) is not None:
            yield frame

    def stop(self) -> None:
        """End the iteration."""
        self._frames.close()
        self._clients.close()

    def _receive(self, client: socket.socket) -> bool:
        """Take a client's frames until it leaves; each has a thread."""
        with self._lock:
            # Clients that send at the same time are one session: each may be one of the cameras.
            self._session += self._sending == 0
            self._sending += 1
            session, counters = self._session, (count(), count())
        try:
            while True:
                try:
                    message = received(client, self._most_bytes)
                    if message is not None and message.message_type == "IMAGE":
                        self._frames.put(self._frame(message, session, counters))
                except MalformedError as error:
                    with self._lock:
                        self.malformed += 1
                    if error.lost:
                        return False
        except OSError:
            return False
        finally:
            with self._lock:
                self._sending -= 1

    def _frame(self, message: Any, session: int, counters: tuple[Iterator[int], Iterator[int]]) -> Frame:
        arrived = time.monotonic()
        view = {"1": 0, "2": 1}.get(message.device_name[-1:])
        if view is None:
            raise MalformedError(f"device {message.device_name!r}: expected a name that ends in 1 or 2", lost=False)
        width, height = self._size_px[view]
        image = message.image
        # One slice; pyigtl itself sends pictures as slices across.
        if image.shape not in ((1, height, width), (height, width, 1)) or image.dtype.newbyteorder("=") != self._dtype:
            raise MalformedError(f"image: found {image.dtype} {image.shape}", lost=False)
        pixels, number = image.reshape(height, width), next(counters[view])
        return Frame(
            view, message.message_id or number, message.timestamp or time.time(), pixels, arrived, session=session
        )
