"""Simulated trials: physically right, true, laid out as real ones, resumable, and careful with bad input."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from typer.testing import CliRunner

from fluoropose.bone import Bone
from fluoropose.cli import app
from fluoropose.drr import Renderer
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose
from fluoropose.io.ct import MU_WATER_PER_MM
from fluoropose.joint import JointMotion
from fluoropose.registration.evaluate import read_reference
from fluoropose.registration.trial import TrialFrames, load_trial
from fluoropose.rig import Rig
from fluoropose.simulate.beam import Tube
from fluoropose.simulate.chain import Exposure, ImageChain
from fluoropose.simulate.materials import PER_MM_AT_70_KEV
from fluoropose.simulate.trial.camera import Camera
from fluoropose.simulate.trial.config import SimulationConfig, Style, TrialConfig, read_simulation
from fluoropose.simulate.trial.head import HeadScene
from fluoropose.simulate.trial.knee import KneeScene
from fluoropose.simulate.trial.subject import Subject
from fluoropose.simulate.trial.write import Recording, write_simulation
from toy_learning import toy_rig
from toy_simulation import HEAD, KNEE, write_toy_simulation

CONFIGS = Path(__file__).resolve().parents[2] / "bench" / "configs"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> SimulationConfig:
    return read_simulation(write_toy_simulation(tmp_path_factory.mktemp("head"), HEAD))


@pytest.fixture(scope="module")
def scene(config: SimulationConfig) -> HeadScene:
    assert config.head is not None
    return HeadScene(config.head, config.place)


@pytest.fixture(scope="module")
def knee(tmp_path_factory: pytest.TempPathFactory) -> SimulationConfig:
    return read_simulation(write_toy_simulation(tmp_path_factory.mktemp("knee"), KNEE))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, config: SimulationConfig) -> Path:
    place = tmp_path_factory.mktemp("out")
    write_simulation(config, place)
    return place


def trial(config: SimulationConfig, name: str) -> TrialConfig:
    return next(trial for trial in config.trials if trial.name == name)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def flat() -> Rig:
    return toy_rig(distorted=False)


# --- physics ----------------------------------------------------------------------------------------------------------


def test_without_effects_a_frame_is_beer_lambert_on_the_cts_own_attenuation(scene: HeadScene) -> None:
    """One energy, no distortion: exp(-line integral of the CT), at the attenuation that water has at 70 keV."""
    recording = Recording(scene, flat(), Style(chain=ImageChain(bits=16)), 0)
    frame = recording.frame(TrialConfig(name="still"), 1, 0).astype(np.float64) / 65535
    skull = next(iter(scene.bones.values()))
    pose = scene.bodies(TrialConfig(name="still"), 0.0)["head"]
    line = Renderer(skull.volume).render(flat().views[1], pose) * PER_MM_AT_70_KEV["water"] / MU_WATER_PER_MM
    # The parts of the CT add up; the bending part is resampled once, which blurs edges of this coarse toy.
    inside = np.s_[40:160, 40:160]
    error = frame[inside] - np.exp(-line)[inside]
    assert np.abs(error).mean() < 0.004
    assert np.abs(error).max() < 0.08


def test_a_head_without_neck_is_its_ct_exactly(config: SimulationConfig) -> None:
    assert config.head is not None
    rigid = HeadScene(config.head.model_copy(update={"neck": None}), config.place)
    recording = Recording(rigid, flat(), Style(chain=ImageChain(bits=16)), 0)
    frame = recording.frame(TrialConfig(name="still"), 1, 0).astype(np.float64) / 65535
    pose = rigid.bodies(TrialConfig(name="still"), 0.0)["head"]
    (skull,) = rigid.bones.values()
    line = Renderer(skull.volume).render(flat().views[1], pose) * PER_MM_AT_70_KEV["water"] / MU_WATER_PER_MM
    assert frame == pytest.approx(np.exp(-line), abs=2e-4)
    assert rigid.joint(rigid.bodies(TrialConfig(name="still"), 0.0)) is None


def test_bone_shows_less_contrast_in_a_harder_beam(scene: HeadScene) -> None:
    def contrast(kvp: float) -> float:
        style = Style(method="shear_warp", beam=Tube(kvp=kvp), chain=ImageChain(bits=16))
        frame = Recording(scene, flat(), style, 0).frame(TrialConfig(name="still"), 0, 0).astype(np.float64) + 1
        depth = -np.log(frame / 65535)
        v, u = np.indices(frame.shape)
        away = np.hypot(u - 99.5, v - 99.5)
        return float(depth[away < 20].mean() / depth[(away > 45) & (away < 50)].mean())

    assert contrast(120.0) < 0.97 * contrast(60.0)


def test_metal_casts_a_shadow_as_dark_as_its_thickness_says(knee: SimulationConfig) -> None:
    assert knee.knee is not None
    subject = Subject(KneeScene(knee.knee, knee.place).pieces, "ray_cast")
    assert set(subject.materials) == {"cobalt_chromium", "titanium", "soft_tissue", "cortical_bone"}
    bodies = KneeScene(knee.knee, knee.place).bodies(trial(knee, "squat"), 0.0)
    paths = dict(zip(subject.materials, subject.paths(flat().views[0], bodies), strict=True))
    assert 25 < paths["cobalt_chromium"].max() < 85  # mm; lumps of up to 60 mm
    hollow = paths["cortical_bone"]
    assert 9 < hollow.max() < 20  # through both walls of a tube of 8 and 4 mm: 2 sqrt(64 - 16) = 13.9 at its edge
    assert (paths["soft_tissue"] >= 0).all()


def test_without_the_libraries_one_energy_still_works(
    config: SimulationConfig, scene: HeadScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "xraydb", None)
    monkeypatch.setitem(sys.modules, "spekpy", None)
    Recording(scene, flat(), Style(method="shear_warp"), 0).frame(trial(config, "still"), 0, 0)
    with pytest.raises(InputError, match=r'pip install "fluoropose\[simulate\]"'):
        Recording(scene, flat(), Style(method="shear_warp", beam=Tube()), 0)


# --- time -------------------------------------------------------------------------------------------------------------


def test_a_pulse_blurs_what_moves_and_nothing_else(scene: HeadScene, config: SimulationConfig) -> None:
    def frame(of: str, exposure: Exposure) -> np.ndarray:
        style = Style(method="shear_warp", exposure=exposure, chain=ImageChain(bits=16))
        number = 2 if of == "nodding" else 0  # where the head is fastest
        return Recording(scene, flat(), style, 0).frame(trial(config, of), 0, number).astype(np.int64)

    sharp = frame("nodding", Exposure())
    assert np.array_equal(frame("nodding", Exposure(pulse_s=0.1, instants=1)), sharp)
    assert np.array_equal(frame("nodding", Exposure(pulse_s=0.0, instants=9)), sharp)
    assert np.abs(frame("nodding", Exposure(pulse_s=0.1)) - sharp).max() > 1500
    assert np.abs(frame("still", Exposure(pulse_s=0.1)) - frame("still", Exposure())).max() <= 1  # a mean, rounded


def test_lag_mixes_in_the_frames_before(scene: HeadScene, config: SimulationConfig) -> None:
    def frames(lag_s: float) -> list[np.ndarray]:
        style = Style(method="shear_warp", chain=ImageChain(bits=16, lag_s=lag_s))
        recording = Recording(scene, flat(), style, 0)
        return [recording.frame(trial(config, "nodding"), 0, number).astype(np.float64) for number in range(3)]

    plain, lagging = frames(0.0), frames(0.2)
    left = np.exp(-0.25 / 0.2)
    assert np.array_equal(lagging[0], plain[0])  # nothing before the first
    assert lagging[1] == pytest.approx((plain[1] + left * plain[0]) / (1 + left), abs=1)
    expected = (plain[2] + left * plain[1] + left**2 * plain[0]) / (1 + left + left**2)
    assert lagging[2] == pytest.approx(expected, abs=1)


def test_tubes_that_fire_in_turn_show_their_own_moments(scene: HeadScene, config: SimulationConfig) -> None:
    nodding = trial(config, "nodding").model_copy(update={"frame_rate_hz": 16.0})
    first, second = toy_rig().fluoroscopes
    late = replace(second, pulse_offset_s=1 / 16)
    at_once, in_turn = (Recording(scene, Rig((first, one)), Style(), 1) for one in (second, late))
    np.testing.assert_array_equal(in_turn.frame(nodding, 0, 2), at_once.frame(nodding, 0, 2))
    np.testing.assert_array_equal(in_turn.frame(nodding, 1, 2), at_once.frame(nodding, 1, 3))
    assert (in_turn.frame(nodding, 1, 2) != at_once.frame(nodding, 1, 2)).any()


def test_drift_darkens_later_frames(scene: HeadScene) -> None:
    def middle(number: int) -> float:
        style = Style(method="shear_warp", exposure=Exposure(drift_per_s=-0.2), chain=ImageChain(bits=16))
        return float(Recording(scene, flat(), style, 0).frame(TrialConfig(name="still"), 0, number)[100, 100])

    assert middle(30) / middle(0) == pytest.approx(0.8, abs=0.01)


# --- geometry and truth -----------------------------------------------------------------------------------------------


def test_a_camera_shows_points_where_the_rig_says(scene: HeadScene) -> None:
    """Through the inverse of the fitted distortion: a spot of the ideal image lands on its recorded pixel."""
    fluoroscope = toy_rig().fluoroscopes[1]
    camera = Camera(fluoroscope, ImageChain())
    point = fluoroscope.view.pixel_to_world(np.array([[45.0, 150.0]]))
    ideal = camera.view.project(point)[0]
    v, u = np.indices((camera.view.height, camera.view.width))
    spot = np.exp(-((u - ideal[0]) ** 2 + (v - ideal[1]) ** 2) / (2 * 2.0**2)).astype(np.float32)
    seen = camera.record(spot)
    v, u = np.indices(seen.shape)
    centre = [(seen * u).sum() / seen.sum(), (seen * v).sum() / seen.sum()]
    expected = fluoroscope.project(point)[0]
    assert centre == pytest.approx(expected, abs=0.05)
    assert np.hypot(*(expected - [45, 150])) > 1


@pytest.mark.parametrize("distorted", [False, True])
def test_the_shadow_is_where_the_truth_says(
    config: SimulationConfig, scene: HeadScene, folder: Path, distorted: bool
) -> None:
    """In a frame of bone alone, the centre of its attenuation is that of the bone's voxels at the true pose."""
    rig = toy_rig(distorted)
    truth = read_reference(folder / "truth/nodding/world_from_skull.csv")[2]
    only_bone = [piece for piece in scene.pieces if piece.material == "cortical_bone" and piece.body == "head"]
    skull = next(iter(scene.bones.values()))
    bare = HeadScene.__new__(HeadScene)
    bare.__dict__.update(scene.__dict__, pieces=tuple(only_bone))
    frame = Recording(bare, rig, Style(chain=ImageChain(bits=16)), 0).frame(trial(config, "nodding"), 1, 2)
    depth = -np.log((frame.astype(np.float64) + 1) / 65536)
    v, u = np.indices(frame.shape)
    points = truth.apply(skull.volume.voxel_to_bone(np.argwhere(skull.mask)[:, ::-1]))
    expected = rig.fluoroscopes[1].project(points).mean(axis=0)
    found = [(depth * u).sum() / depth.sum(), (depth * v).sum() / depth.sum()]
    assert found == pytest.approx(expected, abs=0.5)  # magnification weighs near voxels more


def test_the_neck_moves_against_the_skull_as_stated(scene: HeadScene, config: SimulationConfig) -> None:
    nodding = trial(config, "nodding")
    still = scene.bodies(nodding, 0.0)
    assert astuple_of(scene.joint(still)) == pytest.approx([0] * 6, abs=1e-9)
    flexed = scene.bodies(nodding, 0.25)  # a quarter of the period: the end of flexion
    world = config.place.world_from_subject.rotation
    turn = Pose(world.T @ flexed["head"].rotation, np.zeros(3)).rotation_vector
    assert np.degrees(turn) == pytest.approx([30, 0, 0], abs=1e-9)
    forehead = flexed["head"].apply(np.array([[0.0, -20.0, 0.0]])) - still["head"].apply(np.array([[0.0, -20.0, 0.0]]))
    assert (world.T @ forehead[0])[2] < -3  # towards the chest
    neck = Pose(world.T @ flexed["neck"].rotation, np.zeros(3)).rotation_vector
    assert np.degrees(neck) == pytest.approx([12, 0, 0], abs=1e-9)  # its share of 0.4
    joint = np.array([[0.0, 0.0, -25.0]])
    assert flexed["head"].apply(joint) == pytest.approx(flexed["neck"].apply(joint))
    assert astuple_of(scene.joint(flexed))[0] == pytest.approx(-18)  # a knee that extends takes the shank forward too


def astuple_of(motion: JointMotion | None) -> list[float]:
    assert motion is not None
    return [getattr(motion, name) for name in motion.__dataclass_fields__]


def test_truth_of_the_necks_bone_is_in_its_own_frame(scene: HeadScene, config: SimulationConfig) -> None:
    bodies = scene.bodies(trial(config, "nodding"), 0.25)
    truth = scene.truth(bodies)
    assert list(truth) == ["skull", "vertebra"]
    assert truth["skull"].matrix == pytest.approx(bodies["head"].matrix)
    origin = np.array([[0.0, 0.0, -40.0]])  # of the vertebra, in the skull's frame before anything moved
    assert truth["vertebra"].apply(np.zeros((1, 3))) == pytest.approx(bodies["neck"].apply(origin))


def test_the_neck_bends_in_the_picture(scene: HeadScene, config: SimulationConfig) -> None:
    """At the end of flexion the column stands where the neck's pose says, not where the head would carry it."""
    nodding = trial(config, "nodding")
    column = [piece for piece in scene.pieces if piece.material == "cortical_bone" and piece.body == "neck"]
    assert len(column) == 1
    view = flat().views[1]
    shadow = Subject(column, "ray_cast").paths(view, scene.bodies(nodding, 0.25))[0]
    v, u = np.indices(shadow.shape)
    found = np.array([(shadow * u).sum(), (shadow * v).sum()]) / shadow.sum()
    vertebra = scene.bones["vertebra"]
    voxels = vertebra.volume.voxel_to_bone(np.argwhere(vertebra.mask)[:, ::-1])
    bodies = scene.bodies(nodding, 0.25)
    assert found == pytest.approx(view.project(scene.truth(bodies)["vertebra"].apply(voxels)).mean(axis=0), abs=0.7)
    with_head = scene.truth({**bodies, "neck": bodies["head"]})["vertebra"].apply(voxels)
    assert np.hypot(*(found - view.project(with_head).mean(axis=0))) > 4


def test_a_knee_bends_as_its_truth_says(knee: SimulationConfig, tmp_path: Path) -> None:
    write_simulation(knee, tmp_path)
    motions = rows(tmp_path / "truth/squat/joint.csv")
    flexion = [float(row["flexion_deg"]) for row in motions]
    assert flexion == pytest.approx([0, 20, 60, 80], abs=1e-4)  # half a cycle of 3 s: 80 sin^2
    assert [float(row["distraction_mm"]) for row in motions] == pytest.approx([40] * 4, abs=1e-4)
    femur, tibia = (read_reference(tmp_path / f"truth/squat/world_from_{n}.csv")[2] for n in ("femur", "tibia"))
    assert np.degrees(femur.angle_to(tibia)) == pytest.approx(60, abs=8)  # with some rotation beside the flexion
    assert femur.apply(np.zeros((1, 3))) == pytest.approx(np.array([[0, 0, -400.0]]), abs=3)  # landmarks' centre
    frame = iio.imread(tmp_path / "trials/squat/view1/0002.png")
    seen = flat().views[0].project(femur.apply(np.zeros((1, 3))))[0].astype(int)
    assert frame[seen[1], seen[0]] < 30  # metal


# --- files ------------------------------------------------------------------------------------------------------------


def test_files_are_those_of_a_trial_with_the_truth_beside_them(folder: Path, config: SimulationConfig) -> None:
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    expected = {"rig.json", "skull.h5", "vertebra.h5"}
    for name, frames in (("still", 1), ("nodding", 3)):
        expected |= {f"trials/{name}/view{v}/{k:04d}.png" for v in (1, 2) for k in range(frames)}
        expected |= {f"trials/{name}/times.csv", f"{name}_skull.toml", f"{name}_vertebra.toml"}
        tables = ("recipe.json", "world_from_skull.csv", "world_from_vertebra.csv", "joint.csv", "field_share.csv")
        expected |= {f"truth/{name}/{table}" for table in tables}
    assert found == expected
    shares = rows(folder / "truth/nodding/field_share.csv")
    assert all(0.9 < float(row["all"]) <= 1 for row in shares)


def test_the_trial_opens_as_a_real_one(folder: Path) -> None:
    loaded = load_trial(folder / "nodding_skull.toml")
    frames = TrialFrames.open(loaded)
    assert frames.times_s == pytest.approx((0, 0.25, 0.5))
    assert Rig.load(loaded.rig).fluoroscopes[1].distortion is not None
    assert Bone.load(loaded.bone).fingerprint == Bone.load(folder / "skull.h5").fingerprint
    assert sorted(read_reference(folder / "truth/nodding/world_from_skull.csv")) == [0, 1, 2]
    assert loaded.bit_depth == 16


def test_it_goes_on_where_it_was_stopped(
    folder: Path, config: SimulationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = config.model_copy(
        update={
            "style": Style(
                method="shear_warp",
                exposure=Exposure(quanta=500.0),
                chain=ImageChain(lag_s=0.1, electronic_noise=0.01, bits=12),
            )
        }
    )
    write_simulation(noisy, tmp_path / "whole")
    original, count = Recording.frame, 0

    def interrupted(self: Recording, of: TrialConfig, view: int, number: int) -> np.ndarray:
        nonlocal count
        count += 1
        if count > 4:
            raise KeyboardInterrupt
        return original(self, of, view, number)

    monkeypatch.setattr(Recording, "frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_simulation(noisy, tmp_path / "resumed")
    assert len(list((tmp_path / "resumed").rglob("*.png"))) == 4
    monkeypatch.setattr(Recording, "frame", original)
    write_simulation(noisy, tmp_path / "resumed")
    whole = {p.relative_to(tmp_path / "whole"): p.read_bytes() for p in (tmp_path / "whole").rglob("*") if p.is_file()}
    again = {
        p.relative_to(tmp_path / "resumed"): p.read_bytes() for p in (tmp_path / "resumed").rglob("*") if p.is_file()
    }
    assert whole == again
    frame = iio.imread(tmp_path / "whole/trials/nodding/view1/0001.png")
    assert frame.dtype == np.uint16
    assert 2000 < frame.max() < 4096


def test_another_configuration_is_not_mixed_in(folder: Path, config: SimulationConfig) -> None:
    with pytest.raises(FileFormatError, match=r"recipe\.json: made from another configuration"):
        write_simulation(config.model_copy(update={"seed": 99}), folder)
    more = TrialConfig(name="turning", frames=1)
    write_simulation(config.model_copy(update={"trials": (*config.trials, more)}), folder)  # a trial can be added
    for path in [*(folder / "trials/turning").rglob("*.*"), *(folder / "truth/turning").rglob("*.*")]:
        path.unlink()
    for name in ("turning_skull.toml", "turning_vertebra.toml"):
        (folder / name).unlink()


def test_the_command_writes_it(tmp_path: Path) -> None:
    path = write_toy_simulation(tmp_path, KNEE.replace("frames = 4", "frames = 1"))
    ran = CliRunner().invoke(app, ["simulate", str(path), "--out", str(tmp_path / "out")])
    assert ran.exit_code == 0, ran.output
    assert (tmp_path / "out/trials/squat/view2/0000.png").exists()
    told = (tmp_path / "out/squat_femur.toml").read_text().split("bundle = ")[0].splitlines()[-1]
    assert "`fluoropose train landmarks` make it" in told


def test_bones_may_be_called_anything(tmp_path: Path) -> None:
    path = write_toy_simulation(tmp_path, KNEE.replace("frames = 4", "frames = 1"))
    name = 'left "knee" 3\\4 ü'
    (tmp_path / "femur.h5").rename(tmp_path / f"{name}.h5")
    path.write_text(path.read_text(encoding="utf-8").replace('"femur.h5"', f"'{name}.h5'"), encoding="utf-8")
    write_simulation(read_simulation(path), tmp_path / "out")
    trial = load_trial(tmp_path / "out" / f"squat_{name}.toml")
    assert trial.bone == tmp_path / "out" / f"{name}.h5"
    assert trial.bone.exists()


def test_trials_of_another_rig_or_bone_are_not_mixed_in(tmp_path: Path) -> None:
    config = read_simulation(write_toy_simulation(tmp_path, KNEE.replace("frames = 4", "frames = 1")))
    write_simulation(config, tmp_path / "out")
    kept = (tmp_path / "out" / "rig.json").read_bytes()
    other = config.model_copy(update={"trials": (config.trials[0].model_copy(update={"name": "again"}),)})
    toy_rig(distorted=False).save(config.rig)
    with pytest.raises(FileFormatError, match=r"out/rig\.json: belongs to trials that are in the folder already"):
        write_simulation(other, tmp_path / "out")
    assert (tmp_path / "out" / "rig.json").read_bytes() == kept
    write_simulation(other, tmp_path / "elsewhere")
