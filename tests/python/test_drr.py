"""Renderers against what is known in closed form."""

from __future__ import annotations

import numpy as np

from fluoropose.drr import Renderer
from fluoropose.geometry import Pose, View
from fluoropose.volume import Volume


def test_box_seen_head_on() -> None:
    # 0.02 1/mm over 20 slices of 1.5 mm; the interpolated edge counts half a voxel on each side.
    affine = np.diag([1.0, 1.0, 1.5, 1.0])
    affine[:3, 3] = [-9.5, -9.5, -14.25]
    volume = Volume(np.full((20, 20, 20), 0.02, np.float32), affine)
    view = View(11, 9, np.array([-5.0, -4.0, 100.0]), np.eye(3)[0], np.eye(3)[1], np.eye(3)[2], "parallel")
    np.testing.assert_allclose(Renderer(volume).render(view, Pose.identity()), 0.02 * 20 * 1.5, rtol=1e-5)
