"""Rigid poses and the views of X-ray sources."""

from fluoropose.geometry.pose import Pose
from fluoropose.geometry.view import View

__all__ = ["Pose", "View"]
