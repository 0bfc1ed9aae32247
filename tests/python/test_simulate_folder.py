"""The files of a simulated laboratory: laid out as a real one's, and true."""

from __future__ import annotations

import csv
import json
import tomllib
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import SimpleITK
from scipy.interpolate import RectBivariateSpline

from fluoropose.geometry import Pose
from fluoropose.simulate.folder import write_calibration, write_head, write_trial
from fluoropose.simulate.laboratory import Laboratory, Nominal, install
from fluoropose.simulate.motion import Walking
from fluoropose.simulate.phantom import Head, head
from fluoropose.simulate.truth import FILE_FROM_WORLD

PAIRS = 2


@pytest.fixture(scope="module")
def laboratory() -> Laboratory:
    return install(Nominal(image_size_px=320), placement_count=2, seed=4)


@pytest.fixture(scope="module")
def drawn() -> Head:
    return head()


@pytest.fixture(scope="module")
def walking(laboratory: Laboratory) -> Walking:
    x, y, z = laboratory.nominal.isocentre
    return Walking((float(x), float(y), float(z)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, laboratory: Laboratory, drawn: Head, walking: Walking) -> Path:
    place = tmp_path_factory.mktemp("lab")
    rng = np.random.default_rng(0)
    write_head(place, drawn)
    write_calibration(place, laboratory, rng)
    times = [k / 30 for k in range(PAIRS)]
    write_trial(place, "walking", laboratory, drawn, times, [walking.world_from_head(t) for t in times], rng)
    return place


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def matrices(path: Path) -> dict[str, Pose]:
    return {
        next(iter(row.values())): Pose.from_matrix(
            np.array([float(row[f"m{i}{j}"]) for i in range(4) for j in range(4)]).reshape(4, 4)
        )
        for row in rows(path)
    }


def test_files_are_laid_out_as_a_laboratory_leaves_them(folder: Path) -> None:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    frames = {f"trials/walking/view{v}/{k:04d}.png" for v in (1, 2) for k in range(PAIRS)}
    calibration = {f"calibration/{kind}_view{v}.png" for v in (1, 2) for kind in ("flat", "plate")}
    calibration |= {f"calibration/alignment_{p:02d}_view{v}.png" for v in (1, 2) for p in range(2)}
    tables = {"calibration/nominal.toml", "calibration/alignment_tool.csv", "trials/walking/times.csv"}
    truth = {"rig.json", "skull_mask.nii.gz", "world_from_tool.csv", "alignment_beads.csv"}
    truth |= {"plate_beads_view1.csv", "plate_beads_view2.csv", "walking/world_from_ct.csv", "walking/field_share.csv"}
    assert found == frames | calibration | tables | {f"truth/{name}" for name in truth} | {"head_ct.nii.gz"}


@pytest.mark.needs_data
def test_columns_and_keys_are_those_of_the_laboratory_folder(folder: Path, data_dir: Path) -> None:
    other = data_dir / "lab_head"
    tables = ("calibration/alignment_tool.csv", "trials/walking/times.csv", "truth/walking/world_from_ct.csv")
    for table in (*tables, "truth/walking/field_share.csv", "truth/world_from_tool.csv", "truth/alignment_beads.csv"):
        assert list(rows(folder / table)[0]) == list(rows(other / table)[0]), table
    assert set(rows(folder / "truth/plate_beads_view1.csv")[0]) <= set(rows(other / "truth/plate_beads_view1.csv")[0])
    ours, theirs = (tomllib.loads((f / "calibration/nominal.toml").read_text()) for f in (folder, other))
    assert ours.keys() == theirs.keys()
    ours, theirs = (json.loads((f / "truth/rig.json").read_text()) for f in (folder, other))
    assert ours.keys() == theirs.keys()
    assert ours["views"][0].keys() == theirs["views"][0].keys() - {"undistorted_camera"}


def test_truth_says_how_points_are_seen(folder: Path, laboratory: Laboratory, walking: Walking) -> None:
    """The files alone, read as their conventions say, lead to the pixels of the simulator."""
    views = json.loads((folder / "truth/rig.json").read_text())["views"]
    world_from_head = walking.world_from_head(1 / 30)
    points = np.random.default_rng(2).uniform(-60, 60, (40, 3))
    seen = matrices(folder / "truth/walking/world_from_ct.csv")["0001"].apply(points)
    assert seen == pytest.approx((FILE_FROM_WORLD * world_from_head).apply(points), abs=1e-6)
    for entry, fluoroscope in zip(views, laboratory.fluoroscopes, strict=True):
        ex, ey, en, o, s = (
            np.array(entry[k])
            for k in (
                "x_axis_world",
                "y_axis_world",
                "normal_to_source_world",
                "face_centre_world_mm",
                "source_world_mm",
            )
        )
        assert np.cross(ex, ey) == pytest.approx(en, abs=1e-9)
        foot = o + entry["principal_point_mm"][0] * ex + entry["principal_point_mm"][1] * ey
        assert foot + entry["source_to_face_mm"] * en == pytest.approx(s, abs=1e-6)
        rays = seen - s
        on_plane = s + rays * ((o - s) @ en / (rays @ en))[:, None]
        x, y = (on_plane - o) @ ex, (on_plane - o) @ ey
        table = entry["distortion"]
        pixels = [RectBivariateSpline(table["y_mm"], table["x_mm"], table[k]).ev(y, x) for k in ("u_px", "v_px")]
        expected = fluoroscope.recorded_from_plane(fluoroscope.plane_from_world(world_from_head.apply(points)))
        assert np.column_stack(pixels) == pytest.approx(expected, abs=2e-3)  # the table has four decimals on 5 mm


def test_ct_and_mask_lie_in_the_heads_frame(folder: Path, drawn: Head) -> None:
    ct = SimpleITK.ReadImage(str(folder / "head_ct.nii.gz"))
    mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(folder / "truth/skull_mask.nii.gz")))
    assert ct.GetOrigin() == pytest.approx(drawn.grid.origin_mm, abs=1e-3)
    assert ct.GetSpacing() == pytest.approx((drawn.grid.spacing_mm,) * 3, abs=1e-5)
    hounsfield = SimpleITK.GetArrayFromImage(ct)
    assert mask.astype(bool).sum() == len(drawn.bone_points_mm)
    assert hounsfield[drawn.mu == 0].max() == -1000
    assert np.median(hounsfield[mask > 0]) > 600


def test_frames_show_the_head_in_the_circular_field(folder: Path, laboratory: Laboratory) -> None:
    for number, fluoroscope in enumerate(laboratory.fluoroscopes, 1):
        frame = iio.imread(folder / f"trials/walking/view{number}/0001.png")
        assert frame.shape == (320, 320)
        assert frame.dtype == np.uint8
        v, u = np.indices(frame.shape)
        away = np.hypot(u - fluoroscope.field.u, v - fluoroscope.field.v)
        assert np.median(frame[away > 1.1 * fluoroscope.field.radius]) < 60
        inside = frame[away < 0.95 * fluoroscope.field.radius]
        assert (inside > 250).mean() > 0.1  # open beam beside the head saturates
        assert (inside < 160).mean() > 0.2
        assert inside.min() > 20  # and the head is not black
    shares = rows(folder / "truth/walking/field_share.csv")
    assert all(0.8 < float(row["both"]) <= min(float(row["view1"]), float(row["view2"])) for row in shares)


def test_walking_stays_within_its_amplitudes(walking: Walking) -> None:
    poses = [walking.world_from_head(t) for t in np.linspace(0, 4, 121)]
    places = np.array([pose.translation_mm for pose in poses])
    assert np.ptp(places[:, 1]) == pytest.approx(2 * walking.up_mm, rel=0.02)
    largest = max(poses[0].angle_to(pose) for pose in poses)
    assert 4 < np.degrees(largest) < 25
    still = Walking((1.0, 2.0, 3.0), up_mm=0, sideways_mm=0, forward_mm=0, nod_deg=0, turn_deg=0, lean_deg=0)
    assert still.world_from_head(0.3).matrix == pytest.approx(still.world_from_head(1.7).matrix)
    down = still.world_from_head(0.0).rotation @ [0, 0, -1]
    assert down == pytest.approx([0, 1, 0])  # the crown is up in the image
