"""The live viewer: what it is shown and draws, and that nothing it does slows the tracker."""

from __future__ import annotations

import os
import pickle
import signal
import time
from collections import Counter
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from typer.testing import CliRunner

from cameras import Cameras
from fluoropose.cli import app
from fluoropose.errors import InputError
from fluoropose.learning.bundle import Bundle
from fluoropose.streaming import outlet
from fluoropose.streaming.frame import Frame, Output, Pair
from fluoropose.streaming.sinks import Callback
from fluoropose.streaming.stream import Stream
from fluoropose.streaming.viewer import viewer as viewer_module
from fluoropose.streaming.viewer.picture import Picture, Setting
from fluoropose.streaming.viewer.viewer import Shown, Viewer
from fluoropose.tracking import Tracker
from fluoropose.tracking.stored import Attenuating
from outputs import OUTPUTS, POSES
from trial_laboratory import Laboratory

PAIRS, RATE_HZ = 12, 4.0  # as fast as a processor keeps up that many other programs use


def run(lab: Laboratory, viewer: object) -> tuple[list[Output], Stream]:
    """Follow the laboratory's frames before a viewer."""
    found: list[Output] = []
    tracker = Tracker(lab.bone, lab.rig, Bundle.load(lab.folder / "bone.fpbundle"))
    cameras = Cameras(lab, PAIRS, rate_hz=RATE_HZ)
    stream = Stream(cameras, tracker, Attenuating(16), [Callback(found.append)], viewer=viewer)  # type: ignore[arg-type]
    stream.run()
    return found, stream


class Blocked:
    """A viewer that never comes back."""

    name = "view"

    def __init__(self) -> None:
        self.forever, self.seen = Event(), 0

    def write(self, shown: Shown) -> None:
        self.seen += 1
        self.forever.wait()

    def close(self) -> None:
        pass


def assert_the_rate_held(found: list[Output], stream: Stream) -> None:
    summary = stream.summary()
    assert summary.pairs + summary.dropped == PAIRS
    assert summary.dropped <= 3  # on a busy machine; a tracker that waited for the viewer would lose nearly all
    assert len(found) == summary.pairs
    assert summary.latency_ms is not None
    assert summary.latency_ms.p50 < 1e3 / RATE_HZ


def test_a_blocked_viewer_drops_and_the_trackers_rate_holds(lab: Laboratory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outlet.Outlet.close, "__defaults__", (0.2,))
    blocked = Blocked()
    found, stream = run(lab, blocked)
    assert_the_rate_held(found, stream)
    report = stream.summary().sinks[-1]
    assert blocked.seen == 1
    assert (report.name, report.written, report.lost) == ("view", 0, len(found))
    assert report.error == "did not finish within 0.2 s"
    blocked.forever.set()


class Kept(Viewer):
    """Keeps what would be sent."""

    def __init__(self, bits: int | None) -> None:
        self._bits, self.sent = bits, []

    def _send(self, what: Setting | Picture) -> None:
        self.sent.append(pickle.loads(pickle.dumps(what)))


def pair(pixels: np.ndarray | None) -> Pair:
    return Pair((Frame(0, 4, 0.0, pixels, 0.0), None), 0.0)


@pytest.mark.parametrize(
    ("bits", "dtype", "value", "byte"),
    [(8, np.uint8, 200, 200), (12, np.uint16, 4095, 255), (16, np.uint16, 0x1234, 0x12), (None, np.float32, 0.5, 127)],
)
def test_pictures_are_small_bytes(bits: int | None, dtype: type, value: float, byte: int) -> None:
    viewer = Kept(bits)
    viewer.write(Shown(pair(np.full((700, 1100), value, dtype)), OUTPUTS[3]))
    (picture,) = viewer.sent
    assert picture.steps == (3, 1)
    assert picture.xrays[1] is None
    assert picture.xrays[0].shape == (234, 367)
    assert picture.xrays[0].dtype == np.uint8
    assert (picture.xrays[0] == byte).all()
    np.testing.assert_array_equal(picture.world_from_bone, POSES[2].matrix)
    np.testing.assert_allclose(picture.angles_deg, POSES[2].euler_zyx_deg)
    assert (picture.number, picture.phase, picture.quality) == (4, "tracking", 0.9)


def test_frames_that_are_none_are_no_pictures() -> None:
    viewer = Kept(16)
    viewer.write(Shown(pair(None), OUTPUTS[2]))
    assert viewer.sent[0].xrays == (None, None)
    assert viewer.sent[0].world_from_bone is None


def test_what_is_missing_is_named(lab: Laboratory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(viewer_module, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"the viewer needs rerun-sdk: pip install 'fluoropose\[view\]'"):
        Viewer(lab.folder / "rig.json", lab.folder / "bone.h5", 16)
    trial = lab.toml(tmp_path / "trial.toml", tmp_path / "out")
    result = CliRunner().invoke(app, ["stream", str(trial), "--view", "--record", "a.rrd"])
    assert result.exit_code == 2
    assert "--view, --record: expected one of them" in result.stderr


# --- with rerun -----------------------------------------------------------------------------------------------------


@pytest.fixture
def recording(lab: Laboratory, tmp_path: Path) -> Viewer:
    pytest.importorskip("rerun", reason="the viewer needs rerun-sdk (extra view, which is too large for CI)")
    return Viewer(lab.folder / "rig.json", lab.folder / "bone.h5", 16, tmp_path / "a.rrd")


def test_a_recording_holds_pictures_outlines_bone_and_curves(
    lab: Laboratory, recording: Viewer, tmp_path: Path
) -> None:
    found, stream = run(lab, recording)
    assert_the_rate_held(found, stream)
    report = stream.summary().sinks[-1]
    assert report.error == ""
    assert report.written >= 5
    assert report.written + report.lost == len(found)
    assert [path.name for path in tmp_path.iterdir()] == ["a.rrd"]
    logged = entities(tmp_path / "a.rrd")
    assert logged["/world/view1"] == logged["/world/view2"] == 1
    for path in ("/view1/xray", "/view2/xray", "/view1/outline", "/view2/outline", "/world/bone", "/pose/quality"):
        assert logged[path] == report.written, path
    for name in ("angles/theta_x_deg", "angles/theta_y_deg", "angles/theta_z_deg", "shift/tx_mm", "shift/tz_mm"):
        assert logged[f"/pose/{name}"] == report.written, name


def entities(path: Path) -> dict[str, int]:
    """Rows per entity in a recording."""
    from rerun.chunk import RrdReader

    rows: Counter[str] = Counter()
    for chunk in RrdReader(path).stream():
        rows[chunk.entity_path] += chunk.num_rows
    return rows


def test_a_process_that_stands_still_does_not_slow_the_tracker(
    lab: Laboratory, recording: Viewer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outlet.Outlet.close, "__defaults__", (0.2,))
    os.kill(recording._process.pid, signal.SIGSTOP)
    found, stream = run(lab, recording)
    assert_the_rate_held(found, stream)
    assert stream.summary().sinks[-1].lost > 0
    recording._end()


def test_a_process_that_dies_is_said_and_the_tracker_goes_on(
    lab: Laboratory, recording: Viewer, tmp_path: Path
) -> None:
    recording._process.kill()
    found, stream = run(lab, recording)
    assert_the_rate_held(found, stream)
    assert "BrokenPipeError" in stream.summary().sinks[-1].error
    assert not (tmp_path / "a.rrd").exists()


def test_a_viewer_that_cannot_start_is_an_error(lab: Laboratory, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="the viewer needs rerun-sdk (extra view, which is too large for CI)")
    start = time.monotonic()
    with pytest.raises(InputError, match="the viewer did not start"):
        Viewer(tmp_path / "no rig", lab.folder / "bone.h5", 16, tmp_path / "a.rrd")
    assert time.monotonic() - start < 60
