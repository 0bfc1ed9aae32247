"""Shadows of surfaces whose projection is known."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from fluoropose.errors import InputError
from fluoropose.geometry import View
from fluoropose.rig import Fluoroscope
from fluoropose.silhouette import outline, silhouette

SCOPE = Fluoroscope(View.from_sdd((160, 120), 1000.0, 1.0, 1.0, 0.0, 0.0))


def test_a_ball_casts_an_ellipse() -> None:
    ball = trimesh.creation.icosphere(subdivisions=5, radius=20.0)
    vertices = ball.vertices + np.array([15.0, -10.0, -400.0])
    mask = silhouette(SCOPE, vertices, ball.faces)
    # A pixel is in shadow where its ray passes the centre within the radius.
    v, u = np.mgrid[:120, :160]
    ends = SCOPE.view.pixel_to_world(np.column_stack([u.ravel(), v.ravel()]))
    ray = ends - SCOPE.view.source
    ray /= np.linalg.norm(ray, axis=1)[:, None]
    offset = np.array([15.0, -10.0, -400.0]) - SCOPE.view.source
    distance = np.linalg.norm(offset - (ray @ offset)[:, None] * ray, axis=1).reshape(120, 160)
    certain = np.abs(distance - 20.0) > 0.03  # mm; the faceted ball is up to 0.02 mm too small
    assert certain.mean() > 0.995
    np.testing.assert_array_equal(mask[certain], (distance < 20.0)[certain])


def test_a_surface_out_of_the_picture_or_behind_the_source_casts_nothing() -> None:
    ball = trimesh.creation.icosphere(radius=20.0)
    assert not silhouette(SCOPE, ball.vertices + np.array([500.0, 0, -400]), ball.faces).any()
    assert not silhouette(SCOPE, ball.vertices + np.array([0, 0, -1500]), ball.faces).any()


def test_large_and_small_triangles_agree() -> None:
    box = trimesh.creation.box(extents=(60.0, 40.0, 30.0))
    box.apply_translation([5.0, 60.0, -300.0])  # partly below the picture
    fine = box.subdivide_to_size(3.0)
    coarse = silhouette(SCOPE, box.vertices, box.faces)
    assert coarse.any()
    np.testing.assert_array_equal(coarse, silhouette(SCOPE, fine.vertices, fine.faces))


@pytest.mark.parametrize("step", [2, 3, 7])
def test_every_so_many_th_pixel_is_that_of_the_whole(step: int) -> None:
    ball = trimesh.creation.icosphere(subdivisions=3, radius=20.0)
    vertices = ball.vertices + np.array([15.0, -50.0, -400.0])  # partly above the picture
    whole = silhouette(SCOPE, vertices, ball.faces)
    assert whole.any()
    np.testing.assert_array_equal(silhouette(SCOPE, vertices, ball.faces, step), whole[::step, ::step])


def test_outline_follows_the_rim_and_the_hole() -> None:
    mask = np.zeros((30, 40), bool)
    mask[5:25, 10:30] = True
    mask[10:15, 15:20] = False
    rings = outline(mask)
    assert len(rings) == 2
    outer = max(rings, key=lambda ring: np.ptp(ring[:, 0]))
    assert outer.min(axis=0).tolist() == [10, 5]
    assert outer.max(axis=0).tolist() == [29, 24]


@pytest.mark.parametrize(("faces", "message"), [([[0, 1]], "shape"), ([[0, 1, 9]], "indices of 3 vertices")])
def test_wrong_faces_are_named(faces: list[list[int]], message: str) -> None:
    with pytest.raises(InputError, match=f"faces: .*{message}"):
        silhouette(SCOPE, np.eye(3), faces)
