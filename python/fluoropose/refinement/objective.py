"""What a refinement maximises: the mean over the views of the likeness of radiograph and frame, by the pose."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from fluoropose import _core
from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.refinement.compiled import CompiledCorrelation
from fluoropose.refinement.fixed import FixedView
from fluoropose.refinement.moving import Climb, MovingBone, pixel_at_bone_mm
from fluoropose.refinement.similarity import Image, LeastSquares, Metric, Similarity, Step
from fluoropose.refinement.tone import TONES, Tone

__all__ = ["Objective", "moved", "turned_about"]

Vector = NDArray[np.float64]


def moved(pose: Pose, step: Vector) -> Pose:
    """Turn a pose by step[:3] (radians, world axes) about the bone's origin, and shift it by step[3:] mm."""
    turn = Pose.exp(step[:3], np.zeros(3))
    return Pose((turn * pose).rotation, pose.translation_mm + step[3:])


def turned_about(pose: Pose, turn: NDArray[np.float64], middle_mm: NDArray[np.float64]) -> Pose:
    """Turn (3, 3, world axes) a pose about a point (3,) of the bone."""
    middle = pose.apply(middle_mm[None])[0]
    return Pose(turn @ pose.rotation, middle + turn @ (pose.translation_mm - middle))


@dataclass(frozen=True, eq=False)
class _Comparison:
    """One view's fixed image, ready to be compared; ``mask`` (h, w) says which pixels count."""

    fixed: FixedView
    mask: Image
    similarity: Similarity
    tone: Tone


class Objective:
    """The likeness of one bone's radiographs to the fixed images of all views at one resolution.

    Parameters
    ----------
    bone
        What is rendered.
    fixed
        One window per view.
    metric
        How images are compared.
    around
        Poses that tell which pixels count: those within ``reach_px`` of the bone's shadow under any of them.
    reach_px
        How far the shadow may move.
    tones
        How dense matter shows in each view. None: the one of `TONES` that is most alike at the first of the poses.
    finer_follows
        Whether a finer level goes on where this one ends, so that it need not be exact.

    Raises
    ------
    InputError
        If no pixel of a view counts: the bone lies outside the field.
    """

    def __init__(
        self,
        bone: MovingBone,
        fixed: Sequence[FixedView],
        metric: Metric,
        around: Sequence[Pose],
        reach_px: float,
        tones: Sequence[Tone] | None = None,
        finer_follows: bool = False,
    ) -> None:
        self._bone, self._metric, self.finer_follows = bone, metric, finer_follows
        given = [None] * len(fixed) if tones is None else tones
        self._views = [self._compare(one, around, reach_px, tone) for one, tone in zip(fixed, given, strict=True)]
        self.pixel_mm = min(pixel_at_bone_mm(one.view, around[0]) for one in fixed)
        self.reach_px, self.radius_mm = reach_px, bone.radius_mm

    @property
    def tones(self) -> tuple[Tone, ...]:
        """The tone of each view."""
        return tuple(view.tone for view in self._views)

    def best_tones(self, pose: Pose) -> tuple[Tone, ...]:
        """Return the one of `TONES` for each view that is most alike at a pose."""
        return tuple(_best_tone(one.similarity, self._render(one.fixed, pose)) for one in self._views)

    @property
    def pixels(self) -> float:
        """Number of pixels that count, over all views."""
        return float(sum(view.mask.sum() for view in self._views))

    def motion_px(self, step: Vector) -> float:
        """Return about how far a step of ``moved`` shifts the bone's surface, pixels at the bone."""
        return float(np.hypot(np.linalg.norm(step[:3]) * self.radius_mm, np.linalg.norm(step[3:])) / self.pixel_mm)

    def apart_px(self, poses: Sequence[Pose]) -> NDArray[np.float64]:
        """Return about how far (n, n) the bone's surface lies from itself between poses, pixels at the bone."""
        rotations = np.stack([pose.rotation for pose in poses])
        places = np.stack([pose.translation_mm for pose in poses])
        chords = np.linalg.norm(rotations[:, None] - rotations, axis=(2, 3)) / np.sqrt(8)  # the sine of half the angle
        shifts = np.linalg.norm(places[:, None] - places, axis=2)
        return np.asarray(np.hypot(2 * np.arcsin(np.minimum(chords, 1)) * self.radius_mm, shifts) / self.pixel_mm)

    def peak_fits(self, pose: Pose, distance_px: float) -> list[float]:
        """Return for each view how well its likeness falls off round a pose as the bone's own radiograph's does.

        What else is in a frame lowers the likeness there and at the twelve poses ``distance_px`` away along an axis by
        the same share, if the bone is where the pose says. 1 where it does, 0 or less where the difference is as large
        as the fall that is to be expected; NaN where a view shows nothing, -inf where it shows the contrary.
        """
        fits = []
        for one in self._views:
            around = self._around(pose, distance_px * pixel_at_bone_mm(one.fixed.view, pose) / self.pixel_mm)
            images = [one.tone.apply(image) for image in self._bone.render_many(one.fixed.view, [pose, *around])]
            itself = self._metric.against(images[0], one.mask)
            found, own = (np.array([kind.value(image) for image in images]) for kind in (one.similarity, itself))
            expected = found[0] / own[0] * (own[0] - own[1:])
            fit = float(1 - np.linalg.norm(found[0] - found[1:] - expected) / np.linalg.norm(expected))
            fits.append(-np.inf if found[0] <= 0 else fit)
        return fits

    def _around(self, pose: Pose, distance_px: float) -> list[Pose]:
        """Return the poses that lie so far away along an axis: turned about the bone's middle, or shifted."""
        poses = []
        for axis in np.eye(6):
            step = distance_px / self.motion_px(axis) * axis
            for way in (-step, step):
                turn = Pose.exp(way[:3], np.zeros(3)).rotation
                poses.append(moved(turned_about(pose, turn, self._bone.middle_mm), np.r_[0, 0, 0, way[3:]]))
        return poses

    def value(self, pose: Pose) -> float:
        """Return the mean similarity of the views; NaN where one of them shows nothing."""
        return float(np.mean(self.values(pose)))

    def values(self, pose: Pose) -> list[float]:
        """Return the similarity of each view; NaN where it shows nothing."""
        return [one.similarity.value(one.tone.apply(self._render(one.fixed, pose))) for one in self._views]

    def value_and_gradient(self, pose: Pose) -> tuple[float, Vector]:
        """Return the mean similarity and its derivative (6,) by a step of ``moved``."""
        values, gradients = [], []
        for one in self._views:
            view = one.fixed.view
            renderer = self._bone.renderer(view, pose)
            image = renderer.render(view, pose)
            value, by_pixel = one.similarity.value_and_gradient(one.tone.apply(image))
            values.append(value)
            gradients.append(renderer.pose_gradient(view, pose, by_pixel * one.tone.slope(image)))
        return float(np.mean(values)), np.mean(gradients, axis=0, dtype=np.float64)

    def step(self, pose: Pose) -> Step:
        """Return the mean of the views' normal equations by a step of ``moved``.

        Raises
        ------
        InputError
            If the metric is no sum of squares.
        """
        steps = []
        for one in self._views:
            if not isinstance(one.similarity, LeastSquares):
                raise InputError(f"metric: expected one that is a sum of squares, found {type(self._metric).__name__}")
            view = one.fixed.view
            image, jacobian = self._bone.renderer(view, pose).render_with_jacobian(view, pose)
            if one.tone.veil > 0:
                jacobian *= one.tone.slope(image)
            steps.append(one.similarity.step(one.tone.apply(image), jacobian))
        n = len(steps)
        jtj = np.sum([s.jtj for s in steps], axis=0) / n
        jtr = np.sum([s.jtr for s in steps], axis=0) / n
        return Step(sum(s.value for s in steps) / n, jtj, jtr, sum(s.independent for s in steps))

    @property
    def climb(self) -> Climb:
        """The compiled Levenberg-Marquardt for `compiled` views, where the bone renders."""
        return self._bone.climb

    def compiled(self) -> list[_core.ComparedView] | None:
        """Return what the compiled optimiser needs of every view; None where it does not know the metric."""
        renderers, views = [one.core for one in self._bone.renderers], []
        for one in self._views:
            if not isinstance(one.similarity, CompiledCorrelation):
                return None
            similarity, veil = one.similarity.core, one.tone.veil
            views.append(_core.ComparedView(one.fixed.view.core(), similarity, veil, renderers, self._bone.spacings_mm))
        return views

    @property
    def independent(self) -> float:
        """See `Step`; of the compiled metrics."""
        return sum(v.similarity.independent for v in self._views if isinstance(v.similarity, CompiledCorrelation))

    def reweighted(self, pose: Pose, scale: float) -> Objective:
        """Return this one with pixels that count the less, the worse they fit: by 1 / (1 + (r / scale)^2)^2.

        r: their residuals at ``pose`` over the RMS of all. That is Geman and McClure's weight: what another bone or a
        wire casts into the frame does not pull.
        """
        views = []
        for one in self._views:
            if not isinstance(one.similarity, LeastSquares):
                raise InputError(f"metric: expected one that is a sum of squares, found {type(self._metric).__name__}")
            residual = one.similarity.residual(one.tone.apply(self._render(one.fixed, pose)))
            robust = one.mask / (1 + (residual / np.float32(scale)) ** 2) ** 2
            views.append(replace(one, similarity=self._metric.against(one.fixed.image, robust)))
        other = copy(self)
        other._views = views
        return other

    def _render(self, one: FixedView, pose: Pose) -> Image:
        return self._bone.renderer(one.view, pose).render(one.view, pose)

    def _compare(self, one: FixedView, around: Sequence[Pose], reach_px: float, tone: Tone | None) -> _Comparison:
        images = self._bone.render_many(one.view, around)
        mask = _near(one, images, reach_px, self._metric.reach_px)
        similarity = self._metric.against(one.image, mask)
        return _Comparison(one, mask, similarity, _best_tone(similarity, images[0]) if tone is None else tone)


def _near(one: FixedView, images: Sequence[Image], reach_px: float, neighbourhood_px: int) -> Image:
    """Return the lit pixels near the shadows, without those whose neighbourhood is not lit."""
    rim = np.ones((2 * neighbourhood_px + 1, 2 * neighbourhood_px + 1), np.uint8)
    lit = cv2.erode(np.pad(one.weights, 1), rim, borderType=cv2.BORDER_CONSTANT, borderValue=0)[1:-1, 1:-1]
    shadow = np.any([image > 0 for image in images], axis=0)
    near = cv2.distanceTransform((~shadow).astype(np.uint8), cv2.DIST_L2, 3) <= reach_px
    mask = np.asarray(lit * near, dtype=np.float32)
    if not shadow.any() or not mask.any():
        raise InputError("start: expected a pose with the bone in the field of every view, found it out of one")
    return mask


def _best_tone(similarity: Similarity, image: Image) -> Tone:
    if isinstance(similarity, CompiledCorrelation):
        return similarity.best_tone(image, TONES)
    values = [similarity.value(tone.apply(image)) for tone in TONES]
    return TONES[int(np.nanargmax(values))] if np.isfinite(values).any() else TONES[0]
