"""Poses through shared memory: byte by byte, overtaken, restarted, and read while they are written."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fluoropose.errors import FileFormatError, InputError
from fluoropose.streaming.pose_ring import POSE, PoseRing, PoseRingReader
from outputs import OUTPUTS, POSES


def test_poses_come_out_as_they_went_in(tmp_path: Path) -> None:
    ring = PoseRing(tmp_path / "poses", slots=8)
    reader = PoseRingReader(tmp_path / "poses")
    for one in OUTPUTS:
        ring.write(replace(one, session=5))
    found = [reader.next(0.0) for _ in OUTPUTS]
    assert reader.next(0.0) is None
    assert not reader.finished
    ring.close()
    assert reader.finished
    slots = [slot for slot in found if slot is not None]
    assert [int(slot["number"]) for slot in slots] == [0, 1, 3, 4]
    assert [int(slot["phase"]) for slot in slots] == [2, 3, 0, 2]
    assert [slot["reason"].item() for slot in slots] == [b"", b"view 2: blank", b"view 2: blank", b""]
    for slot, pose in zip([slots[0], slots[1], slots[3]], POSES, strict=True):
        np.testing.assert_array_equal(slot["world_from_bone"], pose.matrix)
        np.testing.assert_array_equal(slot["quaternion"], pose.quaternion)
        np.testing.assert_array_equal(slot["covariance"], 2 * np.eye(6))
        assert (slot["session"], slot["latency_ms"]) == (5, 12.0)
    assert np.isnan(slots[2]["world_from_bone"]).all()


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    ring = PoseRing(tmp_path / "poses", slots=3)
    for one in OUTPUTS:
        ring.write(replace(one, arrived_s=2.5))
    data = (tmp_path / "poses").read_bytes()
    with (tmp_path / "poses").open("rb"):
        ring.close()
    assert data[:8] == b"FPPOSE\0\0"
    assert struct.unpack_from("<3I", data, 8) == (1, 3, 704)
    assert struct.unpack_from("<QII", data, 32) == (4, 0, 1)
    assert len(data) == 64 + 3 * 704
    assert (tmp_path / "poses").read_bytes()[40] == 1
    # The fourth pose has taken the place of the first.
    assert struct.unpack_from("<QQdQdd", data, 64) == (8, 4, 4 / 30, 2_500_000_000, 12.0, 0.9)
    assert struct.unpack_from("<16d", data, 64 + 48) == tuple(POSES[2].matrix.ravel())
    assert struct.unpack_from("<4d", data, 64 + 176) == tuple(POSES[2].quaternion)
    assert struct.unpack_from("<36d", data, 64 + 208) == tuple(2 * np.eye(6).ravel())
    assert struct.unpack_from("<6d", data, 64 + 496) == (0,) * 6
    assert struct.unpack_from("<3I", data, 64 + 544) == (2, 0, 5)
    assert struct.unpack_from("<13s", data, 64 + 704 + 560) == (b"view 2: blank",)


def test_a_reader_that_is_too_slow_goes_on_with_what_is_there(tmp_path: Path) -> None:
    ring = PoseRing(tmp_path / "poses", slots=3)
    reader = PoseRingReader(tmp_path / "poses")
    for k in range(8):
        ring.write(replace(OUTPUTS[0], number=k))
    found = [reader.next(0.0) for _ in range(3)]
    assert [int(slot["number"]) for slot in found if slot is not None] == [5, 6, 7]
    assert reader.overtaken == 5
    ring.close()


def test_a_slot_that_is_being_written_is_not_read(tmp_path: Path) -> None:
    ring = PoseRing(tmp_path / "poses", slots=2)
    reader = PoseRingReader(tmp_path / "poses")
    ring.write(OUTPUTS[0])
    ring._ring.poses[0]["state"] = 2 * 2 + 1
    assert reader.next(0.0) is None
    assert reader.overtaken == 1
    ring.close()


def test_a_service_that_starts_again_goes_on_with_the_ring(tmp_path: Path) -> None:
    reader = None
    for k in range(2):
        ring = PoseRing(tmp_path / "poses", slots=4)
        reader = reader or PoseRingReader(tmp_path / "poses")
        assert not reader.finished
        ring.write(replace(OUTPUTS[0], number=k))
        ring.close()
    assert reader is not None
    assert [int(slot["number"]) for slot in (reader.next(0), reader.next(0)) if slot is not None] == [0, 1]


def test_there_is_one_writer(tmp_path: Path) -> None:
    ring = PoseRing(tmp_path / "poses")
    with pytest.raises(InputError, match="poses: another program writes it"):
        PoseRing(tmp_path / "poses")
    ring.close()
    PoseRing(tmp_path / "poses").close()


def test_a_long_reason_is_cut_between_characters(tmp_path: Path) -> None:
    tracked = replace(OUTPUTS[2].tracked, reason="°" * 100)
    ring = PoseRing(tmp_path / "poses")
    reader = PoseRingReader(tmp_path / "poses")
    ring.write(replace(OUTPUTS[2], tracked=tracked))
    slot = reader.next(0.0)
    assert slot is not None
    assert slot["reason"].item().decode() == "°" * 63
    ring.close()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected a ring of poses"),
        (b"FPRING\0\0" + bytes(100), "begins with FPPOSE"),
        (b"FPPOSE\0\0" + struct.pack("<3I", 2, 1, 704) + bytes(748), "version: expected 1, found 2"),
        (b"FPPOSE\0\0" + struct.pack("<3I", 1, 2, 704) + bytes(748), "2 slots of 704 bytes do not fill 768 bytes"),
        (b"FPPOSE\0\0" + struct.pack("<3I", 1, 1, 640) + bytes(684), "1 slots of 640 bytes do not fill 704 bytes"),
    ],
)
def test_what_is_no_ring_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "poses").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        PoseRingReader(tmp_path / "poses")
    assert POSE.itemsize == 688
