"""What a refinement maximises: the mean over the views of the likeness of radiograph and frame, by the pose."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from fluoropose.errors import InputError
from fluoropose.geometry import Pose
from fluoropose.refinement.fixed import FixedView
from fluoropose.refinement.moving import MovingBone
from fluoropose.refinement.similarity import Image, LeastSquares, Metric, Similarity, Step
from fluoropose.refinement.tone import TONES, Tone

__all__ = ["Objective", "moved"]


def moved(pose: Pose, step: NDArray[np.float64]) -> Pose:
    """Turn a pose by step[:3] (rotation vector, radians, world axes) about the bone's origin and shift it by step[3:]."""
    turn = Pose.exp(step[:3], np.zeros(3))
    return Pose((turn * pose).rotation, pose.translation_mm + step[3:])


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
    start
        The pose about which pixels are chosen: those within ``reach_mm`` of the bone's shadow count.
    reach_mm
        How far the shadow may move, mm at the bone.
    """

    def __init__(
        self, bone: MovingBone, fixed: Sequence[FixedView], metric: Metric, start: Pose, reach_mm: float, tone: Tone | None = None
    ) -> None:
        self._bone, self._fixed, self._metric = bone, tuple(fixed), metric
        self._masks = [self._mask(one, start, reach_mm) for one in self._fixed]
        self._similarities: list[Similarity] = [
            metric.against(one.image, mask) for one, mask in zip(self._fixed, self._masks, strict=True)
        ]
        self.tones = [tone if tone is not None else self._best_tone(s, one, start) for s, one in self._views()]

    def value(self, pose: Pose) -> float:
        """Return the mean similarity of the views; NaN where one of them shows no bone."""
        return float(np.mean([s.value(t.apply(self._render(one, pose))) for (s, one), t in zip(self._views(), self.tones)]))

    def value_and_gradient(self, pose: Pose) -> tuple[float, NDArray[np.float64]]:
        """Return the mean similarity and its derivative (6,) by a step of ``moved``."""
        values, gradients = [], []
        for similarity, one in self._views():
            image, jacobian = self._bone.renderer(one.view, pose).render_with_jacobian(one.view, pose)
            value, by_pixel = similarity.value_and_gradient(image)
            values.append(value)
            gradients.append(jacobian.reshape(6, -1) @ by_pixel.ravel())
        return float(np.mean(values)), np.mean(gradients, axis=0, dtype=np.float64)

    def step(self, pose: Pose) -> Step:
        """Return the mean of the views' normal equations by a step of ``moved``."""
        steps = []
        for (similarity, one), tone in zip(self._views(), self.tones):
            if not isinstance(similarity, LeastSquares):
                raise InputError(f"metric: expected one that is a sum of squares, found {type(self._metric).__name__}")
            im, jac = self._bone.renderer(one.view, pose).render_with_jacobian(one.view, pose)
            steps.append(similarity.step(tone.apply(im), jac * tone.slope(im)))
        n = len(steps)
        return Step(sum(s.value for s in steps) / n, sum(s.jtj for s in steps) / n, sum(s.jtr for s in steps) / n)

    def reweighted(self, pose: Pose, scale: float) -> None:
        """Let pixels count less, the worse they fit at ``pose``: 1 / (1 + (r / scale)^2)^2, r over its RMS."""
        for k, (similarity, one) in enumerate(self._views()):
            assert isinstance(similarity, LeastSquares)
            residual = similarity.residual(self._render(one, pose))
            robust = (1 / (1 + (residual / scale) ** 2) ** 2).astype(np.float32)
            self._similarities[k] = self._metric.against(one.image, self._masks[k] * robust)

    def _views(self) -> list[tuple[Similarity, FixedView]]:
        return list(zip(self._similarities, self._fixed, strict=True))

    def _render(self, one: FixedView, pose: Pose) -> Image:
        return self._bone.renderer(one.view, pose).render(one.view, pose)

    def _best_tone(self, similarity, one, pose):
        im = self._render(one, pose)
        vals = [similarity.value(t.apply(im)) for t in TONES]
        return TONES[int(np.nanargmax(vals))]

    def _mask(self, one: FixedView, start: Pose, reach_mm: float) -> Image:
        """Return the lit pixels near the shadow, without those whose neighbourhood is not lit."""
        rim = 2 * self._metric.reach_px + 1
        lit = cv2.erode(np.pad(one.weights, 1), np.ones((rim, rim), np.uint8))[1:-1, 1:-1]
        shadow = (self._render(one, start) > 0).astype(np.uint8)
        pitch = max(one.view.pixel_pitch_mm)
        reach = max(1, int(np.ceil(reach_mm / pitch)))
        near = cv2.dilate(shadow, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1)))
        return np.asarray(lit * near, dtype=np.float32)
