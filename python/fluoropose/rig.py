"""The fluoroscopes of one installation, in one world frame."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoropose._checks import positive
from fluoropose._files import write_text
from fluoropose.distortion import Distortion
from fluoropose.errors import FileFormatError, FluoroposeError, InputError
from fluoropose.geometry import View

__all__ = ["CircularField", "Fluoroscope", "Rig"]

_FORMAT = "fluoropose-rig"
_VERSION = 1


@dataclass(frozen=True)
class CircularField:
    """The round part of the recorded image that carries signal: centre (u, v) and radius, recorded pixels."""

    u: float
    v: float
    radius: float

    def __post_init__(self) -> None:
        positive("radius", self.radius)
        if not (np.isfinite(self.u) and np.isfinite(self.v)):
            raise InputError(f"u, v: expected a finite centre, found ({self.u}, {self.v})")

    def contains(self, pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell for recorded pixels (n, 2) whether they lie in the field; NaN does not."""
        return np.asarray(np.hypot(pixels[:, 0] - self.u, pixels[:, 1] - self.v) <= self.radius)


@dataclass(frozen=True, eq=False)
class Fluoroscope:
    """One source and image intensifier (or flat panel): the ideal view and how recorded pixels differ from it.

    ``distortion`` None means that recorded pixels are ideal pixels; ``field`` None that the whole image carries signal.
    """

    view: View
    distortion: Distortion | None = None
    field: CircularField | None = None

    def project(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project world points (n, 3) mm to recorded pixels (n, 2); NaN behind the source."""
        return self.recorded_from_ideal(self.view.project(points_mm))

    def ideal_from_recorded(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Undistort recorded pixels (n, 2) to ideal pixels (n, 2)."""
        return pixels if self.distortion is None else self.distortion.ideal_from_recorded(pixels)

    def recorded_from_ideal(self, pixels: NDArray[np.float64]) -> NDArray[np.float64]:
        """Distort ideal pixels (n, 2) to recorded pixels (n, 2)."""
        return pixels if self.distortion is None else self.distortion.recorded_from_ideal(pixels)

    def sees(self, ideal_pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell for ideal pixels (n, 2) whether they fall inside the recorded image and its circular field."""
        inside = self.view.contains(ideal_pixels)
        if self.field is not None:
            inside &= self.field.contains(self.recorded_from_ideal(ideal_pixels))
        return inside


@dataclass(frozen=True, eq=False)
class Rig:
    """The fluoroscopes of one installation, in one world frame (see the package's conventions)."""

    fluoroscopes: tuple[Fluoroscope, ...]

    def __post_init__(self) -> None:
        if not self.fluoroscopes:
            raise InputError("fluoroscopes: expected at least one")
        object.__setattr__(self, "fluoroscopes", tuple(self.fluoroscopes))

    @property
    def views(self) -> tuple[View, ...]:
        """The ideal views."""
        return tuple(f.view for f in self.fluoroscopes)

    def save(self, path: str | Path) -> None:
        """Write the rig as JSON."""
        document = {
            "format": _FORMAT,
            "version": _VERSION,
            "units": "mm",
            "fluoroscopes": [_to_dict(f) for f in self.fluoroscopes],
        }
        write_text(path, json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Rig:
        """Read a rig that ``save`` wrote; raises FileFormatError naming the file and the field."""
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise FileFormatError(f"{path}: expected a rig file (JSON): {error}") from error
        if not isinstance(document, dict) or document.get("format") != _FORMAT:
            raise FileFormatError(f'{path}: expected "format": "{_FORMAT}"')
        if document.get("version") != _VERSION:
            raise FileFormatError(f"{path}: version: expected {_VERSION}, found {document.get('version')!r}")
        if document.get("units") != "mm":
            raise FileFormatError(f'{path}: units: expected "mm", found {document.get("units")!r}')
        try:
            return cls(tuple(_from_dict(entry) for entry in document["fluoroscopes"]))
        except (KeyError, TypeError, AttributeError, FluoroposeError) as error:
            raise FileFormatError(f"{path}: fluoroscopes: {error!s}") from error


def _to_dict(fluoroscope: Fluoroscope) -> dict[str, Any]:
    view, field = fluoroscope.view, fluoroscope.field
    return {
        "view": {
            "width": view.width,
            "height": view.height,
            "origin": view.origin.tolist(),
            "u_step": view.u_step.tolist(),
            "v_step": view.v_step.tolist(),
            "source": view.source.tolist(),
            "beam": view.beam,
        },
        "distortion": None if fluoroscope.distortion is None else fluoroscope.distortion.to_dict(),
        "field": None if field is None else {"u": field.u, "v": field.v, "radius": field.radius},
    }


def _from_dict(entry: dict[str, Any]) -> Fluoroscope:
    distortion, field = entry["distortion"], entry["field"]
    return Fluoroscope(
        View(**entry["view"]),
        None if distortion is None else Distortion.from_dict(distortion),
        None if field is None else CircularField(**field),
    )
