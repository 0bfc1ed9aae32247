"""Matching detected beads to the regular square grid of a calibration plate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fluoropose._checks import finite_array
from fluoropose.errors import InputError

__all__ = ["match_grid"]

_CAPTURE = 0.25  # how far from its predicted place a bead may lie, as a share of the local spacing
_NEIGHBOURS = 12  # matched beads that predict the place of one more
_REACH = 2  # a bead is sought up to this many steps from a matched one, so that missing beads do not stop the growth


def match_grid(centres_px: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give every bead its place on the plate's square grid, growing from the middle of the image.

    A distorted grid is locally regular, so the place of the next bead follows from the matched ones nearby. Beads may
    be missing; spots that lie on no grid point stay unmatched.

    Parameters
    ----------
    centres_px
        (n, 2) pixels.

    Returns
    -------
    (n, 3) integers: column i, row j, and 1 where the bead is matched or 0 where not. The grid's first axis is the
    one within 45 degrees of the image's u axis; (0, 0) is the matched bead nearest to the middle.

    Raises
    ------
    InputError
        If no square of neighbouring beads is found to start from.
    """
    centres = finite_array("centres_px", centres_px, (None, 2))
    if len(centres) < 9:
        raise InputError(f"centres_px: expected at least 9 beads to match to a grid, found {len(centres)}")
    tree = cKDTree(centres)
    place = _seed(centres, tree)
    grown = True
    while grown:
        grown = _grow(centres, tree, place)
    matched = np.zeros((len(centres), 3), dtype=np.int64)
    for (i, j), bead in place.items():
        matched[bead] = i, j, 1
    return matched


def _seed(centres: NDArray[np.float64], tree: cKDTree) -> dict[tuple[int, int], int]:
    """Return the beads of a 2 x 2 square with its neighbours, as near to the middle as one is found."""
    middle = (centres.min(axis=0) + centres.max(axis=0)) / 2
    spacing = float(np.median(tree.query(centres, k=2)[0][:, 1]))
    for start in np.argsort(np.linalg.norm(centres - middle, axis=1))[:50]:
        around = [b for b in tree.query_ball_point(centres[start], 1.2 * spacing) if b != start]
        steps = centres[around] - centres[start]
        for du, dv in steps:
            # The first axis: along +u, the other a quarter turn clockwise as seen (v points down).
            if du <= 0 or abs(dv) > du:
                continue
            corners = centres[start] + np.array([[du, dv], [-dv, du], [du - dv, du + dv]])
            distance, bead = tree.query(corners)
            if (distance < _CAPTURE * np.hypot(du, dv)).all():
                return {(0, 0): int(start), (1, 0): int(bead[0]), (0, 1): int(bead[1]), (1, 1): int(bead[2])}
    raise InputError("centres_px: expected beads on a square grid, found no square of neighbours near the middle")


def _grow(centres: NDArray[np.float64], tree: cKDTree, place: dict[tuple[int, int], int]) -> bool:
    """Match the beads within reach of the matched ones; True when any was added."""
    known = np.array(list(place), dtype=np.float64)
    images = centres[list(place.values())]
    known_tree = cKDTree(known)
    offsets = [(a, b) for a in range(-_REACH, _REACH + 1) for b in range(-_REACH, _REACH + 1)]
    fringe = {(i + a, j + b) for i, j in place for a, b in offsets} - place.keys()
    taken = set(place.values())
    candidates: dict[int, tuple[float, tuple[int, int]]] = {}
    for target in fringe:
        nearest = known_tree.query(target, k=min(_NEIGHBOURS, len(known)))[1]
        predicted, step = _extrapolate(known[nearest], images[nearest], target)
        distance, bead = tree.query(predicted)
        miss = distance / step
        if miss < _CAPTURE and bead not in taken and miss < candidates.get(int(bead), (np.inf,))[0]:
            candidates[int(bead)] = (miss, target)
    place.update({target: bead for bead, (_, target) in candidates.items()})
    return bool(candidates)


def _extrapolate(
    known: NDArray[np.float64], images: NDArray[np.float64], target: tuple[int, int]
) -> tuple[NDArray[np.float64], float]:
    """Predict by a local affine map the pixel of a grid point; also the local spacing, pixels."""
    terms = np.column_stack([np.ones(len(known)), known - target])
    coefficients = np.linalg.lstsq(terms, images, rcond=None)[0]
    step = float(np.linalg.norm(coefficients[1:], axis=1).mean())
    return coefficients[0], max(step, 1e-6)
