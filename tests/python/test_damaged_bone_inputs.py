"""Every reader of the bone's inputs, on files cut short or with bytes changed: an error naming the file, or sense."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import SimpleITK as sitk
import trimesh
from hypothesis import given
from hypothesis import strategies as st

from fluoropose.bone import Bone
from fluoropose.errors import FileFormatError
from fluoropose.geometry import Pose
from fluoropose.io.ct import Ct, read_ct
from fluoropose.io.markups import Markups, read_markups, write_markups
from fluoropose.io.mesh import read_mesh
from fluoropose.volume import Volume

_READERS: dict[str, Callable[[Path], Any]] = {
    "a.stl": read_mesh,
    "a.ply": read_mesh,
    "a.obj": read_mesh,
    "a.nii": read_ct,
    "a.nii.gz": read_ct,
    "a.nrrd": read_ct,
    "a.mha": read_ct,
    "a.mrk.json": read_markups,
    "a.h5": Bone.load,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    ball = trimesh.creation.icosphere(2, 30.0)
    for suffix in ("stl", "ply", "obj"):
        ball.export(folder / f"a.{suffix}")
    image = sitk.GetImageFromArray((np.arange(210).reshape(5, 6, 7) - 200).astype(np.int16))
    for suffix in ("nii", "nii.gz", "nrrd", "mha"):
        sitk.WriteImage(image, str(folder / f"a.{suffix}"))
    write_markups(folder / "a.mrk.json", ("a", "b"), np.ones((2, 3)))
    mu = np.ones((4, 5, 6), dtype=np.float32)
    Bone(
        name="ball",
        volume=Volume(mu, np.eye(4)),
        mask=mu > 0,
        vertices=np.asarray(ball.vertices),
        faces=np.asarray(ball.faces, dtype=np.int32),
        landmarks_mm=np.arange(9.0).reshape(3, 3),
        landmark_names=("a", "b", "c"),
        symmetric_pairs=np.array([[0, 1]]),
        bone_from_source=Pose.identity(),
    ).save(folder / "a.h5")
    return folder


def sensible(value: Bone | Ct | Markups | trimesh.Trimesh) -> bool:
    match value:
        case Ct():
            return bool(np.isfinite(value.hu).all() and np.isfinite(value.ct_from_voxel).all())
        case Markups():
            return len(value.names) == len(value.points_mm) and bool(np.isfinite(value.points_mm).all())
        case Bone():
            return bool(np.isfinite(value.landmarks_mm).all() and np.isfinite(value.volume.mu).all())
        case _:
            return bool(np.isfinite(value.vertices).all())


@pytest.mark.parametrize("name", _READERS)
@given(share=st.floats(0, 0.98))
def test_files_cut_short_are_refused(files: Path, name: str, share: float) -> None:
    content = (files / name).read_bytes()
    path = files / f"short{name[1:]}"
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(FileFormatError, match="short"):
        _READERS[name](path)


@pytest.mark.parametrize("name", _READERS)
@given(changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes_are_refused_or_harmless(files: Path, name: str, changes: list[tuple[int, int]]) -> None:
    content = bytearray((files / name).read_bytes())
    for at, value in changes:
        content[at % min(len(content), 2000)] = value
    path = files / f"changed{name[1:]}"
    path.write_bytes(bytes(content))
    try:
        value = _READERS[name](path)
    except FileFormatError as error:
        value = str(error)
    assert "changed" in value if isinstance(value, str) else sensible(value)


@pytest.mark.parametrize("entry", ["mask", "mu", "landmark_names", "bone_from_source"])
def test_bone_file_with_a_group_instead_of_numbers(files: Path, entry: str) -> None:
    path = files / "group.h5"
    path.write_bytes((files / "a.h5").read_bytes())
    with h5py.File(path, "a") as file:
        del file[entry]
        file.create_group(entry)
    with pytest.raises(FileFormatError, match=r"group\.h5"):
        Bone.load(path)
