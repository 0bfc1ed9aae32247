"""Whole files, or none: the images and tables of a simulated laboratory."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

from fluoropose._files import atomic_path

__all__ = ["write_csv", "write_matrices", "write_png"]


def write_png(path: Path, image: NDArray[np.uint8] | NDArray[np.uint16]) -> None:
    """Write a grey image (h, w)."""
    with atomic_path(path) as temporary:
        iio.imwrite(temporary, image)


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table with one header line."""
    with atomic_path(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_matrices(path: Path, key: str, matrices: Iterable[tuple[str, NDArray[np.float64]]]) -> None:
    """Write named (4, 4) matrices, one per line, row-major."""
    header = (key, *(f"m{row}{column}" for row in range(4) for column in range(4)))
    write_csv(path, header, [(name, *(f"{value:.9f}" for value in m.ravel())) for name, m in matrices])
