"""From Hounsfield units to tissue and bone."""

from __future__ import annotations

import numpy as np
import pytest

from fluoropose.io.ct import MU_WATER_PER_MM
from fluoropose.simulate.materials import PER_MM_AT_70_KEV
from fluoropose.simulate.tissue import tissue_shares


def shares(hu: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return tissue_shares(np.atleast_1d(MU_WATER_PER_MM * (1 + np.asarray(hu) / 1000)).astype(np.float32))


def test_tissues_attenuate_as_the_ct_says() -> None:
    hu = np.linspace(-1000, 3000, 401)
    soft, bone = shares(hu)
    mu = soft * PER_MM_AT_70_KEV["soft_tissue"] + bone * PER_MM_AT_70_KEV["cortical_bone"]
    assert mu / PER_MM_AT_70_KEV["water"] == pytest.approx(1 + hu / 1000, abs=1e-5)
    assert (np.diff(bone) >= 0).all()
    assert soft.min() >= 0


def test_air_muscle_spongy_and_cortical_bone_are_told_apart() -> None:
    for hu, soft_range, bone_range in (
        (-1000, (0, 0), (0, 0)),
        (-100, (0.8, 0.9), (0, 0)),
        (50, (0.98, 1.02), (0, 0)),
        (400, (0.6, 0.9), (0.15, 0.3)),
        (1600, (0, 0.02), (0.98, 1.05)),
        (2500, (0, 0), (1.3, 1.5)),
    ):
        soft, bone = shares(hu)
        assert soft_range[0] - 1e-6 <= soft[0] <= soft_range[1] + 1e-6, hu
        assert bone_range[0] <= bone[0] <= bone_range[1], hu


def test_the_scale_of_the_bone_file_counts() -> None:
    soft, bone = tissue_shares(np.array([0.05], dtype=np.float32), 0.025)
    assert (soft[0], bone[0]) == pytest.approx([float(s[0]) for s in shares(1000)], rel=1e-6)
