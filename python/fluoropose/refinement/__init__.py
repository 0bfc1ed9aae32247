"""Refinement of poses: radiographs of the bone are matched to the frames of all views together."""

from fluoropose.refinement.correlation import (
    CrossCorrelation,
    GradientCorrelation,
    LaplacianCorrelation,
    LocalCrossCorrelation,
)
from fluoropose.refinement.fixed import FixedView, fixed_view
from fluoropose.refinement.levenberg import LevenbergMarquardt
from fluoropose.refinement.moving import MovingBone, bone_alone
from fluoropose.refinement.refine import Level, Refinement, Schedule, Starts, refine
from fluoropose.refinement.refiner import Refiner

__all__ = [
    "CrossCorrelation",
    "FixedView",
    "GradientCorrelation",
    "LaplacianCorrelation",
    "Level",
    "LevenbergMarquardt",
    "LocalCrossCorrelation",
    "MovingBone",
    "Refinement",
    "Refiner",
    "Schedule",
    "Starts",
    "bone_alone",
    "fixed_view",
    "refine",
]
