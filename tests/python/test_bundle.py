from __future__ import annotations

import json
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fluoropose.errors import FileFormatError, InputError
from fluoropose.learning.bundle import Bundle, Manifest, write_bundle
from fluoropose.learning.landmark_net import LandmarkNet, px_from_normalised
from fluoropose.learning.preprocess import Preprocessing

N, VIEWS, SIZE = 5, 2, 64


@pytest.fixture(scope="module")
def network() -> LandmarkNet:
    torch.manual_seed(3)
    return LandmarkNet(N, VIEWS, SIZE).eval()


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory, network: LandmarkNet) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "toy.fpbundle"
    manifest = Manifest(
        bone_name="toy",
        bone_fingerprint="ab" * 32,
        landmark_names=tuple(f"p{i}" for i in range(N)),
        views=VIEWS,
        size=SIZE,
        preprocessing=Preprocessing(floor=0.05),
        crop_margin=1.3,
        training={"test_log10_mse": -2.5},
    )
    write_bundle(path, network, manifest)
    return path


def crops(count: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-1, 1, (count, SIZE, SIZE)).astype(np.float32)


def test_round_trip(bundle_path: Path, network: LandmarkNet) -> None:
    bundle = Bundle.load(bundle_path)
    assert bundle.manifest.preprocessing == Preprocessing(floor=0.05)
    assert bundle.manifest.crop_margin == 1.3
    for count in (1, 3):
        views = [i % VIEWS for i in range(count)]
        found = bundle.predict(crops(count), views)
        with torch.inference_mode():
            output = network(torch.from_numpy(crops(count))[:, None], torch.tensor(views))
        assert found.shape == (count, N, 2)
        # float32 network, positions up to 64 px; measured 4e-6 px between the traced and the eager one.
        assert np.abs(found - px_from_normalised(output.double(), SIZE).numpy()).max() < 1e-4


def test_weights_can_be_stored_in_half_precision(bundle_path: Path, network: LandmarkNet, tmp_path: Path) -> None:
    full = Bundle.load(bundle_path)
    write_bundle(tmp_path / "half.fpbundle", network, full.manifest, "float16")
    assert (tmp_path / "half.fpbundle").stat().st_size < 0.52 * bundle_path.stat().st_size
    half = Bundle.load(tmp_path / "half.fpbundle")
    # Positions up to 64 px; measured 0.01 px.
    assert np.abs(half.predict(crops(3), [0, 1, 0]) - full.predict(crops(3), [0, 1, 0])).max() < 0.1


def test_a_narrower_network_is_smaller_by_the_square(network: LandmarkNet) -> None:
    size = sum(p.numel() for p in network.body.parameters())
    narrow = sum(p.numel() for p in LandmarkNet(N, VIEWS, SIZE, width=16).body.parameters())
    assert 14 < size / narrow < 17


def test_views_have_heads_of_their_own(bundle_path: Path) -> None:
    bundle = Bundle.load(bundle_path)
    pair = np.repeat(crops(1), 2, axis=0)
    first, second = bundle.predict(pair, [0, 1])
    assert np.abs(first - second).max() > 0.01


def test_another_bone_is_refused(bundle_path: Path) -> None:
    bundle = Bundle.load(bundle_path)
    right: Any = SimpleNamespace(name="toy", fingerprint="ab" * 32)
    wrong: Any = SimpleNamespace(name="other", fingerprint="cd" * 32)
    bundle.require(right)
    with pytest.raises(InputError, match=r"trained for bone 'toy'.*found 'other'"):
        bundle.require(wrong)


def test_bad_crops_are_refused(bundle_path: Path) -> None:
    bundle = Bundle.load(bundle_path)
    with pytest.raises(InputError, match=r"\(b, 64, 64\)"):
        bundle.predict(np.zeros((1, 32, 32), np.float32), [0])
    with pytest.raises(InputError, match="finite"):
        bundle.predict(np.full((1, SIZE, SIZE), np.nan, np.float32), [0])
    with pytest.raises(InputError, match=r"\[-1, 1\]"):
        bundle.predict(np.full((1, SIZE, SIZE), 200, np.float32), [0])
    for views in ([2], [-1], [0, 1]):
        with pytest.raises(InputError, match="views"):
            bundle.predict(crops(1), views)


def rewritten(path: Path, out: Path, **changed: bytes) -> Path:
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(out, "w") as copy:
        for name in archive.namelist():
            copy.writestr(name, changed.get(Path(name).stem, archive.read(name)))
    return out


def test_altered_weights_are_refused(bundle_path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle_path) as archive:
        weights = bytearray(archive.read("network.pt"))
    weights[len(weights) // 2] ^= 1
    bad = rewritten(bundle_path, tmp_path / "bad.fpbundle", network=bytes(weights))
    with pytest.raises(FileFormatError, match="SHA-256"):
        Bundle.load(bad)


def test_a_manifest_with_a_wrong_field_is_refused(bundle_path: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle_path) as archive:
        manifest = json.loads(archive.read("manifest.json"))
    for key, value in (("version", 2), ("size", "big"), ("surprise", 1)):
        text = json.dumps({**manifest, key: value}).encode()
        bad = rewritten(bundle_path, tmp_path / f"{key}.fpbundle", manifest=text)
        with pytest.raises(FileFormatError, match=key):
            Bundle.load(bad)


@pytest.mark.parametrize("keep", [0, 100, 5000])
def test_a_truncated_file_is_refused(bundle_path: Path, tmp_path: Path, keep: int) -> None:
    bad = tmp_path / "cut.fpbundle"
    bad.write_bytes(bundle_path.read_bytes()[:keep])
    with pytest.raises(FileFormatError, match=r"cut\.fpbundle"):
        Bundle.load(bad)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileFormatError, match="nowhere"):
        Bundle.load(tmp_path / "nowhere.fpbundle")
