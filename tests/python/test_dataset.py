from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from fluoropose.drr import Renderer
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose, View
from fluoropose.learning.config import LearningConfig, load_config
from fluoropose.learning.dataset import RadiographSet, make_dataset
from fluoropose.learning.scene import Sample, Scene, draw_pose
from fluoropose.rig import Rig
from fluoropose.volume import Volume
from toy_learning import CONFIG, toy_bone, toy_rig, write_toy


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> LearningConfig:
    return load_config(write_toy(tmp_path_factory.mktemp("toy")))


@pytest.fixture(scope="module")
def set_path(config: LearningConfig) -> Path:
    return make_dataset(config, config.dataset.bone.parent / "set.h5")


def changed(config: LearningConfig, **values: object) -> LearningConfig:
    return config.model_copy(update={"dataset": config.dataset.model_copy(update=values)})


def contents(path: Path) -> dict[str, np.ndarray]:
    with h5py.File(path) as file:
        return {name: file[name][:] for name in file}


def test_a_seed_gives_one_set(config: LearningConfig, set_path: Path, tmp_path: Path) -> None:
    again = contents(make_dataset(config, tmp_path / "again.h5"))
    other = contents(make_dataset(changed(config, seed=2), tmp_path / "other.h5"))
    for name, values in contents(set_path).items():
        assert np.array_equal(values, again[name]), name
    assert not np.array_equal(again["world_from_bone"], other["world_from_bone"])


@pytest.mark.slow
def test_several_processes_render_the_same_set(config: LearningConfig, tmp_path: Path) -> None:
    many = changed(config, count=40)
    one, two = (contents(make_dataset(many, tmp_path / f"{n}.h5", n)) for n in (1, 2))
    for name, values in one.items():
        assert np.array_equal(values, two[name]), name
    with pytest.raises(InputError, match="workers"):
        make_dataset(many, tmp_path / "0.h5", 0)


def test_an_interrupted_set_is_completed(
    config: LearningConfig, set_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "resumed.h5"
    whole, count = Scene.sample, 0

    def interrupted(scene: Scene, index: int) -> object:
        nonlocal count
        count += 1
        if count > 5:
            raise KeyboardInterrupt
        return whole(scene, index)

    monkeypatch.setattr(Scene, "sample", interrupted)
    with pytest.raises(KeyboardInterrupt):
        make_dataset(config, out)
    assert not out.exists()
    count = -7
    make_dataset(config, out)
    assert count == 0, "the five finished samples are rendered again"
    for name, values in contents(set_path).items():
        assert np.array_equal(values, contents(out)[name]), name


KILLED = """
import os, signal, sys
from fluoropose.learning.config import load_config
from fluoropose.learning.dataset import make_dataset
from fluoropose.learning.scene import Scene

whole, left = Scene.sample, int(sys.argv[3])

def killed(scene, index):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(scene, index)

Scene.sample = killed
make_dataset(load_config(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.parametrize("rendered", [0, 5])
def test_a_set_whose_program_was_killed_is_completed(
    config: LearningConfig, set_path: Path, tmp_path: Path, rendered: int
) -> None:
    out = tmp_path / "set.h5"
    toml = config.dataset.bone.parent / "run.toml"
    killed = subprocess.run([sys.executable, "-c", KILLED, toml, out, str(rendered)], capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    make_dataset(config, out)
    for name, values in contents(set_path).items():
        assert np.array_equal(values, contents(out)[name]), name


def test_a_finished_set_stays_wherever_it_is_asked_for_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    toml = write_toy(folder)
    finished = make_dataset(load_config(toml), folder / "set.h5")
    made = finished.stat().st_mtime_ns
    monkeypatch.chdir(folder)
    assert make_dataset(load_config("run.toml"), "set.h5").stat().st_mtime_ns == made
    monkeypatch.chdir(tmp_path)
    folder.rename(tmp_path / "moved")
    assert make_dataset(load_config("moved/run.toml"), "moved/set.h5").stat().st_mtime_ns == made


def test_a_bone_of_other_attenuation_makes_another_set(tmp_path: Path) -> None:
    config = load_config(write_toy(tmp_path))
    out = make_dataset(config, tmp_path / "set.h5")
    before, shown = contents(out), RadiographSet.load(out)
    bone = toy_bone()
    heavier = replace(bone, volume=Volume(bone.volume.mu * 1.5, bone.volume.bone_from_voxel))
    assert heavier.fingerprint == bone.fingerprint  # the same landmarks on the same surface
    heavier.save(config.dataset.bone)
    after = contents(make_dataset(config, out))
    np.testing.assert_allclose(after["layers"], 1.5 * before["layers"].astype(np.float32), rtol=2e-3, atol=1e-3)
    assert RadiographSet.load(out).fingerprint != shown.fingerprint  # no training goes on with other pictures


def test_a_training_on_an_older_set_goes_on(set_path: Path, tmp_path: Path) -> None:
    older = tmp_path / "set.h5"
    older.write_bytes(set_path.read_bytes())
    with h5py.File(older, "r+") as file:
        recipe = json.loads(file.attrs["recipe"])
        file.attrs["recipe"] = json.dumps(recipe | {"dataset": recipe["dataset"] | {"bone": "/study/bone.h5"}})
    loaded, data = RadiographSet.load(older), contents(older)
    digest = hashlib.sha256(loaded.owner.bone_fingerprint.encode())
    for part in (data["view"].astype(np.int64), data["segmented"], data["landmarks_px"]):
        digest.update(part.tobytes())
    assert loaded.fingerprint == digest.hexdigest()


def test_another_configuration_does_not_resume(config: LearningConfig, tmp_path: Path) -> None:
    out = tmp_path / "set.h5"
    finished = make_dataset(config, out)
    finished.rename(tmp_path / "set.h5.partial")
    with pytest.raises(FileFormatError, match="another configuration"):
        make_dataset(changed(config, seed=9), out)


def test_a_changed_rig_neither_resumes_nor_passes_for_finished(config: LearningConfig, tmp_path: Path) -> None:
    rig = tmp_path / "rig.json"
    rig.write_bytes(config.dataset.rig.read_bytes())
    own = config.model_copy(update={"dataset": config.dataset.model_copy(update={"rig": rig})})
    finished = make_dataset(own, tmp_path / "set.h5")
    made = finished.stat().st_mtime_ns
    make_dataset(own, finished)
    assert finished.stat().st_mtime_ns == made  # left as it is
    loaded = Rig.load(rig)
    first = loaded.fluoroscopes[0]
    view = replace(first.view, source=first.view.source + [5.0, 0.0, 0.0])
    Rig((replace(first, view=view), *loaded.fluoroscopes[1:])).save(rig)
    finished.rename(tmp_path / "set.h5.partial")
    with pytest.raises(FileFormatError, match="another configuration, bone or rig"):
        make_dataset(own, finished)


def test_labels_are_the_projected_landmarks(config: LearningConfig, set_path: Path) -> None:
    rig, bone, data = toy_rig(), toy_bone(), contents(set_path)
    for i in range(config.dataset.count):
        fluoroscope = rig.fluoroscopes[data["view"][i]]
        recorded = fluoroscope.project(Pose.from_matrix(data["world_from_bone"][i]).apply(bone.landmarks_mm))
        left, top, side = data["region_px"][i]
        expected = (recorded - (left, top) + 0.5) * config.dataset.size / side - 0.5
        # Stored as float32.
        assert np.abs(data["landmarks_px"][i] - expected).max() < 1e-4


@pytest.mark.parametrize("beam", ["point", "parallel"])
def test_pictures_agree_with_labels(config: LearningConfig, beam: str) -> None:
    """The shadow of a landmark's own little ball lies at the label, also where the frame is distorted."""
    fine = changed(config, size=128, border=16, margin=(1.2, 1.3), whole_field_share=0.0, moving=(), beam=beam)
    data = fine.dataset
    bone = toy_bone()
    z, y, x = np.meshgrid(*[np.arange(-16, 17) * 3.0] * 3, indexing="ij")
    spots = np.stack([np.hypot(np.hypot(x - p[0], y - p[1]), z - p[2]) for p in bone.landmarks_mm])
    nearest = int(np.argmin(np.abs(bone.landmarks_mm).sum(axis=1)))
    ball = spots[nearest] < 9
    mu = np.where(ball, np.float32(0.1), np.float32(0))
    lone = type(bone)(**{**vars(bone), "volume": type(bone.volume)(mu, bone.volume.bone_from_voxel), "mask": ball})
    scene = Scene(lone, toy_rig(), data)
    centre = (np.argwhere(ball).mean(axis=0)[::-1] * 3 - 48)[None]
    for index in range(8):
        sample = scene.sample(index)
        fluoroscope = toy_rig().fluoroscopes[sample.view]
        if beam == "parallel":
            view = fluoroscope.view.parallel_at(sample.world_from_bone.translation_mm)
            fluoroscope = replace(fluoroscope, view=view)
        left, top, side = sample.region
        expected = (fluoroscope.project(sample.world_from_bone.apply(centre))[0] - (left, top) + 0.5) * 128 / side - 0.5
        shadow = sample.layers[0].astype(np.float64)
        v, u = np.mgrid[: shadow.shape[0], : shadow.shape[1]] - data.border
        found = np.array([(u * shadow).sum(), (v * shadow).sum()]) / shadow.sum()
        # Measured up to 0.10 px of 128: the perspective of a ball that is not small.
        assert np.abs(found - expected).max() < 0.25


def canvas_view(sample: Sample, rig: Rig, config: LearningConfig) -> View:
    """The view of a sample's picture with its border."""
    data = config.dataset
    left, top, side = sample.region
    canvas, step = data.size + 2 * data.border, side / data.size
    corner = left - data.border * step, top - data.border * step
    return rig.views[sample.view].crop(*corner, (canvas * step,) * 2, (canvas, canvas))


def test_parts_add_up(config: LearningConfig) -> None:
    """Bone, fixed surroundings and a moving part that does not move make the whole volume."""
    still = config.dataset.moving[0].model_copy(update={"tilt_deg": (0.0, 0.0, 0.0)})
    data = config.dataset.model_copy(update={"moving": (still,)})
    rig = toy_rig(distorted=False)
    scene = Scene(toy_bone(), rig, data, (None,))
    assert scene.layers == 3
    for index in range(3):
        sample = scene.sample(index)
        whole = Renderer(toy_bone().volume).render(canvas_view(sample, rig, config), sample.world_from_bone)
        # Stored as float16: 5e-4 relative, values up to 5.
        assert np.abs(sample.layers.astype(np.float32).sum(axis=0) - whole).max() < 0.01


def test_a_bone_that_the_ct_cut_goes_on_beyond_it(config: LearningConfig) -> None:
    """Its own layer ends with the CT; the moving part goes on with all that the CT ended in."""
    up = (0.0, -1.0, 0.0)
    still = config.dataset.moving[0].model_copy(
        update={"tilt_deg": (0.0, 0.0, 0.0), "towards": up, "beyond_mm": (0.0, 0.0, 0.0)}
    )
    bone, rig = toy_bone(), toy_rig(distorted=False)
    place = bone.volume.bone_from_voxel.copy()
    place[1, 3] += 15.0
    cut = replace(bone, volume=Volume(bone.volume.mu[:, 5:], place), mask=bone.mask[:, 5:])  # through the rod
    ends, goes_on = (
        Scene(cut, rig, changed(config, moving=(still.model_copy(update={"extend_mm": length}),)).dataset, (None,))
        for length in (0.0, 60.0)
    )
    longer, differences = Renderer(cut.volume.extended(up, 60.0)), []
    for index in range(3):
        short, sample = ends.sample(index), goes_on.sample(index)
        assert np.array_equal(short.layers[:-1], sample.layers[:-1])
        differences.append(np.abs(sample.layers[-1] - short.layers[-1]).max())
        whole = longer.render(canvas_view(sample, rig, config), sample.world_from_bone)
        # Stored as float16: 5e-4 relative, values up to 5.
        assert np.abs(sample.layers.astype(np.float32).sum(axis=0) - whole).max() < 0.01
    assert max(differences) > 0.3  # the rod is 12 mm thick, at 0.05 per mm


def test_poses_stay_in_their_ranges(config: LearningConfig) -> None:
    ranges = config.dataset.pose
    rng = np.random.default_rng(0)
    poses = [draw_pose(ranges, rng) for _ in range(300)]
    offsets = np.array([p.translation_mm for p in poses]) - ranges.centre_mm
    assert (np.abs(offsets) <= ranges.range_mm).all()
    angles = np.degrees([p.angle_to(Pose.identity()) for p in poses])
    assert angles.max() <= 30.0
    assert angles.max() > 22.0


def test_finished_sets_load(config: LearningConfig, set_path: Path) -> None:
    loaded = RadiographSet.load(set_path)
    assert len(loaded) == config.dataset.count
    assert loaded.layers.shape[1:] == (3, 44, 44)
    assert loaded.owner.bone_fingerprint == toy_bone().fingerprint
    assert 0 < int(loaded.segmented.sum()) < len(loaded)
    assert loaded.config == config


def test_damaged_sets_are_refused(set_path: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.h5"
    cut.write_bytes(set_path.read_bytes()[: set_path.stat().st_size // 2])
    with pytest.raises(FileFormatError, match=r"cut\.h5"):
        RadiographSet.load(cut)
    for name, index, value in (("layers", (3, 0, 5, 5), np.nan), ("landmarks_px", (4, 0, 0), np.inf)):
        bad = tmp_path / f"{name}.h5"
        bad.write_bytes(set_path.read_bytes())
        with h5py.File(bad, "r+") as file:
            file[name][index] = value
        with pytest.raises(FileFormatError, match=rf"{name}: NaN or infinity in sample {index[0]}"):
            RadiographSet.load(bad)
    unfinished = tmp_path / "unfinished.h5"
    unfinished.write_bytes(set_path.read_bytes())
    with h5py.File(unfinished, "r+") as file:
        file["done"][2] = False
    with pytest.raises(FileFormatError, match="unfinished"):
        RadiographSet.load(unfinished)
    with pytest.raises(FileFormatError, match="nowhere"):
        RadiographSet.load(tmp_path / "nowhere.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.attrs["format"], file.attrs["version"] = "fluoropose-bone", 1
    with pytest.raises(FileFormatError, match="version 1, found 'fluoropose-bone' version 1"):
        RadiographSet.load(tmp_path / "other.h5")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("count = 12", "count = 12\ncoutn = 3", "coutn"),
        ("test_count = 4", "test_count = 7", "test_count"),
        ("[1, 0, 0], [0, 1", "[1, 0, 0], [0, -1", "rotation"),
        ("axis = [0, 1, 0]", "axis = [0, 0, 0]", "axis"),
        ("batch = 4", "batch = 1", "batch"),
        ('bone = "bone.h5"\n', "", "bone"),
        ("size = 32", "size = 40", "size"),
        ("limbs = 1", "noise = [0.1, 0.0]", "style.noise"),
        ("limbs = 1", "gamma = [0.0, 1.0]", "style.gamma"),
    ],
)
def test_wrong_configurations_are_refused(tmp_path: Path, old: str, new: str, says: str) -> None:
    path = tmp_path / "bad.toml"
    assert old in CONFIG
    path.write_text(CONFIG.replace(old, new), encoding="utf-8")
    with pytest.raises(FileFormatError, match=rf"bad\.toml.*{says}"):
        load_config(path)


def test_a_bone_behind_the_source_is_refused(config: LearningConfig) -> None:
    pose = config.dataset.pose.model_copy(update={"centre_mm": (0.0, 0.0, -2000.0)})
    data = config.dataset.model_copy(update={"pose": pose, "moving": ()})
    with pytest.raises(InputError, match="not in front of a source"):
        Scene(toy_bone(), Rig(toy_rig().fluoroscopes[:1]), data).sample(0)
