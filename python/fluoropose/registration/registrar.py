"""From frame pairs to poses: look at the whole field, look closer, triangulate, and doubt the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from fluoropose.bone import Bone
from fluoropose.errors import InputError
from fluoropose.geometry import Pose, View
from fluoropose.learning.bundle import Bundle, LandmarkFacts
from fluoropose.learning.preprocess import crop_frame, lit_pixels
from fluoropose.region import Region
from fluoropose.registration.locate import around_pose, around_predictions, jittered, whole_field
from fluoropose.registration.registration import Registration, Status
from fluoropose.registration.trial import Checks
from fluoropose.registration.triangulation import triangulate
from fluoropose.rig import Rig

__all__ = ["Frames", "Look", "Registrar", "magnification", "residual_at_bone_mm"]

Frames = Sequence[NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Look:
    """What the network is shown of some frame pairs.

    Attributes
    ----------
    crops
        (pairs * views * looks, size, size), as the network takes them.
    windows
        Where each crop lies in its frame.
    blank
        Per crop, whether there was nothing to be seen in its window.
    pairs, looks
        Number of pairs, and of crops per frame.
    """

    crops: NDArray[np.float32]
    windows: tuple[Region, ...]
    blank: NDArray[np.bool_]
    pairs: int
    looks: int


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

    Raises
    ------
    InputError
        If the bundle was made for another bone or another rig, or holds no landmark network.
    """

    rig: Rig
    bone: Bone
    bundle: Bundle
    checks: Checks = field(default_factory=Checks)
    closer_looks: int = 2
    looks: int = 4

    def __post_init__(self) -> None:
        self.bundle.require(self.bone, self.rig)

    @property
    def _facts(self) -> LandmarkFacts:
        return self.bundle.landmarks.facts

    def register(self, pairs: Sequence[Frames], starts: Sequence[Pose | None] | None = None) -> list[Registration]:
        """Register frame pairs, all of them in one batch of the network.

        Parameters
        ----------
        pairs
            Per pair one frame per view (h, w), bright = attenuating, full scale 1.
        starts
            Per pair a pose to search round; None: the whole field.

        Returns
        -------
        One registration per pair; one that fails ``checks`` is failed and says why.
        """
        if any(len(frames) != len(self.rig.fluoroscopes) for frames in pairs):
            raise InputError(f"pairs: expected {len(self.rig.fluoroscopes)} frames in each")
        starts = [None] * len(pairs) if starts is None else starts
        regions = [self.regions(start) for start in starts]
        closer = 0 if self._facts.crop_margin is None else self.closer_looks
        for _ in range(closer):
            predicted = self.predict(self.look(pairs, regions, 1))
            found = [self.solve(px, start) for px, start in zip(predicted, starts, strict=True)]
            regions = [self._closer(px, one.world_from_bone) for px, one in zip(predicted, found, strict=True)]
        predicted = self.predict(self.look(pairs, regions, self.looks))
        return [self.checked(self.solve(px, start)) for px, start in zip(predicted, starts, strict=True)]

    def regions(self, near: Pose | None) -> list[Region]:
        """Return per view the square round the bone at a pose; the whole field without one or where it is not seen."""
        scopes, margin = self.rig.fluoroscopes, self._facts.crop_margin
        if near is None or margin is None:
            return [whole_field(scope) for scope in scopes]
        around = [around_pose(scope, self.bone.landmarks_mm, near, margin) for scope in scopes]
        return [region or whole_field(scope) for region, scope in zip(around, scopes, strict=True)]

    def _closer(self, predicted_px: NDArray[np.float64], pose: Pose | None) -> list[Region]:
        scopes, margin = self.rig.fluoroscopes, self._facts.crop_margin or 1.0
        near = [None if pose is None else around_pose(scope, self.bone.landmarks_mm, pose, margin) for scope in scopes]
        return [
            region or around_predictions(scope, px, margin)
            for region, scope, px in zip(near, scopes, predicted_px, strict=True)
        ]

    def look(self, pairs: Sequence[Frames], regions: Sequence[Sequence[Region]], looks: int = 1) -> Look:
        """Cut out what the network will see: per pair and view ``looks`` slightly moved crops of its region."""
        size, normalise = self._facts.size, self._facts.preprocessing.apply
        windows = tuple(look for of_pair in regions for region in of_pair for look in jittered(region, looks))
        images = [frame for frames in pairs for frame in frames for _ in range(looks)]
        scopes = [scope for _ in pairs for scope in self.rig.fluoroscopes for _ in range(looks)]
        crops = np.zeros((len(windows), size, size), np.float32)
        blank = np.zeros(len(windows), bool)
        for k, (image, window, scope) in enumerate(zip(images, windows, scopes, strict=True)):
            try:
                crops[k] = normalise(crop_frame(image, window, size), lit_pixels(scope, window, size))
            except InputError:  # nothing to be seen in this window
                blank[k] = True
        return Look(crops, windows, blank, len(pairs), looks)

    def predict(self, look: Look) -> NDArray[np.float64]:
        """Return landmarks (pairs, views, n, 2), recorded px; NaN where no look has the landmark inside its crop."""
        views, size = len(self.rig.fluoroscopes), self._facts.size
        index = np.tile(np.repeat(np.arange(views), look.looks), look.pairs).tolist()
        predicted = self.bundle.landmarks.predict(look.crops, index).px
        predicted[look.blank] = np.nan
        placed = np.stack([_in_frame(px, window, size) for px, window in zip(predicted, look.windows, strict=True)])
        return _mean_of_known(placed.reshape(look.pairs, views, look.looks, -1, 2), axis=2)

    def solve(
        self, predicted_px: NDArray[np.float64], start: Pose | None, mirrored: Sequence[bool] | None = None
    ) -> Registration:
        """Triangulate landmarks (views, n, 2), recorded px.

        ``mirrored`` asks for one hypothesis, one flag per view; None: the best of all of them.
        """
        if mirrored is not None:
            predicted_px = self._exchanged(predicted_px, mirrored)
        scopes = self.rig.fluoroscopes
        ideal = [scope.ideal_from_recorded(px) for scope, px in zip(scopes, predicted_px, strict=True)]
        pairs = self.bone.symmetric_pairs if mirrored is None else ()
        found = triangulate(self.bone.landmarks_mm, ideal, self.rig, pairs, start=start)
        return found if mirrored is None else replace(found, mirrored=tuple(mirrored))

    def _exchanged(self, predicted_px: NDArray[np.float64], mirrored: Sequence[bool]) -> NDArray[np.float64]:
        exchanged, (a, b) = predicted_px.copy(), self.bone.symmetric_pairs.T
        for view in np.flatnonzero(mirrored):
            exchanged[view, a], exchanged[view, b] = predicted_px[view, b], predicted_px[view, a]
        return exchanged

    def checked(self, found: Registration) -> Registration:
        """Return a registration that satisfies ``checks``, or the same as failed, with the reason."""
        reason = "" if found.world_from_bone is None else self._doubt(found, found.world_from_bone)
        if not reason:
            return found
        return replace(found, status=Status.FAILED, reason=reason, world_from_bone=None, covariance=None)

    def _doubt(self, found: Registration, pose: Pose) -> str:
        """Return why a pose cannot be trusted, or ""."""
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
        residual = residual_at_bone_mm(found, self.rig, pose)
        if residual > checks.max_residual_mm:
            return (
                f"the views do not agree: residual {residual:.1f} mm RMS at the bone, "
                f"expected at most {checks.max_residual_mm:g} mm"
            )
        return ""


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


def _in_frame(predicted: NDArray[np.float64], window: Region, size: int) -> NDArray[np.float64]:
    """Map predictions (n, 2) from a crop to the frame; NaN outside the crop, where the network only guesses."""
    inside = ((predicted >= -0.5) & (predicted < size - 0.5)).all(axis=1, keepdims=True)
    return np.where(inside, window.to_frame(predicted, size), np.nan)


def _mean_of_known(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Average along an axis without the NaN; NaN where there is nothing else."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
