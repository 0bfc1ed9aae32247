"""fluoropose: six-degree-of-freedom bone poses from pairs of X-ray fluoroscopy frames.

Conventions, stated once and relied on everywhere:

- Millimetres, radians, seconds; degrees only in names that end in ``_deg``. Attenuation in 1/mm.
- Transforms are named ``a_from_b``: ``x_a = a_from_b * x_b``.
- Pixels are (u right, v down); the centre of the first pixel is (0, 0). Images are (rows, columns) = (v, u).
- Volumes are indexed [z, y, x]; points are (n, 3) arrays; CT frames are DICOM's LPS.
- Inside, bright means attenuating (line integrals).
"""

from fluoropose._core import __version__

__all__ = ["__version__"]
