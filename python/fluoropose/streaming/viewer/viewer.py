"""The tracker's side of the viewer: it makes small pictures and hands them to the process that draws."""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.streaming.frame import Frame, Output, Pair
from fluoropose.streaming.viewer.picture import Picture, Setting

__all__ = ["Shown", "Viewer"]

_LARGEST_PX = 512
_PATIENCE_S = 25.0


@dataclass(frozen=True, eq=False, slots=True)
class Shown:
    """A frame pair, and what the tracker said about it."""

    pair: Pair
    output: Output


class Viewer:
    """Shows pairs on the screen, or records them, in a process of its own.

    It blocks while that process is busy; a stream therefore gives it a thread, and drops what it has no time for.

    Parameters
    ----------
    rig, bone
        Their files.
    bits
        Bits of the frames that carry signal; None for floating point frames in 0..1.
    record
        A file (.rrd) to write; None shows the pairs on the screen.

    Raises
    ------
    InputError
        If rerun-sdk is not installed, or the process that draws does not start.
    """

    def __init__(self, rig: Path, bone: Path, bits: int | None, record: Path | None = None) -> None:
        if find_spec("rerun") is None:
            raise InputError("the viewer needs rerun-sdk: pip install 'fluoropose[view]'")
        self.name = "view" if record is None else f"view:{record}"
        self._bits = bits
        command = [sys.executable, "-m", "fluoropose.streaming.viewer"]
        # In a session of its own: Ctrl-C is for the tracker, which then lets it finish.
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._send(Setting(str(rig), str(bone), None if record is None else str(record)))
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"drawing\n":
            self._end()
            raise InputError("the viewer did not start; what it said stands above")

    def write(self, shown: Shown) -> None:
        """Hand a pair over."""
        tracked, pose = shown.output.tracked, shown.output.tracked.world_from_bone
        small = [self._small(frame) for frame in shown.pair.frames]
        self._send(
            Picture(
                shown.output.number,
                tracked.time_s,
                tuple(pixels for pixels, _ in small),
                tuple(step for _, step in small),
                None if pose is None else pose.matrix,
                None if pose is None else pose.euler_zyx_deg,
                tracked.quality,
                tracked.phase.value,
            )
        )

    def close(self) -> None:
        """Let it finish; a recording appears under its name then."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.close()
            self._process.wait(_PATIENCE_S)
        finally:
            self._end()

    def _end(self) -> None:
        """End the process if it still runs, and let its pipes go."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()

    def _send(self, what: Setting | Picture) -> None:
        assert self._process.stdin is not None
        pickle.dump(what, self._process.stdin, pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()

    def _small(self, frame: Frame | None) -> tuple[NDArray[np.uint8] | None, int]:
        """Return every step-th pixel as a byte, and the step."""
        if frame is None or frame.pixels is None or frame.pixels.ndim != 2:
            return None, 1
        pixels: NDArray[Any] = frame.pixels
        step = -(-max(pixels.shape) // _LARGEST_PX)
        few = pixels[::step, ::step]
        if self._bits is None:
            return np.asarray(255 * np.nan_to_num(few).clip(0, 1)).astype(np.uint8), step
        return (few >> max(self._bits - 8, 0)).clip(0, 255).astype(np.uint8), step
