"""What a network was trained to expect of a rig, and how far another rig is from that.

Only what shows in the pictures counts: neither the world frame, nor the pixels' number, nor at which distance from the
source the image plane is said to be.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat

from fluoropose._toml import Config
from fluoropose.geometry import Pose
from fluoropose.region import Region
from fluoropose.rig import Fluoroscope, Rig

__all__ = ["TOLERANCE_DEG", "TOLERANCE_SHARE", "RigFacts", "ViewFacts"]

# As much as training turns and scales the pictures by default, halved for turns: that much a network has seen.
TOLERANCE_DEG = 5.0
TOLERANCE_SHARE = 0.1

# Below these, two calibrations are the same: those of the same images differ in the last digits with the threads they
# were made with, and those of the same machines by less than a network sees.
_NOTED_DEG = 0.05
_NOTED_SHARE = 1e-3

Triple = tuple[float, float, float]
Pair = tuple[float, float]


class ViewFacts(Config):
    """One view. Its own frame: origin at the source, z towards the middle of the field, x along u.

    Attributes
    ----------
    beam
        "point" or "parallel".
    field
        Width of the field: per distance from the source, or in mm for a parallel beam.
    first_from_view
        Rows of the (3, 3) rotation from this view's frame to that of the first view.
    source_mm
        (3,) in the first view's frame; zero where either beam is parallel, which has no source.
    distortion
        By how much nine pixels of the field, in its middle and round its rim, lie elsewhere in the recorded image than
        in an ideal one, as a share of the field's width; the middle by nothing. None in bundles that did not keep it.
    """

    beam: Literal["point", "parallel"]
    field: PositiveFloat
    first_from_view: tuple[Triple, Triple, Triple]
    source_mm: Triple
    distortion: tuple[Pair, ...] | None = None


class RigFacts(Config):
    """The rig that a set was rendered for.

    Attributes
    ----------
    fingerprint
        ``Rig.fingerprint``.
    views
        In the rig's order.
    """

    fingerprint: str
    views: tuple[ViewFacts, ...]

    @classmethod
    def of(cls, rig: Rig) -> RigFacts:
        """Take the facts of a rig."""
        frames = [_world_from_view(scope) for scope in rig.fluoroscopes]
        first = frames[0].inverse()
        parallel_first = rig.views[0].beam == "parallel"
        views = []
        for scope, frame in zip(rig.fluoroscopes, frames, strict=True):
            between = first * frame
            sourceless = parallel_first or scope.view.beam == "parallel"
            x, y, z = (_triple(row) for row in between.rotation)
            source = (0.0, 0.0, 0.0) if sourceless else _triple(between.translation_mm)
            views.append(
                ViewFacts(
                    beam=scope.view.beam,
                    field=_field(scope),
                    first_from_view=(x, y, z),
                    source_mm=source,
                    distortion=_distortion(scope),
                )
            )
        return cls(fingerprint=rig.fingerprint, views=tuple(views))

    def differences(self, other: RigFacts) -> tuple[list[str], bool]:
        """Say in words how another rig differs, and whether that is within the tolerance.

        Nothing is said of what is less than 0.05 degrees or a thousandth. The tolerance: ``TOLERANCE_DEG`` for turns
        between views, ``TOLERANCE_SHARE`` for the width of a field, the distortion as a share of that, and a source's
        place relative to the distance of the sources.
        """
        if self.fingerprint == other.fingerprint:
            return [], True
        if len(self.views) != len(other.views):
            return [f"{len(other.views)} views instead of {len(self.views)}"], False
        said, within = [], True
        for number, (a, b) in enumerate(zip(self.views, other.views, strict=True), start=1):
            if a.beam != b.beam:
                said.append(f"view {number} has a {b.beam} beam instead of a {a.beam} one")
                within = False
                continue
            differences = _differences(a, b)
            noted = [one.words for one in differences if one.size > one.noted]
            if noted:
                said.append(f"view {number}: {', '.join(noted)}")
            within &= all(one.size <= one.borne for one in differences)
        return said, within


class _Difference(NamedTuple):
    """In words; its size; from where on it is noted, and how much can be borne, in the same unit."""

    words: str
    size: float
    noted: float = _NOTED_SHARE
    borne: float = TOLERANCE_SHARE


def _differences(a: ViewFacts, b: ViewFacts) -> list[_Difference]:
    wider = b.field / a.field - 1
    turn = Pose(np.array(a.first_from_view), np.zeros(3)).angle_to(Pose(np.array(b.first_from_view), np.zeros(3)))
    moved_mm = float(np.linalg.norm(np.subtract(b.source_mm, a.source_mm)))
    baseline_mm = float(np.linalg.norm(a.source_mm)) or np.inf  # none for the first view and for parallel beams
    bent = 0.0
    if a.distortion is not None and b.distortion is not None:
        bent = float(np.linalg.norm(np.subtract(a.distortion, b.distortion), axis=1).max())
    return [
        _Difference(f"field {abs(wider):.1%} {'wider' if wider >= 0 else 'narrower'}", abs(wider)),
        _Difference(
            f"turned against view 1 by {np.degrees(turn):.2f} degrees", np.degrees(turn), _NOTED_DEG, TOLERANCE_DEG
        ),
        _Difference(f"source moved by {moved_mm:.1f} mm", moved_mm / baseline_mm),
        _Difference(f"distortion differs by {bent:.1%} of the field", bent),
    ]


def _world_from_view(scope: Fluoroscope) -> Pose:
    view = scope.view
    middle = view.pixel_to_world(scope.ideal_from_recorded(_field_middle(scope)[None]))[0]
    z = view.source if view.beam == "parallel" else middle - view.source
    z = z / np.linalg.norm(z)
    x = view.u_step - (view.u_step @ z) * z
    x = x / np.linalg.norm(x)
    origin = np.zeros(3) if view.beam == "parallel" else view.source
    return Pose(np.column_stack([x, np.cross(z, x), z]), origin)


def _field(scope: Fluoroscope) -> float:
    view, field = scope.view, scope.field
    side = Region.of_image(view.width, view.height).side_px if field is None else 2 * field.radius
    width_mm = side * float(np.sqrt(np.prod(view.pixel_pitch_mm)))
    return width_mm if view.beam == "parallel" else width_mm / view.sdd_mm


def _field_middle(scope: Fluoroscope) -> NDArray[np.float64]:
    if scope.field is None:
        return (np.array(scope.view.size_px) - 1) / 2
    return np.array([scope.field.u, scope.field.v])


def _distortion(scope: Fluoroscope) -> tuple[Pair, ...]:
    view, field = scope.view, scope.field
    side = max(view.size_px) if field is None else 2 * field.radius
    rim = 0.45 * side * np.array([(np.cos(a), np.sin(a)) for a in np.arange(8) * np.pi / 4])
    recorded = _field_middle(scope) + np.vstack([np.zeros(2), rim])
    bent = (recorded - scope.ideal_from_recorded(recorded)) / side
    return tuple((float(u), float(v)) for u, v in np.round(bent - bent[0], 6))


def _triple(values: NDArray[np.float64]) -> Triple:
    a, b, c = (float(value) for value in values)
    return a, b, c
