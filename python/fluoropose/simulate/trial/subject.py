"""What X-rays pass: rigid pieces of known materials, and soft tissue that bends between two bodies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fluoropose.drr import Method, Renderer
from fluoropose.geometry import Pose, View
from fluoropose.simulate.materials import MaterialName
from fluoropose.simulate.trial.bend import Bend, BentTissue
from fluoropose.volume import Volume

__all__ = ["Piece", "Subject", "about"]

_SOFT: MaterialName = "soft_tissue"
_DISPLACING: frozenset[MaterialName] = frozenset(("cortical_bone", "cobalt_chromium", "titanium", "polyethylene"))


@dataclass(frozen=True, eq=False)
class Piece:
    """A rigid piece of one material.

    Attributes
    ----------
    material, share
        What it is made of, and how much of each voxel that fills: a `Volume` of numbers from 0 to about 1.
    body
        The body whose frame the volume lies in and that carries it.
    other, bend
        Where the piece is not rigid but bends: the second body, and how. Both frames coincide before anything moves.
    """

    material: MaterialName
    share: Volume
    body: str
    other: str = ""
    bend: Bend | None = None


class Subject:
    """Pieces, ready to be rendered.

    Bone, metal and polyethylene displace the soft tissue that they lie in: its volumes are filled where they are.

    Attributes
    ----------
    materials
        Of the paths, in their order.
    """

    def __init__(self, pieces: Sequence[Piece], method: Method) -> None:
        self.materials: tuple[MaterialName, ...] = tuple(dict.fromkeys(piece.material for piece in pieces))
        self._pieces = [(piece.material, _rendered(piece, method)) for piece in pieces]

    def paths(self, view: View, poses: Mapping[str, Pose]) -> NDArray[np.float32]:
        """Return the paths (m, h, w) mm in each of ``materials`` with the bodies at ``poses`` (world_from_body)."""
        paths = np.zeros((len(self.materials), view.height, view.width), dtype=np.float32)
        for of, render in self._pieces:
            paths[self.materials.index(of)] += render(view, poses)
        if _SOFT in self.materials:
            soft = paths[self.materials.index(_SOFT)]
            for material, path in zip(self.materials, paths, strict=True):
                if material in _DISPLACING:
                    soft -= path
            np.maximum(soft, 0, out=soft)
        return paths


def _rendered(piece: Piece, method: Method) -> Callable[[View, Mapping[str, Pose]], NDArray[np.float32]]:
    if piece.bend is not None:
        return BentTissue(piece.share, piece.bend, piece.body, piece.other, method).render
    renderer = Renderer(piece.share.trimmed(), method)
    return lambda view, poses: renderer.render(view, poses[piece.body])


def about(point_mm: Sequence[float], rotation_vector: NDArray[np.float64]) -> Pose:
    """Return the turn by ``rotation_vector`` (3,) rad about a point (3,) mm."""
    turn = Rotation.from_rotvec(rotation_vector).as_matrix()
    point = np.asarray(point_mm, dtype=np.float64)
    return Pose(turn, point - turn @ point)
