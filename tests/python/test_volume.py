"""The attenuation grid and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from fluoropose.errors import InputError
from fluoropose.volume import Volume

_AFFINE = np.eye(4)
_MU = np.full((4, 3, 2), 0.02, np.float32)


def _changed(row: int, column: int, value: float) -> NDArray[np.float64]:
    affine = _AFFINE.copy()
    affine[row, column] = value
    return affine


@pytest.mark.parametrize(
    ("mu", "affine", "message"),
    [
        (_MU[0], _AFFINE, r"mu: expected shape \(nz, ny, nx\)"),
        (_MU[:0], _AFFINE, "mu: .* at least one voxel"),
        (_MU.astype(str), _AFFINE, "mu: expected real numbers"),
        (np.where(_MU > 0, np.nan, _MU), _AFFINE, "mu: expected finite"),
        (-_MU, _AFFINE, "mu: .*Hounsfield"),
        (_MU * 1e5, _AFFINE, "mu: .*Hounsfield"),
        (_MU, np.eye(3), r"bone_from_voxel: expected shape \(4, 4\)"),
        (_MU, _changed(0, 0, np.inf), "bone_from_voxel: expected finite"),
        (_MU, _changed(3, 0, 1.0), "bone_from_voxel: expected the last row"),
        (_MU, _changed(1, 1, 0.0), "bone_from_voxel: .* non-zero"),
        (_MU, _changed(0, 1, 0.01), "bone_from_voxel: expected orthogonal"),
    ],
)
def test_refuses(mu: NDArray[np.float32], affine: NDArray[np.float64], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Volume(mu, affine)


def test_geometry_of_a_turned_mirrored_grid() -> None:
    affine = np.eye(4)
    turn = Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix()
    affine[:3, :3] = turn @ np.diag([0.5, -1.0, 2.0])
    affine[:3, 3] = [10, 20, 30]
    volume = Volume(_MU, affine)
    np.testing.assert_allclose(volume.spacing_mm, [0.5, 1.0, 2.0])
    assert volume.shape == (4, 3, 2)
    assert volume.corners.shape == (8, 3)
    np.testing.assert_allclose(volume.centre, turn @ [0.25, -1.0, 3.0] + [10, 20, 30])
    voxels = np.array([[1.0, 2.0, 3.0], [0.25, 0.0, 1.5]])
    np.testing.assert_allclose(volume.bone_to_voxel(volume.voxel_to_bone(voxels)), voxels, atol=1e-12)


def test_masked_keeps_only_the_mask() -> None:
    mask = np.zeros(_MU.shape, bool)
    mask[1, 2, 0] = True
    masked = Volume(_MU, _AFFINE).masked(mask)
    assert masked.mu[1, 2, 0] == _MU[1, 2, 0]
    assert np.count_nonzero(masked.mu) == 1
    for wrong in (mask[:2], mask.astype(float)):
        with pytest.raises(InputError, match="mask: expected booleans"):
            Volume(_MU, _AFFINE).masked(wrong)


def test_is_not_changed_from_outside() -> None:
    volume = Volume(_MU, _AFFINE)
    for array in (volume.mu, volume.bone_from_voxel):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
    assert _MU.flags.writeable
