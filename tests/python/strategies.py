"""Hypothesis strategies for the geometry: any pose and any view that a laboratory could have, and rather more."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fluoropose.geometry import Pose, View

__all__ = ["lengths", "poses", "rotation_matrices", "vectors", "views"]


def lengths(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False, allow_infinity=False, width=64)


def vectors(limit: float = 2000.0) -> st.SearchStrategy[np.ndarray]:
    return st.tuples(*[lengths(-limit, limit)] * 3).map(np.array)


@st.composite
def rotation_matrices(draw: st.DrawFn) -> np.ndarray:
    """Any rotation, half turns and tiny ones included."""
    axis = draw(vectors(1.0).filter(lambda v: np.linalg.norm(v) > 1e-3))
    angle = draw(st.one_of(lengths(-np.pi, np.pi), st.sampled_from([0.0, 1e-9, np.pi / 2, np.pi, -np.pi])))
    return Rotation.from_rotvec(axis / np.linalg.norm(axis) * angle).as_matrix()


@st.composite
def poses(draw: st.DrawFn) -> Pose:
    return Pose(draw(rotation_matrices()), draw(vectors()))


@st.composite
def views(draw: st.DrawFn) -> View:
    """A point-source view with rectangular pixels anywhere in the world."""
    return View.from_sdd(
        (draw(st.integers(2, 2048)), draw(st.integers(2, 2048))),
        draw(lengths(300, 3000)),
        draw(lengths(0.05, 2)),
        draw(lengths(0.05, 2)),
        draw(lengths(-100, 100)),
        draw(lengths(-100, 100)),
        draw(poses()),
    )
