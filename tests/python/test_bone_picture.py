"""The picture of a bone: planes named by the patient's axes, whichever way voxels lie; outlines; names that fit in."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.contour import QuadContourSet
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial.transform import Rotation

from fluoropose.bone import Bone
from fluoropose.bone_model.build import BoneModel
from fluoropose.bone_model.names import write_names
from fluoropose.bone_model.picture import _figure, save_picture
from fluoropose.geometry import Pose
from fluoropose.volume import Volume

_LOW, _HIGH = np.array([-12.0, -8, -5]), np.array([12.0, 8, 5])  # mm, LPS
_SLOPE = np.array([1e-4, 2e-4, 3e-4])  # 1/mm per mm towards left, back and head
_PERMUTED = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])  # voxels run backwards, downwards, to the right
_OBLIQUE = Rotation.from_rotvec([0.3, -0.2, 0.9]).as_matrix()


def block(axes: NDArray[np.float64], *, cut: bool = True) -> BoneModel:
    """Return a block of bone whose attenuation rises along every axis, and beside its left end another bone."""
    place = np.eye(4)
    place[:3, :3] = axes
    place[:3, 3] = -axes @ [24, 24, 24]
    index = np.stack(np.meshgrid(*[np.arange(49)] * 3, indexing="ij"), axis=-1)[..., ::-1]
    lps = index @ axes.T + place[:3, 3]
    mask = ((lps >= _LOW) & (lps <= _HIGH)).all(axis=-1)
    beside = ((lps >= _LOW + [24, 0, 0]) & (lps <= _HIGH + [2, 0, 0])).all(axis=-1) & ~mask
    x, y, z = np.meshgrid(*np.stack([_LOW, _HIGH]).T, indexing="ij")
    corners = np.column_stack([x.ravel(), y.ravel(), z.ravel()])
    faces = np.array(
        [(i, j, k) for i, j, k in combinations(range(8), 3) if (np.ptp(corners[[i, j, k]], axis=0) == 0).any()]
    )
    bone = Bone(
        name="block",
        volume=Volume((0.03 + lps @ _SLOPE).clip(0), place),
        mask=mask,
        vertices=corners,
        faces=faces,
        landmarks_mm=np.array([[12.0, 0, 0], [-12, 0, 0], [0, 8, 0]]),
        landmark_names=("tip left", "tip right", "spine"),
        symmetric_pairs=np.array([[0, 1]]),
        bone_from_source=Pose.identity(),
    )
    return BoneModel(bone, beside if cut else None)


@pytest.mark.parametrize("axes", [np.eye(3), _PERMUTED, _OBLIQUE], ids=["straight", "permuted", "oblique"])
def test_planes_are_the_patients_whichever_way_voxels_lie(axes: NDArray[np.float64]) -> None:
    cuts = _figure(block(axes)).axes[3:6]
    for cut, plane, right, up in zip(cuts, ("coronal", "sagittal", "axial"), (0, 1, 0), (2, 2, 1), strict=True):
        assert cut.get_title().startswith(plane)
        drawn = cut.images[0]
        grey = np.asarray(drawn.get_array(), dtype=np.float64)
        left_mm, right_mm, low_mm, high_mm = drawn.get_extent()
        middle = np.s_[grey.shape[0] // 3 : -grey.shape[0] // 3, grey.shape[1] // 3 : -grey.shape[1] // 3]
        per_row, per_column = (gradient[middle].mean() for gradient in np.gradient(grey))
        np.testing.assert_allclose(per_column * grey.shape[1] / (right_mm - left_mm), _SLOPE[right], rtol=0.01)
        np.testing.assert_allclose(per_row * grey.shape[0] / (high_mm - low_mm), _SLOPE[up], rtol=0.01)


def test_ends_stand_where_radiologists_expect_them() -> None:
    for axes, ends in zip(_figure(block(_PERMUTED)).axes[:6], ("RLIS", "APIS", "RLPA") * 2, strict=True):
        at = {text.get_text(): text.get_position() for text in axes.texts if len(text.get_text()) == 1}
        assert at == {ends[0]: (0.015, 0.5), ends[1]: (0.985, 0.5), ends[2]: (0.5, 0.015), ends[3]: (0.5, 0.985)}
        assert not axes.xaxis_inverted()
        assert axes.yaxis_inverted() == (ends[2:] == "PA")  # y grows towards the back


def test_the_cut_goes_where_bones_touch() -> None:
    figure = _figure(block(_PERMUTED))
    assert figure.axes[4].get_title() == "sagittal cut at x = 12 mm"
    bone, beside = (_outline(figure.axes[3], colour) for colour in ("#ff9f1c", "#4ea8de"))
    np.testing.assert_allclose([bone.min(axis=0), bone.max(axis=0)], [[-12.5, -5.5], [12.5, 5.5]], atol=0.01)
    np.testing.assert_allclose([beside.min(axis=0), beside.max(axis=0)], [[12.5, -5.5], [14.5, 5.5]], atol=0.01)
    told = [text.get_text() for text in figure.legends[0].get_texts()]
    assert told == [
        "symmetric pairs, such as tip left and tip right",
        "landmarks without a partner, on the midline, such as spine",
        "the bone",
        "bones beside it",
    ]


def test_a_mesh_has_its_own_axes_and_no_neighbours() -> None:
    figure = _figure(block(np.eye(3), cut=False))
    assert figure.axes[0].get_title() == "block, seen from -y"
    assert figure.axes[3].get_title().startswith("cut at y = ")
    assert {"-x", "+x", "-z", "+z"} <= {text.get_text() for text in figure.axes[3].texts}
    assert "bones beside it" not in [text.get_text() for text in figure.legends[0].get_texts()]


def test_picture_is_written(tmp_path: Path) -> None:
    save_picture(block(_OBLIQUE), tmp_path / "block.png")
    with Image.open(tmp_path / "block.png") as picture:
        picture.load()
        assert picture.size == (1500, 1050)
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 100


def test_names_are_no_formulas(tmp_path: Path) -> None:
    named = block(_OBLIQUE)
    bone = replace(named.bone, name="$\\foo$", landmark_names=tuple(f"$\\foo$ {n}" for n in named.bone.landmark_names))
    save_picture(replace(named, bone=bone), tmp_path / "block.png")


def test_names_cover_neither_each_other_nor_the_frame() -> None:
    figure = Figure(figsize=(4, 4), dpi=100)
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    points = np.concatenate([np.full((12, 2), 0.5), [[0, 0], [1, 1], [1, 0], [0, 1]]])
    axes.set(xlim=(0, 1), ylim=(0, 1))
    write_names(axes, [f"A{k:02d}" for k in range(len(points))], points)
    canvas.draw()
    boxes = [super(Annotation, text).get_window_extent() for text in axes.texts if isinstance(text, Annotation)]
    assert len(boxes) == len(points)
    assert not [(a, b) for a, b in combinations(boxes, 2) if a.overlaps(b)]
    frame = axes.get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 and frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)


def _outline(axes: Axes, colour: str) -> NDArray[np.float64]:
    """Return the points (n, 2) mm of the contour in a colour."""
    (found,) = [one for one in axes.collections if isinstance(one, QuadContourSet) and one.colors == [colour]]
    return np.concatenate([path.vertices for path in found.get_paths()])
