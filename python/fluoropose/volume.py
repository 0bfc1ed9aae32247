"""The attenuation grid of a bone or of everything around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fluoropose._checks import finite_array
from fluoropose.errors import InputError

__all__ = ["Volume"]

_ORTHOGONAL_TOLERANCE = 1e-4  # cosine between axes; text headers of CT files carry about six digits
_HIGHEST_ATTENUATION = 100.0  # 1/mm; tungsten at 20 keV is near 130, at the energies of fluoroscopy below 20


@dataclass(frozen=True, eq=False)
class Volume:
    """Attenuation on a regular grid, placed in the bone frame.

    Between voxel centres the attenuation is interpolated linearly, with zeros outside the grid.

    Parameters
    ----------
    mu
        (nz, ny, nx) linear attenuation, 1/mm, indexed [z, y, x]; finite and not negative. Kept as float32.
    bone_from_voxel
        (4, 4) affine map from voxel indices (x, y, z), integers at the centres, to bone mm. The axes are orthogonal;
        they may be rotated, mirrored and of unequal spacing.

    Raises
    ------
    InputError
        If ``mu`` is not such an array or the map is singular, sheared or not affine.
    """

    mu: NDArray[np.float32]
    bone_from_voxel: NDArray[np.float64]

    def __post_init__(self) -> None:
        mu = np.asarray(self.mu)
        check_sides(mu.shape)
        if mu.dtype.kind not in "fiu":
            raise InputError(f"mu: expected real numbers, found {mu.dtype}")
        # A view, so that only this volume's handle on the numbers becomes read-only.
        mu = np.ascontiguousarray(mu, dtype=np.float32).view()
        low, high = float(mu.min()), float(mu.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise InputError("mu: expected finite numbers, found NaN or infinity")
        if low < 0 or high > _HIGHEST_ATTENUATION:
            raise InputError(
                f"mu: expected attenuation in 1/mm between 0 and {_HIGHEST_ATTENUATION:g}, "
                f"found {low:g} to {high:g} (Hounsfield units must be converted first)"
            )
        mu.flags.writeable = False
        object.__setattr__(self, "mu", mu)
        object.__setattr__(self, "bone_from_voxel", checked_place(self.bone_from_voxel))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(nz, ny, nx)."""
        nz, ny, nx = self.mu.shape
        return nz, ny, nx

    @property
    def spacing_mm(self) -> NDArray[np.float64]:
        """(3,) mm between voxel centres along x, y, z."""
        return np.asarray(np.linalg.norm(self.bone_from_voxel[:3, :3], axis=0))

    @property
    def corners(self) -> NDArray[np.float64]:
        """(8, 3) bone mm, the centres of the corner voxels."""
        nz, ny, nx = self.shape
        x, y, z = np.meshgrid([0, nx - 1], [0, ny - 1], [0, nz - 1], indexing="ij")
        return self.voxel_to_bone(np.column_stack([x.ravel(), y.ravel(), z.ravel()]))

    @property
    def centre(self) -> NDArray[np.float64]:
        """(3,) bone mm, the middle of the grid."""
        return np.asarray(self.corners.mean(axis=0))

    def voxel_to_bone(self, voxels: NDArray[np.floating | np.integer]) -> NDArray[np.float64]:
        """Place voxel indices (n, 3), in the order (x, y, z), in the bone frame: (n, 3) mm."""
        indices = finite_array("voxels", voxels, (None, 3))
        return indices @ self.bone_from_voxel[:3, :3].T + self.bone_from_voxel[:3, 3]

    def bone_to_voxel(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return voxel indices (n, 3), in the order (x, y, z) and not rounded, of bone points (n, 3) mm."""
        points = finite_array("points_mm", points_mm, (None, 3))
        offset = points - self.bone_from_voxel[:3, 3]
        return np.asarray(np.linalg.solve(self.bone_from_voxel[:3, :3], offset.T).T, dtype=np.float64)

    def masked(self, mask: NDArray[np.bool_]) -> Volume:
        """Return the same grid with zero attenuation where ``mask`` (nz, ny, nx) is False."""
        return Volume(np.where(checked_mask(mask, self.shape), self.mu, np.float32(0)), self.bone_from_voxel)

    def trimmed(self) -> Volume:
        """Cut empty margins off, up to one voxel: rays that miss the rest are cheap. An empty volume stays as it is."""
        filled = self.mu > 1e-5
        if not filled.any():
            return self
        spans = []
        for axis in range(3):
            hits = np.flatnonzero(filled.any(axis=tuple(a for a in range(3) if a != axis)))
            spans.append(slice(max(int(hits[0]) - 1, 0), int(hits[-1]) + 2))
        moved = self.bone_from_voxel.copy()
        first = np.array([spans[2].start, spans[1].start, spans[0].start], dtype=np.float64)
        moved[:3, 3] = self.voxel_to_bone(first[None])[0]
        return Volume(self.mu[spans[0], spans[1], spans[2]], moved)

    def extended(self, towards: ArrayLike, length_mm: float) -> Volume:
        """Continue the volume by copies of the last slice of the axis that points most along ``towards`` (3,)."""
        axes = self.bone_from_voxel[:3, :3] / self.spacing_mm
        along = finite_array("towards", towards, (3,)) @ axes
        axis = int(np.argmax(np.abs(along)))
        count = int(np.ceil(length_mm / self.spacing_mm[axis]))
        before = along[axis] < 0
        pads = [(0, 0)] * 3
        pads[2 - axis] = (count, 0) if before else (0, count)
        moved = self.bone_from_voxel.copy()
        if before:
            moved[:3, 3] -= count * moved[:3, axis]
        return Volume(np.pad(self.mu, pads, mode="edge"), moved)

    def mask_of(self, part: Volume, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the mask of a part of this grid in all of it (nz, ny, nx): False where the part does not reach."""
        x, y, z = np.rint(self.bone_to_voxel(part.bone_from_voxel[None, :3, 3])[0]).astype(int)
        nz, ny, nx = part.shape
        whole = np.zeros(self.shape, dtype=bool)
        whole[z : z + nz, y : y + ny, x : x + nx] = checked_mask(mask, part.shape)
        return whole

    def beyond(self, point_mm: ArrayLike, towards: ArrayLike) -> NDArray[np.float32]:
        """Return how far each voxel (nz, ny, nx) lies beyond the plane through a point (3,), bone mm, across (3,)."""
        nz, ny, nx = self.shape
        direction = finite_array("towards", towards, (3,))
        length = float(np.linalg.norm(direction))
        if length < 1e-9:
            raise InputError("towards: expected a direction, found zero")
        unit = direction / length
        step = unit @ self.bone_from_voxel[:3, :3]
        start = float(unit @ (self.bone_from_voxel[:3, 3] - finite_array("point_mm", point_mm, (3,))))
        z, y, x = np.ogrid[:nz, :ny, :nx]
        return np.asarray(start + step[0] * x + step[1] * y + step[2] * z, dtype=np.float32)


def check_sides(shape: tuple[int, ...]) -> None:
    """Raise InputError unless ``shape`` is that of a ``mu``."""
    if len(shape) != 3 or 0 in shape:
        raise InputError(f"mu: expected shape (nz, ny, nx) with at least one voxel, found {tuple(shape)}")


def checked_place(bone_from_voxel: ArrayLike) -> NDArray[np.float64]:
    """Return a read-only copy of the map (4, 4), or raise InputError unless its axes are orthogonal."""
    matrix = finite_array("bone_from_voxel", bone_from_voxel, (4, 4)).copy()
    if not np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-9):
        raise InputError(f"bone_from_voxel: expected the last row (0, 0, 0, 1), found {matrix[3].tolist()}")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    if not (spacing > 0).all():
        raise InputError("bone_from_voxel: expected three axes of non-zero length")
    axes = matrix[:3, :3] / spacing
    if np.abs(axes.T @ axes - np.eye(3)).max() > _ORTHOGONAL_TOLERANCE:
        raise InputError("bone_from_voxel: expected orthogonal axes, found sheared ones")
    matrix.flags.writeable = False
    return matrix


def checked_mask(mask: NDArray[np.bool_], shape: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Return ``mask`` as a contiguous boolean array, or raise InputError unless it has ``shape``."""
    array = np.asarray(mask)
    if array.dtype != np.bool_ or array.shape != shape:
        raise InputError(f"mask: expected booleans of shape {shape}, found {array.dtype} of shape {array.shape}")
    return np.ascontiguousarray(array)
