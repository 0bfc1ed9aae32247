"""Bones: meshes to volumes, the symmetry plane, automatic landmarks, the cut, and the file they are kept in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import SimpleITK as sitk
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import binary_dilation
from scipy.spatial.transform import Rotation

from fluoropose.bone import Bone
from fluoropose.bone_model import build_bone
from fluoropose.bone_model.build import BoneConfig, read_bone_config
from fluoropose.bone_model.cut import cut_from_neighbours, in_body
from fluoropose.bone_model.landmarks import place_landmarks
from fluoropose.bone_model.surface import even_points, surface_of_mask
from fluoropose.bone_model.symmetry import find_symmetry_plane
from fluoropose.errors import FileFormatError, InputError
from fluoropose.evaluation import iou
from fluoropose.io.mayacam import read_mayacam
from fluoropose.io.mesh import ray_crossings, read_mesh, voxelise
from fluoropose.registration.evaluate import read_reference
from fluoropose.rig import Fluoroscope
from fluoropose.silhouette import silhouette
from fluoropose.volume import Volume
from toy_learning import toy_bone

_CONFIGS = Path(__file__).resolve().parents[2] / "bench" / "configs"


def test_the_edge_is_the_bone_s_own_where_nothing_is_around_it() -> None:
    among_others = toy_bone()
    assert (among_others.own_voxels == among_others.mask).all()
    filled = binary_dilation(among_others.mask)
    filled[0, 0, 0] = True  # a sliver
    alone = replace(among_others, volume=Volume(np.float32(0.05) * filled, among_others.volume.bone_from_voxel))
    assert (alone.own_voxels == filled).all()
    assert ((alone.isolated.mu > 0) == filled).all()


def nearly_symmetric(turn: Rotation, shift: np.ndarray) -> trimesh.Trimesh:
    """A body symmetric about x = 0 but for one small bump, then moved."""
    body = trimesh.creation.icosphere(4, 1.0)
    body.vertices *= [30.0, 45.0, 25.0]
    body.vertices[:, 2] += 0.01 * np.maximum(body.vertices[:, 1], 0) ** 2 + 0.2 * np.abs(body.vertices[:, 0])
    bump = np.exp(-((body.vertices - [20.0, 20.0, 20.0]) ** 2).sum(axis=1) / 50)
    body.vertices += 3 * bump[:, None] * np.array([1.0, 0.0, 0.0])
    body.vertices = turn.apply(body.vertices) + shift
    return body


@pytest.fixture(scope="module")
def box_bone(tmp_path_factory: pytest.TempPathFactory) -> Bone:
    path = tmp_path_factory.mktemp("bone") / "body.stl"
    nearly_symmetric(Rotation.identity(), np.array([100.0, -20.0, 3.0])).export(path)
    return build_bone(BoneConfig.model_validate({"name": "body", "mesh": {"path": path, "attenuation_per_mm": 0.1}}))


def test_rays_through_a_ball_enter_and_leave_it_where_its_surface_is() -> None:
    ball = trimesh.creation.icosphere(5, 10.0)
    row, column, height, sign = ray_crossings(ball, np.array([-12.0, -12.0]), 0.5, (48, 48))
    x, y = -12 + 0.5 * (column + 0.5), -12 + 0.5 * (row + 0.5)
    # The faces of so fine a ball lie at most 0.01 mm within it, which near the rim is more along the ray.
    assert np.hypot(np.hypot(x, y), height) == pytest.approx(10.0, abs=0.012)
    np.testing.assert_array_equal(sign, -np.sign(height))


class TestVoxelise:
    def test_volume_of_a_turned_box(self) -> None:
        box = trimesh.creation.box((20.0, 30.0, 11.0))
        box.apply_transform(trimesh.transformations.rotation_matrix(0.5, [1, 2, 3]))
        share, place = voxelise(box, 0.9)
        # Measured: 1e-4 relative at 4 x 4 rays a voxel.
        assert share.sum() * 0.9**3 == pytest.approx(20 * 30 * 11, rel=1e-3)
        centre = (np.argwhere(share > 0) * share[share > 0][:, None]).sum(axis=0)[::-1] / share.sum()
        np.testing.assert_allclose(place[:3, :3] @ centre + place[:3, 3], 0, atol=0.02)

    def test_partial_voxels_hold_their_share(self) -> None:
        box = trimesh.creation.box(bounds=[[0, 0, 0], [10.0, 10.0, 10.3]])
        share, place = voxelise(box, 1.0)
        top = round((10.0 - place[2, 3]) / 1.0)
        middle = share[:, share.shape[1] // 2, share.shape[2] // 2]
        assert middle[top] == pytest.approx(0.8, abs=1e-5)  # from 9.5 to 10.3 of the voxel 9.5 .. 10.5

    def test_too_fine_a_grid_is_refused(self) -> None:
        with pytest.raises(InputError, match="spacing_mm"):
            voxelise(trimesh.creation.box((100.0, 100.0, 100.0)), 0.01)


class TestReadMesh:
    def test_open_surface(self, tmp_path: Path) -> None:
        mesh = trimesh.creation.icosphere(2, 30.0)
        trimesh.Trimesh(mesh.vertices, mesh.faces[:-20]).export(tmp_path / "open.stl")
        with pytest.raises(FileFormatError, match=r"open\.stl.*closed"):
            read_mesh(tmp_path / "open.stl")

    def test_tube_open_at_both_ends(self, tmp_path: Path) -> None:
        """The two holes' area vectors cancel, and rays along the tube meet nothing: each hole must count by itself."""
        tube = trimesh.creation.cylinder(10.0, 40.0)
        wall = tube.faces[np.abs(tube.face_normals[:, 2]) < 0.9]
        trimesh.Trimesh(tube.vertices, wall).export(tmp_path / "tube.stl")
        with pytest.raises(FileFormatError, match=r"tube\.stl: expected a closed surface, found 2 hole"):
            read_mesh(tmp_path / "tube.stl")

    def test_an_open_sliver_is_harmless(self, tmp_path: Path) -> None:
        ball = trimesh.creation.icosphere(5, 30.0)
        trimesh.Trimesh(ball.vertices, ball.faces[1:]).export(tmp_path / "sliver.stl")
        share, _ = voxelise(read_mesh(tmp_path / "sliver.stl"), 1.0)
        assert share.sum() == pytest.approx(ball.volume, rel=1e-3)

    def test_inside_out(self, tmp_path: Path) -> None:
        box, cavity, beside = (trimesh.creation.box((edge,) * 3) for edge in (30.0, 10.0, 10.0))
        cavity.invert()
        beside.invert()
        beside.apply_translation([40.0, 0, 0])
        assert voxelise(box + cavity, 1.0)[0].sum() == pytest.approx(30**3 - 10**3, rel=1e-6)
        with pytest.raises(InputError, match="inside out"):
            voxelise(box + beside, 1.0)

    def test_metres(self, tmp_path: Path) -> None:
        trimesh.creation.icosphere(2, 0.03).export(tmp_path / "metres.stl")
        with pytest.raises(FileFormatError, match=r"metres\.stl.*millimetres"):
            read_mesh(tmp_path / "metres.stl")

    @pytest.mark.parametrize("content", [b"", b"solid nothing\nendsolid\n", b"\x00" * 90])
    def test_no_mesh(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "bad.stl").write_bytes(content)
        with pytest.raises(FileFormatError, match=r"bad\.stl"):
            read_mesh(tmp_path / "bad.stl")

    @pytest.mark.parametrize("suffix", ["stl", "obj", "ply"])
    def test_formats(self, tmp_path: Path, suffix: str) -> None:
        trimesh.creation.icosphere(3, 30.0).export(tmp_path / f"ball.{suffix}")
        assert read_mesh(tmp_path / f"ball.{suffix}").volume == pytest.approx(4 / 3 * np.pi * 30**3, rel=0.02)


class TestSymmetry:
    @settings(max_examples=4, deadline=None)
    @given(st.tuples(*[st.floats(-0.6, 0.6)] * 3), st.tuples(*[st.floats(-200, 200)] * 3).map(np.array))
    def test_plane_of_a_moved_body(self, turn: tuple[float, ...], shift: np.ndarray) -> None:
        rotation = Rotation.from_rotvec(turn)
        plane = find_symmetry_plane(even_points(nearly_symmetric(rotation, shift), 6000))
        truth = rotation.apply([1.0, 0.0, 0.0])
        # Measured over 6 draws: 0.33 degrees from the bump, and less than 0.01 mm.
        assert abs(plane.normal @ truth) > np.cos(np.radians(0.6))
        assert abs(plane.distance(shift[None])[0]) < 0.4

    def test_landmarks_are_pairs_on_the_surface(self) -> None:
        body = nearly_symmetric(Rotation.identity(), np.zeros(3))
        surface = even_points(body, 8000)
        placed = place_landmarks(surface, np.ones(len(surface), dtype=bool), 33, 13)
        assert placed.points_mm.shape == (33, 3)
        assert len(set(placed.names)) == 33
        first, second = placed.points_mm[placed.pairs[:, 0]], placed.points_mm[placed.pairs[:, 1]]
        np.testing.assert_allclose(first * [-1, 1, 1], second, atol=3.5)  # the bump is 3 mm high
        np.testing.assert_allclose(placed.points_mm[26:, 0], 0, atol=2.0)
        away = np.linalg.norm(placed.points_mm[:, None] - placed.points_mm, axis=-1) + 1e3 * np.eye(33)
        assert away.min() > 3.0

    def test_allowed_region_is_kept(self) -> None:
        surface = even_points(nearly_symmetric(Rotation.identity(), np.zeros(3)), 8000)
        placed = place_landmarks(surface, surface[:, 1] < 5.0, 33, 13)
        assert placed.points_mm[:, 1].max() < 5.0

    def test_no_room(self) -> None:
        surface = even_points(nearly_symmetric(Rotation.identity(), np.zeros(3)), 2000)
        with pytest.raises(InputError, match="room for 13 pairs"):
            place_landmarks(surface, surface[:, 0] > 20.0, 33, 13)


class TestCut:
    def test_two_balls_that_touch(self) -> None:
        grid = np.stack(np.meshgrid(*[np.arange(60.0)] * 3, indexing="ij"), axis=-1)
        left = np.linalg.norm(grid - [30, 30, 18], axis=-1) < 13
        right = np.linalg.norm(grid - [30, 30, 42], axis=-1) < 13
        hu = np.where(left | right, 800, 0).astype(np.int16)
        mask = cut_from_neighbours(hu, 250.0, np.array([[18.0, 30, 30]]), np.array([[42.0, 30, 30]]), 2.0, np.ones(3))
        assert (mask & left).sum() / left.sum() > 0.98
        assert (mask & right & ~left).sum() / right.sum() < 0.02

    def test_what_no_seed_reaches_is_dropped(self) -> None:
        hu = np.zeros((20, 20, 20), dtype=np.int16)
        hu[2:6, 2:6, 2:6] = hu[12:18, 12:18, 12:18] = 500
        mask = cut_from_neighbours(hu, 250.0, np.array([[4.0, 4, 4]]), np.empty((0, 3)), 1.0, np.ones(3))
        assert mask.sum() == 64

    @pytest.mark.parametrize(
        ("seed", "message"),
        [
            ([50.0, 4, 4], "inside the volume"),
            ([9.0, 9, 9], "seed 1: expected bone"),
        ],
    )
    def test_bad_seed(self, seed: list[float], message: str) -> None:
        hu = np.zeros((20, 20, 20), dtype=np.int16)
        hu[2:6, 2:6, 2:6] = 500
        with pytest.raises(InputError, match=message):
            cut_from_neighbours(hu, 250.0, np.array([seed]), np.empty((0, 3)), 1.0, np.ones(3))

    def test_head_rest_is_not_of_the_body(self) -> None:
        hu = np.full((30, 30, 30), -1000, dtype=np.int16)
        hu[5:20, 5:20, 5:20] = 40
        hu[:, 25:27, :] = 100
        body = in_body(hu)
        assert body[5:20, 5:20, 5:20].all()
        assert not body[:, 25:27, :].any()

    def test_surface_of_a_ball(self) -> None:
        grid = np.stack(np.meshgrid(*[np.arange(60.0)] * 3, indexing="ij"), axis=-1)
        ball = np.linalg.norm(grid - 30, axis=-1) < 20
        for spacing in (1.0, 2.5):
            mesh = surface_of_mask(ball, np.eye(4), spacing)
            assert mesh.is_watertight
            assert mesh.volume == pytest.approx(ball.sum(), rel=0.03)
            np.testing.assert_allclose(mesh.centroid, 30, atol=0.1)

    @pytest.mark.parametrize("edge_mm", [0.4, 0.3, 0.2, 0.1])
    def test_surface_of_a_ball_in_a_fine_ct_is_closed(self, edge_mm: float) -> None:
        for radius_mm in (6.0, 6.25, 6.5, 6.75):
            middle = round(radius_mm / edge_mm) + 3
            grid = np.stack(np.meshgrid(*[np.arange(2.0 * middle + 1)] * 3, indexing="ij"), axis=-1)
            ball = np.linalg.norm(grid - middle, axis=-1) * edge_mm < radius_mm
            mesh = surface_of_mask(ball, np.diag([edge_mm] * 3 + [1.0]), 2.0)
            assert mesh.is_watertight
            # Measured: 12 % less at most, which cubes of 2 mm cost a ball as small as this one.
            assert mesh.volume == pytest.approx(ball.sum() * edge_mm**3, rel=0.15)
            np.testing.assert_allclose(mesh.centroid, middle * edge_mm, atol=0.1)

    def test_what_is_too_small_for_a_surface_is_refused(self) -> None:
        speck = np.zeros((5, 5, 5), dtype=bool)
        speck[2, 2, 2] = True
        with pytest.raises(InputError, match="mask: expected a bone that cubes of 2 mm show, found 1 voxels"):
            surface_of_mask(speck, np.eye(4), 2.0)


class TestBone:
    def test_frame(self, box_bone: Bone) -> None:
        np.testing.assert_allclose(box_bone.landmarks_mm.mean(axis=0), 0, atol=1e-9)
        source = box_bone.bone_from_source.inverse().apply(box_bone.vertices)
        np.testing.assert_allclose(source.mean(axis=0), [100, -20, 5], atol=8)
        inside = box_bone.volume.bone_to_voxel(box_bone.vertices)
        assert inside.min() > 0
        assert (inside.max(axis=0) < np.array(box_bone.volume.shape)[::-1] - 1).all()

    def test_round_trip(self, box_bone: Bone, tmp_path: Path) -> None:
        box_bone.save(tmp_path / "bone.h5")
        loaded = Bone.load(tmp_path / "bone.h5")
        assert loaded.fingerprint == box_bone.fingerprint
        np.testing.assert_allclose(loaded.volume.mu, box_bone.volume.mu, atol=0.1 / 65535)
        np.testing.assert_array_equal(loaded.mask, box_bone.mask)
        np.testing.assert_array_equal(loaded.symmetric_pairs, box_bone.symmetric_pairs)
        np.testing.assert_allclose(loaded.bone_from_source.matrix, box_bone.bone_from_source.matrix)

    def test_damaged_files(self, box_bone: Bone, tmp_path: Path) -> None:
        path = tmp_path / "bone.h5"
        box_bone.save(path)
        content = path.read_bytes()
        (tmp_path / "short.h5").write_bytes(content[: len(content) // 2])
        with pytest.raises(FileFormatError, match=r"short\.h5"):
            Bone.load(tmp_path / "short.h5")
        with h5py.File(path, "a") as file:
            del file["faces"]
        with pytest.raises(FileFormatError, match=r"bone\.h5.*missing.*faces"):
            Bone.load(path)
        with pytest.raises(FileFormatError, match="absent"):
            Bone.load(tmp_path / "absent.h5")

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("symmetric_pairs", np.array([[0, 33]]), "symmetric_pairs: expected indices"),
            ("symmetric_pairs", np.array([[0, 1], [1, 2]]), "at most one pair"),
            ("landmark_names", ("a",) * 33, "landmark_names"),
            ("landmarks_mm", np.full((33, 3), np.nan), "landmarks_mm"),
            ("mask", np.zeros((2, 2, 2), dtype=bool), "mask"),
        ],
    )
    def test_bad_fields(self, box_bone: Bone, field: str, value: object, message: str) -> None:
        fields = {k: getattr(box_bone, k) for k in Bone.__dataclass_fields__}
        with pytest.raises(InputError, match=message):
            Bone(**{**fields, field: value})


@pytest.mark.needs_data
@pytest.mark.parametrize("camera", [1, 2])
@pytest.mark.parametrize("frame", [0, 75, 149])
def test_projected_femoral_component_covers_the_masks(data_dir: Path, camera: int, frame: int) -> None:
    """The surface at the reference pose proves the geometry.

    The masks hold every pixel that a face touches, with pixel (i, j) reaching from i to i + 1: drawn so, the overlap is
    0.9967 to 0.9974. The shadow at pixel centres, half a pixel smaller all round, overlaps by 0.985 to 0.989.
    """
    folder = data_dir / "knee_biplane"
    mesh = read_mesh(folder / "femur.stl")
    world = read_reference(folder / "world_from_femur.csv")[frame].apply(mesh.vertices)
    fluoroscope = Fluoroscope(read_mayacam(folder / f"mayacam2_cam{camera}.txt"))
    mask = cv2.imread(str(folder / f"cam{camera}_femur_mask" / f"{frame:04d}.png"), cv2.IMREAD_GRAYSCALE) > 0
    touched = np.zeros(mask.shape, dtype=np.uint8)
    for triangle in np.round((fluoroscope.project(world)[mesh.faces] - 0.5) * 16).astype(np.int32):
        cv2.fillConvexPoly(touched, triangle, 1, lineType=cv2.LINE_8, shift=4)
    assert iou(touched > 0, mask) >= 0.99
    assert iou(silhouette(fluoroscope, world, mesh.faces), mask) >= 0.98


@pytest.mark.needs_data
@pytest.mark.slow
def test_skull_is_cut_from_the_neck(data_dir: Path) -> None:
    bone = build_bone(read_bone_config(_CONFIGS / "skull_bone.toml", data_dir))
    truth = sitk.GetArrayFromImage(sitk.ReadImage(str(data_dir / "lab_head" / "truth" / "skull_mask.nii.gz"))) > 0
    ct_from_voxel = bone.bone_from_source.inverse().matrix @ bone.volume.bone_from_voxel
    x, y, z = np.round(ct_from_voxel[:3, 3] - [0, 0, 1500]).astype(int)
    nz, ny, nx = bone.mask.shape
    mask = np.zeros_like(truth)
    mask[z : z + nz, y : y + ny, x : x + nx] = bone.mask
    dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert dice > 0.995  # measured: 0.9993
    assert bone.landmarks_mm.shape == (33, 3)
    assert bone.symmetric_pairs.shape == (13, 2)
    assert np.ptp(bone.landmarks_mm, axis=0).min() > 80
