"""The synthetic head: nearly symmetric but not quite, whole, and of plausible size and attenuation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from fluoropose.simulate.phantom import head
from fluoropose.simulate.solids import Grid, capsule, ellipsoid, mirrored, slab, tube


def test_head_is_nearly_symmetric_but_not_quite() -> None:
    bone = head().bone_share > 0.5
    mirror = bone[:, :, ::-1]
    overlap = (bone & mirror).sum() / (bone | mirror).sum()
    assert 0.9 < overlap < 0.985
    even = head(asymmetric=False).bone_share
    assert np.abs(even - even[:, :, ::-1]).max() < 1e-4


def test_head_is_one_skull_of_human_size() -> None:
    made = head()
    bone = made.bone_share > 0.5
    parts, count = ndimage.label(bone)
    sizes = ndimage.sum_labels(bone, parts, range(1, count + 1))
    assert sizes.max() > 0.98 * bone.sum()  # the rest are teeth
    extent = np.ptp(made.bone_points_mm, axis=0)
    assert extent == pytest.approx([146, 198, 212], abs=12)  # an adult's skull with jaw: 140-150 x 180-200 x 200-220
    assert made.mu.min() >= 0
    assert 0.05 < np.percentile(made.mu[bone], 90) < 0.1


def test_bone_never_touches_the_border() -> None:
    bone = head().bone_share > 0
    assert not any(face.any() for axis in range(3) for face in np.moveaxis(bone, axis, 0)[[0, -1]])


def volume(solid: object, spacing: float = 0.5) -> float:
    count = int(40 / spacing) + 1
    grid = Grid((-20.0, -20.0, -20.0), spacing, (count, count, count))
    _, share = grid.share(solid)  # type: ignore[arg-type]
    return float(share.sum()) * spacing**3


def test_solids_have_their_volumes() -> None:
    ball = 4 / 3 * np.pi
    assert volume(ellipsoid((1, 2, 3), (10, 6, 8))) == pytest.approx(ball * 480, rel=0.01)
    assert volume(capsule((-5, 0, 0), (5, 0, 0), 4)) == pytest.approx(np.pi * 160 + ball * 64, rel=0.01)
    bent = tube([(-5, 0, 0), (0, 0, 0), (5, 0, 0)], 4)
    assert volume(bent) == pytest.approx(volume(capsule((-5, 0, 0), (5, 0, 0), 4)), rel=1e-3)
    ball10 = ellipsoid((0, 0, 0), (10, 10, 10))
    assert volume(ball10 & slab((0, 0, 0), (0, 0, 1), np.inf)) == pytest.approx(ball * 500, rel=0.01)
    assert volume(ball10 & slab((0, 0, 0), (1, 1, 0), 2)) == pytest.approx(np.pi * (200 - 2 / 3), rel=0.03)
    assert volume(ball10 - ellipsoid((0, 0, 0), (5, 5, 5))) == pytest.approx(ball * 875, rel=0.01)
    assert volume(ball10 | ellipsoid((0, 0, 0), (5, 5, 5))) == pytest.approx(ball * 1000, rel=0.01)


def test_mirror_swaps_left_and_right() -> None:
    grid = Grid((-20.0, -20.0, -20.0), 1.0, (41, 41, 41))
    window, share = grid.share(mirrored(capsule((3, 1, 2), (12, -4, 5), 3, 2)))
    other, original = grid.share(capsule((3, 1, 2), (12, -4, 5), 3, 2))
    assert window[2].start == 41 - other[2].stop
    assert share == pytest.approx(original[:, :, ::-1], abs=1e-5)


def test_the_middle_of_an_ellipsoid_is_inside() -> None:
    grid = Grid((-10.0, -10.0, -10.0), 1.0, (21, 21, 21))
    _, share = grid.share(ellipsoid((0.0, 0.0, 0.0), (6.0, 7.0, 8.0)))
    assert share[tuple(n // 2 for n in share.shape)] == 1
