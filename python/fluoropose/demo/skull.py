"""The demo's bone: the drawn head's skull and jaw, with surface and automatic landmarks."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluoropose._files import atomic_path
from fluoropose.bone import Bone
from fluoropose.bone_model.landmarks import place_landmarks
from fluoropose.bone_model.surface import even_points, surface_of_mask
from fluoropose.geometry import Pose
from fluoropose.simulate.phantom import Head
from fluoropose.volume import Volume

__all__ = ["Geometry", "demo_bone"]

_SURFACE_SPACING_MM = 4.5
_SURFACE_POINTS = 20000
_SHIPPED = "demo_skull.npz"


@dataclass(frozen=True, eq=False)
class Geometry:
    """Surface and landmarks in the head's frame, whole micrometres.

    They are computed once and shipped with the trained bundle: a network belongs to one set of landmarks, and the last
    digit of what optimisers find differs between processors.
    """

    vertices_um: NDArray[np.int32]
    faces: NDArray[np.int32]
    landmarks_um: NDArray[np.int32]
    landmark_names: tuple[str, ...]
    symmetric_pairs: NDArray[np.int32]

    @classmethod
    def of(cls, head: Head) -> Geometry:
        """Make the surface of a head's bone, and place 33 landmarks in 13 symmetric pairs and along the midline."""
        mesh = surface_of_mask(head.bone_share > 0.5, head.volume.bone_from_voxel, _SURFACE_SPACING_MM)
        surface = even_points(mesh, _SURFACE_POINTS)
        placed = place_landmarks(surface, np.ones(len(surface), dtype=bool), count=33, pairs=13)
        return cls(
            _micrometres(np.asarray(mesh.vertices)),
            np.asarray(mesh.faces, dtype=np.int32),
            _micrometres(placed.points_mm),
            placed.names,
            placed.pairs.astype(np.int32),
        )

    @classmethod
    def shipped(cls) -> Geometry:
        """Read what was stored when the shipped bundle was trained."""
        with as_file(files("fluoropose") / "data" / _SHIPPED) as path, np.load(path) as stored:
            return cls(
                stored["vertices_um"],
                stored["faces"],
                stored["landmarks_um"],
                tuple(str(name) for name in stored["landmark_names"]),
                stored["symmetric_pairs"],
            )

    def save(self, folder: Path) -> None:
        """Store for ``shipped``."""
        with atomic_path(folder / _SHIPPED) as temporary:
            np.savez_compressed(
                temporary,
                vertices_um=self.vertices_um,
                faces=self.faces,
                landmarks_um=self.landmarks_um,
                landmark_names=np.array(self.landmark_names),
                symmetric_pairs=self.symmetric_pairs,
            )


def demo_bone(head: Head, geometry: Geometry) -> Bone:
    """Build the bone of a drawn head; its frame has the head's axes and its origin at the landmarks' centroid."""
    landmarks = geometry.landmarks_um / 1e3
    bone_from_head = Pose(np.eye(3), -np.round(landmarks.mean(axis=0), 3))
    volume = head.volume
    return Bone(
        name="synthetic skull",
        volume=Volume(volume.mu, bone_from_head.matrix @ volume.bone_from_voxel),
        mask=head.bone_share > 0.5,
        vertices=bone_from_head.apply(geometry.vertices_um / 1e3),
        faces=geometry.faces,
        landmarks_mm=bone_from_head.apply(landmarks),
        landmark_names=geometry.landmark_names,
        symmetric_pairs=geometry.symmetric_pairs.astype(np.intp),
        bone_from_source=bone_from_head,
    )


def _micrometres(points_mm: NDArray[np.float64]) -> NDArray[np.int32]:
    return np.asarray(np.round(points_mm * 1e3), dtype=np.int32)
