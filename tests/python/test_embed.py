"""The C interface: its layout against Python's, examples beside a live service, and a program that is killed."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import dedent
from threading import Thread

import numpy as np
import pytest

from fluoropose.geometry import Pose
from fluoropose.registration.trial import TrialFrames
from fluoropose.streaming import pose_ring, ring
from fluoropose.streaming.pose_ring import POSE, PoseRing, PoseRingReader
from fluoropose.streaming.ring import RingReader, frame_ring
from fluoropose.streaming.run import open_service
from fluoropose.streaming.statistics import StreamSummary
from outputs import OUTPUTS, PATIENCE_S, POSES, wait_until
from trial_laboratory import SIDE, Laboratory

ROOT = Path(__file__).resolve().parents[2]
EMBED, EXAMPLES = ROOT / "cpp" / "fluoropose" / "embed", ROOT / "cpp" / "examples"
COMPILER = shutil.which("c++")
FLAGS = ["-std=c++20", "-O1", "-Wall", "-Wextra", "-Werror", "-I", str(ROOT / "cpp")]

pytestmark = pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libfluoropose_embed.so and the example."""
    folder = tmp_path_factory.mktemp("built")
    library = folder / "libfluoropose_embed.so"
    sources = sorted(map(str, EMBED.glob("*.cc")))
    run(COMPILER, *FLAGS, "-shared", "-fPIC", "-fvisibility=hidden", *sources, "-o", library)
    run(COMPILER, *FLAGS, EXAMPLES / "live.cc", library, f"-Wl,-rpath,{folder}", "-pthread", "-o", folder / "live")
    return folder


@pytest.fixture(scope="module")
def raw(lab: Laboratory, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The laboratory's 20 pairs, one after the other."""
    frames = TrialFrames.open(lab.trial(lab.folder))
    path = tmp_path_factory.mktemp("raw") / "frames.raw"
    np.array([[frames.sources[view].read(i) for view in (0, 1)] for i in range(20)]).astype("<u2").tofile(path)
    return path


def run(*command: object, **settings: object) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, timeout=120, **settings)  # type: ignore[call-overload]
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@contextmanager
def service(lab: Laboratory, folder: Path) -> Iterator[tuple[Path, Path, list[StreamSummary]]]:
    frames, poses = folder / "frames", folder / "poses"
    opened = open_service(lab.trial(folder / "out", bit_depth=16), f"ring:{frames}", [f"ring:{poses}"])
    ended: list[StreamSummary] = []
    thread = Thread(target=lambda: ended.append(opened.run()), daemon=True)
    thread.start()
    try:
        yield frames, poses, ended
    finally:
        opened.stop()
        thread.join(PATIENCE_S)
    assert len(ended) == 1


# --- the layout -----------------------------------------------------------------------------------------------------

OFFSETS = """
    #include <cstdio>
    #include "fluoropose/embed/layout.h"
    using namespace fluoropose::embed;
    int main() {{
    {prints}
    }}
"""


@pytest.mark.parametrize(
    ("structure", "dtype", "but"),
    [
        ("FramesHeader", ring._HEADER, {}),
        ("FrameSlot", ring._SLOT, {}),
        ("PosesHeader", pose_ring._HEADER, {}),
        ("fluoropose_pose", POSE, {"state": "struct_size", "zero": "reserved_too"}),
    ],
)
def test_c_and_python_agree_on_every_offset(
    tmp_path: Path, structure: str, dtype: np.dtype, but: dict[str, str]
) -> None:
    assert dtype.names is not None
    names = [but.get(name, name) for name in dtype.names]
    prints = "\n".join(f'std::printf("%zu ", offsetof({structure}, {name}));' for name in names)
    prints += f'std::printf("%zu", sizeof({structure}));'
    (tmp_path / "offsets.cc").write_text(dedent(OFFSETS).format(prints=prints))
    run(COMPILER, "-std=c++20", "-I", ROOT / "cpp", tmp_path / "offsets.cc", "-o", tmp_path / "offsets")
    found = [int(word) for word in run(tmp_path / "offsets").split()]
    assert dtype.fields is not None
    assert found == [*(dtype.fields[name][1] for name in dtype.names), dtype.itemsize]


def test_the_header_is_plain_c(tmp_path: Path) -> None:
    program = '#include "fluoropose/embed/fluoropose.h"\nint main(void) { return (int)fluoropose_api_version() - 1; }\n'
    (tmp_path / "plain.c").write_text(program)
    compiler = shutil.which("cc")
    assert compiler is not None
    flags = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-I", ROOT / "cpp"]
    run(compiler, *flags, "-c", tmp_path / "plain.c", "-o", tmp_path / "plain.o")


def test_the_library_shows_its_interface_and_nothing_else(built: Path) -> None:
    declared = set(re.findall(r"\b(fluoropose_\w+)\(", (EMBED / "fluoropose.h").read_text()))
    symbols = run("nm", "-D", "--defined-only", built / "libfluoropose_embed.so").split()
    assert {name for name in symbols if name.startswith("fluoropose_")} == declared
    assert not [name for name in symbols if "Failure" in name and name.startswith("_ZN10fluoropose")]


# --- as other languages call it -------------------------------------------------------------------------------------


class CPose(ctypes.Structure):
    """fluoropose_pose, as a program that calls a C library declares it."""

    _fields_ = (
        *[("struct_size", ctypes.c_uint32), ("reserved", ctypes.c_uint32), ("number", ctypes.c_uint64)],
        *[("time_s", ctypes.c_double), ("arrived_ns", ctypes.c_uint64), ("latency_ms", ctypes.c_double)],
        *[("quality", ctypes.c_double), ("world_from_bone", 16 * ctypes.c_double), ("quaternion", 4 * ctypes.c_double)],
        *[("covariance", 36 * ctypes.c_double), ("rate", 6 * ctypes.c_double)],
        *[(name, ctypes.c_uint32) for name in ("phase", "session", "landmarks", "reserved_too")],
        ("reason", 128 * ctypes.c_char),
    )


def test_what_python_writes_c_reads(built: Path, tmp_path: Path) -> None:
    library = ctypes.CDLL(str(built / "libfluoropose_embed.so"))
    library.fluoropose_poses_next.argtypes = [ctypes.c_void_p, ctypes.c_double, ctypes.c_void_p]
    poses = PoseRing(tmp_path / "poses")
    handle, pose = ctypes.c_void_p(), CPose(struct_size=ctypes.sizeof(CPose))
    assert library.fluoropose_poses_open(bytes(tmp_path / "poses"), ctypes.byref(handle)) == 0
    assert library.fluoropose_poses_next(handle, 0.0, ctypes.byref(pose)) == 1
    for one in OUTPUTS:
        poses.write(one)
    for number, phase in [(0, 2), (1, 3), (3, 0), (4, 2)]:
        assert library.fluoropose_poses_next(handle, 0.0, ctypes.byref(pose)) == 0
        assert (pose.number, pose.phase) == (number, phase)
        assert pose.reason == (b"" if phase == 2 else b"view 2: blank")
    assert tuple(pose.world_from_bone) == tuple(POSES[2].matrix.ravel())
    assert (pose.landmarks, pose.quality, pose.latency_ms, pose.time_s) == (5, 0.9, 12.0, 4 / 30)
    poses.close()
    assert library.fluoropose_poses_next(handle, 5.0, ctypes.byref(pose)) == 2
    poses = PoseRing(tmp_path / "poses")  # the service comes back
    poses.write(OUTPUTS[0])
    assert library.fluoropose_poses_next(handle, 0.0, ctypes.byref(pose)) == 0
    poses.close()
    library.fluoropose_poses_close(handle)


KILLED = """
    import ctypes, mmap, sys

    library, ring, bytes_ = ctypes.CDLL(sys.argv[1]), sys.argv[2].encode(), int(sys.argv[3])
    write, handle = library.fluoropose_frames_write, ctypes.c_void_p()
    word, big, address = ctypes.c_uint32, ctypes.c_uint64, ctypes.c_void_p
    write.argtypes = [address, word, big, ctypes.c_double, address, big]
    assert library.fluoropose_frames_open(ring, None, ctypes.byref(handle)) == 0
    for number in range(3):
        for view in range(2):
            assert write(handle, view, number, number / 30, bytes([7]) * bytes_, bytes_) == 0
    # The last frame's second half lies in a page that may not be read: the program dies while it is copied.
    pages = mmap.mmap(-1, 16 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(pages))
    pages[:] = bytes([9]) * len(pages)
    middle = start + 8 * mmap.PAGESIZE
    libc = ctypes.CDLL(None)
    assert libc.mprotect(ctypes.c_void_p(middle), 8 * mmap.PAGESIZE, 0) == 0
    write(handle, 0, 3, 0.1, middle - bytes_ // 2 // mmap.PAGESIZE * mmap.PAGESIZE, bytes_)
"""


def test_a_program_that_is_killed_while_it_writes_leaves_no_torn_frame(built: Path, tmp_path: Path) -> None:
    size = (SIDE, SIDE)
    frame_ring(tmp_path / "ring", size, 16, slots=4)
    reader = RingReader(tmp_path / "ring", lasting=True)
    found = []
    thread = Thread(target=lambda: found.extend(reader), daemon=True)
    thread.start()
    library, bytes_ = built / "libfluoropose_embed.so", 2 * SIDE * SIDE
    program = [sys.executable, "-c", dedent(KILLED), str(library), str(tmp_path / "ring"), str(bytes_)]
    killed = subprocess.run(program, check=False, capture_output=True, text=True)
    assert killed.returncode == -signal.SIGSEGV, killed.stderr
    header, slots = ring._Ring(tmp_path / "ring").header, (tmp_path / "ring").read_bytes()
    assert header["written"] == 6
    half = slots[64 + 2 * (64 + 51_200) :]  # the seventh frame's slot
    assert int.from_bytes(half[:8], "little") == 13  # being written
    with ring.RingWriter(tmp_path / "ring", size, 16, slots=4) as writer:  # its lock has died with it
        writer.write(0, 0, 0.0, np.full((SIDE, SIDE), 1, np.uint16))
        writer.write(1, 0, 0.0, np.full((SIDE, SIDE), 2, np.uint16))
    wait_until(lambda: len(found) + reader.overtaken == 8)
    reader.stop()
    thread.join(PATIENCE_S)
    assert [(one.number, one.view, one.session) for one in found[-2:]] == [(0, 0, 2), (0, 1, 2)]
    for one in found:
        assert one.pixels is not None
        assert int(one.pixels.min()) == int(one.pixels.max()) in (0x0707, 1, 2)


# --- example programs beside a live service -------------------------------------------------------------------------


def poses_in(text: str) -> dict[int, Pose]:
    """What the examples print."""
    found = {}
    for line in text.splitlines():
        number, _, *values = re.sub(r"mm, quaternion |,.*ms.*", "", line).split()
        shift, quaternion = np.array(values[:3], float), np.array(values[3:], float)
        found[int(number)] = Pose.from_quaternion(quaternion / np.linalg.norm(quaternion), shift)
    return found


def assert_right(lab: Laboratory, text: str, summary: StreamSummary) -> None:
    found = poses_in(text)
    # What a busy machine dropped has no pose, but the last pair waits for nobody; every other pair's pose arrived.
    assert summary.pairs + summary.dropped == 20
    assert len(found) == summary.pairs >= 4
    assert 19 in found
    assert summary.malformed == summary.overtaken == 0
    for number, pose in found.items():
        assert np.degrees(lab.truth[number].angle_to(pose)) < 2.0
        assert np.linalg.norm(lab.truth[number].translation_mm - pose.translation_mm) < 1.0


def test_the_c_example_runs_beside_a_live_service(lab: Laboratory, built: Path, raw: Path, tmp_path: Path) -> None:
    with service(lab, tmp_path) as (frames, poses, ended):
        text = run(built / "live", raw, 20, frames, poses)
    assert_right(lab, text, ended[0])


def test_the_python_example_does_the_same(lab: Laboratory, raw: Path, tmp_path: Path) -> None:
    with service(lab, tmp_path) as (frames, poses, ended):
        text = run(sys.executable, EXAMPLES / "live.py", raw, 20, frames, poses)
    assert_right(lab, text, ended[0])


@pytest.mark.skipif(shutil.which("mcs") is None or shutil.which("mono") is None, reason="needs Mono (mcs, mono)")
def test_the_c_sharp_example_does_the_same(lab: Laboratory, built: Path, raw: Path, tmp_path: Path) -> None:
    run("mcs", EXAMPLES / "Live.cs", f"-out:{tmp_path / 'Live.exe'}")
    found_there = os.environ | {"LD_LIBRARY_PATH": str(built)}
    with service(lab, tmp_path) as (frames, poses, ended):
        text = run("mono", tmp_path / "Live.exe", raw, 20, frames, poses, env=found_there)
    assert_right(lab, text, ended[0])


def test_without_a_service_the_example_says_so(built: Path, raw: Path, tmp_path: Path) -> None:
    done = subprocess.run([built / "live", raw, "20", tmp_path / "a", tmp_path / "b"], capture_output=True, check=False)
    assert done.returncode == 1
    assert done.stderr.decode() == f"live: {tmp_path / 'b'}: cannot be opened: No such file or directory\n"


def test_a_service_that_starts_again_is_found_by_programs_that_stayed(lab: Laboratory, tmp_path: Path) -> None:
    for session in (1, 2):
        with service(lab, tmp_path) as (frames, poses, _):
            if session == 1:
                stayed, writer = PoseRingReader(poses), ring.RingWriter(frames, (SIDE, SIDE), 16)
            black = np.zeros((SIDE, SIDE), np.uint16)
            for view in (0, 1):
                writer.write(view, session, session / 30, black)
            slot = stayed.next(PATIENCE_S)
            assert slot is not None
            assert (int(slot["number"]), int(slot["phase"])) == (session, 0)
    writer.close()
