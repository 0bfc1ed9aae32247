"""The bone that is looked for: attenuation, mask, surface, landmarks and symmetric pairs, in one bone frame."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from fluoropose._checks import finite_array
from fluoropose._files import atomic_path
from fluoropose.errors import FileFormatError, FluoroposeError, InputError
from fluoropose.geometry import Pose
from fluoropose.volume import Volume, checked_mask

__all__ = ["Bone"]

_FORMAT = "fluoropose-bone"
_VERSION = 1
_EDGE_VOXELS = 2  # how far from the mask a partly filled voxel of its edge may lie
_SLIVERS = 1e-3  # of the bone's voxels


@dataclass(frozen=True, eq=False)
class Bone:
    """A bone, with all that rendering, learning and registration need to know of it.

    The bone frame has the axes of the CT (or of the mesh) and its origin at the centroid of the landmarks.

    Parameters
    ----------
    name
        What it is called in files and reports.
    volume
        Attenuation of the bone and of what was kept around it.
    mask
        (nz, ny, nx) bool, the voxels of ``volume`` that belong to the bone.
    vertices, faces
        (v, 3) mm, bone frame, and (f, 3) indices: the closed surface.
    landmarks_mm
        (n, 3) mm, bone frame.
    landmark_names
        n different names.
    symmetric_pairs
        (k, 2) indices of landmarks that a left-right mirror exchanges; no landmark stands in two pairs.
    bone_from_source
        ``bone_from_ct`` (DICOM LPS mm) or ``bone_from_mesh``.

    Raises
    ------
    InputError
        If a shape is wrong, a number is not finite, an index does not exist, or the mask is empty.
    """

    name: str
    volume: Volume
    mask: NDArray[np.bool_]
    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    landmarks_mm: NDArray[np.float64]
    landmark_names: tuple[str, ...]
    symmetric_pairs: NDArray[np.intp]
    bone_from_source: Pose

    def __post_init__(self) -> None:
        mask = checked_mask(self.mask, self.volume.shape)
        if not mask.any():
            raise InputError("mask: expected at least one voxel of bone, found none")
        vertices = finite_array("vertices", self.vertices, (None, 3))
        landmarks = finite_array("landmarks_mm", self.landmarks_mm, (None, 3))
        if len(landmarks) == 0:
            raise InputError("landmarks_mm: expected at least one landmark, found none")
        names = tuple(str(n) for n in self.landmark_names)
        if len(names) != len(landmarks) or len(set(names)) != len(names):
            raise InputError(f"landmark_names: expected {len(landmarks)} different names, found {names}")
        faces = _indices("faces", self.faces, 3, len(vertices)).astype(np.int32)
        pairs = _indices("symmetric_pairs", self.symmetric_pairs, 2, len(landmarks))
        if len(np.unique(pairs)) != pairs.size:
            raise InputError("symmetric_pairs: expected every landmark in at most one pair")
        for key, value in {
            "mask": mask,
            "vertices": vertices,
            "faces": faces,
            "landmarks_mm": landmarks,
            "landmark_names": names,
            "symmetric_pairs": pairs,
        }.items():
            object.__setattr__(self, key, value)

    @cached_property
    def own_voxels(self) -> NDArray[np.bool_]:
        """(nz, ny, nx) bool: the mask; with it, where there is nothing around the bone, its partly filled edge.

        Slivers that are nowhere half full, and so are not in the mask, do not make surroundings.
        """
        filled = self.volume.mu > 0
        around = np.count_nonzero(filled & ~binary_dilation(self.mask, iterations=_EDGE_VOXELS))
        return filled if around <= _SLIVERS * np.count_nonzero(self.mask) else self.mask

    @property
    def isolated(self) -> Volume:
        """The attenuation of the bone alone."""
        return self.volume.masked(self.own_voxels)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the landmarks, pairs and surface to 1 um: what a network was trained for."""
        digest = hashlib.sha256()
        for array in (self.landmarks_mm, self.vertices):
            digest.update(np.round(np.asarray(array) * 1e3).astype("<i8").tobytes())
        for indices in (self.symmetric_pairs, self.faces):
            digest.update(np.asarray(indices).astype("<i8").tobytes())
        digest.update("\n".join(self.landmark_names).encode())
        return digest.hexdigest()

    def save(self, path: str | Path) -> None:
        """Write the bone as HDF5; attenuation is kept to 2e-6 1/mm or 1 part in 30,000 of its range."""
        top = float(self.volume.mu.max()) or 1.0
        with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
            file.attrs.update(format=_FORMAT, version=_VERSION, units="mm", name=self.name, mu_step=top / 65535)
            packed = {"compression": "gzip", "compression_opts": 4, "shuffle": True}
            stored = np.round(self.volume.mu / np.float32(top) * 65535).astype(np.uint16)
            file.create_dataset("mu", data=stored, **packed)
            file.create_dataset("mask", data=self.mask, **packed)
            file.create_dataset("vertices", data=self.vertices, **packed)
            file.create_dataset("faces", data=self.faces, **packed)
            file["bone_from_voxel"] = self.volume.bone_from_voxel
            file["landmarks_mm"] = self.landmarks_mm
            file["landmark_names"] = [n.encode() for n in self.landmark_names]
            file["symmetric_pairs"] = self.symmetric_pairs
            file["bone_from_source"] = self.bone_from_source.matrix

    @classmethod
    def load(cls, path: str | Path) -> Bone:
        """Read a bone that ``save`` wrote; raises FileFormatError naming the file and what is wrong with it."""
        if not Path(path).is_file():
            raise FileFormatError(f"{path}: expected a bone file (fluoropose bone makes them), found none")
        try:
            with h5py.File(path, "r") as file:
                return cls._from_hdf5(path, file)
        except KeyError as error:
            raise FileFormatError(f"{path}: missing entry: {error.args[0]}") from error
        except FileFormatError:
            raise
        except FluoroposeError as error:
            raise FileFormatError(f"{path}: {error}") from error
        except (OSError, RuntimeError, TypeError, AttributeError, ValueError) as error:  # what h5py raises on damage
            raise FileFormatError(f"{path}: expected a bone file (HDF5), found another or a damaged one") from error

    @classmethod
    def _from_hdf5(cls, path: str | Path, file: h5py.File) -> Bone:
        for key, expected in {"format": _FORMAT, "version": _VERSION, "units": "mm"}.items():
            found = file.attrs.get(key)
            if found != expected:
                raise FileFormatError(f"{path}: {key}: expected {expected!r}, found {found!r}")
        mu = file["mu"][()].astype(np.float32) * np.float32(file.attrs["mu_step"])
        return cls(
            name=str(file.attrs["name"]),
            volume=Volume(mu, file["bone_from_voxel"][()]),
            mask=file["mask"][()],
            vertices=file["vertices"][()],
            faces=file["faces"][()],
            landmarks_mm=file["landmarks_mm"][()],
            landmark_names=tuple(n.decode() for n in file["landmark_names"][()]),
            symmetric_pairs=file["symmetric_pairs"][()],
            bone_from_source=Pose.from_matrix(file["bone_from_source"][()]),
        )


def _indices(name: str, value: Any, width: int, count: int) -> NDArray[np.intp]:
    """Return (m, width) indices below ``count``, or raise InputError naming ``name``."""
    array = np.asarray(value)
    if array.size == 0:
        array = array.astype(np.intp).reshape(0, width)
    if array.ndim != 2 or array.shape[1] != width or array.dtype.kind not in "iu":
        raise InputError(f"{name}: expected whole numbers of shape (n, {width}), found {array.dtype} {array.shape}")
    if array.size and (array.min() < 0 or array.max() >= count):
        raise InputError(f"{name}: expected indices from 0 to {count - 1}, found {array.min()} to {array.max()}")
    return array.astype(np.intp)
