"""What a network was trained to expect of a rig, and how far another rig is from that.

Only what shows in the pictures counts: neither the world frame, nor the pixels' number, nor at which distance from the
source the image plane is said to be.
"""

from __future__ import annotations

from typing import Literal

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

Triple = tuple[float, float, float]


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
    """

    beam: Literal["point", "parallel"]
    field: PositiveFloat
    first_from_view: tuple[Triple, Triple, Triple]
    source_mm: Triple


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
                ViewFacts(beam=scope.view.beam, field=_field(scope), first_from_view=(x, y, z), source_mm=source)
            )
        return cls(fingerprint=rig.fingerprint, views=tuple(views))

    def differences(self, other: RigFacts) -> tuple[list[str], bool]:
        """Say in words how another rig differs, and whether that is within the tolerance.

        Nothing is said of the very same calibration. The tolerance: ``TOLERANCE_DEG`` for turns between views,
        ``TOLERANCE_SHARE`` for the width of a field and for a source's place, relative to the distance of the sources.
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
            wider = b.field / a.field - 1
            said.append(f"view {number}: field {abs(wider):.1%} {'wider' if wider >= 0 else 'narrower'}")
            within &= abs(wider) <= TOLERANCE_SHARE
            if number > 1:
                turn = Pose(np.array(a.first_from_view), np.zeros(3)).angle_to(
                    Pose(np.array(b.first_from_view), np.zeros(3))
                )
                moved = float(np.linalg.norm(np.subtract(b.source_mm, a.source_mm)))
                said[-1] += f", turned against view 1 by {np.degrees(turn):.2f} degrees, source moved by {moved:.1f} mm"
                baseline = float(np.linalg.norm(a.source_mm))
                within &= bool(np.degrees(turn) <= TOLERANCE_DEG and moved <= TOLERANCE_SHARE * baseline)
        return said, within


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


def _triple(values: NDArray[np.float64]) -> Triple:
    a, b, c = (float(value) for value in values)
    return a, b, c
