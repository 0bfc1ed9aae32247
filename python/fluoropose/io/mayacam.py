"""MayaCam 2.0 calibration files, as XMALab and Autoscoper exchange them: one text file per fluoroscope."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fluoropose._files import write_text
from fluoropose.errors import FileFormatError, InputError, first_line
from fluoropose.geometry import View
from fluoropose.rig import Fluoroscope, Rig

__all__ = ["read_mayacam", "read_mayacam_rig", "write_mayacam"]

_MM_PER: dict[str, float] = {"mm": 1.0, "cm": 10.0, "m": 1000.0}
_SHAPES = {"image size": (1, 2), "camera matrix": (3, 3), "rotation": (3, 3), "translation": (3, 1)}


def read_mayacam(path: str | Path, *, sdd_mm: float = 1000.0, unit: str = "mm") -> View:
    """Read one view: x_camera = R x_world + t, pixel ~ K x_camera, centre of the first pixel at (0, 0).

    Parameters
    ----------
    path
        The file.
    sdd_mm
        Source-to-detector distance at which the image plane is placed, which the file does not tell (mm). Poses do
        not depend on it; distances on the image plane scale with it.
    unit
        Unit of the file's translation: "mm", "cm" or "m".

    Raises
    ------
    FileFormatError
        If the file cannot be read, or a section is missing, repeated, unknown, of a wrong size or meaningless.
    InputError
        If ``unit`` or ``sdd_mm`` is not valid.
    """
    if unit not in _MM_PER:
        raise InputError(f"unit: expected one of {', '.join(_MM_PER)}, found {unit!r}")
    sections = _read_sections(Path(path))
    width, height = sections["image size"][0]
    try:
        return View.from_krt(
            sections["camera matrix"],
            sections["rotation"],
            sections["translation"][:, 0] * _MM_PER[unit],
            (width, height),
            sdd_mm,
        )
    except InputError as error:
        raise FileFormatError(f"{path}: {error}") from error


def read_mayacam_rig(paths: Sequence[str | Path], *, sdd_mm: float = 1000.0, unit: str = "mm") -> Rig:
    """Read one file per view into a rig whose images are already free of distortion.

    Raises
    ------
    FileFormatError
        As ``read_mayacam``; also where the distances between the sources show that the unit is not ``unit``.
    """
    views = [read_mayacam(path, sdd_mm=sdd_mm, unit=unit) for path in paths]
    try:
        return Rig(tuple(Fluoroscope(view) for view in views))
    except InputError as error:
        names = ", ".join(str(path) for path in paths)
        raise FileFormatError(f'{names}: read with unit="{unit}": {error}') from error


def write_mayacam(path: str | Path, view: View) -> None:
    """Write one view with its translation in mm; raises InputError for a parallel beam or a mirrored image."""
    k, rotation, translation = view.to_krt()
    blocks = {
        "image size": np.array([view.size_px]),
        "camera matrix": k,
        "rotation": rotation,
        "translation": translation[:, None],
    }
    text = [f"{name}\n" + "".join(",".join(f"{x:.15g}" for x in row) + "\n" for row in m) for name, m in blocks.items()]
    write_text(path, "\n".join(text))


def _read_sections(path: Path) -> dict[str, NDArray[np.float64]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: expected a MayaCam 2.0 text file: {first_line(error)}") from error
    rows: dict[str, list[list[float]]] = {}
    for number, line in enumerate((text.strip() for text in lines), start=1):
        if line.lower() in _SHAPES:
            if line.lower() in rows:
                raise FileFormatError(f'{path}: line {number}: section "{line}" is repeated')
            rows[line.lower()] = []
        elif line:
            try:
                next(reversed(rows.values())).append([float(x) for x in line.split(",")])
            except (StopIteration, ValueError):
                raise FileFormatError(
                    f"{path}: line {number}: expected comma-separated numbers or one of "
                    f"{', '.join(_SHAPES)}, found {line[:60]!r}"
                ) from None
    return {name: _matrix(path, name, rows.get(name)) for name in _SHAPES}


def _matrix(path: Path, name: str, rows: list[list[float]] | None) -> NDArray[np.float64]:
    if rows is None:
        raise FileFormatError(f'{path}: expected a section "{name}", found none')
    height, width = _SHAPES[name]
    if [len(row) for row in rows] != [width] * height:
        raise FileFormatError(f"{path}: {name}: expected {height} line(s) of {width} number(s), found {rows}")
    matrix = np.array(rows, dtype=np.float64)
    if not np.isfinite(matrix).all():
        raise FileFormatError(f"{path}: {name}: expected finite numbers, found {rows}")
    return matrix
