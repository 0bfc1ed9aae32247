"""OpenIGTLink: every pose as TRANSFORM and as TDATA, to any number of clients (3D Slicer's OpenIGTLinkIF, PLUS)."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from select import POLLIN, poll

from fluoropose.streaming.endpoint import Token
from fluoropose.streaming.frame import Output
from fluoropose.streaming.igtl import Clients, tracking_data

__all__ = ["IgtlServer"]

_IGNORED_BYTES = 65536  # at once
_SEND_S = 0.05  # a client that takes no bytes for so long is let go


class IgtlServer:
    """Listens for clients and sends them ``world_from_bone`` (mm) under the bone's name, as TRANSFORM and as TDATA.

    Nothing is sent for a pair without a pose. Whatever a client sends is ignored.

    Parameters
    ----------
    bone
        The device's name, at most 20 characters in OpenIGTLink; more are cut off.
    port
        Where to listen; 0 takes a free port, see ``port``.
    host
        Address to listen at.
    token
        Needed where others can reach the host; a client says it in a STRING of the device "token".

    Raises
    ------
    InputError
        If pyigtl is not installed, or the address needs a token or cannot be listened at.
    """

    def __init__(self, bone: str, port: int = 18944, host: str = "127.0.0.1", token: Token | None = None) -> None:
        self._clients = Clients(host, port, token or Token(), _keep)
        self.port, self.name = self._clients.port, self._clients.name
        self._device = bone.encode("ascii", "replace")[:20].decode()

    @property
    def clients(self) -> int:
        """How many clients listen."""
        return len(self._clients.inside)

    def write(self, output: Output) -> None:
        """Send the pose to all clients; one that has gone or does not keep up is let go."""
        from pyigtl import TransformMessage

        pose, clients = output.tracked.world_from_bone, self._clients.inside
        if pose is None or not clients:
            return
        now = time.time()
        packed = TransformMessage(pose.matrix, timestamp=now, device_name=self._device).pack()
        packed += tracking_data(pose.matrix, now, self._device).pack()
        for client in clients:
            try:
                client.sendall(packed)
            except OSError:
                self._clients.let_go(client)

    def close(self) -> None:
        """Stop listening and let the clients go."""
        self._clients.close()


def _keep(client: socket.socket) -> bool:
    """Ignore what a client says until it leaves, also while there are no poses to be sent."""
    client.settimeout(_SEND_S)
    said = poll()
    with suppress(OSError, ValueError):  # of a client that was let go
        said.register(client, POLLIN)
        while said.poll() and client.recv(_IGNORED_BYTES):
            pass
    return False
