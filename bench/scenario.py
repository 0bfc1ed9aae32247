"""A trial whose truth is known, and what triangulated landmarks alone (no refinement) make of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fluoropose.bone import Bone
from fluoropose.evaluation import pose_errors
from fluoropose.geometry import Pose
from fluoropose.io.frames import frame_range, open_frames
from fluoropose.io.stored_frame import attenuating
from fluoropose.registration.evaluate import read_reference
from fluoropose.registration.registrar import Registrar
from fluoropose.registration.summary import summarise
from fluoropose.rig import Rig
from fluoropose.silhouette import field_mask, silhouette

__all__ = ["Scenario", "landmark_row", "line"]

_AT_ONCE = 6  # pairs


@dataclass(frozen=True, eq=False)
class Scenario:
    """A trial's frame pairs, bright = attenuating, where the bone truly was, and its shadows (h, w) in the field."""

    pairs: list[list[NDArray[np.float32]]]
    truth: list[Pose]
    masks: list[list[NDArray[np.bool_]]]

    @classmethod
    def load(
        cls,
        frames: Sequence[Path],
        reference: Path,
        span: str | None,
        rig: Rig,
        bone: Bone,
        world_from_reference: Pose | None = None,
    ) -> Scenario:
        """Read the pairs "A:B" of a trial; the reference takes the bone's source frame to its own world."""
        sources = [open_frames(folder) for folder in frames]
        references = read_reference(reference)
        world = world_from_reference or Pose.identity()
        pairs, truth, masks = [], [], []
        for i in frame_range(span, len(sources[0])):
            pairs.append([attenuating(source.read(i), source.bits, "bright_air") for source in sources])
            truth.append(world * references[int(sources[0].name(i))] * bone.bone_from_source.inverse())
            placed = truth[-1].apply(bone.vertices)
            masks.append([silhouette(s, placed, bone.faces) & field_mask(s) for s in rig.fluoroscopes])
        return cls(pairs, truth, masks)


def landmark_row(registrar: Registrar, trial: Scenario, true_masks: bool) -> dict[str, Any]:
    """Register every pair from nowhere and summarise the errors; with ``true_masks`` the bone is cut out exactly."""
    found: list[Pose | None] = []
    for i in range(0, len(trial.pairs), _AT_ONCE):
        masks = trial.masks[i : i + _AT_ONCE] if true_masks else None
        found += [one.world_from_bone for one in registrar.register(trial.pairs[i : i + _AT_ONCE], masks=masks)]
    errors = pose_errors(found, trial.truth, registrar.bone.landmarks_mm)
    summary = summarise(len(found), int(errors.failed.sum()), errors=errors)
    return summary.model_dump(exclude={"environment", "seconds", "seconds_per_pair", "iou"})


def line(row: Mapping[str, Any], *names: str) -> str:
    """Return a row as a line of text that begins with some of its fields."""
    said = " ".join(f"{row[name]!s:12}" for name in names) + f" failed {row['failed']:2} of {row['pairs']}"
    degrees, mm = row["rotation_error_deg"], row["translation_error_mm"]
    if degrees is None:
        return said
    return f"{said}  {degrees['mean']:6.2f} ± {degrees['sd']:5.2f}°  {mm['mean']:6.2f} ± {mm['sd']:5.2f} mm"
