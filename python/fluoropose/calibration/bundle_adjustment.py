"""Least squares over tool placements, views and sources at once, with Ceres.

Every residual is the predicted minus the seen centre of a bead's shadow, mm on the image plane. Rotations are updated
from the left, ``R <- exp(w) R``, so a pose's six parameters are a turn about and a shift along the world's axes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyceres
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fluoropose.calibration.tool import AlignmentTool, project
from fluoropose.errors import FluoroposeError
from fluoropose.geometry import Pose

__all__ = ["Observation", "Setting", "adjust", "jacobian", "residuals"]

_Frame = tuple[NDArray[np.float64], NDArray[np.float64]]  # rotation (3, 3) and translation (3,) mm


@dataclass(frozen=True, eq=False)
class Observation:
    """Beads of the tool that one view saw in one placement: indices (m,) and centres (m, 2) mm on the plane."""

    placement: int
    view: int
    bead: NDArray[np.int64]
    plane_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Setting:
    """All unknowns: ``world_from_plane`` per view, sources (views, 3) mm in plane frames, ``world_from_tool``.

    The world is the plane frame of the first view, whose pose is therefore no unknown.
    """

    world_from_plane: tuple[Pose, ...]
    sources_mm: NDArray[np.float64]
    world_from_tool: tuple[Pose, ...]


def residuals(tool: AlignmentTool, seen: Observation, setting: Setting) -> NDArray[np.float64]:
    """Return (m, 2) mm: predicted minus seen."""
    return _misses(tool, seen, *_turn_and_place(seen, setting))


def adjust(
    tool: AlignmentTool, observations: Sequence[Observation], start: Setting, free_sources: NDArray[np.bool_]
) -> Setting:
    """Minimise the squared residuals over all poses and the coordinates of sources that are free.

    Parameters
    ----------
    tool, observations
        What was seen.
    start
        Where to begin; its rotations should be right to some tens of degrees.
    free_sources
        (views, 3): which coordinates of the sources are unknowns.

    Raises
    ------
    FluoroposeError
        If Ceres finds no usable solution.
    """
    tools = [np.concatenate([np.zeros(3), pose.translation_mm]) for pose in start.world_from_tool]
    planes = [np.concatenate([np.zeros(3), pose.translation_mm]) for pose in start.world_from_plane]
    sources = [source.copy() for source in start.sources_mm]
    problem = pyceres.Problem()
    # Ceres keeps no reference that Python sees.
    costs = []
    for seen in observations:
        blocks = [tools[seen.placement], planes[seen.view], sources[seen.view]]
        costs.append(_ShadowCost(tool, seen, start))
        problem.add_residual_block(costs[-1], None, blocks)
    seen_views = sorted({seen.view for seen in observations})
    for view in seen_views:
        held = np.flatnonzero(~free_sources[view]).tolist()
        if len(held) == 3:
            problem.set_parameter_block_constant(sources[view])
        elif held:
            problem.set_manifold(sources[view], pyceres.SubsetManifold(3, held))
    problem.set_parameter_block_constant(planes[0])
    options = pyceres.SolverOptions()
    options.linear_solver_type = pyceres.LinearSolverType.DENSE_QR
    options.max_num_iterations = 200
    options.function_tolerance = options.parameter_tolerance = options.gradient_tolerance = 1e-12
    options.num_threads = 1  # the cost functions are Python
    options.logging_type = pyceres.LoggingType.SILENT
    summary = pyceres.SolverSummary()
    pyceres.solve(options, problem, summary)
    if not summary.IsSolutionUsable():
        raise FluoroposeError(f"alignment: no solution: {summary.message}")
    return Setting(
        tuple(_moved(pose, p) for pose, p in zip(start.world_from_plane, planes, strict=True)),
        np.array(sources),
        tuple(_moved(pose, p) for pose, p in zip(start.world_from_tool, tools, strict=True)),
    )


def jacobian(tool: AlignmentTool, observations: Sequence[Observation], setting: Setting) -> NDArray[np.float64]:
    """Return the derivative (2 m in total, k) of all residuals, by rows of observations.

    The columns are: six per view after the first, three per source, six per placement.
    """
    views, placements = len(setting.world_from_plane), len(setting.world_from_tool)
    first_source, first_tool = 6 * (views - 1), 6 * (views - 1) + 3 * views
    rows = []
    for seen in observations:
        of_tool, of_plane, of_source = _derivatives(tool, seen, *_turn_and_place(seen, setting))
        block = np.zeros((len(of_tool), first_tool + 6 * placements))
        if seen.view > 0:
            block[:, 6 * (seen.view - 1) : 6 * seen.view] = of_plane
        block[:, first_source + 3 * seen.view : first_source + 3 * seen.view + 3] = of_source
        block[:, first_tool + 6 * seen.placement : first_tool + 6 * seen.placement + 6] = of_tool
        rows.append(block)
    return np.vstack(rows)


class _ShadowCost(pyceres.CostFunction):  # type: ignore[misc]
    """The residuals of one observation as a function of (tool, plane, source) parameters."""

    def __init__(self, tool: AlignmentTool, seen: Observation, start: Setting) -> None:
        super().__init__()
        self._tool, self._seen = tool, seen
        self._place = start.world_from_tool[seen.placement].rotation
        self._plane = start.world_from_plane[seen.view].rotation
        self.set_num_residuals(2 * len(seen.bead))
        self.set_parameter_block_sizes([6, 6, 3])

    def Evaluate(self, parameters, residual, jacobians):  # type: ignore[no-untyped-def]  # noqa: N802
        tool_step, plane_step, source = (np.array(p) for p in parameters)
        place = _exp(tool_step[:3]) @ self._place, tool_step[3:]
        plane = _exp(plane_step[:3]) @ self._plane, plane_step[3:]
        residual[:] = _misses(self._tool, self._seen, place, plane, source).ravel()
        if jacobians is not None:
            of_tool, of_plane, of_source = _derivatives(self._tool, self._seen, place, plane, source)
            of_tool[:, :3] = of_tool[:, :3] @ _left_jacobian(tool_step[:3])
            of_plane[:, :3] = of_plane[:, :3] @ _left_jacobian(plane_step[:3])
            for target, block in zip(jacobians, (of_tool, of_plane, of_source), strict=True):
                if target is not None:
                    target[:] = block.ravel()
        return True


def _turn_and_place(seen: Observation, setting: Setting) -> tuple[_Frame, _Frame, NDArray[np.float64]]:
    place, plane = setting.world_from_tool[seen.placement], setting.world_from_plane[seen.view]
    source = setting.sources_mm[seen.view]
    return (place.rotation, place.translation_mm), (plane.rotation, plane.translation_mm), source


def _misses(
    tool: AlignmentTool, seen: Observation, place: _Frame, plane: _Frame, source: NDArray[np.float64]
) -> NDArray[np.float64]:
    world = tool.centres_mm[seen.bead] @ place[0].T + place[1]
    return project((world - plane[1]) @ plane[0], source, tool.diameters_mm[seen.bead] / 2) - seen.plane_mm


def _derivatives(
    tool: AlignmentTool, seen: Observation, place: _Frame, plane: _Frame, source: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Return the residuals' derivatives (2 m, 6), (2 m, 6), (2 m, 3) by the tool's and plane's steps and the source."""
    r2 = (tool.diameters_mm[seen.bead] / 2) ** 2
    turned = tool.centres_mm[seen.bead] @ place[0].T
    arm = turned + place[1] - plane[1]
    away = arm @ plane[0] - source
    depth, sdd = away[:, 2], -source[2]
    scale = sdd * depth / (depth**2 - r2)
    slope = -sdd * (depth**2 + r2) / (depth**2 - r2) ** 2
    m = len(seen.bead)
    by_point = np.zeros((m, 2, 3))
    by_point[:, 0, 0] = by_point[:, 1, 1] = scale
    by_point[:, :, 2] = away[:, :2] * slope[:, None]
    by_source = np.zeros((m, 2, 3))
    by_source[:, 0, 0] = by_source[:, 1, 1] = 1 - scale
    by_source[:, :, 2] = -away[:, :2] * (scale / sdd + slope)[:, None]
    by_world = by_point @ plane[0].T
    of_tool = np.concatenate([-by_world @ _cross_matrices(turned), by_world], axis=2)
    of_plane = np.concatenate([by_world @ _cross_matrices(arm), -by_world], axis=2)
    return of_tool.reshape(2 * m, 6), of_plane.reshape(2 * m, 6), by_source.reshape(2 * m, 3)


def _exp(w: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(Rotation.from_rotvec(w).as_matrix())


def _moved(pose: Pose, step: NDArray[np.float64]) -> Pose:
    return Pose(_exp(step[:3]) @ pose.rotation, step[3:])


def _cross_matrices(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 3, 3) matrices with M x = v cross x."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    o = np.zeros_like(x)
    return np.stack([np.stack([o, -z, y], -1), np.stack([z, o, -x], -1), np.stack([-y, x, o], -1)], -2)


def _left_jacobian(w: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return J with exp(w + d) = exp(J d) exp(w) to first order."""
    angle = float(np.linalg.norm(w))
    if angle < 1e-6:
        return np.eye(3) + 0.5 * _cross_matrices(w)
    k = _cross_matrices(w / angle)
    return np.asarray(np.eye(3) + (1 - np.cos(angle)) / angle * k + (1 - np.sin(angle) / angle) * k @ k)
