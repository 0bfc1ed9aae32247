"""Refinement of poses: radiographs of the bone are matched to the frames of all views together."""

from fluoropose.refinement.combined import WeightedSum
from fluoropose.refinement.correlation import (
    CrossCorrelation,
    GradientCorrelation,
    LaplacianCorrelation,
    LocalCrossCorrelation,
)
from fluoropose.refinement.fixed import FixedView, fixed_view
from fluoropose.refinement.gradient_measures import GradientDifference, GradientInformation
from fluoropose.refinement.levenberg import LevenbergMarquardt
from fluoropose.refinement.moving import MovingBone
from fluoropose.refinement.mutual_information import MutualInformation
from fluoropose.refinement.objective import Objective, moved
from fluoropose.refinement.optimiser import Optimiser, Outcome
from fluoropose.refinement.peers import Adam, Bobyqa, Box, CmaEs, Lbfgs, NelderMead, Powell
from fluoropose.refinement.refine import Level, Refinement, Schedule, Starts, refine
from fluoropose.refinement.refiner import Refiner
from fluoropose.refinement.tone import Tone

__all__ = [
    "Adam",
    "Bobyqa",
    "Box",
    "CmaEs",
    "CrossCorrelation",
    "FixedView",
    "GradientCorrelation",
    "GradientDifference",
    "GradientInformation",
    "LaplacianCorrelation",
    "Lbfgs",
    "Level",
    "LevenbergMarquardt",
    "LocalCrossCorrelation",
    "MovingBone",
    "MutualInformation",
    "NelderMead",
    "Objective",
    "Optimiser",
    "Outcome",
    "Powell",
    "Refinement",
    "Refiner",
    "Schedule",
    "Starts",
    "Tone",
    "WeightedSum",
    "fixed_view",
    "moved",
    "refine",
]
