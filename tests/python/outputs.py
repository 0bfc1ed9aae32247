"""What a stream gives to its sinks, as their tests do, and how long they wait for what should come at once."""

from __future__ import annotations

import time

import numpy as np

from fluoropose.geometry import Pose
from fluoropose.registration.registration import Registration, Status
from fluoropose.streaming.frame import Output
from fluoropose.tracking import Phase, Stages, Tracked
from fluoropose.tracking.kalman import Belief

POSES = [Pose.from_euler_zyx_deg([10.0 * k, -20, 30 + k], [k, 250.5, -300]) for k in range(3)]


def output(number: int, pose: Pose | None, phase: Phase = Phase.TRACKING) -> Output:
    measured = pose is not None and phase is not Phase.COASTING
    found = Registration(
        world_from_bone=pose if measured else None,
        status=Status.OK if measured else Status.FAILED,
        failure=None,
        reason="" if measured else "view 2: blank",
        mirrored=(True, False),
        costs=np.zeros(4),
        cost=12.5,
        visible=np.ones((2, 5), bool),
        residuals_mm=np.zeros((2, 5, 2)),
        covariance=np.eye(6) if measured else None,
    )
    belief = None if pose is None else Belief(number / 30, pose, np.zeros(6), 2 * np.eye(12))
    tracked = Tracked(number / 30, phase, found, belief, 1.0, 0.9 * measured, found.reason, Stages())
    return Output(number, tracked, 12.0)


OUTPUTS = [output(0, POSES[0]), output(1, POSES[1], Phase.COASTING), output(3, None, Phase.LOST), output(4, POSES[2])]

PATIENCE_S = 60.0  # of every wait for what should come at once: other programs may hold the processor for long


def wait_until(condition: object, seconds: float = PATIENCE_S) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)
