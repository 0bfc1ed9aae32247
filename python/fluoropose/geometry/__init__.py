"""Rigid poses and the views of X-ray sources."""

from fluoropose.geometry.pose import Pose
from fluoropose.geometry.view import SddGeometry, View

__all__ = ["Pose", "SddGeometry", "View"]
