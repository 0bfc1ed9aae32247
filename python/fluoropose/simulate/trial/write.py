"""Record the trials of a simulation, and write them as a laboratory leaves them, with the truth beside them.

::

    FOLDER/rig.json, FOLDER/BONE.h5              copies of what was given
    FOLDER/TRIAL_BONE.toml                       for ``fluoropose register``; it expects a bundle FOLDER/BONE.fpbundle
    FOLDER/trials/TRIAL/viewN/NNNN.png           frames; more than 8 bits are stored in 16
    FOLDER/trials/TRIAL/times.csv                their times
    FOLDER/truth/TRIAL/recipe.json               all that the trial was made from
    FOLDER/truth/TRIAL/world_from_BONE.csv       poses of the bone frame at mid-exposure, for ``fluoropose evaluate``
    FOLDER/truth/TRIAL/joint.csv                 of two bodies: the distal relative to the proximal one
    FOLDER/truth/TRIAL/field_share.csv           share of the first bone that each field shows
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import astuple, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from fluoropose import __version__
from fluoropose._files import atomic_path, write_text
from fluoropose._toml import quoted, require_inputs
from fluoropose.bone import Bone
from fluoropose.errors import FileFormatError
from fluoropose.joint import JointMotion
from fluoropose.rig import Rig
from fluoropose.simulate.beam import Beam
from fluoropose.simulate.files import write_csv, write_matrices, write_png
from fluoropose.simulate.trial.camera import Camera
from fluoropose.simulate.trial.config import SimulationConfig, Style, TrialConfig
from fluoropose.simulate.trial.head import HeadScene
from fluoropose.simulate.trial.knee import KneeScene
from fluoropose.simulate.trial.scene import Scene
from fluoropose.simulate.trial.subject import Subject

__all__ = ["Recording", "write_simulation"]

Frame = NDArray[np.uint8] | NDArray[np.uint16]


class Recording:
    """A subject before the cameras of a rig, ready to expose frames; each depends on the configuration alone.

    Parameters
    ----------
    scene, rig, style
        What is exposed, by what, and how it looks.
    seed
        Of the noise.
    """

    def __init__(self, scene: Scene, rig: Rig, style: Style, seed: int) -> None:
        self._scene, self._style, self._seed = scene, style, seed
        self._cameras = tuple(Camera(fluoroscope, style.chain) for fluoroscope in rig.fluoroscopes)
        self._offsets_s = tuple(fluoroscope.pulse_offset_s for fluoroscope in rig.fluoroscopes)
        self._subject = Subject(scene.pieces, style.method)
        materials = self._subject.materials
        self._beam = Beam.monochromatic(materials) if style.beam is None else Beam.of(style.beam.spectrum(), materials)
        self._lights: OrderedDict[tuple[str, int, int], NDArray[np.float32]] = OrderedDict()

    def frame(self, trial: TrialConfig, view: int, number: int) -> Frame:
        """Return what view ``view`` (0 first) stores of frame ``number`` of a trial."""
        weights = self._style.chain.lag_weights(1 / trial.frame_rate_hz)[: number + 1]
        light = self._light(trial, view, number, len(weights))
        if len(weights) > 1:
            former = [self._light(trial, view, number - age, len(weights)) for age in range(1, len(weights))]
            total = weights[0] * light + sum(w * image for w, image in zip(weights[1:], former, strict=True))
            light = np.asarray(total / sum(weights), dtype=np.float32)
        return self._cameras[view].recorder.store(light, self._rng(trial, view, number, 1))

    def _light(self, trial: TrialConfig, view: int, number: int, kept: int) -> NDArray[np.float32]:
        key = (trial.name, view, number)
        if key not in self._lights:
            self._lights[key] = self._expose(trial, view, number)
            while len(self._lights) > kept * len(self._cameras):
                self._lights.popitem(last=False)
        return self._lights[key]

    def _expose(self, trial: TrialConfig, view: int, number: int) -> NDArray[np.float32]:
        camera, exposure = self._cameras[view], self._style.exposure
        middle = number / trial.frame_rate_hz + self._offsets_s[view]
        instants = exposure.instants_s
        primary = np.zeros((camera.view.height, camera.view.width), dtype=np.float32)
        for offset in instants:
            paths = self._subject.paths(camera.view, self._scene.bodies(trial, middle + offset))
            primary += self._beam.transmission(paths) / np.float32(len(instants))
        signal = camera.record(primary)
        return camera.recorder.expose(signal, exposure, self._rng(trial, view, number, 0), middle)

    def _rng(self, trial: TrialConfig, view: int, number: int, purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, zlib.crc32(trial.name.encode()), view, number, purpose])


def write_simulation(config: SimulationConfig, out: str | Path, console: Console | None = None) -> None:
    """Record all trials of ``config`` into the folder ``out``.

    Interrupted, it goes on where it was stopped when called again; the result is the same. Trials can be added.

    Raises
    ------
    FileFormatError, InputError
        If a file cannot be used, a trial in the folder was made from another configuration, or others in the folder
        from another rig or bone of the same name.
    """
    out = Path(out)
    require_inputs(config)
    rig, style = Rig.load(config.rig), config.read_style()
    recipes = {trial.name: _recipe(config, trial, style) for trial in config.trials}
    for name, recipe in recipes.items():
        path = out / "truth" / name / "recipe.json"
        if path.exists() and path.read_text(encoding="utf-8") != recipe:
            raise FileFormatError(f"{path}: made from another configuration, rig or bone; delete the trial's folders")
    copies = {config.rig: out / "rig.json"} | {path: out / f"{path.stem}.h5" for path in _bone_files(config)}
    if any(out.glob("truth/*/recipe.json")):
        _require_same(copies)
    scene: Scene = _scene(config)
    recording = Recording(scene, rig, style, config.seed)
    for path, copy in copies.items():
        _copy(path, copy)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        for trial in config.trials:
            write_text(out / "truth" / trial.name / "recipe.json", recipes[trial.name])
            _write_truth(out / "truth" / trial.name, scene, rig, trial)
            _write_tables(out, scene, style, trial, len(rig.fluoroscopes))
            missing = list(_missing(out / "trials" / trial.name, trial, len(rig.fluoroscopes)))
            total = trial.frames * len(rig.fluoroscopes)
            task = bar.add_task(f"exposing {trial.name}", total=total, completed=total - len(missing))
            for path, view, number in missing:
                write_png(path, recording.frame(trial, view, number))
                bar.advance(task)


def _scene(config: SimulationConfig) -> Scene:
    if config.head is not None:
        return HeadScene(config.head, config.place)
    assert config.knee is not None  # the configuration's own check; narrows the type
    return KneeScene(config.knee, config.place)


def _bone_files(config: SimulationConfig) -> tuple[Path, ...]:
    if config.head is not None:
        return (config.head.bone, *(() if config.head.neck is None else config.head.neck.bones))
    assert config.knee is not None
    return config.knee.femur.bone, config.knee.tibia.bone


def _recipe(config: SimulationConfig, trial: TrialConfig, style: Style) -> str:
    """Return all that the trial depends on as JSON: files by their contents, not by their places."""
    document = {
        "fluoropose": __version__,
        "seed": config.seed,
        "style": style.model_dump(mode="json"),
        "subject": (config.head or config.knee or config.place).model_dump(mode="json"),
        "place": config.place.model_dump(mode="json"),
        "trial": trial.model_dump(mode="json"),
        "files": {path.name: _sha256(path) for path in (config.rig, *_bone_files(config))},
    }
    return json.dumps(_without_folders(document), indent=1) + "\n"


def _without_folders(value: object) -> object:
    if isinstance(value, dict):
        return {
            key: [Path(v).name for v in entry]
            if key == "bones"
            else Path(entry).name
            if key == "bone"
            else _without_folders(entry)
            for key, entry in value.items()
        }
    return value


def _sha256(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise FileFormatError(f"{path}: cannot be read: {error.strerror or error}") from error


def _require_same(copies: Mapping[Path, Path]) -> None:
    """Raise FileFormatError where a copy that trials rest on is of another file than is to be copied now."""
    for source, copy in copies.items():
        if copy.exists() and _sha256(copy) != _sha256(source):
            raise FileFormatError(
                f"{copy}: belongs to trials that are in the folder already: expected what {source} holds, found "
                "another; simulate into another folder"
            )


def _copy(source: Path, target: Path) -> None:
    if source.resolve() == target.resolve():
        return
    with atomic_path(target) as temporary:
        temporary.write_bytes(source.read_bytes())


def _names(trial: TrialConfig) -> list[str]:
    return [f"{number:04d}" for number in range(trial.frames)]


def _missing(folder: Path, trial: TrialConfig, views: int) -> Iterator[tuple[Path, int, int]]:
    for number, name in enumerate(_names(trial)):
        for view in range(views):
            path = folder / f"view{view + 1}" / f"{name}.png"
            if not path.exists():
                yield path, view, number


def _write_tables(out: Path, scene: Scene, style: Style, trial: TrialConfig, views: int) -> None:
    names = _names(trial)
    times = [(name, f"{number / trial.frame_rate_hz:.6f}") for number, name in enumerate(names)]
    write_csv(out / "trials" / trial.name / "times.csv", ("frame", "time_s"), times)
    frames = ", ".join(f'"trials/{trial.name}/view{view + 1}"' for view in range(views))
    for bone in scene.bones:
        write_text(
            out / f"{trial.name}_{bone}.toml",
            "# what `fluoropose register` needs\n"
            'rig = "rig.json"\n'
            f"bone = {quoted(f'{bone}.h5')}\n"
            "# not part of a simulation: `fluoropose dataset` and `fluoropose train landmarks` make it\n"
            f"bundle = {quoted(f'{bone}.fpbundle')}\n"
            f"frames = [{frames}]\n"
            f'times = "trials/{trial.name}/times.csv"\n'
            f"bit_depth = {style.chain.bits}\n"
            f"out = {quoted(f'results/{trial.name}_{bone}')}\n",
        )


def _write_truth(folder: Path, scene: Scene, rig: Rig, trial: TrialConfig) -> None:
    names = _names(trial)
    bodies = [scene.bodies(trial, number / trial.frame_rate_hz) for number in range(trial.frames)]
    poses = [scene.truth(at) for at in bodies]
    for bone in scene.bones:
        matrices = [(name, pose[bone].matrix) for name, pose in zip(names, poses, strict=True)]
        write_matrices(folder / f"world_from_{bone}.csv", "frame", matrices)
    motions = [motion for motion in map(scene.joint, bodies) if motion is not None]
    if motions:
        header = ("frame", *(field.name for field in fields(JointMotion)))
        rows = [(n, *(f"{x:.6f}" for x in astuple(m))) for n, m in zip(names, motions, strict=True)]
        write_csv(folder / "joint.csv", header, rows)
    first, shown = next(iter(scene.bones.items()))
    points = _bone_points(shown)
    shares = [(n, *_field_shares(rig, pose[first].apply(points))) for n, pose in zip(names, poses, strict=True)]
    views = [f"view{view + 1}" for view in range(len(rig.fluoroscopes))]
    write_csv(folder / "field_share.csv", ("frame", *views, "all"), shares)


def _bone_points(bone: Bone) -> NDArray[np.float64]:
    """Return about a thousand of the bone's voxels (n, 3) mm, bone frame."""
    voxels = np.argwhere(bone.mask)[:, ::-1]
    return bone.volume.voxel_to_bone(voxels[:: max(1, len(voxels) // 1000)])


def _field_shares(rig: Rig, points_mm: NDArray[np.float64]) -> list[str]:
    seen = [fluoroscope.sees(fluoroscope.view.project(points_mm)) for fluoroscope in rig.fluoroscopes]
    return [f"{float(np.mean(inside)):.4f}" for inside in (*seen, np.logical_and.reduce(seen))]
