"""One artificial sample: a random pose, view and region, rendered layer by layer with its landmarks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fluoropose.bone import Bone
from fluoropose.drr import BoneRenderer, Renderer
from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.learning.config import DatasetConfig, Moving, PoseRange
from fluoropose.region import Region
from fluoropose.rig import Fluoroscope, Rig
from fluoropose.volume import Volume

__all__ = ["Sample", "Scene", "draw_pose"]

_BLEND_MM = 15.0  # surroundings near the cut follow both parts, so that soft tissue does not tear along a line


@dataclass(frozen=True, eq=False)
class Sample:
    """What the set stores of one picture; "inner" pixels are those of the size x size input.

    Attributes
    ----------
    layers
        (k, c, c) float16 line integrals of the bone and its surroundings, c = size + 2 border.
    mask
        (c, c) bool, rays that cross the bone.
    landmarks_px
        (n, 2) inner pixels, recorded image; also outside the picture.
    world_from_bone
        The pose.
    view
        Index of the view.
    region
        (3,) left, top and side of the inner picture in recorded pixels.
    field
        (3,) centre u, v and radius of the circular field, inner pixels.
    segmented
        Whether the picture is to show the bone alone.
    """

    layers: NDArray[np.float16]
    mask: NDArray[np.bool_]
    landmarks_px: NDArray[np.float32]
    world_from_bone: Pose
    view: int
    region: NDArray[np.float64]
    field: NDArray[np.float32]
    segmented: bool


class Scene:
    """A bone, its surroundings and a rig, ready to render samples.

    Parameters
    ----------
    bone, rig
        What the network is trained for.
    config
        Ranges; its file names are not read here.
    neighbours
        The bones that ``config.moving`` names, in its order (None for parts of the bone's own surroundings).
    """

    def __init__(self, bone: Bone, rig: Rig, config: DatasetConfig, neighbours: tuple[Bone | None, ...] = ()) -> None:
        if len(neighbours) != len(config.moving):
            raise InputError(f"neighbours: expected one per moving part, {len(config.moving)}, found {len(neighbours)}")
        self._bone, self._rig, self._config = bone, rig, config
        mask = bone.own_voxels
        rest = np.where(mask, np.float32(0), bone.volume.mu)
        parts: list[Renderer] = []
        for moving, neighbour in zip(config.moving, neighbours, strict=True):
            if neighbour is None:
                share = _share_beyond(bone.volume, moving)
                # Where the CT cut the bone, it goes on as well.
                part = Volume(np.where(mask, bone.volume.mu, rest) * share, bone.volume.bone_from_voxel)
                longer = part.extended(moving.towards, moving.extend_mm)
                own = longer.mask_of(part, mask)
                parts.append(Renderer(longer.masked(~own).trimmed(), config.method))
                rest = rest * (1 - share)
            else:
                parts.append(Renderer(neighbour.volume.trimmed(), config.method))
        self._parts = parts
        alone = replace(bone, volume=bone.volume.masked(mask), mask=mask)
        self._renderer = BoneRenderer(alone, config.method)
        has_rest = bool((rest > 0).any())
        left = Volume(rest, bone.volume.bone_from_voxel).trimmed()
        self._rest = Renderer(left, config.method) if has_rest else None

    @property
    def layers(self) -> int:
        """Layers of a sample: the bone, what is fixed to it (if anything), the moving parts."""
        return 1 + (self._rest is not None) + len(self._parts)

    def sample(self, index: int) -> Sample:
        """Render sample ``index``; it depends on the configuration's seed and this number alone."""
        config = self._config
        rng = np.random.default_rng([config.seed, index])
        pose = draw_pose(config.pose, rng)
        view_index = int(rng.integers(len(self._rig.fluoroscopes)))
        fluoroscope = self._fluoroscope(view_index, pose)
        segmented = bool(rng.random() < config.segmented_share)
        landmarks = self._landmarks(fluoroscope, pose)
        region = self._region(fluoroscope, landmarks, rng)
        canvas = _Canvas(fluoroscope, region, config.size, config.border)
        drr = self._renderer.render(canvas.view, pose)
        layers = [drr.bone_line_integral]
        if self._rest is not None:
            layers.append(self._rest.render(canvas.view, pose))
        for moving, part in zip(config.moving, self._parts, strict=True):
            world_from_part = pose * _draw_part(moving, rng)
            present = rng.random() < moving.share
            layers.append(part.render(canvas.view, world_from_part) if present else np.zeros_like(layers[0]))
        u, v, radius = _field_circle(fluoroscope)
        centre = region.from_frame(np.array([[u, v]]), config.size)[0]
        return Sample(
            np.stack([canvas.record(layer) for layer in layers]).astype(np.float16),
            canvas.record(drr.mask.astype(np.float32)) > 0.5,
            region.from_frame(landmarks, config.size).astype(np.float32),
            pose,
            view_index,
            np.array([region.left_px, region.top_px, region.side_px]),
            np.array([*centre, radius * config.size / region.side_px], dtype=np.float32),
            segmented,
        )

    def _fluoroscope(self, index: int, pose: Pose) -> Fluoroscope:
        fluoroscope = self._rig.fluoroscopes[index]
        if self._config.beam == "point" or fluoroscope.view.beam == "parallel":
            return fluoroscope
        return replace(fluoroscope, view=fluoroscope.view.parallel_at(pose.translation_mm))

    def _landmarks(self, fluoroscope: Fluoroscope, pose: Pose) -> NDArray[np.float64]:
        ideal = fluoroscope.view.project(pose.apply(self._bone.landmarks_mm))
        if not np.isfinite(ideal).all():
            raise InputError("pose: a landmark is not in front of a source; check centre_mm and range_mm")
        recorded = fluoroscope.recorded_from_ideal(ideal)
        # Far outside the plate the distortion model may fold over; there no picture shows the difference.
        return np.where(np.isfinite(recorded), recorded, ideal)

    def _region(self, fluoroscope: Fluoroscope, landmarks_px: NDArray[np.float64], rng: np.random.Generator) -> Region:
        config = self._config
        whole = fluoroscope.whole
        if rng.random() < config.whole_field_share:
            side = whole.side_px * rng.uniform(0.97, 1.06)
            base = whole
        else:
            low, high = np.log(config.margin)
            base = Region.around(landmarks_px, 1.0)
            side = min(base.side_px * float(np.exp(rng.uniform(low, high))), whole.side_px * 1.06)
        shift = rng.uniform(-config.shift, config.shift, 2) * side * (0.3 if base is whole else 1.0)
        left, top = np.array([base.left_px, base.top_px]) + (base.side_px - side) / 2 + shift
        return Region(float(left), float(top), float(side))


class _Canvas:
    """The picture with its border, rendered as ideal pixels and carried to recorded ones."""

    def __init__(self, fluoroscope: Fluoroscope, region: Region, size: int, border: int) -> None:
        step = region.side_px / size
        c = size + 2 * border
        outer = Region(region.left_px - border * step, region.top_px - border * step, c * step)
        self.view: View = fluoroscope.view.crop(outer.left_px, outer.top_px, (outer.side_px, outer.side_px), (c, c))
        self._sampling: NDArray[np.float32] | None = None
        if fluoroscope.distortion is not None:
            # Smooth, so a coarse grid of it is enough.
            ticks = np.linspace(0, c - 1, 23)
            grid = np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)
            ideal = outer.from_frame(fluoroscope.ideal_from_recorded(outer.to_frame(grid, c)), c)
            offset = (ideal - grid).reshape(23, 23, 2).astype(np.float32)
            place = np.linspace(0, 22, c, dtype=np.float32)
            u, v = np.meshgrid(place, place)
            fine = cv2.remap(offset, u, v, cv2.INTER_LINEAR)
            v0, u0 = np.mgrid[:c, :c].astype(np.float32)
            self._sampling = fine + np.stack([u0, v0], axis=-1)

    def record(self, ideal: NDArray[np.float32]) -> NDArray[np.float32]:
        """Resample an ideal picture (c, c) onto recorded pixels."""
        if self._sampling is None:
            return ideal
        return np.asarray(cv2.remap(ideal, self._sampling[..., 0], self._sampling[..., 1], cv2.INTER_LINEAR))


def _field_circle(fluoroscope: Fluoroscope) -> tuple[float, float, float]:
    """Return centre u, v and radius, recorded pixels, of the field; where the rig has none, all of the image is in it.

    Twice as wide as the image: styles draw an edge a little inside of where it is, and where there is none they must
    not.
    """
    if fluoroscope.field is not None:
        return fluoroscope.field.u, fluoroscope.field.v, fluoroscope.field.radius
    width, height = fluoroscope.view.size_px
    return (width - 1) / 2, (height - 1) / 2, float(np.hypot(width, height))


def draw_pose(pose: PoseRange, rng: np.random.Generator) -> Pose:
    """Draw world_from_bone from its ranges."""
    nominal = _orthonormal(pose.rotation)
    turn = _turn(pose, rng).rotation
    pivot = np.array(pose.pivot_mm)
    place = np.array(pose.centre_mm) + rng.uniform(-1, 1, 3) * pose.range_mm
    return Pose(nominal @ turn, place + nominal @ (pivot - turn @ pivot))


def _draw_part(moving: Moving, rng: np.random.Generator) -> Pose:
    """Draw bone_from_part."""
    turn = _turn(moving, rng).rotation
    place = np.array(moving.centre_mm) + rng.uniform(-1, 1, 3) * moving.range_mm
    pivot = np.array(moving.pivot_mm)
    return Pose(turn, pivot + turn @ (place - pivot))


def _turn(ranges: PoseRange | Moving, rng: np.random.Generator) -> Pose:
    axis = np.array(ranges.axis) / np.linalg.norm(ranges.axis)
    turn = Pose.exp(axis * np.radians(rng.uniform(*ranges.turn_deg)), np.zeros(3))
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    tilt = rng.uniform() * direction * np.radians(ranges.tilt_deg)
    return turn * Pose(Rotation.from_rotvec(tilt).as_matrix(), np.zeros(3))


def _orthonormal(rows: tuple[tuple[float, float, float], ...]) -> NDArray[np.float64]:
    u, _, vt = np.linalg.svd(np.array(rows))
    return np.asarray(u @ vt)


def _share_beyond(volume: Volume, moving: Moving) -> NDArray[np.float32]:
    """Weight (nz, ny, nx), 1 beyond the plane, 0 before it, with a linear blend."""
    return np.asarray(np.clip(0.5 + volume.beyond(moving.beyond_mm, moving.towards) / _BLEND_MM, 0, 1))
