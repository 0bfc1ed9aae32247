"""Volumes and views that the tests of the renderers share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from fluoropose.geometry import Pose, View


def affine(
    spacing: tuple[float, float, float], shape: tuple[int, int, int], turn: tuple[float, float, float] = (0, 0, 0)
) -> NDArray[np.float64]:
    """Place a grid of ``shape`` (nz, ny, nx) around the origin; a negative spacing mirrors its axis."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ np.diag(spacing)
    matrix[:3, 3] = -matrix[:3, :3] @ ((np.array(shape)[::-1] - 1) / 2)
    return matrix


def noise(shape: tuple[int, int, int] = (19, 17, 23), seed: int = 0) -> NDArray[np.float32]:
    """Return white noise that reaches the grid's faces, with some empty rows."""
    mu = np.random.default_rng(seed).uniform(0, 0.05, shape).astype(np.float32)
    mu[:, ::4] = 0
    return mu


def blobs(shape: tuple[int, int, int], sigma: float = 2.5, seed: int = 0) -> NDArray[np.float32]:
    """Return a smooth random volume that fades before the grid's faces."""
    inner = np.zeros(shape)
    margin = int(4 * sigma)
    middle = tuple(slice(margin, n - margin) for n in shape)
    inner[middle] = np.random.default_rng(seed).uniform(0, 1, inner[middle].shape)
    smooth = gaussian_filter(inner, sigma)
    return np.asarray(0.05 * smooth / smooth.max(), dtype=np.float32)


def oblique_view(beam: str = "point", size: tuple[int, int] = (41, 31), pitch: float = 1.3) -> View:
    """Return a view whose plane is tilted against the rays, with skewed, unequal pixels."""
    width, height = size
    u, v = np.array([1.0, 0.03, 0.1]) * pitch, np.array([-0.05, 0.9, -0.08]) * pitch
    origin = np.array([2.0, -3.0, 60.0]) - (width - 1) / 2 * u - (height - 1) / 2 * v
    if beam == "point":
        return View(width, height, origin, u, v, np.array([4.0, -2.0, -140.0]))
    return View(width, height, origin, u, v, np.array([0.05, -0.1, 1.0]), "parallel")


def pixels(view: View) -> NDArray[np.float64]:
    """Return (width * height, 2) pixels, row by row."""
    v, u = np.mgrid[: view.height, : view.width]
    return np.column_stack([u.ravel(), v.ravel()]).astype(np.float64)


# Turns that make each axis the one of the slices, from either side, and some between.
POSES = [
    Pose.from_euler_zyx_deg(theta, [1.5, -2.0, 4.0])
    for theta in ([0, 0, 0], [90, 5, 12], [10, 88, -20], [180, 20, 5], [40, 40, 30], [-80, 15, 100], [5, -85, 60])
]
