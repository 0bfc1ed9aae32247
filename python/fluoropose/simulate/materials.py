"""What bodies, implants and screens are made of, and how much of X-rays they take away.

Compositions and densities of tissues: ICRU Report 44 (1989), as tabulated by NIST (Hubbell and Seltzer, "X-Ray Mass
Attenuation Coefficients", NISTIR 5632, table 2). Alloys: ASTM F75 and F136. Coefficients: Elam, Ravel and Sieber,
Radiation Physics and Chemistry 63 (2002) 121-128, through xraydb.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError

__all__ = ["CAESIUM_IODIDE", "MATERIALS", "PER_MM_AT_70_KEV", "Material", "MaterialName", "physics"]

MaterialName = Literal[
    "water", "soft_tissue", "cortical_bone", "cobalt_chromium", "titanium", "polyethylene", "acrylic", "iodine_contrast"
]


def physics(library: str) -> InputError:
    """Return the error for a ``library`` of X-ray physics that is not installed."""
    return InputError(
        f'beam: X-ray physics needs {library}: pip install "fluoropose[simulate]" (spekpy, xraydb; 165 MB), '
        "or leave the beam out: one energy, with the attenuation that the bone files hold"
    )


@dataclass(frozen=True)
class Material:
    """A mixture of elements.

    Attributes
    ----------
    density_g_per_cm3
        Mass density.
    mass_shares
        Symbol and share by mass of every element.
    """

    density_g_per_cm3: float
    mass_shares: tuple[tuple[str, float], ...]

    def attenuation_per_mm(self, energies_kev: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the linear attenuation (n,) 1/mm at energies (n,) keV, coherent scattering included.

        Raises
        ------
        InputError
            If xraydb is not installed, or an energy lies outside its range.
        """
        try:
            import xraydb
        except ImportError:
            raise physics("xraydb") from None
        energies = np.asarray(energies_kev, dtype=np.float64)
        if not ((energies >= 1) & (energies <= 500)).all():
            raise InputError(f"energies_kev: expected 1 to 500 keV, found {energies.min():g} to {energies.max():g}")
        total = sum(share * np.asarray(xraydb.mu_elam(symbol, energies * 1e3)) for symbol, share in self.mass_shares)
        return np.asarray(total * self.density_g_per_cm3 / 10, dtype=np.float64)


MATERIALS: dict[MaterialName, Material] = {
    "water": Material(1.0, (("H", 0.1119), ("O", 0.8881))),
    "soft_tissue": Material(
        1.06,
        (
            *(("H", 0.102), ("C", 0.143), ("N", 0.034), ("O", 0.708), ("Na", 0.002)),
            *(("P", 0.003), ("S", 0.003), ("Cl", 0.002), ("K", 0.003)),
        ),
    ),
    "cortical_bone": Material(
        1.92,
        (
            *(("H", 0.034), ("C", 0.155), ("N", 0.042), ("O", 0.435), ("Na", 0.001)),
            *(("Mg", 0.002), ("P", 0.103), ("S", 0.003), ("Ca", 0.225)),
        ),
    ),
    "cobalt_chromium": Material(8.3, (("Co", 0.645), ("Cr", 0.285), ("Mo", 0.06), ("Si", 0.01))),
    "titanium": Material(4.43, (("Ti", 0.90), ("Al", 0.06), ("V", 0.04))),
    "polyethylene": Material(0.94, (("H", 0.1437), ("C", 0.8563))),
    "acrylic": Material(1.19, (("H", 0.0805), ("C", 0.5999), ("O", 0.3196))),
    # 300 mg iodine per ml of contrast medium, the rest as water.
    "iodine_contrast": Material(1.349, (("H", 0.087), ("O", 0.6906), ("I", 0.2224))),
}
"""By name; what bodies and implants can be made of."""
assert set(MATERIALS) == set(get_args(MaterialName))

CAESIUM_IODIDE = Material(4.51, (("Cs", 0.5115), ("I", 0.4885)))
"""The intensifier's input screen."""

PER_MM_AT_70_KEV: dict[MaterialName, float] = {
    "water": 0.019285,
    "soft_tissue": 0.020310,
    "cortical_bone": 0.049353,
    "cobalt_chromium": 0.77261,
    "titanium": 0.23023,
    "polyethylene": 0.017747,
    "acrylic": 0.021717,
    "iodine_contrast": 0.17071,
}
"""Attenuation at 70 keV, for a beam of one energy without the libraries, and near the effective energy of a CT."""
