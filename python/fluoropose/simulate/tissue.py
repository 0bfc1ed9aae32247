"""What a CT's voxels are made of: soft tissue and cortical bone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fluoropose.io.ct import MU_WATER_PER_MM
from fluoropose.simulate.materials import PER_MM_AT_70_KEV

__all__ = ["tissue_shares"]

_SOFT_HU = 100.0  # what is denser holds bone; muscle lies near 50, contrast-free blood below 80
_WATER = PER_MM_AT_70_KEV["water"]
_SOFT, _BONE = (PER_MM_AT_70_KEV[name] / _WATER for name in ("soft_tissue", "cortical_bone"))


def tissue_shares(
    mu: NDArray[np.float32], mu_water_per_mm: float = MU_WATER_PER_MM
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Divide attenuation into soft tissue and cortical bone, of which a voxel may hold both.

    Up to 100 HU a voxel is soft tissue of some density (fat and lung are thin tissue); from there to cortical bone it
    is a mixture of tissue at 100 HU and bone, as in Schneider, Bortfeld and Schlegel, Physics in Medicine and Biology
    45 (2000) 459-478, section 2.4; beyond, dense bone (enamel, petrous bone). At 70 keV, near the effective energy of a
    CT at 120 kVp, both together attenuate as the CT's numbers say.

    Parameters
    ----------
    mu
        Any shape, 1/mm: mu_water (1 + HU / 1000), as bones made from a CT hold it.
    mu_water_per_mm
        The mu_water of that scale.

    Returns
    -------
    soft, bone
        Densities relative to the materials' own; the path through a voxel times this is a path in the material.
    """
    relative = np.asarray(mu, dtype=np.float32) / np.float32(mu_water_per_mm)
    limit = np.float32(1 + _SOFT_HU / 1000)
    share = np.clip((relative - limit) / np.float32(_BONE - limit), 0, 1)
    soft = np.minimum(relative, limit) * (1 - share) / np.float32(_SOFT)
    bone = np.where(relative > _BONE, relative / np.float32(_BONE), share)
    return np.asarray(soft, dtype=np.float32), np.asarray(bone, dtype=np.float32)
