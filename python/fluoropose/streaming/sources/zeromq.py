"""Frames that other programs send over ZeroMQ."""

from __future__ import annotations

import time
from collections.abc import Iterator
from threading import Event

import numpy as np
from pydantic import ValidationError

from fluoropose.streaming.endpoint import Token
from fluoropose.streaming.frame import Frame
from fluoropose.streaming.zeromq import HEAD_BYTES, FrameHead, Server

__all__ = ["ZeromqSource"]

_QUEUE = 8  # frames
_POLL_MS = 50


class ZeromqSource:
    """Gives the frames that arrive at a PULL socket, until it is stopped; see ``fluoropose.streaming.zeromq``.

    Parameters
    ----------
    endpoint
        Where to listen, such as "tcp://127.0.0.1:5555".
    size_px
        (width, height) of the frames of both views.
    bits
        Bits that carry signal.
    token
        Needed where others can reach the endpoint.

    Attributes
    ----------
    malformed
        Messages that were no frame of this size and depth; they are ignored.
    """

    def __init__(self, endpoint: str, size_px: tuple[tuple[int, int], ...], bits: int, token: Token) -> None:
        self.bits: int | None = bits
        self.overtaken = self.malformed = 0
        self._size_px, self._dtype = size_px, np.dtype("<u1" if bits <= 8 else "<u2")
        most = max(width * height for width, height in size_px) * self._dtype.itemsize
        self._server = Server("PULL", endpoint, token, 4 * max(most, HEAD_BYTES), _QUEUE)
        self.name = f"zmq:{self._server.endpoint}"
        self._stopped = Event()

    @property
    def refused(self) -> int:
        """Attempts to connect that were turned away."""
        return self._server.refused

    @property
    def disconnected(self) -> int:
        """Connections that ended."""
        return self._server.disconnected

    def __iter__(self) -> Iterator[Frame]:
        """Give frames as they arrive."""
        try:
            while not self._stopped.is_set():
                self._server.count()
                if self._server.socket.poll(_POLL_MS):
                    frame = self._received()
                    if frame is None:
                        self.malformed += 1
                    else:
                        yield frame
        finally:
            self._server.close()

    def stop(self) -> None:
        """End the iteration."""
        self._stopped.set()

    def _received(self) -> Frame | None:
        # Part by part: a message may claim to have any number of them.
        parts = [self._server.socket.recv(copy=False)]
        while parts[-1].more:
            part = self._server.socket.recv(copy=False)
            parts = [*parts[:2], part]
        arrived = time.monotonic()
        if len(parts) != 2 or len(parts[0]) > HEAD_BYTES:
            return None
        try:
            head = FrameHead.model_validate_json(parts[0].bytes)
        except ValidationError:
            return None
        if (head.width, head.height) != self._size_px[head.view] or head.bits != self.bits:
            return None
        if len(parts[1]) != head.width * head.height * self._dtype.itemsize:
            return None
        pixels = np.frombuffer(parts[1].buffer, self._dtype).reshape(head.height, head.width)
        return Frame(head.view, head.number, head.time_s, pixels, arrived, session=head.session)
