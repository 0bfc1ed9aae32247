"""Two bones followed in the same frames, and the joint between them."""

from __future__ import annotations

from dataclasses import dataclass

from fluoropose.errors import InputError
from fluoropose.joint import Joint, JointMotion
from fluoropose.region import Frame
from fluoropose.tracking.tracked import Tracked
from fluoropose.tracking.tracker import Tracker

__all__ = ["JointTracker", "TrackedJoint"]


@dataclass(frozen=True, eq=False)
class TrackedJoint:
    """What is known about a joint after one frame pair.

    Attributes
    ----------
    proximal, distal
        What each bone's tracker says.
    motion, deviations
        Of the filtered poses, see ``Joint``; None where one of the bones is lost, or no angles are defined.
    reason
        Why no angles are defined; "" otherwise.
    """

    proximal: Tracked
    distal: Tracked
    motion: JointMotion | None
    deviations: JointMotion | None
    reason: str = ""


class JointTracker:
    """Follows the two bones of a joint through one stream of frame pairs.

    Each bone has its own tracker and network: one of them may be lost and found again without the other.

    Parameters
    ----------
    proximal, distal
        Trackers of the two bones, in the same rig.
    joint
        Their anatomical frames.

    Raises
    ------
    InputError
        If the trackers' rigs differ: the poses would have nothing to do with each other.
    """

    def __init__(self, proximal: Tracker, distal: Tracker, joint: Joint) -> None:
        if proximal.rig is not distal.rig:
            raise InputError("distal: expected a tracker of the proximal tracker's rig, found one of another rig")
        self._proximal, self._distal, self._joint = proximal, distal, joint
        self._distal_took_ms = 0.0

    def warm_up(self) -> None:
        """Prepare both networks."""
        self._proximal.warm_up()
        self._distal.warm_up()

    def forget(self) -> None:
        """Give both tracks up."""
        self._proximal.forget()
        self._distal.forget()

    def push(self, frame1: Frame, frame2: Frame, time_s: float, waited_ms: float = 0.0) -> TrackedJoint:
        """Find both bones in one more pair; see ``Tracker.push``. Each leaves the other the time that it takes."""
        proximal = self._proximal.push(frame1, frame2, time_s, waited_ms + self._distal_took_ms)
        distal = self._distal.push(frame1, frame2, time_s, waited_ms + proximal.stages.total)
        self._distal_took_ms = distal.stages.total
        return self._joined(proximal, distal)

    def miss(self, time_s: float, reason: str) -> TrackedJoint:
        """Note a pair that cannot be looked at; see ``Tracker.miss``."""
        proximal = self._proximal.miss(time_s, reason)
        return self._joined(proximal, self._distal.miss(time_s, reason))

    def _joined(self, proximal: Tracked, distal: Tracked) -> TrackedJoint:
        one, other = proximal.world_from_bone, distal.world_from_bone
        if one is None or other is None or proximal.covariance is None or distal.covariance is None:
            return TrackedJoint(proximal, distal, None, None)
        try:
            motion = self._joint.motion(one, other)
        except InputError as error:  # both bones are followed all the same
            return TrackedJoint(proximal, distal, None, None, str(error))
        deviations = self._joint.deviations(one, other, proximal.covariance, distal.covariance)
        return TrackedJoint(proximal, distal, motion, deviations)
