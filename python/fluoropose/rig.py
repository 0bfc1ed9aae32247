"""The fluoroscopes of one installation, in one world frame."""

from __future__ import annotations

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fluoropose._checks import finite_array, float_array, positive
from fluoropose._files import write_text
from fluoropose.distortion import Distortion
from fluoropose.errors import FileFormatError, InputError, first_line
from fluoropose.geometry import View
from fluoropose.region import Region

__all__ = ["CircularField", "Fluoroscope", "Rig"]

_HEADER: dict[str, Any] = {"format": "fluoropose-rig", "version": 1, "units": "mm"}

# Distances between two sources, and from a source to its image plane, that an installation for bones can have (mm).
# Outside them the numbers are almost surely centimetres, metres or micrometres.
_PLAUSIBLE_MM = (300.0, 6_000.0)
_LARGEST_OFFSET_S = 0.1


@dataclass(frozen=True)
class CircularField:
    """The round part of the recorded image that carries signal: centre (u, v) and radius, recorded pixels."""

    u: float
    v: float
    radius: float

    def __post_init__(self) -> None:
        finite_array("u, v", (self.u, self.v), (2,))
        positive("radius", self.radius)

    def contains(self, pixels: ArrayLike) -> NDArray[np.bool_]:
        """Tell for recorded pixels (n, 2) whether they lie in the field; NaN does not."""
        u, v = float_array("pixels", pixels, (None, 2)).T
        return np.asarray(np.hypot(u - self.u, v - self.v) <= self.radius)


@dataclass(frozen=True, eq=False)
class Fluoroscope:
    """One source and image intensifier (or flat panel): the ideal view and how recorded pixels differ from it.

    ``distortion`` None means that recorded pixels are ideal pixels; ``field`` None that the whole image carries signal.
    ``pulse_offset_s`` is how much later than the moment of a frame pair this tube is pulsed (negative: earlier), s;
    tubes that fire in turn are some 5 to 16 ms apart.
    """

    view: View
    distortion: Distortion | None = None
    field: CircularField | None = None
    pulse_offset_s: float = 0.0

    def __post_init__(self) -> None:
        try:
            plausible = abs(self.pulse_offset_s) <= _LARGEST_OFFSET_S
        except TypeError:
            plausible = False
        if not plausible:
            raise InputError(
                f"pulse_offset_s: expected at most {_LARGEST_OFFSET_S:g} s, found {self.pulse_offset_s!r}; "
                "is the number seconds?"
            )

    @property
    def whole(self) -> Region:
        """The square round the field, or round the whole image where there is none."""
        if self.field is None:
            return Region.of_image(self.view.width, self.view.height)
        return Region.of_circle(self.field.u, self.field.v, self.field.radius)

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
        return self.shows(ideal_pixels, self.recorded_from_ideal(ideal_pixels))

    def shows(self, ideal_pixels: NDArray[np.float64], recorded_pixels: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell what ``sees`` does, where it is known already which recorded pixels (n, 2) they are."""
        inside = self.view.contains(ideal_pixels) & self.view.contains(recorded_pixels)  # both images are of one size
        return inside if self.field is None else inside & self.field.contains(recorded_pixels)


@dataclass(frozen=True, eq=False)
class Rig:
    """The fluoroscopes of one installation, in one world frame (see the package's conventions).

    Raises
    ------
    InputError
        If there is none, or distances between sources, or from a source to its image plane, cannot be millimetres.
    """

    fluoroscopes: tuple[Fluoroscope, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "fluoroscopes", tuple(self.fluoroscopes))
        if not self.fluoroscopes:
            raise InputError("fluoroscopes: expected at least one")
        for number, fluoroscope in enumerate(self.fluoroscopes, start=1):
            if not isinstance(fluoroscope, Fluoroscope):
                raise InputError(f"fluoroscopes: expected Fluoroscope, found {type(fluoroscope).__name__}")
            if fluoroscope.view.beam == "point":
                _check_millimetres(f"source-to-detector distance of view {number}", fluoroscope.view.sdd_mm)
        sources = [(i, f.view.source) for i, f in enumerate(self.fluoroscopes, start=1) if f.view.beam == "point"]
        for (i, a), (j, b) in itertools.combinations(sources, 2):
            _check_millimetres(f"distance between the sources of views {i} and {j}", float(np.linalg.norm(a - b)))

    @property
    def views(self) -> tuple[View, ...]:
        """The ideal views."""
        return tuple(f.view for f in self.fluoroscopes)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all that ``save`` writes: the same for the very same calibration only."""
        return hashlib.sha256(json.dumps([_to_dict(f) for f in self.fluoroscopes]).encode()).hexdigest()

    @property
    def offsets_s(self) -> tuple[float, ...]:
        """How much later than the first each view is exposed, s."""
        first = self.fluoroscopes[0].pulse_offset_s
        return tuple(f.pulse_offset_s - first for f in self.fluoroscopes)

    def save(self, path: str | Path) -> None:
        """Write the rig as JSON."""
        document = _HEADER | {"fluoroscopes": [_to_dict(f) for f in self.fluoroscopes]}
        write_text(path, json.dumps(document, indent=1) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> Rig:
        """Read a rig that ``save`` wrote; raises FileFormatError naming the file and the field."""
        try:
            document = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise FileFormatError(f"{path}: expected a rig file (JSON): {first_line(error)}") from error
        try:
            _require_fields("the file", document, _HEADER.keys() | {"fluoroscopes"})
            for name, value in _HEADER.items():
                if document[name] != value:
                    raise InputError(f"{name}: expected {value!r}, found {document[name]!r}")
            if not isinstance(document["fluoroscopes"], list):
                raise InputError(f"fluoroscopes: expected a list, found {document['fluoroscopes']!r}")
            return cls(tuple(_from_dict(f"fluoroscopes[{i}]", f) for i, f in enumerate(document["fluoroscopes"])))
        except InputError as error:
            raise FileFormatError(f"{path}: {error}") from error


def _check_millimetres(what: str, distance: float) -> None:
    low, high = _PLAUSIBLE_MM
    if not low <= distance <= high:
        raise InputError(f"{what}: expected {low:g} to {high:g} mm, found {distance:.6g}; are the numbers millimetres?")


def _to_dict(fluoroscope: Fluoroscope) -> dict[str, Any]:
    view, distortion, field = fluoroscope.view, fluoroscope.distortion, fluoroscope.field
    return {
        "view": {f.name: np.asarray(getattr(view, f.name)).tolist() for f in fields(view)},
        "distortion": None if distortion is None else distortion.to_dict(),
        "field": None if field is None else asdict(field),
        "pulse_offset_s": fluoroscope.pulse_offset_s,
    }


def _from_dict(name: str, entry: Any) -> Fluoroscope:
    if isinstance(entry, dict):
        entry = {"pulse_offset_s": 0.0} | entry  # rigs were written without it
    _require_fields(name, entry, {f.name for f in fields(Fluoroscope)})
    view, distortion, field = entry["view"], entry["distortion"], entry["field"]
    _require_fields(f"{name}.view", view, {f.name for f in fields(View)})
    if field is not None:
        _require_fields(f"{name}.field", field, {f.name for f in fields(CircularField)})
    try:
        return Fluoroscope(
            View(**view),
            None if distortion is None else Distortion.from_dict(distortion),
            None if field is None else CircularField(**field),
            entry["pulse_offset_s"],
        )
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _require_fields(name: str, value: Any, expected: set[str]) -> None:
    if not isinstance(value, dict):
        raise InputError(f"{name}: expected an object with {', '.join(sorted(expected))}, found {value!r:.80}")
    for kind, names in (("missing", expected - value.keys()), ("unknown", value.keys() - expected)):
        if names:
            raise InputError(f"{name}: {kind} field(s) {', '.join(sorted(names))}")
