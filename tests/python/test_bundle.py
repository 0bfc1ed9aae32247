"""Bundles: what is put in comes out, networks join, bones and rigs must fit."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from fluoropose.cli import app
from fluoropose.errors import FileFormatError, InputError
from fluoropose.geometry import Pose, View
from fluoropose.learning.bundle import (
    Bundle,
    NetworkFacts,
    NetworkName,
    Owner,
    Precision,
    RigFacts,
    add_networks,
    fastest_precision,
    require_room,
)
from fluoropose.learning.coordinates import px_from_normalised
from fluoropose.learning.landmark_net import LandmarkNet
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.rig import CircularField, Fluoroscope, Rig
from toy_bundle import FACTS, MASKS, SIZE, STYLES, N, Scaled, crops, toy_network, toy_owner, turned_rig, write_bundle
from toy_learning import toy_bone, toy_rig


@pytest.fixture(scope="module")
def owner() -> Owner:
    return toy_owner()


@pytest.fixture(scope="module")
def network() -> LandmarkNet:
    return toy_network()


@pytest.fixture(scope="module")
def bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


def test_round_trip(bundle_path: Path, network: LandmarkNet, owner: Owner) -> None:
    bundle = Bundle.load(bundle_path)
    assert bundle.manifest.owner == owner
    assert bundle.landmarks.facts.preprocessing == Preprocessing(floor=0.05)
    assert bundle.landmarks.facts.crop_margin == 1.3
    assert bundle.landmarks.facts.parameters == sum(p.numel() for p in network.parameters())
    for count in (1, 3):
        views = [i % 2 for i in range(count)]
        found = bundle.landmarks.predict(crops(count), views)
        with torch.inference_mode():
            output = network(torch.from_numpy(crops(count))[:, None], torch.tensor(views))
        assert found.px.shape == (count, N, 2)
        assert np.isnan(found.sd_px).all()
        # float32 network, positions up to 64 px; measured 4e-6 px between the traced and the eager one.
        assert np.abs(found.px - px_from_normalised(output.double(), SIZE).numpy()).max() < 1e-4


def test_weights_can_be_stored_in_half_precision(
    bundle_path: Path, network: LandmarkNet, owner: Owner, tmp_path: Path
) -> None:
    add_networks(tmp_path / "half.fpbundle", owner, {"landmarks": (network, FACTS)}, "float16")
    assert (tmp_path / "half.fpbundle").stat().st_size < 0.62 * bundle_path.stat().st_size
    half, full = Bundle.load(tmp_path / "half.fpbundle"), Bundle.load(bundle_path)
    # Positions up to 64 px; measured 0.01 px.
    difference = half.landmarks.predict(crops(3), [0, 1, 0]).px - full.landmarks.predict(crops(3), [0, 1, 0]).px
    assert np.abs(difference).max() < 0.1


def test_a_narrower_network_is_smaller_by_the_square(network: LandmarkNet) -> None:
    size = sum(p.numel() for p in LandmarkNet(N, 2, SIZE).body.parameters())
    narrow = sum(p.numel() for p in network.body.parameters())
    assert 14 < size / narrow < 17


def test_views_have_heads_of_their_own(bundle_path: Path) -> None:
    pair = np.repeat(crops(1), 2, axis=0)
    first, second = Bundle.load(bundle_path).landmarks.predict(pair, [0, 1]).px
    assert np.abs(first - second).max() > 0.01


class Sure(nn.Module):
    """A landmark network that tells its standard deviation."""

    def forward(self, crops: torch.Tensor, views: torch.Tensor) -> torch.Tensor:
        place = crops.mean((2, 3)).expand(-1, N) + views[:, None]
        return torch.stack([place, place, torch.full_like(place, -3.0)], 2)


def test_standard_deviations_are_in_pixels(owner: Owner, tmp_path: Path) -> None:
    facts = FACTS.model_copy(update={"deviations": True})
    add_networks(tmp_path / "sure.fpbundle", owner, {"landmarks": (Sure(), facts)})
    found = Bundle.load(tmp_path / "sure.fpbundle").landmarks.predict(crops(2), [0, 1])
    assert found.px.shape == (2, N, 2)
    np.testing.assert_allclose(found.sd_px, np.exp(-3) * SIZE / 2, rtol=1e-6)


# --- several networks in one file -------------------------------------------------------------------------------------


def test_networks_join_and_replace_each_other(bundle_path: Path, owner: Owner, tmp_path: Path) -> None:
    path = tmp_path / "all.fpbundle"
    path.write_bytes(bundle_path.read_bytes())
    alone = Bundle.load(path)
    assert alone.segment is None
    assert alone.translate is None
    add_networks(path, owner, {"segment": (nn.Sigmoid(), MASKS)})
    add_networks(path, owner, {"translate": (Scaled(0.5), STYLES), "untranslate": (Scaled(2.0), STYLES)})
    add_networks(path, owner, {"translate": (Scaled(-1.0), STYLES)})
    bundle = Bundle.load(path)
    assert list(bundle.manifest.networks.named()) == ["landmarks", "segment", "translate", "untranslate"]
    both = bundle.landmarks.predict(crops(1), [0]).px, alone.landmarks.predict(crops(1), [0]).px
    np.testing.assert_array_equal(*both)
    assert bundle.segment is not None
    np.testing.assert_allclose(bundle.segment.predict(crops(2)), 1 / (1 + np.exp(-crops(2))), atol=1e-6)
    assert bundle.segment.facts.training == {"test_iou": 0.9}
    assert bundle.translate is not None
    np.testing.assert_array_equal(bundle.translate.translate(crops(2)), -crops(2))
    assert bundle.untranslate is not None
    assert np.abs(bundle.untranslate.translate(crops(2))).max() == 1.0  # never out of range
    assert bundle.translate_small is None


def test_bundles_can_be_joined_and_shown(bundle_path: Path, owner: Owner, tmp_path: Path) -> None:
    path, other = tmp_path / "all.fpbundle", tmp_path / "segment.fpbundle"
    path.write_bytes(bundle_path.read_bytes())
    add_networks(other, owner, {"segment": (nn.Sigmoid(), MASKS)})
    result = CliRunner().invoke(app, ["bundle", str(path), "--add", str(other)])
    assert result.exit_code == 0, result.output
    for said in ("toy", "landmarks: 64 px", "test log10 mse", "-2.5", "segment: 64 px", "test iou"):
        assert said in result.output
    assert set(Bundle.load(path).manifest.networks.named()) == {"landmarks", "segment"}
    foreign = tmp_path / "foreign.fpbundle"
    add_networks(foreign, owner.model_copy(update={"bone_fingerprint": "cd" * 32}), {"segment": (nn.Sigmoid(), MASKS)})
    refused = CliRunner().invoke(app, ["bundle", str(path), "--add", str(foreign)])
    assert refused.exit_code == 2
    assert "holds networks (landmarks) of bone" in " ".join(refused.output.split())


_FEED = """
import sys
from test_bundle import MASKS, STYLES, Owner, Scaled, add_networks
path, owner, name = sys.argv[1:]
facts = MASKS if name == "segment" else STYLES
for i in range(10):
    add_networks(path, Owner.model_validate_json(owner), {name: (Scaled(float(i)), facts)})
"""


@pytest.mark.slow
def test_two_trainings_can_feed_one_bundle(owner: Owner, tmp_path: Path) -> None:
    path = tmp_path / "shared.fpbundle"
    command = [sys.executable, "-c", _FEED, str(path), owner.model_dump_json()]
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    begun = [subprocess.Popen([*command, name], env=place) for name in ("segment", "translate")]
    assert [process.wait() for process in begun] == [0, 0]
    assert set(Bundle.load(path).manifest.networks.named()) == {"segment", "translate"}
    assert [p.name for p in tmp_path.iterdir()] == ["shared.fpbundle"]


def test_a_bundle_without_landmarks_says_so(owner: Owner, tmp_path: Path) -> None:
    add_networks(tmp_path / "style.fpbundle", owner, {"translate": (Scaled(1.0), STYLES)})
    bundle = Bundle.load(tmp_path / "style.fpbundle")
    with pytest.raises(InputError, match="expected a landmark network, found translate"):
        _ = bundle.landmarks


def test_a_network_of_another_bone_or_rig_cannot_join(bundle_path: Path, owner: Owner, tmp_path: Path) -> None:
    path = tmp_path / "taken.fpbundle"
    path.write_bytes(bundle_path.read_bytes())
    other = owner.model_copy(update={"bone_name": "other", "bone_fingerprint": "cd" * 32})
    with pytest.raises(FileFormatError, match=r"holds networks \(landmarks\) of bone 'toy'.*found 'other'"):
        add_networks(path, other, {"segment": (nn.Sigmoid(), MASKS)})
    turned = owner.model_copy(update={"rig": RigFacts.of(turned_rig(2.0))})
    with pytest.raises(FileFormatError, match="another rig"):
        require_room(path, turned, {"segment"}, SIZE, FACTS.preprocessing)
    with pytest.raises(FileFormatError, match="2 views, found 1"):
        require_room(path, owner.model_copy(update={"views": 1}), {"segment"}, SIZE, FACTS.preprocessing)
    assert path.read_bytes() == bundle_path.read_bytes()
    add_networks(path, other, {"landmarks": (Sure(), FACTS)})  # nothing of the other bone is left
    assert Bundle.load(path).manifest.bone_name == "other"


# --- precision ------------------------------------------------------------------------------------------------------


def test_bfloat16_moves_landmarks_by_little(bundle_path: Path) -> None:
    shown = np.random.default_rng(3).uniform(-1, 1, (2, SIZE, SIZE)).astype(np.float32)
    exact, rough = (
        Bundle.load(bundle_path, precision=one).landmarks.predict(shown, [0, 1]).px for one in get_args(Precision)
    )
    # Measured: 0.16 px. A coordinate of eight bits alone is up to 2^-9 of half the crop's side off.
    assert 0 < np.abs(exact - rough).max() < SIZE / 2 * 2**-5
    with pytest.raises(InputError, match="precision: expected one of float32, bfloat16, found 'float16'"):
        Bundle.load(bundle_path, precision="float16")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("has", "used", "expected"),
    [
        ({}, False, "float32"),
        ({}, True, "float32"),  # AVX-512 without bfloat16: emulated
        ({"avx512_bf16": True}, True, "bfloat16"),
        ({"amx_bf16": True}, True, "bfloat16"),
        ({"avx512_bf16": True}, False, "float32"),  # kept off AVX-512
    ],
)
def test_the_fastest_precision_is_one_that_the_processor_has(
    monkeypatch: pytest.MonkeyPatch, has: dict[str, bool], used: bool, expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: has)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: used)
    assert fastest_precision() == expected


# --- bones and rigs that do not fit -----------------------------------------------------------------------------------


def test_another_bone_is_refused(bundle_path: Path) -> None:
    bundle = Bundle.load(bundle_path)
    bundle.require(toy_bone(), toy_rig())
    other = replace(toy_bone("other"), landmarks_mm=toy_bone().landmarks_mm + 1.0)
    with pytest.raises(InputError, match=r"trained for bone 'toy'.*found 'other'"):
        bundle.require(other, toy_rig())


def test_another_calibration_of_the_rig_is_warned_of(bundle_path: Path) -> None:
    bundle = Bundle.load(bundle_path)
    with pytest.warns(UserWarning, match=r"view 1: field 1.0% wider; view 2: .*turned against view 1 by 0.50 degrees"):
        bundle.require(toy_bone(), turned_rig(0.5, 1.01))
    with pytest.warns(UserWarning, match=r"another calibration: view 2: distortion differs by [0-9.]+% of the field"):
        bundle.require(toy_bone(), toy_rig(distorted=False))


def test_last_digits_of_a_calibration_are_not_warned_of(bundle_path: Path) -> None:
    """What calibrating the same images with more threads changes, and more: a fiftieth of a degree, a tenth of a mm."""
    other = turned_rig(0.02, 1.0005)
    assert other.fingerprint != toy_rig().fingerprint
    Bundle.load(bundle_path).require(toy_bone(), other)  # warnings are errors


@pytest.mark.parametrize(("degrees", "grown"), [(7.0, 1.0), (0.0, 1.15)])
def test_another_rig_is_refused(bundle_path: Path, degrees: float, grown: float) -> None:
    bundle = Bundle.load(bundle_path)
    with pytest.raises(InputError, match=r"trained for another rig: .*a network bears up to 5 degrees .* 10%"):
        bundle.require(toy_bone(), turned_rig(degrees, grown))


def test_views_in_another_order_are_refused(bundle_path: Path) -> None:
    swapped = Rig(tuple(reversed(toy_rig().fluoroscopes)))
    with pytest.raises(InputError, match="turned against view 1 by 140"):
        Bundle.load(bundle_path).require(toy_bone(), swapped)
    with pytest.raises(InputError, match="trained for 2 views, found a rig with 1"):
        Bundle.load(bundle_path).require(toy_bone(), Rig(toy_rig().fluoroscopes[:1]))


def test_the_world_and_the_pixels_do_not_matter_to_a_network() -> None:
    """Another world frame, image plane and number of pixels show the same: only the fingerprint differs."""
    rng = np.random.default_rng(2)
    away = Pose.exp(rng.normal(size=3), 100 * rng.normal(size=3))
    scopes = []
    for scope in toy_rig(distorted=False).fluoroscopes:
        view, field = scope.view, scope.field
        half = 2.0  # times as many pixels, on a plane three times as far from the source
        near = View(
            400,
            400,
            view.source + 3 * (view.pixel_to_world(np.array([[-0.25, -0.25]]))[0] - view.source),
            3 * view.u_step / half,
            3 * view.v_step / half,
            view.source,
        )
        moved = replace(
            near,
            origin=away.apply(near.origin[None])[0],
            source=away.apply(near.source[None])[0],
            u_step=away.rotation @ near.u_step,
            v_step=away.rotation @ near.v_step,
        )
        circle = field and CircularField((field.u + 0.5) * 2 - 0.5, (field.v + 0.5) * 2 - 0.5, field.radius * 2)
        scopes.append(Fluoroscope(moved, None, circle))
    facts, other = RigFacts.of(toy_rig(distorted=False)), RigFacts.of(Rig(tuple(scopes)))
    assert facts.fingerprint != other.fingerprint
    for a, b in zip(facts.views, other.views, strict=True):
        assert b.field == pytest.approx(a.field, rel=1e-9)
        np.testing.assert_allclose(b.first_from_view, a.first_from_view, atol=1e-9)
        np.testing.assert_allclose(b.source_mm, a.source_mm, atol=1e-6)


@pytest.mark.parametrize(("plain", "translation", "says"), [(True, False, "plain"), (False, True, "many styles")])
def test_what_the_landmark_network_was_not_trained_on_is_warned_of(
    plain: bool, translation: bool, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "told.fpbundle"
    networks: dict[NetworkName, tuple[nn.Module, NetworkFacts]] = {
        "landmarks": (toy_network(), FACTS.model_copy(update={"plain": plain})),
        "translate": (nn.Identity(), STYLES),
    }
    add_networks(path, toy_owner(), networks)
    bundle = Bundle.load(path)
    with pytest.warns(UserWarning, match=says):
        bundle.asked(False, translation)
    bundle.asked(False, not translation)


def test_of_two_translations_the_small_one_is_the_processors(tmp_path: Path) -> None:
    """The large one is a GPU's; PyTorch's device "meta" stands for a GPU that fails."""
    path = tmp_path / "both.fpbundle"
    modules: dict[NetworkName, nn.Module] = {"translate": nn.Threshold(9.0, -1.0), "translate_small": nn.Identity()}
    for number, (name, module) in enumerate(modules.items()):
        facts = STYLES.model_copy(update={"training": {"number": number}})
        add_networks(path, toy_owner(), {name: (module, facts)})
    for device, number in (("cpu", 1), ("meta", 0)):
        _, translator = Bundle.load(path, device).asked(False, True)
        assert translator is not None
        assert translator.facts.training == {"number": number}
        np.testing.assert_array_equal(translator.translate(crops(2)), crops(2))
        assert bool(translator.module.problem) == (device == "meta")
