"""Poses over time: a causal filter, a smoother, and the tracker that looks where they say the bone is."""

from fluoropose.tracking.limits import Limits
from fluoropose.tracking.tracked import Phase, Stages, Tracked
from fluoropose.tracking.tracker import Tracker

__all__ = ["Limits", "Phase", "Stages", "Tracked", "Tracker"]
