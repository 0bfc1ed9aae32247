"""``fluoropose serve``: programs bring frames and take poses, come and go, die and come back."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from typer.testing import CliRunner

from fluoropose.cli import app
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose
from fluoropose.registration.trial import TrialFrames
from fluoropose.streaming.pose_ring import PoseRingReader
from fluoropose.streaming.ring import RingReader, RingWriter
from fluoropose.streaming.run import open_service
from fluoropose.streaming.statistics import StreamSummary
from fluoropose.streaming.stream import Stream
from outputs import PATIENCE_S, wait_until
from trial_laboratory import SIDE, Laboratory


@pytest.fixture(scope="module")
def stored(lab: Laboratory) -> np.ndarray:
    """(20, 2, h, w) the laboratory's frames."""
    frames = TrialFrames.open(lab.trial(lab.folder))
    return np.array([[frames.sources[view].read(i) for view in (0, 1)] for i in range(20)])


@contextmanager
def service(lab: Laboratory, folder: Path, source: str, *sinks: str) -> Iterator[tuple[Stream, list[StreamSummary]]]:
    """A service in a thread; its summary is there when it has ended."""
    opened = open_service(lab.trial(folder / "out", bit_depth=16), source, sinks)
    ended: list[StreamSummary] = []
    thread = Thread(target=lambda: ended.append(opened.run()), daemon=True)
    thread.start()
    try:
        yield opened, ended
    finally:
        opened.stop()
        thread.join(PATIENCE_S)
    assert len(ended) == 1


def is_right(lab: Laboratory, number: int, world_from_bone: object) -> bool:
    truth, found = lab.truth[number], Pose.from_matrix(np.asarray(world_from_bone))
    return bool(np.degrees(truth.angle_to(found)) < 2.0)


def taken(poses: PoseRingReader, count: int) -> list[np.ndarray]:
    found = [poses.next(PATIENCE_S) for _ in range(count)]
    return [slot for slot in found if slot is not None]


def bring(stored: np.ndarray, write: Callable[[int, int, np.ndarray], None], poses: PoseRingReader) -> list[np.ndarray]:
    """Bring the 20 pairs one by one and wait for each pose."""
    found = []
    for k in range(20):
        for view in (0, 1):
            write(view, k, stored[k, view])
        found += taken(poses, 1)
    return found


def test_programs_come_and_go(lab: Laboratory, stored: np.ndarray, tmp_path: Path) -> None:
    frames, poses = tmp_path / "frames", tmp_path / "poses"
    with service(lab, tmp_path, f"ring:{frames}", f"ring:{poses}") as (_, ended):
        reader = PoseRingReader(poses)
        for session in (1, 2):
            with RingWriter(frames, (SIDE, SIDE), 16) as writer:
                found = bring(stored, lambda view, k, px: writer.write(view, k, k / 30, px), reader)
            assert [int(slot["number"]) for slot in found] == list(range(20))
            assert {int(slot["session"]) for slot in found} == {session}
            assert int(found[0]["phase"]) == 1  # found in the whole field: a track does not outlive its program
            assert all(is_right(lab, int(slot["number"]), slot["world_from_bone"]) for slot in found)
            assert all(0 < float(slot["latency_ms"]) < 1e3 * PATIENCE_S for slot in found)
    assert reader.finished
    (summary,) = ended
    assert (summary.pairs, summary.frames["restarts"], summary.frames["missing"]) == (40, 0, 0)


KILLED = """
    import os, sys
    import numpy as np
    from fluoropose.streaming import ring

    stored = np.load(sys.argv[2])
    writer = ring.RingWriter(sys.argv[1], stored.shape[:1:-1], 16)
    for k in range(5):
        for view in (0, 1):
            writer.write(view, k, k / 30, stored[k, view])

    class Killing:
        shape, dtype = stored.shape[2:], stored.dtype
        def __array__(self, dtype=None, copy=None):
            os._exit(9)

    writer.write(0, 5, 5 / 30, stored[5, 0])
    writer.write(1, 5, 5 / 30, Killing())
"""


def test_a_program_that_is_killed_while_it_writes_leaves_no_torn_frame(
    lab: Laboratory, stored: np.ndarray, tmp_path: Path
) -> None:
    frames, poses = tmp_path / "frames", tmp_path / "poses"
    np.save(tmp_path / "stored.npy", stored)
    with service(lab, tmp_path, f"ring:{frames}", f"ring:{poses}") as (_, ended):
        reader = PoseRingReader(poses)
        program = [sys.executable, "-c", "\n".join(line[4:] for line in KILLED.splitlines())]
        assert subprocess.run([*program, str(frames), str(tmp_path / "stored.npy")], check=False).returncode == 9
        before = taken(reader, 3)  # of five, as fast as they were written; more than three may wait
        with RingWriter(frames, (SIDE, SIDE), 16) as writer:
            found = bring(stored, lambda view, k, px: writer.write(view, k, k / 30, px), reader)
    (summary,) = ended
    everything = [slot for slot in before + found if int(slot["phase"]) == 1 or int(slot["phase"]) == 2]
    assert len(everything) >= 20
    assert all(is_right(lab, int(slot["number"]), slot["world_from_bone"]) for slot in everything)
    assert summary.frames["missing"] == 1  # the frame whose partner was never finished
    assert summary.frames["restarts"] == 0


def test_frames_and_poses_go_over_zeromq(lab: Laboratory, stored: np.ndarray, tmp_path: Path) -> None:
    zmq = pytest.importorskip("zmq", reason="ZeroMQ needs pyzmq")
    local = "tcp://127.0.0.1:*"
    with (
        service(lab, tmp_path, f"zmq:{local}", f"zmq:{local}") as (opened, ended),
        zmq.Context() as context,
        context.socket(zmq.PUSH) as frames,
        context.socket(zmq.SUB) as poses,
    ):
        frames.connect(opened.source_name[4:])
        poses.connect(opened.summary().sinks[0].name[4:])
        poses.setsockopt(zmq.SUBSCRIBE, b"")
        time.sleep(0.2)  # until the subscription has arrived
        found = []
        frames.send_multipart([b"what?"])
        for k in range(20):
            for view in (0, 1):
                about = {"fluoropose": "frame", "version": 1, "view": view, "number": k, "time_s": k / 30}
                size = {"width": SIDE, "height": SIDE, "bits": 16}
                frames.send_multipart([json.dumps(about | size).encode(), stored[k, view].tobytes()])
            assert poses.poll(1e3 * PATIENCE_S)
            found.append(json.loads(poses.recv()))
    assert [one["number"] for one in found] == list(range(20))
    assert all(is_right(lab, one["number"], one["world_from_bone"]) for one in found)
    assert (ended[0].pairs, ended[0].malformed) == (20, 1)


def test_frames_and_poses_go_over_openigtlink(lab: Laboratory, stored: np.ndarray, tmp_path: Path) -> None:
    pyigtl = pytest.importorskip("pyigtl", reason="OpenIGTLink needs pyigtl")
    with service(lab, tmp_path, "igtl:0", "igtl:0") as (opened, ended):
        frames = pyigtl.OpenIGTLinkClient("127.0.0.1", int(opened.source_name.rpartition(":")[2]))
        poses = pyigtl.OpenIGTLinkClient("127.0.0.1", int(opened.summary().sinks[0].name.rpartition(":")[2]))
        wait_until(lambda: frames.is_connected() and poses.is_connected())
        time.sleep(0.2)  # until it has been let in
        for k in range(20):
            for view in (0, 1):
                sent = pyigtl.ImageMessage(stored[k, view][None], timestamp=k / 30, device_name=f"view{view + 1}")
                frames.send_message(sent)
            message = poses.wait_for_message(lab.bone.name, timeout=PATIENCE_S)
            assert message is not None
            assert is_right(lab, k, message.matrix)
        frames.stop()
        poses.stop()
    assert (ended[0].pairs, ended[0].malformed) == (20, 0)


def test_a_ring_that_is_replaced_is_followed(tmp_path: Path, stored: np.ndarray) -> None:
    first = RingWriter(tmp_path / "ring", (SIDE, SIDE), 16, slots=4)
    reader = RingReader(tmp_path / "ring")
    found = []
    thread = Thread(target=lambda: found.extend(reader), daemon=True)
    thread.start()
    first.write(0, 1, 0.1, stored[0, 0])
    wait_until(lambda: len(found) == 1)
    (tmp_path / "ring").unlink()  # as when somebody cleans up, or the machine that made it starts anew
    with RingWriter(tmp_path / "ring", (SIDE, SIDE), 16, slots=8) as second:
        second.write(1, 2, 0.2, stored[0, 1])
        wait_until(lambda: len(found) == 2)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert [(frame.view, frame.number) for frame in found] == [(0, 1), (1, 2)]
    first.abandon()


def test_a_ring_that_is_replaced_by_another_size_ends_the_stream_with_a_reason(tmp_path: Path) -> None:
    RingWriter(tmp_path / "ring", (SIDE, SIDE), 16).abandon()
    reader = RingReader(tmp_path / "ring")
    RingWriter(tmp_path / "ring", (SIDE, 90), 16).abandon()
    with pytest.raises(FileFormatError, match="replaced by a ring of another layout"):
        next(iter(reader))


def test_a_second_writer_is_refused(tmp_path: Path) -> None:
    with (
        RingWriter(tmp_path / "ring", (SIDE, SIDE), 16),
        pytest.raises(InputError, match="ring: another program writes it"),
    ):
        RingWriter(tmp_path / "ring", (SIDE, SIDE), 16)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "frames"], "--source: expected ring:FILE, zmq"),
        (["--source", "zmq:tcp://0.0.0.0:5555"], "--token: 0.0.0.0 can be reached from other machines"),
        (["--sink", "igtl:0.0.0.0:18944"], "--token: 0.0.0.0 can be reached from other machines"),
        (["--source", "zmq:tcp://0.0.0.0:*", "--token", "short"], "--token: expected at least 16 characters, found 5"),
    ],
)
def test_wrong_arguments_are_one_line(lab: Laboratory, tmp_path: Path, arguments: list[str], message: str) -> None:
    trial = lab.toml(tmp_path / "trial.toml", tmp_path / "out")
    trial.write_text(trial.read_text() + "bit_depth = 16\n")
    sinks = [] if "--sink" in arguments else ["--sink", f"ring:{tmp_path / 'poses'}"]
    if "--source" not in arguments:
        arguments = [*arguments, "--source", f"ring:{tmp_path / 'frames'}"]
    result = CliRunner().invoke(app, ["serve", str(trial), *arguments, *sinks])
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_the_trial_must_say_what_frames_to_expect(lab: Laboratory, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"bit_depth: missing; the trial must say .*such as bit_depth = 12"):
        open_service(lab.trial(tmp_path), f"ring:{tmp_path / 'frames'}", [])


@pytest.mark.slow
def test_the_command_serves_until_it_is_told_to_stop(lab: Laboratory, stored: np.ndarray, tmp_path: Path) -> None:
    trial = lab.toml(tmp_path / "trial.toml", tmp_path / "out")
    trial.write_text(trial.read_text() + "bit_depth = 16\n")
    frames, poses = tmp_path / "frames", tmp_path / "poses"
    command = [sys.executable, "-c", "from fluoropose.cli import app; app()", "serve", str(trial)]
    command += ["--source", f"ring:{frames}", "--sink", f"ring:{poses}", "--sink", str(tmp_path / "poses.csv")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_until(lambda: frames.exists() and poses.exists(), 120)
    reader = PoseRingReader(poses)
    with RingWriter(frames, (SIDE, SIDE), 16) as writer:
        found = bring(stored, lambda view, k, px: writer.write(view, k, k / 30, px), reader)
    reader.close()
    os.kill(process.pid, signal.SIGTERM)
    output, problems = process.communicate(timeout=60)
    assert process.returncode == 0, problems.decode()
    assert all(is_right(lab, int(slot["number"]), slot["world_from_bone"]) for slot in found)
    assert f"frames: ring:{frames}" in output.decode()
    assert f"poses: ring:{poses}" in output.decode()
    assert json.loads((tmp_path / "out" / "stream.json").read_text())["pairs"] == 20
    assert len((tmp_path / "poses.csv").read_text().splitlines()) == 22
    assert not frames.exists()
    assert not poses.exists()


def test_rings_stay_for_the_programs_that_still_have_them(lab: Laboratory, tmp_path: Path) -> None:
    frames, poses = tmp_path / "frames", tmp_path / "poses"
    with service(lab, tmp_path, f"ring:{frames}", f"ring:{poses}"):
        writer = RingWriter(frames, (SIDE, SIDE), 16)
    assert frames.exists()
    assert not poses.exists()
    with service(lab, tmp_path, f"ring:{frames}", f"ring:{poses}"):
        reader = PoseRingReader(poses)
    writer.close()
    assert reader.finished
    assert frames.exists()  # the second service found it
    assert poses.exists()
    reader.close()


def test_a_service_that_cannot_begin_leaves_nothing(lab: Laboratory, tmp_path: Path) -> None:
    trial, frames, poses = lab.trial(tmp_path / "out", bit_depth=16), tmp_path / "frames", tmp_path / "poses"
    with pytest.raises(InputError, match="sink: expected"):
        open_service(trial, f"ring:{frames}", [f"ring:{poses}", "nonsense"])
    assert not frames.exists()
    assert not poses.exists()
