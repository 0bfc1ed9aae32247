"""Poses published over ZeroMQ."""

from __future__ import annotations

from fluoropose.streaming.endpoint import Token
from fluoropose.streaming.frame import Output
from fluoropose.streaming.zeromq import HEAD_BYTES, PoseMessage, Server

__all__ = ["ZeromqSink"]

_QUEUE = 64  # poses per client; of one that does not keep up the rest is lost


class ZeromqSink:
    """Publishes every output as a ``PoseMessage``; see ``fluoropose.streaming.zeromq``.

    Parameters
    ----------
    endpoint
        Where to listen, such as "tcp://127.0.0.1:5556".
    bone
        Its name.
    token
        Needed where others can reach the endpoint.
    """

    def __init__(self, endpoint: str, bone: str, token: Token) -> None:
        self._server, self._bone = Server("PUB", endpoint, token, HEAD_BYTES, _QUEUE), bone
        self.endpoint = self._server.endpoint
        self.name = f"zmq:{self.endpoint}"

    def write(self, output: Output) -> None:
        """Send it to whoever listens."""
        self._server.socket.send(PoseMessage.of(output, self._bone).model_dump_json().encode())

    def close(self) -> None:
        """Stop listening."""
        self._server.close()
