"""Bundles that were altered, cut short or are of an older version."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import nn

from fluoropose.errors import FileFormatError, InputError
from fluoropose.learning.bundle import (
    Bundle,
    Owner,
    StyleFacts,
    add_networks,
    require_room,
)
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.rig import Rig
from toy_bundle import MASKS, SIZE, crops, toy_owner, turned_rig, write_bundle
from toy_learning import toy_bone, toy_rig


@pytest.fixture(scope="module")
def owner() -> Owner:
    return toy_owner()


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


# --- damage -----------------------------------------------------------------------------------------------------------


def test_bad_crops_are_refused(bundle_path: Path) -> None:
    network = Bundle.load(bundle_path).landmarks
    with pytest.raises(InputError, match=r"\(b, 64, 64\)"):
        network.predict(np.zeros((1, 32, 32), np.float32), [0])
    with pytest.raises(InputError, match="finite"):
        network.predict(np.full((1, SIZE, SIZE), np.nan, np.float32), [0])
    with pytest.raises(InputError, match=r"\[-1, 1\]"):
        network.predict(np.full((1, SIZE, SIZE), 200, np.float32), [0])
    for views in ([2], [-1], [0, 1]):
        with pytest.raises(InputError, match="views"):
            network.predict(crops(1), views)


def rewritten(path: Path, out: Path, **changed: bytes) -> Path:
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(out, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, changed.get(Path(name).stem, archive.read(name)))
    return out


def test_altered_weights_are_refused(bundle_path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle_path) as archive:
        weights = bytearray(archive.read("landmarks.pt"))
    weights[len(weights) // 2] ^= 1
    bad = rewritten(bundle_path, tmp_path / "bad.fpbundle", landmarks=bytes(weights))
    with pytest.raises(FileFormatError, match=r"landmarks\.pt: SHA-256"):
        Bundle.load(bad)


def test_facts_that_could_not_be_read_again_are_refused(bundle_path: Path, owner: Owner) -> None:
    before = bundle_path.read_bytes()
    facts = StyleFacts(size=SIZE, preprocessing=Preprocessing(), training={"test_loss": float("nan")})
    with pytest.raises(InputError, match=r"networks\.translate\.training\.test_loss: .* number"):
        add_networks(bundle_path, owner, {"translate": (nn.Identity(), facts)})
    assert bundle_path.read_bytes() == before


def test_a_manifest_with_a_wrong_field_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle_path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    for key, value in (("version", 3), ("views", "many"), ("surprise", 1), ("format", "other")):
        text = json.dumps({**manifest, key: value}).encode()
        bad = rewritten(bundle_path, tmp_path / f"{key}.fpbundle", manifest=text)
        with pytest.raises(FileFormatError, match=key):
            Bundle.load(bad)
    manifest["networks"]["landmarks"]["size"] = -3
    bad = rewritten(bundle_path, tmp_path / "size.fpbundle", manifest=json.dumps(manifest).encode())
    with pytest.raises(FileFormatError, match=r"networks\.landmarks\.size"):
        Bundle.load(bad)


def test_a_bundle_without_one_of_its_files_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle_path) as archive, zipfile.ZipFile(tmp_path / "less.fpbundle", "w") as copy:
        copy.writestr("manifest.json", archive.read("manifest.json"))
    with pytest.raises(FileFormatError, match=r"landmarks\.pt"):
        Bundle.load(tmp_path / "less.fpbundle")


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_truncated_file_is_refused(bundle_path: Path, owner: Owner, tmp_path: Path, keep: int) -> None:
    bad = tmp_path / "cut.fpbundle"
    bad.write_bytes(bundle_path.read_bytes()[:keep])
    with pytest.raises(FileFormatError, match=r"cut\.fpbundle"):
        Bundle.load(bad)
    with pytest.raises(FileFormatError, match=r"cut\.fpbundle"):  # nor is it overwritten
        require_room(bad, owner, {"segment"}, 32, Preprocessing())


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="nowhere"):
        Bundle.load(tmp_path / "nowhere.fpbundle")


# --- bundles of version 1 ---------------------------------------------------------------------------------------------


@pytest.fixture
def old_path(bundle_path: Path, tmp_path: Path) -> Path:
    """The same network as version 1 kept it."""
    with zipfile.ZipFile(bundle_path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        weights = archive.read("landmarks.pt")
    facts = manifest["networks"]["landmarks"]
    kept = ("size", "preprocessing", "coordinates", "crop_margin", "training", "sha256")
    old = {name: facts[name] for name in kept} | {
        name: manifest[name] for name in ("bone_name", "bone_fingerprint", "landmark_names", "views")
    }
    with zipfile.ZipFile(tmp_path / "old.fpbundle", "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format": "fluoropose-landmarks", "version": 1, **old}))
        archive.writestr("network.pt", weights)
    return tmp_path / "old.fpbundle"


def test_a_bundle_of_version_1_is_read_and_added_to(old_path: Path, bundle_path: Path, owner: Owner) -> None:
    def predicted() -> NDArray[np.float64]:
        bundle = Bundle.load(old_path)
        bundle.require(toy_bone(), turned_rig(40.0))  # it does not know better
        return bundle.landmarks.predict(crops(2), [0, 1]).px

    expected = Bundle.load(bundle_path).landmarks.predict(crops(2), [0, 1]).px
    np.testing.assert_array_equal(predicted(), expected)
    with pytest.raises(InputError, match="trained for 2 views"):
        Bundle.load(old_path).require(toy_bone(), Rig(toy_rig().fluoroscopes[:1]))
    add_networks(old_path, owner, {"segment": (nn.Sigmoid(), MASKS)})
    assert Bundle.load(old_path).segment is not None
    assert Bundle.load(old_path).manifest.version == 2
    assert Bundle.load(old_path).manifest.rig == owner.rig


def test_an_altered_bundle_of_version_1_is_refused(old_path: Path, tmp_path: Path) -> None:
    bad = rewritten(old_path, tmp_path / "bad.fpbundle", network=b"something else")
    with pytest.raises(FileFormatError, match=r"network\.pt: SHA-256"):
        Bundle.load(bad)
