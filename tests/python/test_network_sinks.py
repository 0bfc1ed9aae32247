"""Network streams of poses, received the way their programs do."""

from __future__ import annotations

import struct
import time

import numpy as np
import pytest

from fluoropose.errors import InputError
from fluoropose.streaming.sinks.igtl import IgtlServer
from fluoropose.streaming.sinks.lsl import CHANNELS, LslOutlet
from outputs import OUTPUTS, POSES, wait_until


def test_two_openigtlink_clients_receive_every_pose() -> None:
    pyigtl = pytest.importorskip("pyigtl")
    server = IgtlServer("skull of a very long name", port=0)
    clients = [pyigtl.OpenIGTLinkClient(host="127.0.0.1", port=server.port) for _ in range(2)]
    wait_until(lambda: server.clients == 2)
    server.write(OUTPUTS[2])  # no pose, no message
    server.write(OUTPUTS[3])
    for client in clients:
        message = client.wait_for_message("skull of a very long", timeout=5)
        assert message is not None
        assert message.message_type == "TRANSFORM"
        np.testing.assert_allclose(message.matrix, POSES[2].matrix, rtol=1e-6, atol=1e-5)  # float32 on the wire
        client.stop()
    server.close()


def test_openigtlink_carries_tracking_data_too(monkeypatch: pytest.MonkeyPatch) -> None:
    pyigtl = pytest.importorskip("pyigtl", reason="OpenIGTLink needs pyigtl")
    from pyigtl import messages

    class TrackingData(messages.MessageBase):  # as the specification of OpenIGTLink 2 says, which pyigtl leaves out
        def _unpack_content(self, content: bytes) -> None:
            name, self.kind, _, *columns = struct.unpack(">20sBB12f", content)
            self.instrument = name.rstrip(b"\0").decode()
            self.matrix = np.vstack([np.reshape(columns, (4, 3)).T, [0, 0, 0, 1]])
            self._valid_message = True

    monkeypatch.setitem(messages.message_type_to_class_constructor, "TDATA", TrackingData)
    monkeypatch.delitem(messages.message_type_to_class_constructor, "TRANSFORM")  # of the same device
    server = IgtlServer("skull", port=0)
    client = pyigtl.OpenIGTLinkClient(host="127.0.0.1", port=server.port)
    wait_until(lambda: server.clients == 1)
    server.write(OUTPUTS[3])
    message = client.wait_for_message("skull", timeout=5)
    assert message is not None
    assert (message.message_type, message.instrument, message.kind) == ("TDATA", "skull", 2)
    np.testing.assert_allclose(message.matrix, POSES[2].matrix, rtol=1e-6, atol=1e-5)  # float32 on the wire
    client.stop()
    server.close()


def test_an_openigtlink_client_that_leaves_does_not_matter() -> None:
    pytest.importorskip("pyigtl")
    import socket

    server = IgtlServer("skull", port=0)
    leaving, staying = (socket.create_connection(("127.0.0.1", server.port)) for _ in range(2))
    wait_until(lambda: server.clients == 2)
    leaving.close()
    for _ in range(20):
        server.write(OUTPUTS[0])
        time.sleep(0.005)
    assert server.clients == 1
    staying.settimeout(5)
    assert len(staying.recv(100_000)) >= 234  # headers of 58 bytes, a transform of 48 and tracking data of 70
    staying.close()
    server.close()


def test_openigtlink_clients_that_left_before_there_was_a_pose_take_nobodys_place() -> None:
    pytest.importorskip("pyigtl")
    import socket

    server = IgtlServer("skull", port=0)
    for _ in range(20):  # more than there may be at a time
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"whatever")
            wait_until(lambda: server.clients == 1)
        wait_until(lambda: server.clients == 0)
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        wait_until(lambda: server.clients == 1)
        server.write(OUTPUTS[0])
        client.settimeout(5)
        assert len(client.recv(100_000)) >= 234
    server.close()


def test_an_address_that_is_taken_is_named() -> None:
    pytest.importorskip("pyigtl")
    server = IgtlServer("skull", port=0)
    with pytest.raises(InputError, match=f"igtl: cannot listen at 127.0.0.1:{server.port}"):
        IgtlServer("skull", port=server.port)
    server.close()


def test_lab_streaming_layer_carries_poses() -> None:
    pylsl = pytest.importorskip("pylsl")
    name = f"skull {time.monotonic_ns()}"
    outlet = LslOutlet(name, 30.0)
    found = pylsl.resolve_byprop("name", name, timeout=10)
    if not found:
        pytest.skip("Lab Streaming Layer finds no stream here: multicast is blocked")
    inlet = pylsl.StreamInlet(found[0])
    inlet.open_stream(timeout=10)
    outlet.write(OUTPUTS[3])
    outlet.write(OUTPUTS[2])
    sample, _ = inlet.pull_sample(timeout=5)
    expected = [*POSES[2].quaternion, *POSES[2].translation_mm, 0.9, 4 / 30, 4]
    np.testing.assert_allclose(sample, expected)
    lost, _ = inlet.pull_sample(timeout=5)
    assert np.isnan(lost[:7]).all()
    assert lost[7] == 0
    assert (inlet.info().type(), inlet.info().channel_count()) == ("MoCap", len(CHANNELS))
    outlet.close()
