"""Brings frames to a running ``fluoropose serve`` and prints the poses that come back, as live.cc does in C++.

python live.py FRAMES.raw RATE_HZ [RING_OF_FRAMES [RING_OF_POSES]]
"""

from __future__ import annotations

import sys
import time
from threading import Thread

import numpy as np

from fluoropose.streaming.pose_ring import PHASES, PoseRingReader
from fluoropose.streaming.ring import RingWriter, frame_layout


def follow(poses: PoseRingReader, last: int) -> None:
    """Print poses until ``last`` has come, or nothing for 10 s."""
    while (pose := poses.next(timeout_s=10.0)) is not None:
        x, y, z = pose["world_from_bone"][:3, 3]
        w, i, j, k = pose["quaternion"]
        phase, reason = PHASES[int(pose["phase"])].value, pose["reason"].item().decode()
        print(
            f"{pose['number']} {phase} {x:.6f} {y:.6f} {z:.6f} mm, quaternion {w:.9f} {i:.9f} {j:.9f} {k:.9f}, "
            f"{pose['latency_ms']:.2f} ms{': ' if reason else ''}{reason}",
            flush=True,
        )
        if pose["number"] == last:
            return


def main(
    raw: str, rate_hz: str, ring: str = "/dev/shm/fluoropose.frames", out: str = "/dev/shm/fluoropose.poses"
) -> None:
    """Bring the frames at their rate; here is where a camera's callback would be."""
    (width, height), bits, slots = frame_layout(ring)
    pairs = np.fromfile(raw, "<u1" if bits <= 8 else "<u2").reshape(-1, 2, height, width)
    follower = Thread(target=follow, args=(PoseRingReader(out), len(pairs) - 1))
    follower.start()
    start = time.monotonic()
    with RingWriter(ring, (width, height), bits, slots) as writer:
        for number, pair in enumerate(pairs):
            time_s = number / float(rate_hz)
            time.sleep(max(0.0, start + time_s - time.monotonic()))
            for view, pixels in enumerate(pair):
                writer.write(view, number, time_s, pixels)
        follower.join()


if __name__ == "__main__":
    main(*sys.argv[1:])
