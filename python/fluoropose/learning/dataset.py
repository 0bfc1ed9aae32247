"""The artificial radiograph-landmark set (Zhou et al. 2021, 2.1): one HDF5 file, from a seed, resumable."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import torch
from numpy.typing import NDArray
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from fluoropose._checks import whole_positive
from fluoropose._files import atomic_path
from fluoropose._toml import require_inputs
from fluoropose.bone import Bone
from fluoropose.errors import FileFormatError
from fluoropose.learning.bundle import Owner, RigFacts
from fluoropose.learning.config import LearningConfig
from fluoropose.learning.rendering import load_parts, rendered
from fluoropose.learning.scene import Sample, Scene
from fluoropose.learning.stored_rows import StoredRows
from fluoropose.learning.style import Samples
from fluoropose.rig import Rig

__all__ = ["RadiographSet", "make_dataset"]

_FORMAT = "fluoropose-radiographs"
_VERSION = 1
_FLUSH_EVERY = 64


def make_dataset(config: LearningConfig, out: str | Path, workers: int = 1) -> Path:
    """Render the set that ``config.dataset`` describes into one HDF5 file.

    Interrupted, it leaves ``out`` with ".partial" appended and goes on from there when called again with the same
    configuration; the result is the same. A finished set of the same configuration, bones and rig is left as it is.

    Parameters
    ----------
    config
        What to render.
    out
        The file.
    workers
        Processes that render; more than one start this program anew, as ``multiprocessing`` does where it spawns.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    FileFormatError
        If the bone or rig cannot be read, or a partial file is of another configuration or damaged.
    InputError
        If ``workers`` is not a whole number above zero.
    """
    out = Path(out)
    data = config.dataset
    whole_positive("workers", workers)
    require_inputs(config)
    bone, rig, neighbours = load_parts(data)
    recipe = _recipe(config, (bone, *neighbours))
    if _is_finished(out, recipe):
        return out
    scene = Scene(bone, rig, data, neighbours)
    partial = out.with_name(out.name + ".partial")
    out.parent.mkdir(parents=True, exist_ok=True)
    with _open_partial(partial, recipe, config, bone, rig, scene.layers) as file:
        done = file["done"][:]
        with _progress() as bar:
            task = bar.add_task(f"rendering {escape(out.name)}", total=data.count, completed=int(done.sum()))
            stored: list[int] = []
            try:
                left = np.flatnonzero(~done).tolist()
                for i, sample in zip(left, rendered(scene, data, left, workers), strict=True):
                    _store(file, i, sample)
                    stored.append(i)
                    bar.advance(task)
                    if len(stored) == _FLUSH_EVERY:
                        _keep(file, stored)
            finally:
                _keep(file, stored)
    os.replace(partial, out)
    return out


def _recipe(config: LearningConfig, bones: tuple[Bone | None, ...]) -> str:
    """Return all that a sample depends on: the configuration, and what is in the files that it names."""
    files = [None if bone is None else _digest(bone) for bone in bones]
    rig = hashlib.sha256(config.dataset.rig.read_bytes()).hexdigest()
    # Not where they are: the same wherever the command is called from, or the study is moved to.
    data = config.dataset.model_dump(mode="json", exclude={"bone": True, "rig": True, "moving": {"__all__": {"bone"}}})
    return json.dumps({"dataset": data, "bones": files, "rig": rig})


def _digest(bone: Bone) -> str:
    """Return a digest of all that is rendered of a bone."""
    digest = hashlib.sha256(bone.fingerprint.encode())
    for array in (bone.volume.mu, bone.mask, bone.volume.bone_from_voxel):
        digest.update(f"{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _is_finished(path: Path, recipe: str) -> bool:
    """Tell whether a finished set of this very recipe is there; another one will be replaced."""
    if not path.exists():
        return False
    with _open(path, "r") as file:
        return bool(file.attrs.get("recipe") == recipe)


def _open_partial(path: Path, recipe: str, config: LearningConfig, bone: Bone, rig: Rig, layers: int) -> h5py.File:
    if path.exists():
        file = _open(path, "r+")
        if file.attrs.get("recipe") != recipe:
            file.close()
            raise FileFormatError(f"{path}: begun with another configuration, bone or rig; delete it to start afresh")
        return file
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        _begin(file, recipe, config, bone, rig, layers)
    return _open(path, "r+")


def _begin(file: h5py.File, recipe: str, config: LearningConfig, bone: Bone, rig: Rig, layers: int) -> None:
    data = config.dataset
    n, c = data.count, data.size + 2 * data.border
    file.attrs.update(
        format=_FORMAT,
        version=_VERSION,
        units="line integrals: dimensionless; landmarks, field: pixels of the inner size x size picture; poses: mm",
        recipe=recipe,
        config=config.model_dump_json(),
        bone_name=bone.name,
        bone_fingerprint=bone.fingerprint,
        landmark_names=list(bone.landmark_names),
        views=len(rig.fluoroscopes),
        rig=RigFacts.of(rig).model_dump_json(),
    )
    file.create_dataset("layers", (n, layers, c, c), np.float16, chunks=(1, layers, c, c))
    file.create_dataset("mask", (n, c, c), np.uint8, chunks=(1, c, c), compression="lzf")
    file.create_dataset("landmarks_px", (n, len(bone.landmark_names), 2), np.float32)
    file.create_dataset("world_from_bone", (n, 4, 4), np.float64)
    file.create_dataset("view", (n,), np.uint8)
    file.create_dataset("region_px", (n, 3), np.float64)
    file.create_dataset("field_px", (n, 3), np.float32)
    file.create_dataset("segmented", (n,), np.bool_)
    file.create_dataset("done", (n,), np.bool_)


def _store(file: h5py.File, index: int, sample: Sample) -> None:
    file["layers"][index] = sample.layers
    file["mask"][index] = sample.mask
    file["landmarks_px"][index] = sample.landmarks_px
    file["world_from_bone"][index] = sample.world_from_bone.matrix
    file["view"][index] = sample.view
    file["region_px"][index] = sample.region
    file["field_px"][index] = sample.field
    file["segmented"][index] = sample.segmented


def _keep(file: h5py.File, stored: list[int]) -> None:
    """Call samples done once the file holds them: where a program is killed, what HDF5 had not yet written is lost."""
    file.flush()
    file["done"][stored] = True
    file.flush()
    stored.clear()


@dataclass
class RadiographSet:
    """A finished set; its layers stay in the file until they are moved to a GPU.

    Attributes
    ----------
    layers, mask, landmarks_px, view, field, segmented
        As in ``scene.Sample``, one row per sample.
    config
        The run that made it.
    owner
        What a network trained on it is good for.
    recipe
        All that its samples depend on; of older sets the bone's fingerprint, which is what trainings on them know.
    """

    layers: Tensor | StoredRows
    mask: Tensor
    landmarks_px: Tensor
    view: Tensor
    field: Tensor
    segmented: Tensor
    config: LearningConfig
    owner: Owner
    recipe: str

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def fingerprint(self) -> str:
        """Digest of all that the samples depend on, and of every one's view and landmarks."""
        digest = hashlib.sha256(self.recipe.encode())
        for part in (self.view, self.segmented, self.landmarks_px):
            digest.update(part.cpu().numpy().tobytes())
        return digest.hexdigest()

    def samples(self, rows: Tensor) -> Samples:
        """Return some of the samples as the styles want them."""
        return Samples(self.layers[rows], self.mask[rows], self.landmarks_px[rows], self.field[rows])

    def to(self, device: torch.device) -> None:
        """Move all of it to a device; layers that are in their file stay there if it is the processor."""
        if device.type == "cpu" and isinstance(self.layers, StoredRows):
            return
        for name in ("layers", "mask", "landmarks_px", "view", "field", "segmented"):
            setattr(self, name, getattr(self, name).to(device))

    @classmethod
    def load(cls, path: str | Path) -> RadiographSet:
        """Read a set that ``make_dataset`` finished.

        Raises
        ------
        FileFormatError
            If the file is missing, cut short, unfinished, of another format, or holds NaN.
        """
        path = Path(path)
        with _open(path, "r") as file:
            try:
                if not bool(np.asarray(file["done"][:]).all()):
                    raise FileFormatError(f"{path}: unfinished; run the same command again to complete it")
                arrays = {
                    name: np.asarray(file[name][:])
                    for name in ("mask", "landmarks_px", "view", "field_px", "segmented")
                }
                layers = StoredRows(path, "layers")
                config = LearningConfig.model_validate_json(str(file.attrs["config"]))
                owner = Owner(
                    bone_name=str(file.attrs["bone_name"]),
                    bone_fingerprint=str(file.attrs["bone_fingerprint"]),
                    landmark_names=tuple(str(name) for name in file.attrs["landmark_names"]),
                    views=int(file.attrs["views"]),
                    rig=_rig_facts(file, config),
                )
                told = str(file.attrs["recipe"])
                recipe = owner.bone_fingerprint if "bone" in json.loads(told)["dataset"] else told
            except (KeyError, OSError, ValueError) as error:
                if isinstance(error, FileFormatError):
                    raise
                raise FileFormatError(f"{path}: expected a complete set of radiographs: {error}") from error
        _require_finite(path, arrays, layers)
        return cls(
            layers,
            torch.from_numpy(arrays["mask"]),
            torch.from_numpy(arrays["landmarks_px"]),
            torch.from_numpy(arrays["view"]).long(),
            torch.from_numpy(arrays["field_px"]),
            torch.from_numpy(arrays["segmented"]),
            config,
            owner,
            recipe,
        )


def _rig_facts(file: h5py.File, config: LearningConfig) -> RigFacts | None:
    """Return the geometry the set was rendered for; older sets keep a digest of the rig's file only."""
    if "rig" in file.attrs:
        return RigFacts.model_validate_json(str(file.attrs["rig"]))
    path = config.dataset.rig
    if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != json.loads(file.attrs["recipe"])["rig"]:
        return None
    return RigFacts.of(Rig.load(path))


def _open(path: Path, mode: str) -> h5py.File:
    try:
        file = h5py.File(path, mode)
    except OSError as error:
        there = "another or a damaged file" if path.exists() else "none; fluoropose dataset makes them"
        raise FileFormatError(f"{path}: expected a set of radiographs (HDF5), found {there}") from error
    if file.attrs.get("format") != _FORMAT or file.attrs.get("version") != _VERSION:
        found = f"{file.attrs.get('format')!r} version {file.attrs.get('version')}"
        file.close()
        raise FileFormatError(f"{path}: expected format {_FORMAT!r} version {_VERSION}, found {found}")
    return file


def _require_finite(path: Path, arrays: dict[str, NDArray[np.generic]], layers: StoredRows) -> None:
    finite = {name: _finite_rows(arrays[name]) for name in ("landmarks_px", "field_px")}
    for name, rows in (("layers", np.concatenate([_finite_rows(block) for block in layers.blocks()])), *finite.items()):
        if not rows.all():
            raise FileFormatError(f"{path}: {name}: NaN or infinity in sample {int(np.flatnonzero(~rows)[0])}")


def _finite_rows(values: NDArray[np.generic]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values).reshape(len(values), -1).all(axis=1))


def _progress() -> Progress:
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
