"""The alignment tool: beads at known places, told apart in an image by their size and by how they project."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from itertools import combinations, permutations, product
from math import comb, perm
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares, linear_sum_assignment
from scipy.spatial.transform import Rotation

from fluoropose._checks import finite_array
from fluoropose.errors import FileFormatError, InputError, first_line
from fluoropose.geometry import Pose

__all__ = ["AlignmentTool", "SeenBeads", "ToolSighting", "consistent", "project", "sightings"]

_COLUMNS = ("bead", "diameter_mm", "x_mm", "y_mm", "z_mm")
_MAX_HYPOTHESES = 4000
_MAX_TRIPLES = 1_000_000  # some ten seconds; of as many few are right, so that 4000 of them would hardly hold one
_SIZE_SPREAD = 0.12  # share by which a bead's measured size may differ from its projected one (blur, partial shadow)
_PLACE_SPREAD_MM = 1.0  # by how much beads may miss their places while the sources are known only nominally
_KEPT = 6
_HOPELESS = 60.0  # a sighting that misfits by so much more than the best one is not worth keeping


@dataclass(frozen=True, eq=False)
class AlignmentTool:
    """Spherical beads: names, centres (n, 3) mm in the tool's own right-handed frame, and diameters (n,) mm."""

    names: tuple[str, ...]
    centres_mm: NDArray[np.float64]
    diameters_mm: NDArray[np.float64]

    def __post_init__(self) -> None:
        n = len(self.names)
        object.__setattr__(self, "centres_mm", finite_array("centres_mm", self.centres_mm, (n, 3)))
        object.__setattr__(self, "diameters_mm", finite_array("diameters_mm", self.diameters_mm, (n,)))
        if n < 4:
            raise InputError(f"centres_mm: expected at least 4 beads, found {n}")
        if len(set(self.names)) != n:
            raise InputError(f"names: expected different names, found {', '.join(self.names)}")
        if (self.diameters_mm <= 0).any():
            raise InputError("diameters_mm: expected positive diameters")
        spread = np.linalg.svd(self.centres_mm - self.centres_mm.mean(axis=0), compute_uv=False)
        if spread[1] < 1e-3 * spread[0]:
            raise InputError("centres_mm: expected beads that do not lie on one line")
        extent = float(np.ptp(self.centres_mm, axis=0).max())
        if not 10 <= extent <= 1000:
            raise InputError(f"centres_mm: expected millimetres; the tool would be {extent:.4g} mm long")

    @classmethod
    def load(cls, path: str | Path) -> AlignmentTool:
        """Read a CSV file with the columns bead, diameter_mm, x_mm, y_mm, z_mm."""
        try:
            with Path(path).open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets put a mark first
                reader = csv.DictReader(stream)
                rows = list(reader)
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise FileFormatError(f"{path}: cannot be read: {first_line(error)}") from error
        if tuple(reader.fieldnames or ()) != _COLUMNS:
            found = ", ".join(reader.fieldnames or ()) or "none"
            raise FileFormatError(f"{path}: expected the columns {', '.join(_COLUMNS)}, found {found}")
        try:
            numbers = np.array([[float(row[c]) for c in _COLUMNS[1:]] for row in rows]).reshape(-1, 4)
            return cls(tuple(row["bead"] for row in rows), numbers[:, 1:], numbers[:, 0])
        except (TypeError, ValueError) as error:
            raise FileFormatError(f"{path}: {error}") from error


@dataclass(frozen=True, eq=False)
class SeenBeads:
    """Round spots of one image: centres (m, 2) and radii (m,), mm on the image plane, from its middle."""

    centres_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ToolSighting:
    """One way to understand an image of the tool.

    ``spot`` (n,) is the spot that each bead of the tool is taken for, -1 where none; ``plane_from_tool`` places the
    tool in the view's plane frame (x along u, y along v, z away from the source); ``misfit`` is the sum of squared
    differences in place and size, in units of what is to be expected.
    """

    spot: NDArray[np.int64]
    plane_from_tool: Pose
    misfit: float


def project(
    points_mm: NDArray[np.float64], source_mm: NDArray[np.float64], radii_mm: NDArray[np.float64] | float = 0.0
) -> NDArray[np.float64]:
    """Project spheres with centres (n, 3) mm in a plane frame to the centres (n, 2) mm of their shadows at z = 0.

    A sphere's shadow is an ellipse whose centre lies a little farther out than the projected centre of the sphere: by
    the factor 1 / (1 - r^2 / depth^2), which for a 6 mm bead is some micrometres.
    """
    away = points_mm - source_mm
    depth = away[:, 2]
    return np.asarray(source_mm[:2] - away[:, :2] * (source_mm[2] * depth / (depth**2 - radii_mm**2))[:, None])


def sightings(tool: AlignmentTool, seen: SeenBeads, source_mm: NDArray[np.float64]) -> list[ToolSighting]:
    """Find the ways in which spots of an image can be the beads of the tool, best first.

    Poses of three beads each (P3P) are hypotheses; the remaining beads and all sizes decide. No start pose is needed;
    ``source_mm`` (3,) in the plane frame needs to be right within some per cent only.

    Raises
    ------
    InputError
        If fewer than four spots can be beads of the tool, or there are too many of both to tell them apart.
    """
    if len(seen.radii_mm) < 4:
        raise InputError(f"seen: expected at least 4 beads of the tool, found {len(seen.radii_mm)} round spots")
    found: list[ToolSighting] = []
    for beads, spots in _triples(tool, seen):
        for pose in _three_point_poses(tool.centres_mm[beads], seen.centres_mm[spots], source_mm):
            sighting = _judge(tool, seen, source_mm, pose)
            if sighting is not None:
                found.append(sighting)
    if not found:
        raise InputError("seen: no four of the round spots fit the beads of the tool")
    best = _different(sorted(found, key=_rank))[: 2 * _KEPT]
    refined = _different(sorted((_refine(tool, seen, source_mm, sighting) for sighting in best), key=_rank))
    return [s for s in refined[:_KEPT] if _rank(s) <= (_rank(refined[0])[0], refined[0].misfit + _HOPELESS)]


def _rank(sighting: ToolSighting) -> tuple[int, float]:
    return -int((sighting.spot >= 0).sum()), sighting.misfit


def _different(ordered: list[ToolSighting]) -> list[ToolSighting]:
    """Drop sightings that say the same as a better one."""
    kept: list[ToolSighting] = []
    for s in ordered:
        if not any((s.spot == k.spot).all() and s.plane_from_tool.angle_to(k.plane_from_tool) < 0.05 for k in kept):
            kept.append(s)
    return kept


def _triples(tool: AlignmentTool, seen: SeenBeads) -> list[tuple[list[int], list[int]]]:
    """List triples of beads with triples of spots whose sizes agree; a seeded sample where there are too many."""
    spots_seen, beads_there = len(seen.radii_mm), len(tool.names)
    if comb(spots_seen, 3) * perm(beads_there, 3) > _MAX_TRIPLES:
        raise InputError(
            f"seen: expected a tool of about ten beads, found {spots_seen} round spots that could be any of its "
            f"{beads_there} beads: too many ways to try"
        )
    magnification = seen.radii_mm[:, None] / (tool.diameters_mm / 2)
    pairs = []
    for spots in combinations(range(len(seen.radii_mm)), 3):
        for beads in permutations(range(len(tool.names)), 3):
            m = magnification[list(spots), list(beads)]
            # Beads of one tool are magnified alike, up to their different depths.
            if m.max() < 1.4 * m.min():
                pairs.append((list(beads), list(spots)))
    if len(pairs) > _MAX_HYPOTHESES:
        sample = np.random.default_rng(0).choice(len(pairs), _MAX_HYPOTHESES, replace=False)
        pairs = [pairs[k] for k in sample]
    return pairs


def _three_point_poses(
    beads_mm: NDArray[np.float64], spots_mm: NDArray[np.float64], source_mm: NDArray[np.float64]
) -> list[Pose]:
    rays = (spots_mm - source_mm[:2]) / -source_mm[2]
    _, turns, shifts = cv2.solveP3P(beads_mm[:, None], rays[:, None], np.eye(3), np.zeros(4), flags=cv2.SOLVEPNP_AP3P)
    poses = []
    for turn, shift in zip(turns, shifts, strict=True):
        if np.isfinite(turn).all() and np.isfinite(shift).all():
            poses.append(Pose(Rotation.from_rotvec(turn[:, 0]).as_matrix(), shift[:, 0] + source_mm))
    return poses


def _judge(tool: AlignmentTool, seen: SeenBeads, source_mm: NDArray[np.float64], pose: Pose) -> ToolSighting | None:
    """Assign spots to beads for a pose; None where fewer than four fit."""
    placed = pose.apply(tool.centres_mm)
    # Beads lie between the source and the plane, or the geometry is not one.
    if (placed[:, 2] <= source_mm[2]).any() or (placed[:, 2] > 0).any():
        return None
    radii = tool.diameters_mm / 2
    place = np.linalg.norm(project(placed, source_mm, radii)[:, None] - seen.centres_mm[None], axis=2)
    projected = radii * -source_mm[2] / (placed[:, 2] - source_mm[2])
    size = np.log(seen.radii_mm[None] / projected[:, None])
    cost = (place / (5 * _PLACE_SPREAD_MM)) ** 2 + (size / _SIZE_SPREAD) ** 2
    rows, columns = linear_sum_assignment(np.minimum(cost, 50.0))
    fits = cost[rows, columns] < 25.0
    if fits.sum() < 4:
        return None
    spot = np.full(len(tool.names), -1)
    spot[rows[fits]] = columns[fits]
    return ToolSighting(spot, pose, float(cost[rows[fits], columns[fits]].sum()))


def _refine(
    tool: AlignmentTool, seen: SeenBeads, source_mm: NDArray[np.float64], sighting: ToolSighting
) -> ToolSighting:
    used = np.flatnonzero(sighting.spot >= 0)
    beads, radii = tool.centres_mm[used], tool.diameters_mm[used] / 2
    spots, sizes = seen.centres_mm[sighting.spot[used]], seen.radii_mm[sighting.spot[used]]
    start = sighting.plane_from_tool

    def misfit(step: NDArray[np.float64]) -> NDArray[np.float64]:
        placed = beads @ (start.rotation @ cv2.Rodrigues(step[:3] / 100)[0]).T + start.translation_mm + step[3:]
        depth = np.maximum(placed[:, 2] - source_mm[2], 1.0)
        place = (project(placed, source_mm, radii) - spots) / _PLACE_SPREAD_MM
        size = np.log(sizes * depth / (radii * -source_mm[2])) / _SIZE_SPREAD
        return np.concatenate([place.ravel(), size])

    fit = least_squares(misfit, np.zeros(6), method="lm", ftol=1e-4, xtol=1e-4, max_nfev=200)
    turn = Rotation.from_rotvec(fit.x[:3] / 100).as_matrix()
    pose = Pose(start.rotation @ turn, start.translation_mm + fit.x[3:])
    return ToolSighting(sighting.spot, pose, float(2 * fit.cost))


def consistent(choices: list[list[list[ToolSighting]]]) -> tuple[list[list[ToolSighting]], list[Pose]]:
    """Choose one sighting per placement and view such that the views stand alike to each other in all placements.

    Parameters
    ----------
    choices
        Per placement, per view: the sightings to choose from.

    Returns
    -------
    The chosen sighting per placement and view, and ``first_plane_from_plane`` per view as the best placement has it.
    """
    options = [list(product(*views)) for views in choices]
    if not options:
        raise InputError("choices: expected at least one placement")
    misfits = [np.array([sum(s.misfit for s in option) for option in placement]) for placement in options]
    between = [np.array([_relative(option) for option in placement]) for placement in options]
    best_total, best_chosen, best_proposal = np.inf, [0] * len(options), between[0][0]
    for proposals in between:
        for proposal in proposals:
            costs = [m + _disagreement(b, proposal) for m, b in zip(misfits, between, strict=True)]
            chosen = [int(np.argmin(c)) for c in costs]
            total = sum(float(c[k]) for c, k in zip(costs, chosen, strict=True))
            if total < best_total:
                best_total, best_chosen, best_proposal = total, chosen, proposal
    picked = [list(placement[k]) for placement, k in zip(options, best_chosen, strict=True)]
    return picked, [Pose.from_matrix(matrix) for matrix in best_proposal]


def _relative(option: tuple[ToolSighting, ...]) -> NDArray[np.float64]:
    """Return (views, 4, 4): the first view's plane frame from each view's."""
    first = option[0].plane_from_tool
    return np.array([(first * sighting.plane_from_tool.inverse()).matrix for sighting in option])


def _disagreement(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compare (options, views, 4, 4) with (views, 4, 4): (options,), in units of what is to be expected."""
    cosine = (np.einsum("ovij,vij->ov", a[..., :3, :3], b[..., :3, :3]) - 1) / 2
    turn = np.arccos(np.clip(cosine, -1, 1)) / np.radians(3.0)
    # Depth along the beam is known worst: some per cent of the distance while the sources are nominal.
    shift = np.linalg.norm(a[..., :3, 3] - b[..., :3, 3], axis=-1) / 60.0
    return np.asarray(np.minimum(turn**2 + shift**2, 100.0).sum(axis=1))
