"""A frame with the outline of the bone that was found in it, as an embedded picture with a vector drawing on top."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from fluoropose.bone import Bone
from fluoropose.geometry import Pose
from fluoropose.rig import Fluoroscope
from fluoropose.silhouette import field_mask, outline, silhouette

__all__ = ["Overlay", "grey", "overlay"]

_SIDE = 512  # px of the embedded picture


@dataclass(frozen=True)
class Overlay:
    """What the report's page draws: the picture as a data URI, its size, and SVG paths in its pixels."""

    picture: str
    width: int
    height: int
    bone: str
    landmarks: tuple[tuple[float, float], ...]


def overlay(frame: NDArray[Any], fluoroscope: Fluoroscope, bone: Bone, world_from_bone: Pose | None) -> Overlay:
    """Prepare one frame (h, w), as recorded, for the page; without a pose it is shown bare."""
    height, width = frame.shape
    scale = min(1.0, _SIDE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = _data_uri(np.asarray(cv2.resize(grey(frame), size, interpolation=cv2.INTER_AREA), dtype=np.uint8))
    if world_from_bone is None:
        return Overlay(picture, *size, "", ())
    mask = silhouette(fluoroscope, world_from_bone.apply(bone.vertices), bone.faces) & field_mask(fluoroscope)
    path = "".join(_path((ring + 0.5) * scale - 0.5) for ring in outline(mask) if len(ring) > 8)
    ideal = fluoroscope.view.project(world_from_bone.apply(bone.landmarks_mm))
    seen = fluoroscope.recorded_from_ideal(ideal)[fluoroscope.sees(ideal)]
    dots = tuple((float(u), float(v)) for u, v in (seen + 0.5) * scale - 0.5)
    return Overlay(picture, *size, path, dots)


def grey(frame: NDArray[Any], inside: NDArray[np.bool_] | None = None) -> NDArray[np.uint8]:
    """Stretch a frame (h, w) to 8 bits between the 0.1 and 99.9 % quantiles; NaN is black.

    ``inside`` (h, w) bool says which pixels the quantiles are of; all by default.
    """
    values = np.nan_to_num(frame.astype(np.float32))
    low, high = np.percentile(values if inside is None else values[inside], [0.1, 99.9])
    stretched = (values - low) / max(high - low, 1e-9) * 255
    return np.asarray(np.clip(stretched, 0, 255), dtype=np.uint8)


def _data_uri(picture: NDArray[np.uint8]) -> str:
    _, coded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 82])
    return "data:image/jpeg;base64," + base64.b64encode(coded.tobytes()).decode("ascii")


def _path(ring: NDArray[np.float64]) -> str:
    thin = cv2.approxPolyDP(ring.astype(np.float32)[:, None, :], 0.35, True)[:, 0, :]
    return "M" + "L".join(f"{u:.1f} {v:.1f}" for u, v in thin) + "Z"
