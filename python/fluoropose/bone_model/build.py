"""From a CT or a mesh, and a configuration, to a `Bone`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import trimesh
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, PositiveFloat, PositiveInt, model_validator
from scipy import ndimage
from scipy.spatial import cKDTree

from fluoropose._toml import Config, ConfigPath, read_toml, require_inputs
from fluoropose.bone import Bone
from fluoropose.bone_model.cut import cut_from_neighbours, in_body
from fluoropose.bone_model.landmarks import place_landmarks
from fluoropose.bone_model.surface import even_points, surface_of_mask
from fluoropose.errors import ConfigError, FileFormatError, InputError
from fluoropose.geometry import Pose
from fluoropose.io.ct import MU_WATER_PER_MM, Ct, attenuation_from_hu, read_ct, read_labels
from fluoropose.io.markups import Markups, read_markups
from fluoropose.io.mesh import read_mesh, voxelise
from fluoropose.volume import Volume

__all__ = ["BoneConfig", "BoneModel", "build_bone", "build_model", "read_bone_config"]

Point = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
_SURFACE_POINTS = 40000
_BONE_HU = 100.0  # the mean of a label: muscle and other soft tissue have less, the softest vertebrae more
_LEAST_REACH_MM = 10.0


class CtSource(Config):
    """A bone in a CT.

    Attributes
    ----------
    path
        DICOM folder, NIfTI, NRRD or MetaImage.
    threshold_hu, keep, remove, seed_radius_mm
        The cut: what is bone at all, and seeds (LPS mm) in the bone and in its neighbours.
    label_map, labels
        Instead of the cut: a label map in the CT's grid, and the labels that are the bone.
    crop_low_mm, crop_high_mm
        Box (LPS mm) that is kept of the volume; everything by default.
    mu_water_per_mm, air_below_hu
        The scale from Hounsfield units to attenuation.
    """

    path: ConfigPath
    threshold_hu: FiniteFloat = 250.0
    keep: tuple[Point, ...] = ()
    remove: tuple[Point, ...] = ()
    seed_radius_mm: PositiveFloat = 4.0
    label_map: ConfigPath | None = None
    labels: tuple[PositiveInt, ...] = ()
    crop_low_mm: Point | None = None
    crop_high_mm: Point | None = None
    mu_water_per_mm: PositiveFloat = MU_WATER_PER_MM
    air_below_hu: FiniteFloat = -900.0

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.label_map is None) == (not self.keep):
            raise ValueError("keep, label_map: expected either seeds or a label map")
        if (self.label_map is None) != (not self.labels):
            raise ValueError("label_map, labels: expected both or neither")
        if self.label_map is not None and {"threshold_hu", "remove", "seed_radius_mm"} & self.model_fields_set:
            raise ValueError("threshold_hu, remove, seed_radius_mm: a label map leaves nothing to cut")
        if (self.crop_low_mm is None) != (self.crop_high_mm is None):
            raise ValueError("crop_low_mm, crop_high_mm: expected both or neither")
        return self


class MeshSource(Config):
    """An implant (or bone) given by its closed surface and one attenuation."""

    path: ConfigPath
    attenuation_per_mm: PositiveFloat
    spacing_mm: PositiveFloat = 0.75


class HalfSpace(Config):
    """The points x with normal . x >= offset_mm, in the frame of the CT or mesh."""

    normal: Point
    offset_mm: FiniteFloat

    @model_validator(mode="after")
    def _directed(self) -> Self:
        if not any(self.normal):
            raise ValueError("normal: expected a direction, found a zero vector")
        return self


class LandmarkConfig(Config):
    """Where landmarks come from.

    Attributes
    ----------
    count, pairs
        Automatic landmarks: how many, and how many symmetric pairs among them.
    within
        Half-spaces normal . x >= offset_mm, in the frame of the CT or mesh; automatic landmarks must lie in all of them
        at once.
    file, symmetric_pairs
        Instead: a 3D Slicer markups file, and the names that a mirror exchanges.
    """

    count: PositiveInt = 33
    pairs: int = Field(default=13, ge=0)
    within: tuple[HalfSpace, ...] = ()
    file: ConfigPath | None = None
    symmetric_pairs: tuple[tuple[str, str], ...] = ()

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.file is None and self.symmetric_pairs:
            raise ValueError("symmetric_pairs: expected only beside a file; automatic landmarks come with theirs")
        if self.file is not None and {"count", "pairs", "within"} & self.model_fields_set:
            raise ValueError("count, pairs, within: expected only without a file, whose landmarks are all taken")
        if 2 * self.pairs > self.count:
            raise ValueError(f"pairs: expected at most half of count = {self.count}, found {self.pairs}")
        return self


class BoneConfig(Config):
    """What ``fluoropose bone`` needs to know; read from a TOML file, paths relative to that file.

    Attributes
    ----------
    name
        What the bone is called in files and reports.
    ct, mesh
        Where it comes from: one of the two.
    landmarks
        How its landmarks are placed.
    surface_spacing_mm
        Edge of the cubes from which the surface of a CT's bone is made.
    """

    name: str = Field(min_length=1)
    ct: CtSource | None = None
    mesh: MeshSource | None = None
    landmarks: LandmarkConfig = LandmarkConfig()
    surface_spacing_mm: PositiveFloat = 2.0

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.ct is None) == (self.mesh is None):
            raise ValueError("ct, mesh: expected one of them")
        return self


def read_bone_config(path: str | Path, folder: str | Path | None = None) -> BoneConfig:
    """Read a bone's TOML file, its paths relative to ``folder`` (by default to the file).

    Raises FileFormatError naming the file and every wrong or unknown field.
    """
    return read_toml(path, BoneConfig, folder)


@dataclass(frozen=True, eq=False)
class BoneModel:
    """A bone, and what it was cut from.

    Attributes
    ----------
    bone
        The bone.
    neighbours
        (nz, ny, nx) bool, the voxels of its volume that are of other bones: other labels of its label map, but for soft
        tissue's, or what else of the body is as dense as the cut asks for. None where there was nothing to cut: in a
        mesh.
    """

    bone: Bone
    neighbours: NDArray[np.bool_] | None


def build_bone(config: BoneConfig, progress: Callable[[str], None] = lambda step: None) -> Bone:
    """Make the bone that a configuration describes: see `build_model`, which tells of its neighbours too."""
    return build_model(config, progress).bone


def build_model(config: BoneConfig, progress: Callable[[str], None] = lambda step: None) -> BoneModel:
    """Make the bone that a configuration describes, and say what stands beside it.

    Parameters
    ----------
    config
        As read by `read_bone_config`.
    progress
        Told the name of every step before it begins.

    Raises
    ------
    FileFormatError, InputError
        If a file cannot be used, or seeds, labels or landmarks do not fit it.
    """
    require_inputs(config)
    progress("reading")
    neighbours = None
    if config.ct is not None:
        mu, mask, neighbours, place = _from_ct(config.ct, progress)
        progress("surface")
        mesh = surface_of_mask(mask, place, config.surface_spacing_mm)
    else:
        assert config.mesh is not None  # the configuration's own check; narrows the type
        mesh = read_mesh(config.mesh.path)
        progress("voxels")
        share, place = voxelise(mesh, config.mesh.spacing_mm)
        mu, mask = share * np.float32(config.mesh.attenuation_per_mm), share >= 0.5
    progress("landmarks")
    names, points, pairs = _landmarks(config.landmarks, mesh)
    origin = points.mean(axis=0)
    bone_from_source = Pose(np.eye(3), -origin)
    place = bone_from_source.matrix @ place
    bone = Bone(
        name=config.name,
        volume=Volume(mu, place),
        mask=mask,
        vertices=np.asarray(mesh.vertices) - origin,
        faces=np.asarray(mesh.faces, dtype=np.int32),
        landmarks_mm=points - origin,
        landmark_names=names,
        symmetric_pairs=pairs,
        bone_from_source=bone_from_source,
    )
    return BoneModel(bone, neighbours)


def _from_ct(
    source: CtSource, progress: Callable[[str], None]
) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.bool_], NDArray[np.float64]]:
    """Return attenuation, mask and neighbours (nz, ny, nx) of what is kept of a CT, and its ct_from_voxel."""
    ct = read_ct(source.path)
    mu = attenuation_from_hu(ct.hu, mu_water_per_mm=source.mu_water_per_mm, air_below_hu=source.air_below_hu)
    voxel_from_ct = np.linalg.inv(ct.ct_from_voxel)

    def voxels(points: tuple[Point, ...]) -> NDArray[np.float64]:
        lps = np.asarray(points, dtype=np.float64).reshape(-1, 3)
        return np.asarray(lps @ voxel_from_ct[:3, :3].T + voxel_from_ct[:3, 3])

    progress("cut")
    if source.label_map is not None:
        labels = read_labels(source.label_map)
        if labels.hu.shape != ct.hu.shape or not np.allclose(labels.ct_from_voxel, ct.ct_from_voxel, atol=1e-3):
            raise FileFormatError(f"{source.label_map}: expected the grid of {source.path}, found another one")
        mask = np.isin(labels.hu, source.labels)
        missing = [label for label in source.labels if not (labels.hu == label).any()]
        if missing:
            found = ", ".join(map(str, missing))
            raise FileFormatError(f"{source.label_map}: labels: expected {list(source.labels)}, found no {found}")
        others = _bones(labels, ct)
    else:
        edges = np.linalg.norm(ct.ct_from_voxel[:3, :3], axis=0)
        _require_seeds_inside(source, ct)
        keep, remove = voxels(source.keep), voxels(source.remove)
        try:
            mask = cut_from_neighbours(ct.hu, source.threshold_hu, keep, remove, source.seed_radius_mm, edges)
        except InputError as error:
            raise ConfigError(f"ct.{error} in {source.path}") from error
        others = np.asarray(ct.hu > source.threshold_hu)
    kept = in_body(ct.hu) | mask
    mu[~kept] = 0
    neighbours = others & kept & ~mask
    box = _crop_box(source, voxels, ct)
    if mask.sum() != mask[box].sum():
        raise ConfigError("ct.crop_low_mm, ct.crop_high_mm: expected a box that holds the whole bone")
    place = ct.ct_from_voxel.copy()
    place[:3, 3] = (place @ np.array([box[2].start, box[1].start, box[0].start, 1.0]))[:3]
    return mu[box].copy(), mask[box].copy(), neighbours[box].copy(), place


def _bones(labels: Ct, ct: Ct) -> NDArray[np.bool_]:
    """Return the voxels (nz, ny, nx) of labels that are bones: a label map may tell muscles and organs, too."""
    named = np.unique(labels.hu[labels.hu > 0])
    means = ndimage.mean(ct.hu, labels.hu, named)
    return np.isin(labels.hu, named[np.asarray(means) >= _BONE_HU])


def _require_seeds_inside(source: CtSource, ct: Ct) -> None:
    low, high = ct.box_mm
    for key, seeds in (("keep", source.keep), ("remove", source.remove)):
        for seed in seeds:
            if (seed < low).any() or (seed > high).any():
                found = ", ".join(f"{x:g}" for x in seed)
                raise ConfigError(f"ct.{key}: expected seeds (LPS mm) in {_span(source, ct)}, found {found}")


def _span(source: CtSource, ct: Ct) -> str:
    sides = (f"{axis} {a:.1f} to {b:.1f}" for axis, a, b in zip("xyz", *ct.box_mm, strict=True))
    return f"{source.path}, which holds {', '.join(sides)}"


def _crop_box(
    source: CtSource, voxels: Callable[[tuple[Point, ...]], NDArray[np.float64]], ct: Ct
) -> tuple[slice, slice, slice]:
    """Return the [z, y, x] slices that hold the configured box, whichever way the CT's axes are turned."""
    shape = ct.hu.shape
    if source.crop_low_mm is None or source.crop_high_mm is None:
        return slice(0, shape[0]), slice(0, shape[1]), slice(0, shape[2])
    (x0, y0, z0), (x1, y1, z1) = source.crop_low_mm, source.crop_high_mm
    corners = voxels(tuple((x, y, z) for x in (x0, x1) for y in (y0, y1) for z in (z0, z1)))
    low = np.maximum(np.floor(corners.min(axis=0)).astype(int), 0)[::-1]
    high = np.minimum(np.ceil(corners.max(axis=0)).astype(int) + 1, np.array(shape[::-1]))[::-1]
    if (high - low < 2).any():
        raise ConfigError(
            f"ct.crop_low_mm, ct.crop_high_mm: expected a box (LPS mm) in {_span(source, ct)}, "
            f"found {source.crop_low_mm} to {source.crop_high_mm}"
        )
    return slice(low[0], high[0]), slice(low[1], high[1]), slice(low[2], high[2])


def _landmarks(
    config: LandmarkConfig, mesh: trimesh.Trimesh
) -> tuple[tuple[str, ...], NDArray[np.float64], NDArray[np.intp]]:
    surface = even_points(mesh, _SURFACE_POINTS)
    if config.file is None:
        allowed = np.ones(len(surface), dtype=bool)
        for half in config.within:
            allowed &= surface @ np.asarray(half.normal) >= half.offset_mm
        placed = place_landmarks(surface, allowed, config.count, config.pairs)
        return placed.names, placed.points_mm, placed.pairs
    markups = read_markups(config.file)
    _require_at_bone(config.file, markups, surface)
    index = {name: i for i, name in enumerate(markups.names)}
    unknown = [name for pair in config.symmetric_pairs for name in pair if name not in index]
    if unknown:
        raise FileFormatError(f"{config.file}: symmetric_pairs: no landmark is called {unknown[0]!r}")
    pairs = np.array([[index[a], index[b]] for a, b in config.symmetric_pairs], dtype=np.intp).reshape(-1, 2)
    return markups.names, markups.points_mm, pairs


def _require_at_bone(path: Path, markups: Markups, surface: NDArray[np.float64]) -> None:
    """Raise FileFormatError where a landmark is farther from the surface (n, 3) mm than the middle of a bone can be."""
    low, high = surface.min(axis=0), surface.max(axis=0)
    reach = max(float((high - low).min()) / 2, _LEAST_REACH_MM)
    away, _ = cKDTree(surface).query(markups.points_mm)
    worst = int(np.argmax(away))
    if away[worst] > reach:
        held = ", ".join(f"{axis} {a:.1f} to {b:.1f}" for axis, a, b in zip("xyz", low, high, strict=True))
        raise FileFormatError(
            f"{path}: expected landmarks (LPS mm) within {reach:.0f} mm of the bone's surface, which holds {held}, "
            f"found {markups.names[worst]!r} {away[worst]:.0f} mm away"
        )
