"""Where the views stand to each other, and their sources, from images of a tool with beads at known places."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import finite_array
from fluoropose.calibration.bundle_adjustment import Observation, Setting, adjust, jacobian, residuals
from fluoropose.calibration.tool import AlignmentTool, SeenBeads, ToolSighting, consistent, sightings
from fluoropose.errors import InputError

__all__ = ["Alignment", "Observation", "align", "align_observations"]

_POSE = ("turn about x", "turn about y", "turn about z", "shift along x", "shift along y", "shift along z")
_SOURCE = ("principal point u", "principal point v", "source-to-detector distance")
# A parameter whose standard deviation is larger counts as undetermined: what a tape measure says is then better.
_POSE_LIMITS = np.array([*[np.radians(2.0)] * 3, *[30.0] * 3])
_SOURCE_LIMITS = np.array([30.0, 30.0, 60.0])
_NOISE_MM = 0.02  # assumed where as many unknowns as observations leave nothing to estimate it from
_WORST_NOISE_MM = 1.0  # beyond this the beads cannot be the tool's
_OUTLIER_SIGMAS = 5.0
_OUTLIER_MM = 0.1


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the views and their sources are.

    A view's plane frame has its origin at the image's centre, x along u, y along v, z away from the source; the world
    is the plane frame of the first view.

    Attributes
    ----------
    setting
        ``world_from_plane`` per view, sources (views, 3) mm in each view's plane frame, ``world_from_tool``.
    observations, residuals_mm
        What was used, and per observation (m, 2) mm on the plane: predicted minus seen.
    noise_mm
        Standard deviation of one measured coordinate, from the residuals.
    names, covariance
        Of the rig's unknowns, radians and mm; the turns and shifts of a view are about and along the world's axes.
    undetermined
        Unknowns of the sources that the data cannot determine; these keep their nominal values.
    rejected
        Beads left out as outliers: (placement, view, bead).
    """

    setting: Setting
    observations: tuple[Observation, ...]
    residuals_mm: tuple[NDArray[np.float64], ...]
    noise_mm: float
    names: tuple[str, ...]
    covariance: NDArray[np.float64]
    undetermined: tuple[str, ...]
    rejected: tuple[tuple[int, int, int], ...]

    @property
    def standard_deviations(self) -> NDArray[np.float64]:
        """(n,) of the unknowns ``names``, radians and mm."""
        return np.asarray(np.sqrt(np.diag(self.covariance)))

    @property
    def source_sd_mm(self) -> NDArray[np.float64]:
        """(views, 3) mm, standard deviations of the sources' coordinates; NaN for those that were given."""
        views = len(self.setting.world_from_plane)
        known = dict(zip(self.names, self.standard_deviations, strict=True))
        names = [f"view {v + 1}: {name}" for v in range(views) for name in _SOURCE]
        return np.array([known.get(name, np.nan) for name in names]).reshape(views, 3)

    @property
    def angles_deg(self) -> NDArray[np.float64]:
        """(views - 1,) degrees between the axis of the first view and of each other."""
        axes = np.array([pose.rotation[:, 2] for pose in self.setting.world_from_plane])
        return np.asarray(np.degrees(np.arccos(np.clip(axes[1:] @ axes[0], -1, 1))))

    @property
    def angle_sd_deg(self) -> NDArray[np.float64]:
        """(views - 1,) degrees, standard deviations of ``angles_deg``."""
        axes = np.array([pose.rotation[:, 2] for pose in self.setting.world_from_plane])
        result = []
        for view, axis in enumerate(axes[1:]):
            # A turn w moves the axis by w cross axis; along their common normal that changes the angle one to one.
            normal = np.cross(axes[0], axis)
            gradient = normal / max(float(np.linalg.norm(normal)), 1e-12)
            block = self.covariance[6 * view : 6 * view + 3, 6 * view : 6 * view + 3]
            result.append(np.degrees(np.sqrt(gradient @ block @ gradient)))
        return np.array(result)


def align(
    tool: AlignmentTool,
    seen: Sequence[Sequence[SeenBeads]],
    nominal_sources_mm: NDArray[np.float64],
    estimate_sources: bool = True,
) -> Alignment:
    """Find where the views stand to each other, and their sources, without any start pose.

    Parameters
    ----------
    tool
        Four or more beads at known positions.
    seen
        Per placement, per view: the round spots in the image. Every view must see at least four beads.
    nominal_sources_mm
        (views, 3) in each view's plane frame: principal point, and minus the source-to-detector distance; right within
        some per cent.
    estimate_sources
        Whether the sources are unknowns too. Those coordinates that the data cannot determine stay nominal.

    Raises
    ------
    InputError
        If the spots cannot be the tool's beads, or the data do not determine how the views stand to each other.
    """
    sources = _checked_sources(nominal_sources_mm, len(seen[0]) if len(seen) else 0)
    choices = [
        [_sightings(tool, spots, sources[view], placement, view) for view, spots in enumerate(views)]
        for placement, views in enumerate(seen)
    ]
    chosen, between = consistent(choices)
    observations = [
        _observation(placement, view, sighting, seen[placement][view])
        for placement, views in enumerate(chosen)
        for view, sighting in enumerate(views)
    ]
    start = Setting(tuple(between), sources, tuple(views[0].plane_from_tool for views in chosen))
    return align_observations(tool, observations, start, estimate_sources)


def align_observations(
    tool: AlignmentTool, observations: Sequence[Observation], start: Setting, estimate_sources: bool = True
) -> Alignment:
    """Do ``align`` for beads that are told apart already, from a start."""
    sources = _checked_sources(start.sources_mm, len(start.world_from_plane))
    free = np.full(sources.shape, estimate_sources)
    used, rejected = list(observations), []
    setting = start
    # Nominal sources first: without them depth and distance trade places far from the solution.
    setting = adjust(tool, used, setting, np.zeros_like(free))
    while True:
        setting = adjust(tool, used, setting, free)
        covariance, noise = _covariance(tool, used, setting, free)
        worst = _worst_undetermined(covariance, free)
        if worst is not None:
            free[worst] = False
            setting = replace(setting, sources_mm=np.where(free, setting.sources_mm, sources))
            continue
        outlier = _worst_outlier(tool, used, setting, noise)
        if outlier is None:
            break
        used, bead = _without(used, outlier)
        rejected.append(bead)
    views = len(setting.world_from_plane)
    _require_determined(covariance, views, noise)
    names = [f"view {v + 1}: {name}" for v in range(1, views) for name in _POSE]
    names += [f"view {v + 1}: {_SOURCE[k]}" for v, k in np.argwhere(free)]
    held = np.argwhere(~free if estimate_sources else np.zeros_like(free))
    return Alignment(
        setting,
        tuple(used),
        tuple(residuals(tool, seen, setting) for seen in used),
        noise,
        tuple(names),
        covariance,
        tuple(f"view {v + 1}: {_SOURCE[k]}" for v, k in held),
        tuple(rejected),
    )


def _checked_sources(sources_mm: NDArray[np.float64], views: int) -> NDArray[np.float64]:
    if views < 1:
        raise InputError("seen: expected at least one placement seen by at least one view")
    sources = finite_array("nominal_sources_mm", sources_mm, (views, 3))
    if ((sources[:, 2] > -200) | (sources[:, 2] < -5000)).any():
        found = ", ".join(f"{-z:.4g}" for z in sources[:, 2])
        raise InputError(f"nominal_sources_mm: expected source-to-detector distances of 200 to 5000 mm, found {found}")
    return sources


def _sightings(
    tool: AlignmentTool, spots: SeenBeads, source_mm: NDArray[np.float64], placement: int, view: int
) -> list[ToolSighting]:
    try:
        return sightings(tool, spots, source_mm)
    except InputError as error:
        raise InputError(f"placement {placement}, view {view + 1}: {error}") from error


def _observation(placement: int, view: int, sighting: ToolSighting, spots: SeenBeads) -> Observation:
    bead = np.flatnonzero(sighting.spot >= 0)
    return Observation(placement, view, bead, spots.centres_mm[sighting.spot[bead]])


def _covariance(
    tool: AlignmentTool, used: Sequence[Observation], setting: Setting, free: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], float]:
    """Return the covariance of the views' poses and free source coordinates, and the noise of one coordinate, mm."""
    views, placements = len(setting.world_from_plane), len(setting.world_from_tool)
    keep = np.concatenate([np.ones(6 * (views - 1), bool), free.ravel(), np.ones(6 * placements, bool)])
    limits = np.concatenate(
        [np.tile(_POSE_LIMITS, views - 1), np.tile(_SOURCE_LIMITS, views), np.tile(_POSE_LIMITS, placements)]
    )[keep]
    matrix = jacobian(tool, used, setting)[:, keep] * limits
    misses = np.concatenate([residuals(tool, seen, setting).ravel() for seen in used])
    spare = matrix.shape[0] - matrix.shape[1]
    noise = float(np.sqrt(misses @ misses / spare)) if spare > 0 else _NOISE_MM
    # In units of the limits; directions that the data do not touch get a variance of a million.
    values, vectors = np.linalg.eigh(matrix.T @ matrix)
    variances = np.where(values > 1e-12 * values.max(), noise**2 / np.maximum(values, 1e-300), 1e6)
    whole = (vectors * np.minimum(variances, 1e6)) @ vectors.T
    rig = 6 * (views - 1) + int(free.sum())
    return whole[:rig, :rig] * np.outer(limits[:rig], limits[:rig]), noise


def _worst_undetermined(covariance: NDArray[np.float64], free: NDArray[np.bool_]) -> tuple[int, int] | None:
    """Return (view, coordinate) of the source coordinate that is known worst, if worse than its limit."""
    places = np.argwhere(free)
    if not len(places):
        return None
    sd = np.sqrt(np.diag(covariance))[-len(places) :] / _SOURCE_LIMITS[places[:, 1]]
    worst = int(np.argmax(sd))
    return (int(places[worst, 0]), int(places[worst, 1])) if sd[worst] > 1 else None


def _require_determined(covariance: NDArray[np.float64], views: int, noise: float) -> None:
    if noise > _WORST_NOISE_MM:
        raise InputError(
            f"seen: the beads miss the tool's by {noise:.3g} mm on the image planes, at most {_WORST_NOISE_MM} mm is "
            "plausible; check the tool's table, the nominal distances and that all views saw the same placement"
        )
    sd = np.sqrt(np.diag(covariance))[: 6 * (views - 1)]
    loose = np.flatnonzero(sd > np.tile(_POSE_LIMITS, views - 1))
    if len(loose):
        names = ", ".join(f"view {k // 6 + 2}: {_POSE[k % 6]}" for k in loose)
        raise InputError(f"seen: the data cannot determine {names}; use more placements or a larger tool")


def _worst_outlier(
    tool: AlignmentTool, used: Sequence[Observation], setting: Setting, noise: float
) -> tuple[int, int] | None:
    """Return (observation, bead) that misses by far more than the rest, of those that would leave enough beads."""
    misses = [np.linalg.norm(residuals(tool, seen, setting), axis=1) for seen in used]
    k = int(np.argmax([m.max() if len(m) > 4 else 0.0 for m in misses]))
    worst = int(np.argmax(misses[k]))
    typical = float(np.median(np.concatenate(misses)))
    limit = max(_OUTLIER_SIGMAS * typical / 1.18, _OUTLIER_MM)
    return (k, worst) if misses[k][worst] > limit and len(misses[k]) > 4 else None


def _without(used: Sequence[Observation], outlier: tuple[int, int]) -> tuple[list[Observation], tuple[int, int, int]]:
    k, worst = outlier
    seen = used[k]
    keep = np.arange(len(seen.bead)) != worst
    left = [*used]
    left[k] = replace(seen, bead=seen.bead[keep], plane_mm=seen.plane_mm[keep])
    return left, (seen.placement, seen.view, int(seen.bead[worst]))
