"""Refining a registered pose, or saying why it was kept as it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.refinement import Refiner
from fluoropose.registration.poses_file import PoseRow
from fluoropose.registration.registration import Status
from fluoropose.registration.trial import Checks

__all__ = ["REFINED", "not_refined", "refined_row", "rescued_row"]

REFINED = "+refinement"  # at the end of a row's source
_NOT_REFINED = "not refined: "  # at the beginning of its reason


def not_refined(row: PoseRow) -> bool:
    """Tell whether a row's pose should have been refined and could not be."""
    return row.world_from_bone is not None and row.reason.startswith(_NOT_REFINED)


def refined_row(row: PoseRow, frames: Sequence[NDArray[np.float32]], refiner: Refiner, checks: Checks) -> PoseRow:
    """Return the row with its pose refined, or with the reason why the landmarks' pose stands or is none.

    Parameters
    ----------
    row
        As registration found it; a failed one is returned as it is.
    frames
        Per view (h, w), bright = attenuating, full scale 1.
    refiner
        Of the same rig and bone.
    checks
        What the frames must say for the refined pose, or for the one that stands; otherwise the bone is somewhere else,
        and the row is failed.
    """
    if row.world_from_bone is None:
        return row
    try:
        found = refiner.refine(frames, row.world_from_bone)
    except InputError as error:
        return replace(row, reason=f"{_NOT_REFINED}{error}")
    doubt = refiner.doubt(found, row.world_from_bone)
    likeness = found.value_at_start if doubt else found.value
    at = row.world_from_bone if doubt else found
    reason = refiner.objection(frames, at, checks.min_likeness, checks.min_peak_fit)
    if reason:
        return replace(PoseRow.failed(row.frame, row.time_s, reason, row.source), likeness=likeness)
    if doubt:
        return replace(row, reason=f"{_NOT_REFINED}{doubt}", likeness=likeness)
    return replace(
        row,
        world_from_bone=found.world_from_bone,
        covariance=row.covariance if found.covariance is None else found.covariance,
        source=row.source + REFINED,
        likeness=likeness,
    )


def rescued_row(
    row: PoseRow, disputed: Pose, frames: Sequence[NDArray[np.float32]], refiner: Refiner, checks: Checks
) -> PoseRow:
    """Return a failed row with a pose on which the views did not agree, if refinement makes it fit every frame.

    Parameters
    ----------
    row
        As registration found it, failed.
    disputed
        See `Registration`.
    frames, refiner, checks
        As for `refined_row`. What does not pass is returned as it is.
    """
    found = refined_row(replace(row, status=Status.OK, reason="", world_from_bone=disputed), frames, refiner, checks)
    return found if found.source.endswith(REFINED) else row
