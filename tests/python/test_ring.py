"""Frames through shared memory: between processes, overtaken, cut short, and byte by byte."""

from __future__ import annotations

import struct
import subprocess
import sys
import time
from pathlib import Path
from textwrap import dedent

import numpy as np
import pytest

from fluoropose.errors import FileFormatError, InputError
from fluoropose.streaming.ring import RingReader, RingWriter, frame_ring

SIZE = (40, 30)  # width, height


def picture(number: int, dtype: str = "<u2") -> np.ndarray:
    return np.full((SIZE[1], SIZE[0]), number, dtype)


@pytest.mark.parametrize(("bits", "dtype"), [(8, "<u1"), (12, "<u2"), (16, "<u2")])
def test_frames_come_out_as_they_went_in(tmp_path: Path, bits: int, dtype: str) -> None:
    rng = np.random.default_rng(bits)
    frames = rng.integers(0, 2**bits, (6, SIZE[1], SIZE[0])).astype(dtype)
    before = time.monotonic()
    with RingWriter(tmp_path / "ring", SIZE, bits) as writer:
        reader = RingReader(tmp_path / "ring")
        for k, pixels in enumerate(frames):
            writer.write(k % 2, 100 + k // 2, k / 60, pixels)
    found = list(reader)
    assert [(one.view, one.number, one.time_s) for one in found] == [(k % 2, 100 + k // 2, k / 60) for k in range(6)]
    for one, pixels in zip(found, frames, strict=True):
        np.testing.assert_array_equal(one.pixels, pixels)
        assert before <= one.arrived_s <= time.monotonic()
    assert (reader.bits, reader.size_px, reader.overtaken) == (bits, SIZE, 0)


def test_a_reader_that_is_too_slow_goes_on_with_what_is_there(tmp_path: Path) -> None:
    with RingWriter(tmp_path / "ring", SIZE, 16, slots=4) as writer:
        reader = RingReader(tmp_path / "ring")
        for k in range(11):
            writer.write(0, k, k / 30, picture(k))
    found = list(reader)
    assert [one.number for one in found] == [7, 8, 9, 10]
    assert reader.overtaken == 7


def test_a_reader_begins_with_the_next_frame_or_with_the_oldest(tmp_path: Path) -> None:
    with RingWriter(tmp_path / "ring", SIZE, 16, slots=4) as writer:
        for k in range(3):
            writer.write(0, k, k / 30, picture(k))
        now, all_of_it = RingReader(tmp_path / "ring"), RingReader(tmp_path / "ring", from_start=True)
        writer.write(0, 3, 0.1, picture(3))
    assert [one.number for one in now] == [3]
    assert [one.number for one in all_of_it] == [0, 1, 2, 3]


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    with RingWriter(tmp_path / "ring", SIZE, 12, slots=3) as writer:
        for k in range(4):
            writer.write(1, 50 + k, 0.25 * k, picture(k))
        data = (tmp_path / "ring").read_bytes()
    assert data[:8] == b"FPRING\0\0"
    assert struct.unpack_from("<6I", data, 8) == (1, 3, 40, 30, 2, 12)
    assert struct.unpack_from("<QI", data, 32) == (4, 0)
    each = 64 + 2432  # 40 x 30 pixels of 2 bytes are 2400, filled up to a multiple of 64
    assert len(data) == 64 + 3 * each
    state, number, time_s, arrived, view = struct.unpack_from("<QQdQI", data, 64)  # the fourth frame, n = 3
    assert (state, number, time_s, view) == (8, 53, 0.75, 1)
    assert 0 <= time.monotonic_ns() - arrived < 60e9
    assert struct.unpack_from("<1200H", data, 128) == (3,) * 1200
    assert struct.unpack_from("<Q", data, 64 + each)[0] == 4  # n = 1
    assert (tmp_path / "ring").read_bytes()[40] == 1  # the writer has finished


def test_a_program_that_knows_only_the_layout_can_write(tmp_path: Path) -> None:
    header = b"FPRING\0\0" + struct.pack("<6IQI", 1, 2, 4, 2, 1, 8, 1, 1) + bytes(20)
    slot = struct.pack("<QQdQI", 2, 9, 1.5, 7_000_000_000, 0) + bytes(28) + bytes(range(8)) + bytes(56)
    (tmp_path / "ring").write_bytes(header + slot + bytes(128))
    (found,) = RingReader(tmp_path / "ring", from_start=True)
    assert (found.number, found.time_s, found.arrived_s, found.view) == (9, 1.5, 7.0, 0)
    np.testing.assert_array_equal(found.pixels, [[0, 1, 2, 3], [4, 5, 6, 7]])


KILLED = """
    import os, sys
    import numpy as np
    from fluoropose.streaming import ring

    writer = ring.RingWriter(sys.argv[1], (40, 30), 16, slots=4)
    for k in range(6):
        writer.write(0, k, k / 30, np.full((30, 40), k, "<u2"))

    class Killing:
        shape, dtype = (30, 40), np.dtype("<u2")
        def __array__(self, dtype=None, copy=None):
            os._exit(9)

    writer.write(0, 6, 0.2, Killing())
"""


def test_a_writer_killed_in_the_middle_of_a_frame_leaves_no_half_frame_and_the_next_one_goes_on(tmp_path: Path) -> None:
    RingWriter(tmp_path / "ring", SIZE, 16, slots=4).abandon()
    reader = RingReader(tmp_path / "ring")
    killed = subprocess.run([sys.executable, "-c", dedent(KILLED), str(tmp_path / "ring")], check=False)
    assert killed.returncode == 9
    with RingWriter(tmp_path / "ring", SIZE, 16, slots=4) as writer:
        header = (tmp_path / "ring").read_bytes()
        assert struct.unpack_from("<Q", header, 32) == (6,)
        writer.write(0, 6, 0.2, picture(66))
        writer.write(0, 7, 0.3, picture(77))
    found = list(reader)
    assert [one.number for one in found] == [4, 5, 6, 7]
    assert [int(one.pixels.max()) for one in found if one.pixels is not None] == [4, 5, 66, 77]
    assert reader.overtaken == 4


def test_a_half_written_slot_is_not_read(tmp_path: Path) -> None:
    with RingWriter(tmp_path / "ring", SIZE, 16, slots=2) as writer:
        for k in range(2):
            writer.write(0, k, 0.0, picture(k))
        reader = RingReader(tmp_path / "ring", from_start=True)
        writer._ring.states[0]["state"] = 2 * 2 + 1  # the writer is about to overwrite frame 0
    assert [one.number for one in reader] == [1]
    assert reader.overtaken == 1


WRITING = """
    import sys, time
    import numpy as np
    from fluoropose.streaming.ring import RingWriter

    with RingWriter(sys.argv[1], (400, 300), 16, slots=4) as writer:
        for k in range(400):
            writer.write(k % 2, k, k / 30, np.full((300, 400), k, "<u2"))
            time.sleep(0.0002)
"""


def test_no_frame_is_torn_between_two_processes(tmp_path: Path) -> None:
    RingWriter(tmp_path / "ring", (400, 300), 16, slots=4).abandon()
    reader = RingReader(tmp_path / "ring")
    with subprocess.Popen([sys.executable, "-c", dedent(WRITING), str(tmp_path / "ring")]) as writing:
        found = [(one.number, int(one.pixels.min()), int(one.pixels.max())) for one in reader if one.pixels is not None]
    assert writing.returncode == 0
    assert len(found) + reader.overtaken == 400
    assert len(found) > 4
    assert all(number == low == high for number, low, high in found)


def test_stopping_ends_a_silent_ring(tmp_path: Path) -> None:
    with RingWriter(tmp_path / "ring", SIZE, 16):
        reader = RingReader(tmp_path / "ring")
        reader.stop()
        assert list(reader) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "expected a ring of frames: .*No such file"),
        (b"", "expected a ring of frames"),
        (b"something else" * 100, "which begins with FPRING"),
        (b"FPRING\0\0" + struct.pack("<6I", 2, 1, 1, 1, 1, 8) + bytes(160), "version: expected 1, found 2"),
        (b"FPRING\0\0" + struct.pack("<6I", 1, 9, 9, 9, 2, 16) + bytes(160), "9 slots of 9 x 9 pixels .* do not fill"),
        (b"FPRING\0\0" + struct.pack("<6I", 1, 1, 9, 9, 4, 16) + bytes(160), "of 4 bytes do not fill"),
        (b"FPRING\0\0" + struct.pack("<6I", 1, 0, 9, 9, 2, 16) + bytes(32), "0 slots of 9 x 9 pixels"),
    ],
)
def test_what_is_no_ring_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "ring").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        RingReader(tmp_path / "ring")


def test_wrong_arguments_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="bits: expected 1 to 16, found 20"):
        RingWriter(tmp_path / "ring", SIZE, 20)
    with RingWriter(tmp_path / "ring", SIZE, 16) as writer:
        with pytest.raises(InputError, match=r"pixels: expected uint16 \(30, 40\), found uint8 \(30, 40\)"):
            writer.write(0, 0, 0.0, picture(0, "<u1"))
        with pytest.raises(InputError, match="view: expected 0 or 1, found 2"):
            writer.write(2, 0, 0.0, picture(0))


def test_a_ring_that_another_program_writes_is_not_replaced(tmp_path: Path) -> None:
    with RingWriter(tmp_path / "ring", SIZE, 12) as writer:
        reader = RingReader(tmp_path / "ring")
        with pytest.raises(InputError, match="ring: another program writes it"):
            frame_ring(tmp_path / "ring", SIZE, 8)
        writer.write(0, 7, 0.0, picture(1))
    assert [one.number for one in reader] == [7]
    assert frame_ring(tmp_path / "ring", SIZE, 8)  # nobody writes it now


def test_readers_need_no_right_to_write(tmp_path: Path) -> None:
    with RingWriter(tmp_path / "ring", SIZE, 16) as writer:
        reader = RingReader(tmp_path / "ring")
        with pytest.raises(ValueError, match="read-only"):
            reader._ring.header["written"] = 9
        writer.write(0, 7, 0.0, picture(1))
    assert [one.number for one in reader] == [7]
