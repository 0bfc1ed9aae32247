"""A ring of poses in shared memory: the tracker writes, other programs read, and neither waits for the other.

The counterpart of ``fluoropose.streaming.ring``, with the same rules. All numbers are little-endian; the layout,
version 1, is

========  =======  =================================================================================================
offset    type     header, 64 bytes
========  =======  =================================================================================================
0         8 bytes  "FPPOSE" and two zero bytes
8         uint32   version, 1
12        uint32   number of slots
16        uint32   bytes per slot, 704; a later version may have more behind what stands below
20        12       zero
32        uint64   poses written so far
40        uint32   1 when the service has ended
44        uint32   session: services that have opened the ring so far
48        16       zero
========  =======  =================================================================================================

Then the slots follow; one holds what the tracker said about one frame pair:

========  ============  ============================================================================================
offset    type          a slot
========  ============  ============================================================================================
0         uint64        2 n + 1 while pose n (the first is 0) is being written here, 2 n + 2 when it is complete
8         uint64        sequence number of the pair
16        float64       when it was taken, s, by the cameras' clock
24        uint64        when the last byte of both frames was in: monotonic clock, ns
32        float64       from then to here, ms
40        float64       quality, 0 to 1; 0 where the pose is no measurement
48        float64 x 16  world_from_bone, row by row, mm; NaN without a pose
176       float64 x 4   its rotation as a unit quaternion, w first
208       float64 x 36  covariance, row by row, of rotation (rad) and translation (mm) in world axes
496       float64 x 6   angular velocity (rad/s) and velocity of the bone's origin (mm/s), world axes
544       uint32        phase: 0 lost (there is no pose), 1 acquired, 2 tracking, 3 coasting (a prediction)
548       uint32        session of the frames
552       uint32        landmarks that were used
556       4             zero
560       128 bytes     why there is no measurement, UTF-8, ends with a zero byte
688       16            zero
========  ============  ============================================================================================
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import whole_positive
from fluoropose.errors import FileFormatError
from fluoropose.streaming.frame import Output
from fluoropose.streaming.mapped import VERSION, Mapped, create, padded
from fluoropose.tracking import Phase

__all__ = ["PHASES", "POSE", "PoseRing", "PoseRingReader"]

PHASES = (Phase.LOST, Phase.ACQUIRED, Phase.TRACKING, Phase.COASTING)

_MAGIC = b"FPPOSE"
_HEADER = np.dtype(
    [("magic", "S8"), ("version", "<u4"), ("slots", "<u4"), ("slot_bytes", "<u4"), ("zero", "V12")]
    + [("written", "<u8"), ("finished", "<u4"), ("session", "<u4"), ("zero_too", "V16")]
)
POSE = np.dtype(
    [("state", "<u8"), ("number", "<u8"), ("time_s", "<f8"), ("arrived_ns", "<u8"), ("latency_ms", "<f8")]
    + [("quality", "<f8"), ("world_from_bone", "<f8", (4, 4)), ("quaternion", "<f8", (4,))]
    + [("covariance", "<f8", (6, 6)), ("rate", "<f8", (6,))]
    + [("phase", "<u4"), ("session", "<u4"), ("landmarks", "<u4"), ("zero", "V4"), ("reason", "S128")]
)
_EACH = padded(POSE.itemsize)
_POLL_S = 0.0002


class _Ring(Mapped):
    """The mapped ring of poses."""

    def __init__(self, path: Path, *, writes: bool = False) -> None:
        super().__init__(path, _HEADER, _MAGIC, "a ring of poses", writes=writes)
        self.slots, each = int(self.header["slots"]), int(self.header["slot_bytes"])
        if each < POSE.itemsize or self.slots < 1 or len(self.map) != _HEADER.itemsize + self.slots * each:
            raise FileFormatError(f"{path}: {self.slots} slots of {each} bytes do not fill {len(self.map)} bytes")
        self.poses = [np.ndarray((), POSE, self.map, _HEADER.itemsize + k * each) for k in range(self.slots)]

    def close(self) -> None:
        self.poses = []
        super().close()


class PoseRing:
    """A sink that writes a ring of poses; one that exists is continued.

    In the end one that this made is removed, unless readers still have it: a service that comes back goes on with it.

    Parameters
    ----------
    path
        The ring, such as ``/dev/shm/fluoropose.poses``.
    slots
        Poses that the ring holds.

    Raises
    ------
    FileFormatError
        If the file is something else.
    InputError
        If another program writes this ring.
    """

    def __init__(self, path: str | Path, slots: int = 256) -> None:
        self.name = f"ring:{path}"
        self._made = not Path(path).exists()
        if self._made:
            header = np.zeros((), _HEADER)
            header["magic"], header["version"] = _MAGIC, VERSION
            header["slots"], header["slot_bytes"] = whole_positive("slots", slots), _EACH
            create(Path(path), header, _HEADER.itemsize + slots * _EACH)
        self._ring = _Ring(Path(path), writes=True)
        self._ring.begin()

    def write(self, output: Output) -> None:
        """Write what the tracker said about a pair."""
        n = int(self._ring.header["written"])
        slot, new = self._ring.poses[n % self._ring.slots], _slot(output)
        slot["state"] = 2 * n + 1
        for name in POSE.names[1:]:  # type: ignore[index]
            slot[name] = new[name]
        slot["state"] = 2 * n + 2
        self._ring.header["written"] = n + 1

    def close(self) -> None:
        """Tell readers that no more poses will come; those that have the ring may read what is in it."""
        self._ring.header["finished"] = 1
        if self._made:
            self._ring.remove()
        self._ring.close()


class PoseRingReader:
    """Reads a ring of poses, from the next one on.

    Parameters
    ----------
    path
        The ring.

    Attributes
    ----------
    overtaken
        Poses that were overwritten before they were read.

    Raises
    ------
    FileFormatError
        If there is no ring, or its header and size do not agree.
    """

    def __init__(self, path: str | Path) -> None:
        self._ring = _Ring(Path(path))
        self._next = int(self._ring.header["written"])
        self.overtaken = 0

    @property
    def finished(self) -> bool:
        """Whether the service has ended, or another ring has taken the place of this one."""
        return bool(self._ring.header["finished"]) or self._ring.replaced

    def next(self, timeout_s: float) -> NDArray[np.void] | None:
        """Return the next pose, an array () with the fields of ``POSE``; None where none came in time."""
        end = time.monotonic() + timeout_s
        while True:
            written = int(self._ring.header["written"])
            if self._next < written - self._ring.slots:
                self.overtaken += written - self._ring.slots - self._next
                self._next = written - self._ring.slots
            if self._next < written:
                n, slot = self._next, self._ring.poses[self._next % self._ring.slots]
                found = slot.copy()
                self._next += 1
                if found["state"] == slot["state"] == 2 * n + 2:
                    return found
                self.overtaken += 1
            elif time.monotonic() > end:
                return None
            else:
                time.sleep(_POLL_S)

    def close(self) -> None:
        """Let the ring go."""
        self._ring.close()


def _slot(output: Output) -> NDArray[np.void]:
    tracked, belief, slot = output.tracked, output.tracked.belief, np.zeros((), POSE)
    for name in ("world_from_bone", "quaternion", "covariance", "rate"):
        slot[name] = np.nan
    if belief is not None:
        pose = belief.world_from_bone
        slot["world_from_bone"], slot["quaternion"] = pose.matrix, pose.quaternion
        slot["covariance"], slot["rate"] = belief.pose_covariance, belief.rate
    slot["number"], slot["time_s"] = output.number, tracked.time_s
    slot["arrived_ns"], slot["latency_ms"] = round(output.arrived_s * 1e9), output.latency_ms
    slot["quality"], slot["phase"] = tracked.quality, PHASES.index(tracked.phase)
    slot["session"], slot["landmarks"] = output.session, tracked.registration.n_visible
    # Cut between characters, with room for the zero byte.
    slot["reason"] = tracked.reason.encode()[:127].decode(errors="ignore").encode()
    return slot
