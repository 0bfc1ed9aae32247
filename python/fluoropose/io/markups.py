"""Landmarks placed in 3D Slicer: markups as .mrk.json and .fcsv, in LPS or RAS."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fluoropose._checks import finite_array
from fluoropose._files import write_text
from fluoropose.errors import FileFormatError, InputError, first_line

__all__ = ["Markups", "read_markups", "write_markups"]

_RAS_FROM_LPS = np.array([-1.0, -1.0, 1.0])
_FCSV_SYSTEMS = {"0": "RAS", "1": "LPS", "RAS": "RAS", "LPS": "LPS"}


@dataclass(frozen=True, eq=False)
class Markups:
    """Named points: names, and (n, 3) DICOM LPS mm."""

    names: tuple[str, ...]
    points_mm: NDArray[np.float64]


def read_markups(path: str | Path) -> Markups:
    """Read points; whatever the file's coordinate system, LPS mm is returned.

    Raises
    ------
    FileFormatError
        If the file cannot be read, holds no points, a point is not placed, two have one name, or the system or unit
        is not one of LPS, RAS and mm.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors may put a mark first
    except (OSError, UnicodeDecodeError) as error:
        raise FileFormatError(f"{path}: cannot be read: {first_line(error)}") from error
    if path.name.endswith(".json"):
        system, rows = _from_json(path, text)
    elif path.suffix == ".fcsv":
        system, rows = _from_fcsv(path, text)
    else:
        raise FileFormatError(f"{path}: expected a file ending in .mrk.json or .fcsv")
    if system not in ("LPS", "RAS"):
        raise FileFormatError(f"{path}: coordinate system: expected LPS or RAS, found {system!r}")
    if not rows:
        raise FileFormatError(f"{path}: expected at least one point, found none")
    names = tuple(name for name, _ in rows)
    if len(set(names)) != len(names):
        double = next(n for n in names if names.count(n) > 1)
        raise FileFormatError(f"{path}: label: expected different names, found {double!r} twice")
    try:
        points = finite_array("position", [point for _, point in rows], (None, 3))
    except InputError as error:
        raise FileFormatError(f"{path}: {error}") from error
    return Markups(names, points if system == "LPS" else points * _RAS_FROM_LPS)


def write_markups(path: str | Path, names: tuple[str, ...], points_mm: ArrayLike) -> None:
    """Write named points (n, 3) LPS mm as a 3D Slicer .mrk.json file."""
    points = finite_array("points_mm", points_mm, (len(names), 3))
    control = [
        {"id": str(i + 1), "label": name, "position": point.tolist(), "positionStatus": "defined"}
        for i, (name, point) in enumerate(zip(names, points, strict=True))
    ]
    markups = [{"type": "Fiducial", "coordinateSystem": "LPS", "coordinateUnits": "mm", "controlPoints": control}]
    schema = "https://raw.githubusercontent.com/slicer/slicer/master/Modules/Loadable/Markups/Resources/Schema/markups-schema-v1.0.3.json#"
    write_text(path, json.dumps({"@schema": schema, "markups": markups}, indent=1) + "\n")


def _from_json(path: Path, text: str) -> tuple[str, list[tuple[str, Any]]]:
    try:
        markups = json.loads(text)["markups"]
        fiducials = [m for m in markups if m.get("type") == "Fiducial"]
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise FileFormatError(f"{path}: expected a 3D Slicer markups file: {error}") from error
    if len(fiducials) != 1:
        raise FileFormatError(f"{path}: markups: expected one list of type Fiducial, found {len(fiducials)}")
    units = fiducials[0].get("coordinateUnits", "mm")
    if units not in ("mm", ["mm", "UCUM", "millimeter"]):
        raise FileFormatError(f"{path}: coordinateUnits: expected mm, found {units!r}")
    rows = []
    for i, point in enumerate(fiducials[0].get("controlPoints", [])):
        name = str(point.get("label") or i + 1)
        if point.get("positionStatus", "defined") != "defined" or "position" not in point:
            raise FileFormatError(f"{path}: controlPoints: {name!r} has not been placed")
        rows.append((name, point["position"]))
    return str(fiducials[0].get("coordinateSystem")), rows


def _from_fcsv(path: Path, text: str) -> tuple[str, list[tuple[str, Any]]]:
    header = dict(line[1:].split("=", 1) for line in text.splitlines() if line.startswith("#") and "=" in line)
    header = {key.strip(): value.strip() for key, value in header.items()}
    system = _FCSV_SYSTEMS.get(header.get("CoordinateSystem", ""), header.get("CoordinateSystem", "none"))
    columns = [c.strip() for c in header.get("columns", "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label").split(",")]
    rows = []
    for line, fields in enumerate(csv.reader(x for x in text.splitlines() if x and not x.startswith("#"))):
        entry = dict(zip(columns, fields, strict=False))
        try:
            rows.append((entry.get("label") or entry["id"], [float(entry[axis]) for axis in "xyz"]))
        except (KeyError, ValueError) as error:
            raise FileFormatError(f"{path}: point {line + 1}: expected numbers x, y, z, found {fields}") from error
    return system, rows
