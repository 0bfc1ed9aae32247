"""OpenIGTLink: every pose as a TRANSFORM message, to any number of clients (3D Slicer's OpenIGTLinkIF, PLUS)."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from threading import Thread

from fluoropose.errors import InputError
from fluoropose.streaming.frame import Output

__all__ = ["IgtlServer"]

_SEND_S = 0.05  # a client that takes no bytes for so long is let go


class IgtlServer:
    """Listens for clients and sends them ``world_from_bone`` (mm) under the bone's name.

    Nothing is sent for a pair without a pose. Whatever a client sends is ignored.

    Parameters
    ----------
    bone
        The device's name, at most 20 characters in OpenIGTLink; more are cut off.
    port
        Where to listen; 0 takes a free port, see ``port``.
    host
        Address to listen at. The protocol knows no secrets: beyond the loopback, everyone may listen.

    Raises
    ------
    InputError
        If pyigtl is not installed, or the address cannot be listened at.
    """

    def __init__(self, bone: str, port: int = 18944, host: str = "127.0.0.1") -> None:
        try:
            import pyigtl
        except ImportError as error:
            raise InputError("OpenIGTLink needs pyigtl: pip install 'fluoropose[stream]'") from error
        self._message = pyigtl.TransformMessage
        self._device = bone[:20]
        try:
            self._listening = socket.create_server((host, port))
        except (OSError, OverflowError) as error:
            raise InputError(f"igtl: cannot listen at {host}:{port}: {error}") from error
        self.port = int(self._listening.getsockname()[1])
        self.name = f"igtl:{host}:{self.port}"
        self._clients: list[socket.socket] = []
        Thread(target=self._accept, name="igtl", daemon=True).start()

    @property
    def clients(self) -> int:
        """How many clients listen."""
        return len(self._clients)

    def write(self, output: Output) -> None:
        """Send the pose to all clients; one that has gone or does not keep up is let go."""
        pose = output.tracked.world_from_bone
        if pose is None or not self._clients:
            return
        packed = self._message(pose.matrix, timestamp=time.time(), device_name=self._device).pack()
        for client in list(self._clients):
            try:
                client.sendall(packed)
            except OSError:
                self._clients.remove(client)
                client.close()

    def close(self) -> None:
        """Stop listening and let the clients go."""
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for client in self._clients:
            client.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            client.settimeout(_SEND_S)
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._clients.append(client)
