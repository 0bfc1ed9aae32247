"""Frames in and poses out over ZeroMQ: what the messages look like, and sockets that only accept who knows the token.

A frame is a message of two parts, sent (PUSH) to the service's PULL socket:

1. JSON, at most 4,096 bytes: ``{"fluoropose": "frame", "version": 1, "view": 0, "number": 12, "time_s": 0.4,
   "width": 1024, "height": 1024, "bits": 16, "session": 1}``. The view is 0 or 1; the number counts as the cameras do;
   the time is that of the cameras' clock, s. The session may be left out; a program that starts its numbers anew takes
   another one, the same for both views.
2. The pixels, row by row: bytes for up to 8 bits, little-endian uint16 for more.

A pose is one part of JSON, which the service publishes (PUB) to every SUB socket that subscribes to everything: see
``PoseMessage``. What is unknown is null.

Where a token is needed, clients use ZeroMQ's PLAIN mechanism: username "fluoropose", password the token. Whatever is
sent is not encrypted; through a network that others share it needs a tunnel.
"""

from __future__ import annotations

from contextlib import suppress
from threading import Thread
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from fluoropose.errors import InputError
from fluoropose.streaming.endpoint import Token, is_loopback, zmq_endpoint
from fluoropose.streaming.frame import Output

__all__ = ["HEAD_BYTES", "FrameHead", "PoseMessage", "Server"]

HEAD_BYTES = 4096
_USERNAME = b"fluoropose"
_LINGER_MS = 500  # how long the last poses may take to get away
_ZAP = "inproc://zeromq.zap.01"  # where libzmq asks, RFC 27


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


class FrameHead(_Message):
    """First part of a frame."""

    fluoropose: Literal["frame"] = "frame"
    version: Literal[1] = 1
    view: Literal[0, 1]
    number: int = Field(ge=0, lt=2**53)
    time_s: float
    width: int = Field(gt=0)
    height: int = Field(gt=0)
    bits: int = Field(ge=1, le=16)
    session: int = Field(default=0, ge=0, lt=2**32)


class PoseMessage(_Message):
    """What the tracker said about a pair; the fields are those of a slot in ``fluoropose.streaming.pose_ring``.

    Matrices are lists of rows; None without a pose.
    """

    fluoropose: Literal["pose"] = "pose"
    version: Literal[1] = 1
    bone: str
    number: int
    time_s: float
    phase: str
    quality: float
    latency_ms: float
    landmarks: int
    session: int
    reason: str
    world_from_bone: list[list[float]] | None
    covariance: list[list[float]] | None
    rate: list[float] | None

    @classmethod
    def of(cls, output: Output, bone: str) -> Self:
        """Say what is in an output."""
        tracked, belief = output.tracked, output.tracked.belief
        return cls(
            bone=bone,
            number=output.number,
            time_s=tracked.time_s,
            phase=tracked.phase.value,
            quality=tracked.quality,
            latency_ms=output.latency_ms,
            landmarks=tracked.registration.n_visible,
            session=output.session,
            reason=tracked.reason,
            world_from_bone=None if belief is None else belief.world_from_bone.matrix.tolist(),
            covariance=None if belief is None else belief.pose_covariance.tolist(),
            rate=None if belief is None else belief.rate.tolist(),
        )


class Server:
    """A bound socket.

    Parameters
    ----------
    kind
        "PULL" or "PUB".
    endpoint
        Such as "tcp://127.0.0.1:5555"; port "*" takes a free one. A path, "ipc:///run/user/1000/poses", stays on this
        machine.
    token
        Needed wherever others can reach the endpoint.
    part_bytes
        Bound of each part of a message that comes in; whoever sends more is disconnected.
    queue
        Messages that wait in ZeroMQ, per client.

    Attributes
    ----------
    endpoint
        Where it listens, with the port it took.
    refused
        Attempts to connect that were turned away for a wrong token.
    disconnected
        Connections that ended: the program left, or had sent too large a message; those of "PUB" are not counted.

    Raises
    ------
    InputError
        If pyzmq is not installed, the endpoint is none, needs a token, or cannot be bound.
    """

    def __init__(self, kind: Literal["PULL", "PUB"], endpoint: str, token: Token, part_bytes: int, queue: int) -> None:
        try:
            import zmq
        except ImportError as error:
            raise InputError("ZeroMQ needs pyzmq: pip install 'fluoropose[stream]'") from error
        transport, address = zmq_endpoint("zmq", endpoint)
        if transport == "tcp" and not is_loopback(host := address.rpartition(":")[0]):
            token.require_for(host)
        self.context: zmq.Context[Any] = zmq.Context()
        self._gate = _Gate(self.context, token) if token.needed else None
        self.socket = self.context.socket(getattr(zmq, kind))
        self.socket.setsockopt(zmq.MAXMSGSIZE, part_bytes)
        self.socket.setsockopt(zmq.LINGER, _LINGER_MS)
        self.socket.set_hwm(queue)
        if self._gate is not None:
            self.socket.setsockopt(zmq.PLAIN_SERVER, 1)
        self.disconnected = 0
        # Not without somebody who counts: once 2,000 events wait to be read, libzmq stands still.
        self._events = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED) if kind == "PULL" else None
        try:
            self.socket.bind(endpoint)
        except zmq.ZMQError as error:
            self.close()
            raise InputError(f"zmq: cannot listen at {endpoint}: {error}") from error
        self.endpoint = str(self.socket.getsockopt_string(zmq.LAST_ENDPOINT))

    @property
    def refused(self) -> int:
        """Attempts to connect that were turned away."""
        return 0 if self._gate is None else self._gate.refused

    def count(self) -> None:
        """Count what has happened to connections since the last call; to be called again and again."""
        while self._events is not None and self._events.poll(0):
            self._events.recv_multipart()
            self.disconnected += 1

    def close(self) -> None:
        """Stop listening."""
        if self._events is not None:
            self.socket.disable_monitor()
            self._events.close()
        self.socket.close()
        self.context.term()


class _Gate(Thread):
    """Answers libzmq's question who may come in (RFC 27); it ends with its context."""

    def __init__(self, context: Any, token: Token) -> None:
        super().__init__(name="zmq gate", daemon=True)
        import zmq

        self._token, self._ended = token, zmq.ZMQError
        self._asked = context.socket(zmq.REP)
        self._asked.setsockopt(zmq.LINGER, 0)
        self._asked.bind(_ZAP)  # before any socket that asks
        self.refused = 0
        self.start()

    def run(self) -> None:
        """Answer until the context is terminated."""
        with self._asked, suppress(self._ended):
            while True:
                version, request, _, _, _, mechanism, *credentials = self._asked.recv_multipart()
                known = mechanism == b"PLAIN" and len(credentials) == 2 and credentials[0] == _USERNAME
                welcome = known and self._token.matches(credentials[1])
                self.refused += not welcome
                answer = (b"200", b"OK", _USERNAME) if welcome else (b"400", b"wrong token", b"")
                self._asked.send_multipart([version, request, *answer, b""])
