"""OpenIGTLink: servers that know who may come in, messages of bounded size, and tracking data.

pyigtl packs and unpacks; the sockets are our own, because its server has one client and no bounds. The protocol has no
secrets: where a token is needed, a client's first message must be a STRING of the device "token" that holds it.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from threading import Lock, Thread
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError, first_line
from fluoropose.streaming.endpoint import Token

__all__ = ["Clients", "MalformedError", "received", "tracking_data"]

_MOST_CLIENTS = 16
_FIRST_S = 5.0  # for the token
_TOKEN_BYTES = 4096
_INSTRUMENT_6D = 2  # "type" of a tracked thing


class MalformedError(Exception):
    """A message that cannot be understood; ``lost`` where nobody knows where the next one begins."""

    def __init__(self, why: str, *, lost: bool) -> None:
        super().__init__(why)
        self.lost = lost


def received(client: socket.socket, most_bytes: int) -> Any:
    """Wait for a message and return it as pyigtl's; None for a type that pyigtl does not know.

    Raises
    ------
    MalformedError
        If it is longer than ``most_bytes`` or makes no sense.
    ConnectionError
        If the client has left.
    """
    from pyigtl import MessageBase

    head = _exactly(client, MessageBase.IGTL_HEADER_SIZE)
    try:
        fields = MessageBase.parse_header(head)
    except ValueError as error:
        raise MalformedError(f"no header: {error}", lost=True) from error
    if fields["header_version"] not in (1, 2) or fields["body_size"] > most_bytes:
        raise MalformedError(f"version {fields['header_version']}, {fields['body_size']} bytes", lost=True)
    body = _exactly(client, fields["body_size"])
    message = MessageBase.create_message(fields["message_type"])
    if message is None:
        return None
    try:
        message.unpack(fields, body)
    except Exception as error:  # whatever pyigtl makes of bytes that are none of its own
        raise MalformedError(f"{fields['message_type']}: {error}", lost=False) from error
    return message


class Clients:
    """Listens, and keeps the clients that may come in.

    Parameters
    ----------
    host, port
        Where to listen; port 0 takes a free one.
    token
        Needed where others can reach the host.
    welcome
        Called with a client that has come in, in a thread of its own; it is let go when that returns False.

    Attributes
    ----------
    port
        Where it listens.
    refused
        Clients that did not know the token, or were too many.
    disconnected
        Clients that left or were let go.

    Raises
    ------
    InputError
        If pyigtl is not installed, or the address needs a token or cannot be listened at.
    """

    def __init__(self, host: str, port: int, token: Token, welcome: Callable[[socket.socket], bool]) -> None:
        try:
            import pyigtl  # noqa: F401
        except ImportError as error:
            raise InputError("OpenIGTLink needs pyigtl: pip install 'fluoropose[stream]'") from error
        token.require_for(host)
        try:
            self._listening = socket.create_server((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"igtl: cannot listen at {host}:{port}: {first_line(error)}") from error
        self.port = int(self._listening.getsockname()[1])
        self.name = f"igtl:{host}:{self.port}"
        self.refused = self.disconnected = 0
        self._token, self._welcome = token, welcome
        self._inside: list[socket.socket] = []
        self._waiting = 0
        self._lock = Lock()
        Thread(target=self._accept, name=self.name, daemon=True).start()

    @property
    def inside(self) -> tuple[socket.socket, ...]:
        """The clients that have come in."""
        return tuple(self._inside)

    def let_go(self, client: socket.socket) -> None:
        """Close a client's connection."""
        with self._lock:
            if client not in self._inside:
                return
            self._inside.remove(client)
            self.disconnected += 1
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)  # wakes whoever waits for its messages
        client.close()

    def close(self) -> None:
        """Stop listening and let the clients go."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for client in self.inside:
            self.let_go(client)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            with self._lock:
                crowded = len(self._inside) + self._waiting >= _MOST_CLIENTS
                self.refused += crowded
                self._waiting += not crowded
            if crowded:
                client.close()
            else:
                Thread(target=self._come_in, args=(client,), name=self.name, daemon=True).start()

    def _come_in(self, client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        known = not self._token.needed or self._knows(client)
        with self._lock:
            self._waiting -= 1
            self.refused += not known
            if known:
                self._inside.append(client)
        if not known:
            client.close()
        elif not self._welcome(client):
            self.let_go(client)

    def _knows(self, client: socket.socket) -> bool:
        client.settimeout(_FIRST_S)
        try:
            message = received(client, _TOKEN_BYTES)
        except (MalformedError, OSError):
            return False
        finally:
            with suppress(OSError):
                client.settimeout(None)
        said = message is not None and message.message_type == "STRING" and message.device_name == "token"
        return said and self._token.matches(message.string.encode())


def tracking_data(matrix: NDArray[np.float64], timestamp: float, device_name: str) -> Any:
    """Return a TDATA message: one 6D instrument, named like its device (OpenIGTLink 2, "Tracking Data")."""
    message = _tracking_data()(timestamp=timestamp, device_name=device_name)
    message.matrix = matrix
    return message


@cache
def _tracking_data() -> Any:
    """Return the class of TDATA messages, which pyigtl does not have."""
    from pyigtl import MessageBase

    class TrackingData(MessageBase):  # type: ignore[misc]
        def __init__(self, **about: Any) -> None:
            super().__init__(**about)
            self._message_type = "TDATA"

        def _pack_content(self) -> bytes:
            columns = self.matrix[:3].T.ravel()  # R11 R21 R31 R12 ... TZ
            return struct.pack(">20sBB12f", self.device_name.encode(), _INSTRUMENT_6D, 0, *columns)

    return TrackingData


def _exactly(client: socket.socket, count: int) -> bytes:
    """Return the next ``count`` bytes."""
    found = bytearray()
    while len(found) < count:
        chunk = client.recv(min(count - len(found), 1 << 20))
        if not chunk:
            raise ConnectionError("the client has left")
        found += chunk
    return bytes(found)
