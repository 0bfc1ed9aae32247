"""The path through each label."""

from __future__ import annotations

import numpy as np
import pytest

from drr_reference import line_integrals
from drr_scenes import POSES, affine, oblique_view, pixels
from fluoropose.drr import LabelRenderer, Renderer
from fluoropose.errors import InputError
from fluoropose.volume import Volume

PLACE = affine((1.1, 0.8, 1.6), (19, 17, 23), (0.3, -0.2, 0.5))


def label_map() -> np.ndarray:
    labels = np.zeros((19, 17, 23), np.uint8)
    labels[3:9, 3:14, 3:12] = 4
    labels[9:16, 5:12, 8:20] = 7
    return labels


def test_paths_are_the_integrals_of_each_label_s_voxels() -> None:
    labels, view = label_map(), oblique_view()
    renderer = LabelRenderer(labels, PLACE)
    assert renderer.labels == (4, 7)
    for pose in POSES[:5]:
        paths = renderer.render(view, pose)
        assert paths.shape == (2, 31, 41)
        for path, label in zip(paths, renderer.labels, strict=True):
            alone = Volume((labels == label).astype(np.float32), PLACE)
            exact = line_integrals(alone, view, pose, pixels(view))
            # Sharp boxes of a few voxels are the hardest there is: measured 1.3 % RMS.
            assert np.sqrt(np.mean((path.ravel() - exact) ** 2)) < 0.03 * exact.max()
            assert exact.max() > 5
            # The same samples in another order: measured 2.3e-5 mm of 6.7.
            np.testing.assert_allclose(path, Renderer(alone).render(view, pose), atol=5e-5)


def test_many_labels_add_up_to_the_whole() -> None:
    labels = np.random.default_rng(0).integers(0, 40, (19, 17, 23)) * 3
    renderer, view = LabelRenderer(labels, PLACE), oblique_view("parallel")
    assert renderer.labels == tuple(range(3, 120, 3))
    whole = Renderer(Volume((labels > 0).astype(np.float32), PLACE))
    for pose in POSES:
        paths = renderer.render(view, pose)
        assert (paths >= 0).all()
        # Measured 1.0e-4 mm, where positions along a face are rounded in another way.
        np.testing.assert_allclose(paths.sum(axis=0), whole.render(view, pose), atol=5e-4)


@pytest.mark.needs_cuda
def test_cuda_finds_the_same_paths() -> None:
    labels, view = label_map(), oblique_view()
    cpu, cuda = (LabelRenderer(labels, PLACE, device) for device in ("cpu", "cuda"))
    for pose in POSES:
        np.testing.assert_allclose(cuda.render(view, pose), cpu.render(view, pose), atol=1e-4)


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros((3, 3, 3), np.uint8), "some above zero"),
        (np.full((3, 3, 3), -1), "none below"),
        (np.ones((3, 3, 3)), "integers"),
        (np.ones((3, 3), int), "integers"),
    ],
)
def test_bad_labels_are_named(labels: np.ndarray, says: str) -> None:
    with pytest.raises(InputError, match=says):
        LabelRenderer(labels, np.eye(4))
