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


def _turned() -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0.3, -0.2, 0.5]).as_matrix() @ np.diag([0.5, -1.0, 2.0])
    affine[:3, 3] = [10, 20, 30]
    return affine


def test_trimmed_keeps_what_attenuates_in_its_place() -> None:
    mu = np.zeros((9, 8, 7), np.float32)
    mu[3:5, 2:6, 4] = 0.03
    whole = Volume(mu, _turned())
    small = whole.trimmed()
    assert small.shape == (4, 6, 3)  # one empty voxel on every side
    assert np.array_equal(small.mu[small.mu > 0], mu[mu > 0])
    at, before = np.argwhere(small.mu > 0)[:, ::-1], np.argwhere(mu > 0)[:, ::-1]
    np.testing.assert_allclose(small.voxel_to_bone(at), whole.voxel_to_bone(before), atol=1e-12)
    empty = Volume(np.zeros((2, 2, 2), np.float32), np.eye(4))
    assert empty.trimmed() is empty


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_extended_repeats_the_last_slice(sign: float) -> None:
    mu = np.random.default_rng(0).uniform(0.01, 0.02, (4, 5, 6)).astype(np.float32)
    whole = Volume(mu, _turned())
    towards = sign * _turned()[:3, 1]
    longer = whole.extended(towards, 2.5)
    assert longer.shape == (4, 8, 6)  # 2.5 mm in steps of 1 mm
    new = slice(5, 8) if sign > 0 else slice(0, 3)
    assert (longer.mu[:, new] == mu[:, [-1 if sign > 0 else 0]]).all()
    kept = 0 if sign > 0 else 3
    np.testing.assert_allclose(
        longer.voxel_to_bone(np.array([[2, kept, 1]])), whole.voxel_to_bone(np.array([[2, 0, 1]]))
    )


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_masks_of_a_part_stay_in_their_place(sign: float) -> None:
    mu = np.random.default_rng(0).uniform(0.01, 0.02, (4, 5, 6)).astype(np.float32)
    part = Volume(mu, _turned())
    mask = mu > 0.015
    whole = part.extended(sign * _turned()[:3, 1], 2.5)
    found = whole.mask_of(part, mask)
    assert found.sum() == mask.sum()
    np.testing.assert_allclose(
        whole.voxel_to_bone(np.argwhere(found)[:, ::-1]), part.voxel_to_bone(np.argwhere(mask)[:, ::-1]), atol=1e-12
    )
    with pytest.raises(InputError, match=r"mask: expected booleans of shape \(4, 5, 6\)"):
        whole.mask_of(part, found)


def test_beyond_is_the_distance_from_the_plane() -> None:
    volume = Volume(np.full((4, 5, 6), 0.02, np.float32), _turned())
    point, towards = np.array([11.0, 19.0, 31.0]), np.array([0.0, 3.0, -4.0])
    distance = volume.beyond(point, towards)
    voxel = np.array([[5, 1, 3]])
    expected = (volume.voxel_to_bone(voxel)[0] - point) @ towards / 5
    assert distance[3, 1, 5] == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match="towards: expected a direction"):
        volume.beyond(point, np.zeros(3))
