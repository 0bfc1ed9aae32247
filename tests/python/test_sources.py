"""Frames over the network: what arrives, what is malformed, and who is turned away."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

import numpy as np
import pytest

from fluoropose.errors import InputError
from fluoropose.streaming.endpoint import Token, host_and_port, is_loopback
from fluoropose.streaming.frame import Frame
from fluoropose.streaming.sinks.zeromq import ZeromqSink
from fluoropose.streaming.sources.igtl import IgtlSource
from fluoropose.streaming.sources.zeromq import ZeromqSource
from outputs import OUTPUTS, POSES, wait_until

zmq = pytest.importorskip("zmq", reason="ZeroMQ needs pyzmq")
pyigtl = pytest.importorskip("pyigtl", reason="OpenIGTLink needs pyigtl")

SIZES = ((40, 30), (40, 30))
PIXELS = np.arange(1200, dtype=np.uint16).reshape(30, 40)
SECRET = "a secret of enough length"


@contextmanager
def frames_of(source: ZeromqSource | IgtlSource) -> Iterator[list[Frame]]:
    """What a source gives, while it is open."""
    found: list[Frame] = []
    thread = Thread(target=lambda: found.extend(source), daemon=True)
    thread.start()
    try:
        yield found
    finally:
        source.stop()
        thread.join(timeout=5)
        assert not thread.is_alive()


def head(**changes: object) -> bytes:
    about = {"fluoropose": "frame", "version": 1, "view": 0, "number": 7, "time_s": 0.25}
    return json.dumps(about | {"width": 40, "height": 30, "bits": 12, "session": 3} | changes).encode()


@contextmanager
def client(kind: int, endpoint: str, password: str = "") -> Iterator[zmq.Socket]:
    with zmq.Context() as context, context.socket(kind) as one:
        one.setsockopt(zmq.LINGER, 0)
        if password:
            one.setsockopt_string(zmq.PLAIN_USERNAME, "fluoropose")
            one.setsockopt_string(zmq.PLAIN_PASSWORD, password)
        one.connect(endpoint)
        yield one


def zeromq(host: str = "127.0.0.1", token: str = "") -> ZeromqSource:
    return ZeromqSource(f"tcp://{host}:*", SIZES, 12, Token(token))


def igtl(token: str = "") -> IgtlSource:
    return IgtlSource("127.0.0.1", 0, SIZES, 12, Token(token))


# --- ZeroMQ ---------------------------------------------------------------------------------------------------------


def test_a_frame_comes_through_zeromq_as_it_was_sent() -> None:
    source = zeromq()
    with frames_of(source) as found, client(zmq.PUSH, source.name[4:]) as one:
        before = time.monotonic()
        one.send_multipart([head(view=1), PIXELS.tobytes()])
        wait_until(lambda: len(found) == 1)
    frame = found[0]
    assert (frame.view, frame.number, frame.time_s, frame.session) == (1, 7, 0.25, 3)
    assert before < frame.arrived_s < time.monotonic()
    np.testing.assert_array_equal(frame.pixels, PIXELS)
    assert (source.malformed, source.refused) == (0, 0)


MALFORMED: dict[str, list[bytes]] = {
    "no frame at all": [b"hello"],
    "empty": [b"", b""],
    "no JSON": [b"{", PIXELS.tobytes()],
    "a third part": [head(), PIXELS.tobytes(), b""],
    "many parts": [b"x"] * 500,
    "truncated": [head(), PIXELS.tobytes()[:-1]],
    "too long": [head(), PIXELS.tobytes() * 2],
    "wrong size": [head(width=41), PIXELS.tobytes()],
    "wrong depth": [head(bits=16), PIXELS.tobytes()],
    "no such view": [head(view=2), PIXELS.tobytes()],
    "a time that is none": [head().replace(b"0.25", b"NaN"), PIXELS.tobytes()],
    "a number that is none": [head(number="7"), PIXELS.tobytes()],
    "an unknown field": [head(colour="red"), PIXELS.tobytes()],
    "another version": [head(version=2), PIXELS.tobytes()],
    "a long head": [b" " * 5000 + head(), PIXELS.tobytes()],
}


def test_malformed_zeromq_messages_are_counted_and_cost_no_more_than_themselves() -> None:
    source = zeromq()
    with frames_of(source) as found, client(zmq.PUSH, source.name[4:]) as one:
        for number, message in enumerate(MALFORMED.values()):
            one.send_multipart(message)
            one.send_multipart([head(number=number), PIXELS.tobytes()])
        wait_until(lambda: len(found) == len(MALFORMED))
    assert [frame.number for frame in found] == list(range(len(MALFORMED)))
    assert source.malformed == len(MALFORMED)


def test_a_zeromq_message_beyond_the_bound_costs_its_sender_the_connection() -> None:
    source = zeromq()
    with frames_of(source) as found:
        with client(zmq.PUSH, source.name[4:]) as one:
            one.send_multipart([head(), bytes(20_000_000)])
            wait_until(lambda: source.disconnected == 1)
        with client(zmq.PUSH, source.name[4:]) as one:
            one.send_multipart([head(), PIXELS.tobytes()])
            wait_until(lambda: len(found) == 1)


@pytest.mark.parametrize("password", ["", "a secret of another length", SECRET[:-1]])
def test_who_does_not_know_the_token_sends_no_frames_and_gets_no_poses(password: str) -> None:
    source, sink = zeromq("0.0.0.0", SECRET), ZeromqSink("tcp://127.0.0.1:*", "skull", Token(SECRET))
    source_at = source.name[4:].replace("0.0.0.0", "127.0.0.1")
    with frames_of(source) as found, client(zmq.PUSH, source_at, password) as one:
        one.send_multipart([head(number=1), PIXELS.tobytes()])
        wait_until(lambda: not password or source.refused > 0)
        with client(zmq.PUSH, source_at, SECRET) as knowing:
            knowing.send_multipart([head(number=2), PIXELS.tobytes()])
            wait_until(lambda: len(found) == 1)
    assert [frame.number for frame in found] == [2]
    assert received_by(sink, password, 0.3) is None
    assert received_by(sink, SECRET, 5.0) is not None
    sink.close()


def received_by(sink: ZeromqSink, password: str, seconds: float) -> dict[str, object] | None:
    """What a subscriber gets of poses that are sent again and again."""
    with client(zmq.SUB, sink.endpoint, password) as one:
        one.setsockopt(zmq.SUBSCRIBE, b"")
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            sink.write(OUTPUTS[3])
            if one.poll(20):
                return dict(json.loads(one.recv()))
    return None


def test_poses_are_published_as_json() -> None:
    sink = ZeromqSink("tcp://127.0.0.1:*", "skull", Token())
    pose = received_by(sink, "", 5.0)
    assert pose is not None
    np.testing.assert_allclose(pose["world_from_bone"], POSES[2].matrix)
    np.testing.assert_allclose(pose["covariance"], 2 * np.eye(6))
    assert pose["rate"] == [0.0] * 6
    about = {"fluoropose": "pose", "version": 1, "bone": "skull", "number": 4, "phase": "tracking", "landmarks": 5}
    assert about.items() <= pose.items()
    with client(zmq.SUB, sink.endpoint) as one:
        one.setsockopt(zmq.SUBSCRIBE, b"")
        wait_until(lambda: (sink.write(OUTPUTS[2]), one.poll(20))[1])
        lost = json.loads(one.recv())
    assert (lost["phase"], lost["reason"], lost["world_from_bone"]) == ("lost", "view 2: blank", None)
    sink.close()


@pytest.mark.slow
def test_any_number_of_programs_may_come_for_poses_and_go() -> None:
    sink = ZeromqSink("tcp://127.0.0.1:*", "skull", Token())
    with zmq.Context() as context:
        for k in range(2100):  # libzmq keeps 2,000 events for whoever watches a socket
            with context.socket(zmq.SUB) as visitor:
                visitor.setsockopt(zmq.LINGER, 0)
                events = visitor.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED)
                visitor.connect(sink.endpoint)
                assert events.poll(5000), f"client {k} was not let in"
                visitor.disable_monitor()
                events.close()
    assert received_by(sink, "", 5.0) is not None
    sink.close()


# --- OpenIGTLink ----------------------------------------------------------------------------------------------------


def image(device: str = "view1", pixels: np.ndarray = PIXELS[None], number: int = 0) -> bytes:
    message = pyigtl.ImageMessage(pixels, timestamp=12.5, device_name=device)
    if number:
        message.header_version, message.message_id = 2, number
    return bytes(message.pack())


def token_message(secret: str) -> bytes:
    return bytes(pyigtl.StringMessage(secret, device_name="token").pack())


def test_images_come_through_openigtlink_from_one_client_or_from_two() -> None:
    source = igtl()
    with frames_of(source) as found:
        with connected(source) as both:
            both.sendall(
                image("view1") + image("view2") + image("camera 1", number=9) + image("view2", PIXELS[..., None])
            )
            wait_until(lambda: len(found) == 4)
        wait_until(lambda: source.disconnected == 1)
        with connected(source) as one, connected(source) as other:
            one.sendall(image("left 1"))
            wait_until(lambda: len(found) == 5)
            other.sendall(image("right 2"))
            wait_until(lambda: len(found) == 6)
    assert [(frame.view, frame.number) for frame in found[:4]] == [(0, 0), (1, 0), (0, 9), (1, 1)]
    assert [(frame.view, frame.number, frame.session) for frame in found[4:]] == [(0, 0, 2), (1, 0, 2)]
    assert all(frame.time_s == pytest.approx(12.5) for frame in found)
    assert all(np.array_equal(frame.pixels, PIXELS) for frame in found if frame.pixels is not None)
    assert source.malformed == 0


def test_pyigtls_own_client_is_understood() -> None:
    source = igtl()
    with frames_of(source) as found:
        one = pyigtl.OpenIGTLinkClient("127.0.0.1", source.port)
        wait_until(one.is_connected)
        one.send_message(pyigtl.ImageMessage(PIXELS, timestamp=3.0, device_name="view2"))
        wait_until(lambda: len(found) == 1)
        one.stop()
    assert (found[0].view, found[0].time_s) == (1, 3.0)
    np.testing.assert_array_equal(found[0].pixels, PIXELS)


def test_malformed_openigtlink_messages_are_counted_and_cost_no_more_than_themselves() -> None:
    source, good = igtl(), image()
    header = struct.Struct(">H12s20sIIQQ")
    bad = [
        image("camera"),
        image("view1", PIXELS[None, :20]),
        image("view1", PIXELS[None].astype(np.uint8)),
        header.pack(1, b"IMAGE", b"view1", 0, 0, 10, 0) + bytes(10),
        header.pack(1, b"IMAGE", b"view1", 0, 0, len(good) - 58 - 7, 0) + good[58:-7],
    ]
    with frames_of(source) as found, connected(source) as one:
        one.sendall(token_message("who asks?") + header.pack(1, b"NEWS", b"x", 0, 0, 3, 0) + b"abc")
        for message in bad:
            one.sendall(message + good)
        wait_until(lambda: len(found) == len(bad))
    assert source.malformed == len(bad)


@pytest.mark.parametrize(
    "garbage",
    [
        struct.pack(">H12s20sIIQQ", 1, b"IMAGE", b"view1", 0, 0, 2**40, 0),
        b"\xff" * 58,
        struct.pack(">H12s20sIIQQ", 77, b"IMAGE", b"view1", 0, 0, 10, 0),
    ],
)
def test_an_openigtlink_client_that_sends_garbage_is_let_go(garbage: bytes) -> None:
    source = igtl()
    with frames_of(source) as found:
        with connected(source) as one:
            one.sendall(garbage)
            one.settimeout(5)
            assert one.recv(1) == b""
        with connected(source) as one:
            one.sendall(image())
            wait_until(lambda: len(found) == 1)
    assert source.malformed == 1
    assert source.disconnected >= 1


def test_an_openigtlink_client_that_leaves_within_a_message_leaves_no_half_frame() -> None:
    source = igtl()
    with frames_of(source) as found:
        with connected(source) as one:
            one.sendall(image() + image()[:1000])
            wait_until(lambda: len(found) == 1)
        wait_until(lambda: source.disconnected == 1)
    assert len(found) == 1


@pytest.mark.parametrize("first", [token_message("not the secret"), image(), b"\xff" * 58, token_message("x" * 5000)])
def test_an_openigtlink_client_that_does_not_say_the_token_is_turned_away(first: bytes) -> None:
    source = igtl(SECRET)
    with frames_of(source) as found:
        with connected(source) as one:
            one.sendall(first)
            one.settimeout(5)
            assert gone(one)
        with connected(source) as one:
            one.sendall(token_message(SECRET) + image())
            wait_until(lambda: len(found) == 1)
    assert source.refused == 1


def gone(one: socket.socket) -> bool:
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True


def connected(source: IgtlSource) -> socket.socket:
    return socket.create_connection(("127.0.0.1", source.port))


# --- addresses and tokens -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "opens",
    [
        lambda: zeromq("0.0.0.0"),
        lambda: ZeromqSource("tcp://*:5555", SIZES, 12, Token()),
        lambda: ZeromqSink("tcp://0.0.0.0:*", "skull", Token()),
        lambda: IgtlSource("0.0.0.0", 0, SIZES, 12),
        lambda: IgtlSource("", 0, SIZES, 12),
    ],
)
def test_nobody_listens_to_the_world_without_a_token(opens: Callable[[], object]) -> None:
    with pytest.raises(InputError, match="can be reached from other machines; expected a token"):
        opens()


@pytest.mark.parametrize(
    ("host", "alone"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("[::1]", True), ("localhost", True), ("10.0.0.1", False), ("*", False)],
)
def test_loopback_is_known(host: str, alone: bool) -> None:
    assert is_loopback(host) == alone


def test_short_tokens_and_wrong_addresses_are_refused() -> None:
    with pytest.raises(InputError, match="token: expected at least 16 characters, found 6"):
        Token("secret")
    for endpoint in ("127.0.0.1:5555", "udp://127.0.0.1:5555", "tcp://", ""):
        with pytest.raises(InputError, match="zmq: expected zmq:tcp://HOST:PORT"):
            ZeromqSource(endpoint, SIZES, 12, Token())
    with pytest.raises(InputError, match=r"zmq: cannot listen at tcp://127\.0\.0\.1:x"):
        ZeromqSource("tcp://127.0.0.1:x", SIZES, 12, Token())
    assert host_and_port("source", "18945") == ("127.0.0.1", 18945)
    assert host_and_port("source", "10.0.0.1:18945") == ("10.0.0.1", 18945)
    for text in ("", "x", "host:", "99999"):
        with pytest.raises(InputError, match="source: expected igtl:PORT"):
            host_and_port("source", text)
