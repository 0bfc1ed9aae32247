"""Bones from configurations: a label map and markups on an oblique CT, and what is refused."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from fluoropose.bone import Bone
from fluoropose.bone_model.build import build_bone, build_model, read_bone_config
from fluoropose.bone_model.cut import cut_from_neighbours
from fluoropose.errors import ConfigError, FileFormatError, InputError
from fluoropose.io.markups import write_markups

_TURN = Rotation.from_rotvec([0.3, -0.2, 0.9])
_SPACING, _ORIGIN = np.array([1.0, 1.5, 2.0]), np.array([100.0, -50.0, 700.0])
_SHAPE = (30, 40, 60)  # z, y, x
_CENTRE = _ORIGIN + _TURN.apply([30.0, 30.0, 30.0])
_LANDMARKS = _CENTRE + np.array([[12.0, 0, 0], [-12, 0, 0], [0, 12, 0], [0, -12, 0], [0, 0, 12]])
_CORNERS = _ORIGIN + _TURN.apply(np.array(list(product(*((-0.5, n - 0.5) for n in _SHAPE[::-1])))) * _SPACING)
_SIDES = [f"{a} {low:.1f} to {high:.1f}" for a, low, high in zip("xyz", _CORNERS.min(0), _CORNERS.max(0), strict=True)]
_OUTSIDE = rf"ct\.keep: expected seeds \(LPS mm\) in /.*/ct\.nii\.gz, which holds {', '.join(_SIDES)}, found 9000, 0, 0"
_NAMES = ("left", "right", "back", "front", "top")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An oblique CT of a ball of 12 mm radius beside a second one, a label map, and landmarks on the first."""
    folder = tmp_path_factory.mktemp("bone")
    index = np.stack(np.meshgrid(*map(np.arange, _SHAPE), indexing="ij"), axis=-1)[..., ::-1]
    lps = _ORIGIN + _TURN.apply((index * _SPACING).reshape(-1, 3)).reshape(*_SHAPE, 3)
    labels = np.zeros(_SHAPE, dtype=np.uint8)
    labels[np.linalg.norm(lps - _CENTRE, axis=-1) < 12] = 3
    labels[np.linalg.norm(lps - _CENTRE - _TURN.apply([20.0, 0, 0]), axis=-1) < 9] = 7
    hu = np.where(labels > 0, 900, 40).astype(np.int16)
    hu[0] = -1000
    for name, array in (("ct.nii.gz", hu), ("labels.nrrd", labels)):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(_SPACING.tolist())
        image.SetOrigin(_ORIGIN.tolist())
        image.SetDirection(_TURN.as_matrix().ravel().tolist())
        sitk.WriteImage(image, str(folder / name))
    write_markups(folder / "points.mrk.json", _NAMES, _LANDMARKS)
    return folder


def config_text(**changes: str) -> str:
    low, high = (_CENTRE - 14).tolist(), (_CENTRE + 14).tolist()
    parts = {
        "head": 'name = "ball"\nsurface_spacing_mm = 2.0',
        "ct": '[ct]\npath = "ct.nii.gz"',
        "cut": 'label_map = "labels.nrrd"\nlabels = [3]',
        "crop": f"crop_low_mm = {low}\ncrop_high_mm = {high}",
        "landmarks": '[landmarks]\nfile = "points.mrk.json"\nsymmetric_pairs = [["left", "right"]]',
    }
    return "\n".join((parts | changes).values()) + "\n"


def build(folder: Path, **changes: str) -> Bone:
    path = folder / "bone.toml"
    path.write_text(config_text(**changes))
    return build_bone(read_bone_config(path))


@pytest.fixture(scope="module")
def ball(folder: Path) -> Bone:
    return build(folder)


def test_oblique_ct_with_label_map_and_markups(folder: Path, ball: Bone) -> None:
    origin = ball.bone_from_source.inverse().translation_mm
    np.testing.assert_allclose(origin, _LANDMARKS.mean(axis=0), atol=1e-9)
    np.testing.assert_allclose(ball.landmarks_mm, _LANDMARKS - origin, atol=1e-9)
    assert ball.landmark_names == _NAMES
    assert ball.symmetric_pairs.tolist() == [[0, 1]]
    np.testing.assert_allclose(ball.vertices.mean(axis=0), _CENTRE - origin, atol=0.2)
    voxels = np.argwhere(ball.mask)[:, ::-1]
    place = ball.volume.bone_from_voxel
    np.testing.assert_allclose((voxels @ place[:3, :3].T + place[:3, 3]).mean(axis=0), _CENTRE - origin, atol=0.1)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / "labels.nrrd")))
    assert ball.mask.sum() == (labels == 3).sum()


def test_crop_of_an_oblique_ct_holds_the_whole_box(folder: Path, ball: Bone) -> None:
    whole = build(folder, crop="")
    assert whole.volume.shape == _SHAPE
    assert np.prod(ball.volume.shape) < 0.9 * np.prod(_SHAPE)
    assert ball.mask.sum() == whole.mask.sum()
    np.testing.assert_allclose(ball.landmarks_mm, whole.landmarks_mm, atol=1e-9)
    np.testing.assert_allclose(ball.vertices, whole.vertices, atol=1e-4)


def test_seeds_cut_what_the_label_map_says(folder: Path, ball: Bone) -> None:
    keep, remove = _CENTRE.tolist(), (_CENTRE + _TURN.apply([20.0, 0, 0])).tolist()
    cut = build(folder, cut=f"keep = [{keep}]\nremove = [{remove}]", crop="")
    overlap = cut.mask & build(folder, crop="").mask
    assert 2 * overlap.sum() / (cut.mask.sum() + ball.mask.sum()) > 0.97


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"head": 'name = "ball"\ncolour = 1'}, "colour"),
        ({"cut": ""}, "keep, label_map: expected either"),
        ({"cut": 'label_map = "labels.nrrd"'}, "label_map, labels: expected both"),
        ({"cut": 'label_map = "labels.nrrd"\nlabels = [3]\nthreshold_hu = 200.0'}, "leaves nothing to cut"),
        ({"cut": "keep = [[nan, 0.0, 0.0]]"}, r"ct\.keep.*finite"),
        ({"crop": "crop_low_mm = [0.0, 0.0, 0.0]"}, "crop_low_mm, crop_high_mm: expected both"),
        ({"landmarks": "[landmarks]\ncount = 5"}, "at most half of count = 5, found 13"),
        ({"landmarks": '[landmarks]\nsymmetric_pairs = [["a", "b"]]'}, "only beside a file"),
        ({"landmarks": '[landmarks]\nfile = "points.mrk.json"\ncount = 33'}, "only without a file"),
        ({"landmarks": "[[landmarks.within]]\nnormal = [0.0, 0.0, 0.0]\noffset_mm = 1.0"}, "zero vector"),
        (
            {"ct": '[mesh]\npath = "a.stl"\nattenuation_per_mm = 1.0\n[ct]\npath = "ct.nii.gz"'},
            "ct, mesh: expected one",
        ),
    ],
)
def test_refused_configurations(folder: Path, changes: dict[str, str], message: str) -> None:
    with pytest.raises(FileFormatError, match=f"(?s)bone\\.toml.*{message}"):
        build(folder, **changes)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"cut": 'label_map = "labels.nrrd"\nlabels = [4]'}, FileFormatError, r"labels\.nrrd: labels: .* found no 4"),
        ({"cut": 'label_map = "labels.nrrd"\nlabels = [3, 4, 5]'}, FileFormatError, "labels: .* found no 4, 5"),
        ({"ct": '[ct]\npath = "absent.nii.gz"'}, FileFormatError, r"absent\.nii\.gz"),
        (
            {"crop": "crop_low_mm = [0.0, 0.0, 0.0]\ncrop_high_mm = [1.0, 1.0, 1.0]"},
            ConfigError,
            r"box \(LPS mm\) in .*ct\.nii",
        ),
        ({"cut": "keep = [[9000, 0, 0]]"}, ConfigError, _OUTSIDE),
        ({"cut": f"keep = [{_CENTRE.tolist()}]\nremove = [[0, 0, -5]]"}, ConfigError, r"ct\.remove: .*found 0, 0, -5$"),
        (
            {"cut": f"keep = [{_CENTRE.tolist()}]\nthreshold_hu = 5000"},
            ConfigError,
            r"ct\.threshold_hu: expected less than the largest value, 900 HU, found 5000 in /.*/ct\.nii\.gz$",
        ),
        (
            {"cut": f"keep = [{(_CENTRE + _TURN.apply([0, 0, -22])).tolist()}]"},
            ConfigError,
            r"ct\.keep: seed 1: expected bone within 4 mm, found none above the threshold in /.*/ct\.nii\.gz$",
        ),
        (
            {"landmarks": '[landmarks]\nfile = "points.mrk.json"\nsymmetric_pairs = [["left", "wrong"]]'},
            FileFormatError,
            r"points\.mrk\.json: symmetric_pairs: no landmark is called 'wrong'",
        ),
        (
            {"landmarks": '[landmarks]\nfile = "points.mrk.json"\nsymmetric_pairs = [["left", "left"]]'},
            InputError,
            "at most one pair",
        ),
    ],
)
def test_inputs_that_do_not_fit(folder: Path, changes: dict[str, str], error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        build(folder, **changes)


def test_crop_through_the_bone(folder: Path) -> None:
    crop = f"crop_low_mm = {(_CENTRE - 3).tolist()}\ncrop_high_mm = {(_CENTRE + 3).tolist()}"
    with pytest.raises(InputError, match="holds the whole bone"):
        build(folder, crop=crop)


@pytest.mark.parametrize("threshold_hu", [250.0, 899.0, 900.0, 1500.0])
def test_thresholds_for_metal_cut_as_well(threshold_hu: float) -> None:
    hu = np.zeros((20, 20, 20), dtype=np.int16)
    hu[4:16, 4:16, 2:9] = hu[4:16, 4:16, 11:18] = 2000
    keep, remove = np.array([[5.0, 9, 9]]), np.array([[14.0, 9, 9]])
    mask = cut_from_neighbours(hu, threshold_hu, keep, remove, 1.0, np.ones(3))
    np.testing.assert_array_equal(mask, (hu > 0) & (np.arange(20) < 10))


def test_labels_of_muscle_are_no_bones_beside_it(folder: Path, tmp_path: Path) -> None:
    image = sitk.ReadImage(str(folder / "labels.nrrd"))
    labels = sitk.GetArrayFromImage(image)
    labels[(labels == 0) & (np.arange(_SHAPE[0]) > 20)[:, None, None]] = 11  # 40 HU
    muscle = sitk.GetImageFromArray(labels)
    muscle.CopyInformation(image)
    sitk.WriteImage(muscle, str(tmp_path / "labels.nrrd"))
    (tmp_path / "bone.toml").write_text(
        config_text(crop="", cut='label_map = "labels.nrrd"\nlabels = [3]')
        .replace('"ct.nii.gz"', f'"{folder / "ct.nii.gz"}"')
        .replace('"points.mrk.json"', f'"{folder / "points.mrk.json"}"')
    )
    model = build_model(read_bone_config(tmp_path / "bone.toml"))
    np.testing.assert_array_equal(model.neighbours, labels == 7)


def test_landmarks_of_another_place_are_refused(folder: Path, tmp_path: Path) -> None:
    away = _LANDMARKS.copy()
    away[3] += [0, 40, 0]
    write_markups(tmp_path / "away.mrk.json", _NAMES, away)
    message = r"away\.mrk\.json: expected landmarks \(LPS mm\) within 12 mm of .*holds x .*found 'front' 16 mm away"
    with pytest.raises(FileFormatError, match=message):
        build(folder, landmarks=f'[landmarks]\nfile = "{tmp_path / "away.mrk.json"}"')
    inside = np.vstack([_LANDMARKS[:4], _CENTRE])  # such as a joint's centre
    write_markups(tmp_path / "inside.mrk.json", _NAMES, inside)
    assert build(folder, landmarks=f'[landmarks]\nfile = "{tmp_path / "inside.mrk.json"}"').landmark_names == _NAMES
