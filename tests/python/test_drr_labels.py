"""The path through each label."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from drr_reference import line_integrals
from drr_scenes import POSES, affine, oblique_view, pixels
from fluoropose.autograd import render_labels
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


def test_more_labels_than_attenuation_may_be() -> None:
    labels = np.arange(343).reshape(7, 7, 7)
    renderer = LabelRenderer(labels, affine((1, 1, 1), (7, 7, 7), (0, 0, 0)))
    assert len(renderer.labels) == 342
    assert (renderer.render(oblique_view(), POSES[0]).max(axis=(1, 2)) > 0).sum() > 100


def test_torch_gets_the_same_paths() -> None:
    renderer, view = LabelRenderer(label_map(), PLACE), oblique_view()
    matrices = torch.from_numpy(np.stack([pose.matrix for pose in POSES]))
    paths = render_labels(renderer, view, matrices.clone().requires_grad_())
    assert paths.shape == (len(POSES), 2, 31, 41)
    assert not paths.requires_grad
    for path, pose in zip(paths, POSES, strict=True):
        np.testing.assert_array_equal(path, renderer.render(view, pose))
    torch.testing.assert_close(render_labels(renderer, view, matrices[1]), paths[1])
    with pytest.raises(InputError, match="world_from_bone: expected one pose per view"):
        render_labels(renderer, [view], matrices)
    with pytest.raises(ValueError, match=r"paths: expected shape \(1, 2, 31, 41\), found \(1, 1, 31, 41\)"):
        renderer.core.paths_into([view.core()], matrices[:1], torch.empty(1, 1, 31, 41), 0)


@pytest.mark.needs_cuda
def test_cuda_finds_the_same_paths() -> None:
    labels, view = label_map(), oblique_view()
    cpu, cuda = (LabelRenderer(labels, PLACE, device) for device in ("cpu", "cuda"))
    for pose in POSES:
        np.testing.assert_allclose(cuda.render(view, pose), cpu.render(view, pose), atol=1e-4)
    matrices = torch.from_numpy(np.stack([pose.matrix for pose in POSES]))
    expected = render_labels(cpu, view, matrices)
    for placed in (matrices, matrices.cuda()):
        paths = render_labels(cuda, view, placed)
        assert paths.is_cuda
        torch.testing.assert_close(paths.cpu(), expected, atol=1e-4, rtol=0)
    matrices[1, 0, 0] += 0.1
    assert [bool(p.isnan().all()) for p in render_labels(cuda, view, matrices[:3].cuda())] == [False, True, False]
    with pytest.raises(InputError, match="world_from_bone: expected a tensor on cpu, found cuda:0"):
        render_labels(cpu, view, matrices.cuda())


@pytest.mark.needs_cuda
def test_paths_follow_the_stream_and_the_poses_of_a_graph() -> None:
    renderer, view = LabelRenderer(label_map(), PLACE, "cuda"), oblique_view()
    matrices = torch.from_numpy(np.stack([pose.matrix for pose in POSES[:4]])).cuda()
    at = matrices[:2].clone()
    expected = render_labels(renderer, view, at).cpu()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        render_labels(renderer, view, at)
        stream.synchronize()
        torch.cuda._sleep(50_000_000)
        paths = render_labels(renderer, view, at)
        assert not stream.query()  # nobody waited
    stream.synchronize()
    torch.testing.assert_close(paths.cpu(), expected)

    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        paths = render_labels(renderer, view, at)
    at.copy_(matrices[2:])
    graph.replay()
    torch.testing.assert_close(paths, render_labels(renderer, view, matrices[2:]))
    assert float((paths.cpu() - expected).abs().max()) > 1


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
