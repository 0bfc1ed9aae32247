"""How far a bone's projected outline, or the edges of an X-ray drawn of it, lie from the edges in a frame.

Where metal's rim is thin it lets the beam through, and the steepest change of a frame lies inside of the outline: the
outlines of the right poses are off by half a pixel in the mean. The edges of an X-ray drawn at a pose know of that.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from fluoropose.geometry import Pose
from fluoropose.rig import Fluoroscope
from fluoropose.silhouette import silhouette

__all__ = ["EdgeDistances", "Outline", "edge_distances", "edges_from_drawn"]

_FINE = 4  # the outline is drawn on pixels this many times smaller
_REACH_PX = 8.0  # how far from the outline an edge is looked for
_STEP_PX = 0.25
_APART_PX = 3.0  # between two places of the outline


@dataclass(frozen=True, eq=False)
class EdgeDistances:
    """Along the outline's normals, pixels of the frame.

    Attributes
    ----------
    signed
        (n,) where the steepest change of brightness lies, positive outside of the outline; only places where there is
        a clear edge.
    normals
        (n, 2) there, unit vectors out of the outline.
    share
        Of the outline in the field, the share with a clear edge.
    """

    signed: NDArray[np.float64]
    normals: NDArray[np.float64]
    share: float

    @property
    def mean_px(self) -> float:
        """Mean distance."""
        return float(np.abs(self.signed).mean()) if self.signed.size else float("nan")

    @property
    def shift_px(self) -> NDArray[np.float64]:
        """(3,) how far along u and v the outline must move, and by how much it must grow, to fit the edges best."""
        columns = np.column_stack([self.normals, np.ones(len(self.signed))])
        return np.asarray(np.linalg.lstsq(columns, self.signed, rcond=None)[0])


@dataclass(frozen=True, eq=False)
class Outline:
    """Places along a bone's projected outline, about equally far apart.

    Attributes
    ----------
    points
        (n, 2) pixels of the frame.
    normals
        (n, 2) unit vectors pointing out.
    seen
        (n,) where all that is looked at lies in the field.
    """

    points: NDArray[np.float64]
    normals: NDArray[np.float64]
    seen: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        fluoroscope: Fluoroscope,
        world_from_bone: Pose,
        vertices: NDArray[np.float64],
        faces: NDArray[np.int32],
    ) -> Outline:
        """Project a bone's surface."""
        points, normals = _outline(fluoroscope, world_from_bone.apply(vertices), faces)
        ends = (fluoroscope.sees(points + way * _REACH_PX * normals) for way in (-1, 1))
        return cls(points, normals, np.logical_and(*ends))

    def edges(self, frame: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where (n,) px along the normals a frame falls most, and how much (n,) per pixel; 0 at the ends."""
        along = np.arange(-_REACH_PX, _REACH_PX + _STEP_PX / 2, _STEP_PX)
        at = self.points[:, None, :] + along[None, :, None] * self.normals[:, None, :]
        smooth = cv2.GaussianBlur(np.ascontiguousarray(frame, dtype=np.float32), (0, 0), 1.0)
        profile = map_coordinates(smooth, [at[..., 1], at[..., 0]], order=1, mode="nearest")
        fall = -np.gradient(profile, _STEP_PX, axis=1)
        best = fall[:, 1:-1].argmax(axis=1) + 1
        row = np.arange(len(fall))
        before, peak, after = fall[row, best - 1], fall[row, best], fall[row, best + 1]
        bend = before - 2 * peak + after
        shift = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, -1), 0.0)
        inner = (best > 2) & (best < len(along) - 3)
        return along[best] + shift * _STEP_PX, np.where(inner, peak, 0.0)

    def distances(self, signed: NDArray[np.float64], clear: NDArray[np.bool_]) -> EdgeDistances:
        """Return the distances (n,) at the clear (n,) edges in the field."""
        good = self.seen & clear
        return EdgeDistances(signed[good], self.normals[good], float(good.sum() / max(int(self.seen.sum()), 1)))


def edge_distances(
    fluoroscope: Fluoroscope,
    frame: NDArray[np.float32],
    world_from_bone: Pose,
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    clear: float,
) -> EdgeDistances:
    """Find the edge nearest to each place of the projected outline; a frame (h, w) bright = attenuating, undistorted.

    An edge is clear where the frame, smoothed by one pixel, changes by more than ``clear`` (share of full scale) per
    pixel, brighter inside.
    """
    outline = Outline.of(fluoroscope, world_from_bone, vertices, faces)
    signed, slope = outline.edges(frame)
    return outline.distances(signed, slope > clear)


def edges_from_drawn(
    fluoroscope: Fluoroscope,
    frame: NDArray[np.float32],
    drawn: NDArray[np.float32],
    world_from_bone: Pose,
    vertices: NDArray[np.float64],
    faces: NDArray[np.int32],
    clear: float,
) -> EdgeDistances:
    """Find the frame's edges as `edge_distances` does, but say how far they lie outside of those of another frame.

    ``drawn`` (h, w) shows what there would be to see at the pose, with the frame's blur, bright = attenuating.
    """
    outline = Outline.of(fluoroscope, world_from_bone, vertices, faces)
    (signed, slope), (expected, its_slope) = (outline.edges(one) for one in (frame, drawn))
    return outline.distances(signed - expected, (slope > clear) & (its_slope > clear))


def _outline(
    fluoroscope: Fluoroscope, vertices_world_mm: NDArray[np.float64], faces: NDArray[np.int32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return places (n, 2) px of the outer outline about equally far apart, and unit normals (n, 2) pointing out."""
    view = fluoroscope.view
    projected = view.project(vertices_world_mm)
    low = np.floor(np.maximum(np.nanmin(projected, axis=0) - 2, 0))
    high = np.ceil(np.minimum(np.nanmax(projected, axis=0) + 2, np.array(view.size_px) - 1))
    width, height = (high - low + 1).astype(int)
    fine = view.crop(low[0], low[1], (width, height), (width * _FINE, height * _FINE))
    a, b, c = (projected[faces[:, k]] for k in range(3))
    # Of a closed surface the faces that show one side cast the whole shadow.
    facing = (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) > (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
    mask = silhouette(Fluoroscope(fine), vertices_world_mm, faces[facing])
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    ring = max(contours, key=len)[:, 0, :].astype(np.float64)
    # The contour runs through the centres of the mask's outermost pixels: half a fine pixel inside of the outline.
    smooth = _smoothed(ring, 6.0)
    tangent = np.roll(smooth, -3, axis=0) - np.roll(smooth, 3, axis=0)
    normal = np.column_stack([tangent[:, 1], -tangent[:, 0]])
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    area = 0.5 * float(np.sum(ring[:, 0] * np.roll(ring[:, 1], -1) - np.roll(ring[:, 0], -1) * ring[:, 1]))
    normal *= np.sign(area) if area else 1.0
    chosen = slice(None, None, max(1, int(_APART_PX * _FINE)))
    outer = _smoothed(ring, 1.0) + 0.5 * normal
    return ((outer + 0.5) / _FINE - 0.5 + low)[chosen], normal[chosen]


def _smoothed(ring: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    reach = int(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.concatenate([ring[-reach:], ring, ring[:reach]])
    return np.column_stack([np.convolve(padded[:, k], kernel, mode="valid") for k in (0, 1)])
