"""From frame pairs to poses: look at the whole field, look closer, triangulate, and doubt the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fluoropose.bone import Bone
from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.learning.bundle import Bundle, SegmentNetwork, StyleNetwork
from fluoropose.region import Region
from fluoropose.registration.locate import around_pose, around_predictions
from fluoropose.registration.registration import Registration
from fluoropose.registration.sight import Frames, Masks, Seen, Sight
from fluoropose.registration.trial import Checks
from fluoropose.registration.triangulation import triangulate
from fluoropose.rig import Rig

__all__ = ["Registrar", "magnification", "residual_at_bone_mm"]

_MOST_WEIGHT = 16.0  # of a landmark relative to the median one, and the other way round for the least


@dataclass(frozen=True, eq=False)
class Registrar:
    """Finds one bone in the frames of one rig.

    Attributes
    ----------
    rig, bone, bundle
        The installation, the bone, and the network trained for it.
    checks
        Limits beyond which a registration is called failed.
    closer_looks
        How often the network looks again, at a square round the last pose.
    looks
        Slightly moved crops that are averaged in the last look.
    segmenter
        Finds the bone in the frames; landmarks that it does not see on the bone do not count. None: masks that are
        given to ``register``, or no segmentation.
    translator
        Makes radiographs of the X-rays before the landmark network sees them; None: as they are.
    weighted
        Whether a landmark weighs by the standard deviation that the network tells, if it does.

    Raises
    ------
    InputError
        If the bundle was made for another bone or another rig, holds no landmark network, or a network takes other
        crops than that.
    """

    rig: Rig
    bone: Bone
    bundle: Bundle
    checks: Checks = field(default_factory=Checks)
    closer_looks: int = 2
    looks: int = 4
    segmenter: SegmentNetwork | None = None
    translator: StyleNetwork | None = None
    weighted: bool = True

    def __post_init__(self) -> None:
        self.bundle.require(self.bone, self.rig)
        _ = self.sight

    @cached_property
    def sight(self) -> Sight:
        """The networks."""
        return Sight(self.rig, self.bundle, self.segmenter, self.translator)

    @property
    def _margin(self) -> float | None:
        return self.bundle.landmarks.facts.crop_margin

    def register(
        self,
        pairs: Sequence[Frames],
        starts: Sequence[Pose | None] | None = None,
        masks: Sequence[Masks] | None = None,
    ) -> list[Registration]:
        """Register frame pairs, all of them in one batch of the networks.

        Parameters
        ----------
        pairs
            Per pair one frame per view (h, w), bright = attenuating, full scale 1.
        starts
            Per pair a pose to search round; None: the whole field.
        masks
            Per pair one mask per view (h, w) bool, where the bone is; None: where the segmenter finds it, if any.

        Returns
        -------
        One registration per pair; one that fails ``checks`` is failed and says why.
        """
        if any(len(frames) != len(self.rig.fluoroscopes) for frames in pairs):
            raise InputError(f"pairs: expected {len(self.rig.fluoroscopes)} frames in each")
        if not pairs:
            return []  # the networks want something to look at
        starts = [None] * len(pairs) if starts is None else starts
        regions = [self.regions(start) for start in starts]
        for _ in range(0 if self._margin is None else self.closer_looks):
            seen = self.sight.see(self.sight.look(pairs, regions, 1, masks))
            found = [self.solve(one, start) for one, start in zip(seen, starts, strict=True)]
            regions = [self._closer(one, at) for one, at in zip(seen, found, strict=True)]
        seen = self.sight.see(self.sight.look(pairs, regions, self.looks, masks))
        return [self.checked(self.solve(one, start)) for one, start in zip(seen, starts, strict=True)]

    def regions(self, near: Pose | None) -> list[Region]:
        """Return per view the square round the bone at a pose; the whole field without one or where it is not seen."""
        scopes, margin = self.rig.fluoroscopes, self._margin
        if near is None or margin is None:
            return [scope.whole for scope in scopes]
        around = [around_pose(scope, self.bone.landmarks_mm, near, margin) for scope in scopes]
        return [region or scope.whole for region, scope in zip(around, scopes, strict=True)]

    def _closer(self, seen: Seen, found: Registration) -> list[Region]:
        """Return where to look next: round the pose; where that is doubtful, round the mask, or the predictions."""
        scopes, margin, pose = self.rig.fluoroscopes, self._margin or 1.0, found.world_from_bone
        near = [None if pose is None else around_pose(scope, self.bone.landmarks_mm, pose, margin) for scope in scopes]
        if pose is None or self._doubt(found, pose):
            boxes = zip(scopes, seen.outlines, strict=True)
            masked = [None if box is None else around_predictions(scope, box, margin) for scope, box in boxes]
            near = [mask or region for mask, region in zip(masked, near, strict=True)]
        return [
            region or around_predictions(scope, px, margin)
            for region, scope, px in zip(near, scopes, seen.px, strict=True)
        ]

    def solve(self, seen: Seen, start: Pose | None, mirrored: Sequence[bool] | None = None) -> Registration:
        """Triangulate what was seen of a pair.

        ``mirrored`` asks for one hypothesis, one flag per view; None: the best of all of them.
        """
        px, weights = seen.px, self._weights(seen)
        if mirrored is not None:
            px, weights = self._exchanged(px, mirrored), self._exchanged(weights, mirrored)
        scopes = self.rig.fluoroscopes
        ideal = [scope.ideal_from_recorded(one) for scope, one in zip(scopes, px, strict=True)]
        pairs = self.bone.symmetric_pairs if mirrored is None else ()
        found = triangulate(self.bone.landmarks_mm, ideal, self.rig, pairs, start=start, weights=weights)
        if mirrored is not None:
            found = replace(found, mirrored=tuple(mirrored))
        nothing = "; ".join(f"view {k}: {why}" for k, why in enumerate(seen.blank, start=1) if why)
        return replace(found, reason=nothing) if nothing and not found.ok else found

    def _weights(self, seen: Seen) -> NDArray[np.float64]:
        """Return (views, n) weights of squared distances on the image planes, 1 for the median standard deviation."""
        pitch = np.array([np.sqrt(np.prod(view.pixel_pitch_mm)) for view in self.rig.views])
        sd_mm = seen.sd_px * pitch[:, None]
        if not self.weighted or not np.isfinite(sd_mm).any():
            return np.ones(sd_mm.shape)
        weights = (np.nanmedian(sd_mm) / sd_mm) ** 2
        return np.where(np.isfinite(sd_mm), weights.clip(1 / _MOST_WEIGHT, _MOST_WEIGHT), 1.0)

    def _exchanged(self, values: NDArray[np.float64], mirrored: Sequence[bool]) -> NDArray[np.float64]:
        exchanged, (a, b) = values.copy(), self.bone.symmetric_pairs.T
        for view in np.flatnonzero(mirrored):
            exchanged[view, a], exchanged[view, b] = values[view, b], values[view, a]
        return exchanged

    def checked(self, found: Registration) -> Registration:
        """Return a registration that satisfies ``checks``, or the same as failed, with the reason."""
        pose = found.world_from_bone
        if pose is None:
            return found
        unseen = self._hardly_seen(found, pose)
        reason = unseen or self._disagreement(found, pose)
        if not reason:
            return found
        failed = found.failed(reason)
        return failed if unseen else replace(failed, disputed=pose)

    def _doubt(self, found: Registration, pose: Pose) -> str:
        """Return why a pose cannot be trusted, or ""."""
        return self._hardly_seen(found, pose) or self._disagreement(found, pose)

    def _hardly_seen(self, found: Registration, pose: Pose) -> str:
        checks = self.checks
        if found.n_visible < checks.min_landmarks:
            return f"too few landmarks: {found.n_visible} used, expected at least {checks.min_landmarks}"
        placed = pose.apply(self.bone.landmarks_mm)
        for k, scope in enumerate(self.rig.fluoroscopes):
            share = float(scope.sees(scope.view.project(placed)).mean())
            if share < checks.min_share_in_field:
                return (
                    f"bone out of the field: {share:.0%} of its landmarks project into the field of view {k + 1}, "
                    f"expected at least {checks.min_share_in_field:.0%}"
                )
        return ""

    def _disagreement(self, found: Registration, pose: Pose) -> str:
        residual, most = residual_at_bone_mm(found, self.rig, pose), self.checks.max_residual_mm
        if residual <= most:
            return ""
        return f"the views do not agree: residual {residual:.1f} mm RMS at the bone, expected at most {most:g} mm"


def residual_at_bone_mm(found: Registration, rig: Rig, pose: Pose) -> float:
    """Return the root mean square distance of predicted from projected landmarks, brought back to the bone, mm."""
    scales = np.array([magnification(view, pose) for view in rig.views])
    squares = (found.residuals_mm**2).sum(axis=-1) / scales[:, None] ** 2
    return float(np.sqrt(np.nanmean(squares)))


def magnification(view: View, world_from_bone: Pose) -> float:
    """Return how much larger than itself the bone's shadow is on the image plane of ``view``."""
    if view.beam == "parallel":
        return 1.0
    depth = abs(float((world_from_bone.translation_mm - view.source) @ view.normal))
    return view.sdd_mm / max(depth, 1e-6)
