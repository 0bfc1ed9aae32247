"""Style training from a TOML file to a bundle, with tiny networks: it learns, resumes, refuses what does not fit."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch

from fluoropose.errors import FileFormatError
from fluoropose.learning.bundle import Bundle, LandmarkFacts, StyleFacts, add_networks
from fluoropose.learning.config import load_config
from fluoropose.learning.dataset import RadiographSet, make_dataset
from fluoropose.learning.landmark_net import LandmarkNet
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.learning.training.batches import Batches
from fluoropose.learning.translation.config import TranslationConfig, load_translation_config
from fluoropose.learning.translation.cyclegan import CycleGAN
from fluoropose.learning.translation.distil import Distillation, distil_style
from fluoropose.learning.translation.domains import load_domains
from fluoropose.learning.translation.train import train_style
from fluoropose.rig import Rig
from toy_learning import CONFIG, toy_rig, write_toy

pytestmark = pytest.mark.filterwarnings(
    # Lightning's own remarks about logging, workers and torch internals; nothing of ours.
    "ignore::UserWarning:lightning",
    "ignore::DeprecationWarning:lightning",
    "ignore::FutureWarning",
)

STYLE = """
set = "set.h5"
rig = "rig.json"
[[xrays]]
frames = ["view1", "view2"]
[generator]
width = 4
blocks = 1
[training]
epochs = 1
batch = 2
pool = 4
discriminator_width = 4
[distil]
generator = { width = 2, blocks = 1 }
epochs = 2
batch = 2
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set, its rig, frames that show what the set does through a bent grey scale, and a style training."""
    folder = tmp_path_factory.mktemp("style")
    set_path = make_dataset(load_config(write_toy(folder)), folder / "set.h5")
    samples = RadiographSet.load(set_path)
    layers = samples.layers[torch.arange(len(samples))].sum(1).numpy()
    for k, view in enumerate(("view1", "view2")):
        (folder / view).mkdir()
        for i, integral in enumerate(layers[k::2]):
            signal = np.kron(np.exp(-0.8 * integral.astype(np.float64)) ** 0.6, np.ones((5, 5)))[:200, :200]
            imageio.imwrite(folder / view / f"{i:04d}.png", np.rint(250 * signal).astype(np.uint8))
    (folder / "style.toml").write_text(STYLE, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def config(folder: Path) -> TranslationConfig:
    return load_translation_config(folder / "style.toml")


def longer(config: TranslationConfig, epochs: int) -> TranslationConfig:
    return config.model_copy(update={"training": config.training.model_copy(update={"epochs": epochs})})


@pytest.mark.slow
def test_one_command_trains_resumes_and_distils(config: TranslationConfig, tmp_path: Path) -> None:
    out = tmp_path / "toy.fpbundle"
    train_style(config, out)
    bundle = Bundle.load(out)
    assert bundle.translate is not None
    assert bundle.untranslate is not None
    crops = np.random.default_rng(0).uniform(-1, 1, (3, 32, 32)).astype(np.float32)
    before = bundle.translate.translate(crops)
    assert before.shape == crops.shape
    assert np.isfinite(bundle.translate.facts.training["train_content"])
    work = tmp_path / "toy.fpbundle.work" / "style"
    assert (
        "train_cycle_epoch" in (work / "log" / "version_0" / "metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    )
    assert imageio.imread(work / "pictures" / "epoch_000.png").shape == (4 * 34, 6 * 34)

    train_style(longer(config, 2), out)
    checkpoint = torch.load(work / "last.ckpt", weights_only=False)
    assert checkpoint["epoch"] == 1
    assert (work / "pictures" / "epoch_001.png").exists()
    resumed = Bundle.load(out).translate
    assert resumed is not None
    assert not np.array_equal(resumed.translate(crops), before)
    # The bundle has the averages of the weights that were trained.
    state = checkpoint["state_dict"]
    for number, name in enumerate(("translate", "untranslate")):
        exported = dict(Bundle.load(out).module(name).named_parameters())
        assert exported
        for key, weights in exported.items():
            assert torch.equal(weights, state[f"averaged.module.{number}.{key}"])
        assert not any(torch.equal(weights, state[f"{name}.{key}"]) for key, weights in exported.items())

    distilled = distil_style(config, out)
    told = distilled.facts.training
    assert 0 < told["test_loss"] < 2
    assert -1 <= told["test_phi"] <= 1
    assert min(distilled.ms_per_pair, distilled.large_ms_per_pair) > 0
    small = Bundle.load(out).translate_small
    assert small is not None
    assert small.facts.parameters is not None
    assert resumed.facts.parameters is not None
    assert small.facts.parameters < resumed.facts.parameters


@pytest.mark.slow
def test_it_learns(config: TranslationConfig, tmp_path: Path) -> None:
    """Within 60 steps the translations keep more of the content and come back nearer to what they were."""
    torch.manual_seed(0)
    module = CycleGAN(*load_domains(config), config, tmp_path)
    generators = [*module.translate.parameters(), *module.untranslate.parameters()]
    optimiser = torch.optim.Adam(generators, 2e-3)
    batches = Batches(torch.arange(max(module.counts)), 2, 1, shuffle=True)
    first: dict[str, float] = {}
    for epoch in range(10):
        batches.set_epoch(epoch)
        for rows, seed in batches:
            given = module.batch(rows, seed)
            losses, *_ = module.generator_losses(given)
            optimiser.zero_grad()
            losses["generators"].backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            now = {name: float(loss.detach()) for name, loss in losses.items()}
            first = first or now
    # Measured: content 0.99 -> 0.34, cycle 1.6 -> 0.5.
    assert now["content"] < 0.6 * first["content"]
    assert now["cycle"] < 0.6 * first["cycle"]


def third_epoch_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    begin = CycleGAN.on_train_epoch_start

    def fail(module: CycleGAN) -> None:
        if module.current_epoch == 2:
            raise ZeroDivisionError("interrupted")
        begin(module)

    monkeypatch.setattr(CycleGAN, "on_train_epoch_start", fail)


def weights(work: Path) -> dict[str, torch.Tensor]:
    """Return what the last checkpoint holds, the remembered pictures as well."""
    state: dict[str, torch.Tensor] = torch.load(work / "last.ckpt", weights_only=False, map_location="cpu")[
        "state_dict"
    ]
    return state


@pytest.mark.slow
def test_an_interrupted_training_ends_like_another(
    config: TranslationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With remembered pictures, rates and styles; on a GPU the sums of convolutions are in no fixed order."""
    four = exactly(longer(config, 4))
    train_style(four, tmp_path / "whole.fpbundle", tmp_path / "whole")
    out = tmp_path / "parts.fpbundle"
    with monkeypatch.context() as patch:
        third_epoch_fails(patch)
        with pytest.raises(ZeroDivisionError):
            train_style(four, out, tmp_path / "parts")
    seconds = [trained(out).training["seconds"]]
    train_style(four, out, tmp_path / "parts")
    seconds.append(trained(out).training["seconds"])
    assert 0 < seconds[0] < seconds[1]
    assert trained(out).training["epochs"] == 4
    assert trained(out).trained_on
    whole, parts = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert {"_made_xrays.kept", "_made_xrays.seen"} <= set(whole)
    assert int(whole["_made_xrays.seen"]) == 4 * 12
    for name, value in whole.items():
        tolerance = 0.02 if torch.cuda.is_available() else 0.0
        torch.testing.assert_close(parts[name], value, rtol=tolerance, atol=tolerance, msg=name)


def trained(bundle: Path) -> StyleFacts:
    facts = Bundle.load(bundle).manifest.networks.translate
    assert facts is not None
    return facts


def exactly(config: TranslationConfig) -> TranslationConfig:
    return config.model_copy(update={"training": config.training.model_copy(update={"precision": "32-true"})})


@pytest.mark.needs_cuda
@pytest.mark.filterwarnings("error:no CUDA graph")  # without one the training would go on
def test_captured_steps_do_what_eager_ones_do(
    config: TranslationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 30 steps in float32, all but the first five replay a graph; no memory is taken from epoch to epoch."""
    held: list[int] = []
    end = CycleGAN.on_train_epoch_end

    def watch(module: CycleGAN) -> None:
        end(module)
        held.append(torch.cuda.memory_allocated())

    monkeypatch.setattr(CycleGAN, "on_train_epoch_end", watch)
    five = exactly(longer(config, 5))
    train_style(five, tmp_path / "graph.fpbundle", tmp_path / "graph")
    assert held[-1] <= held[2] + 2**16, held
    monkeypatch.setattr("fluoropose.learning.translation.cyclegan.fastest_step", lambda _, step: step)
    train_style(five, tmp_path / "eager.fpbundle", tmp_path / "eager")
    told = []
    for way in ("graph", "eager"):
        state = torch.load(tmp_path / way / "last.ckpt", weights_only=False, map_location="cpu")
        assert state["global_step"] == 5 * 6 * 2
        facts = trained(tmp_path / f"{way}.fpbundle")
        norm = float(state["state_dict"]["translate.layers.0.weight"].norm())
        told.append([*(facts.training[f"train_{name}"] for name in ("cycle", "content", "discriminators")), norm])
        assert int(state["state_dict"]["_made_xrays.seen"]) == 60
    # The same but for the order of sums, which thirty steps of Adam enlarge.
    np.testing.assert_allclose(told[0], told[1], rtol=0.03)


_TOGETHER = """
import sys
from fluoropose.learning.translation.config import load_translation_config
from fluoropose.learning.translation.train import train_style
train_style(load_translation_config(sys.argv[1]), sys.argv[2])
"""


@pytest.mark.slow
def test_two_processes_train_together(config: TranslationConfig, folder: Path, tmp_path: Path) -> None:
    """Through torchrun: each takes half of the batches, and one of them writes bundle and pictures."""
    (tmp_path / "run.py").write_text(_TOGETHER)
    out = tmp_path / "toy.fpbundle"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, str(tmp_path / "run.py"), str(folder / "style.toml"), str(out)], env=place, check=True)
    assert Bundle.load(out).translate is not None
    state = torch.load(tmp_path / "toy.fpbundle.work" / "style" / "last.ckpt", weights_only=False)
    assert state["global_step"] == 6  # 12 X-rays, 2 per batch and process, two optimisers


@pytest.mark.slow
def test_generators_whose_losses_are_no_numbers_do_not_replace_those_that_work(
    config: TranslationConfig, tmp_path: Path
) -> None:
    out = train_style(config, tmp_path / "toy.fpbundle")
    works = out.read_bytes()
    training = config.training.model_copy(update={"learning_rate": 1e30, "epochs": 3})
    wild = config.model_copy(update={"training": training})
    with warnings.catch_warnings(record=True) as said:  # Lightning's own among them
        warnings.simplefilter("always")
        train_style(wild, out, tmp_path / "wild")
        with pytest.raises(FileFormatError, match=r"none\.fpbundle: expected the network 'translate' .* was a number"):
            train_style(wild, tmp_path / "none.fpbundle", tmp_path / "anew")
    assert sum("epoch 1: losses are no numbers any more" in str(one.message) for one in said) == 2
    assert not any("val_dataloader" in str(one.message) for one in said)
    assert out.read_bytes() == works
    assert torch.load(tmp_path / "wild" / "last.ckpt", weights_only=False)["epoch"] == 0


@pytest.mark.slow
def test_a_longer_distillation_goes_on_with_the_rates_of_one(
    config: TranslationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = train_style(config, tmp_path / "toy.fpbundle")
    rates: list[float] = []
    made = Distillation.training_step

    def watch(module: Distillation, batch: tuple[torch.Tensor, int]) -> torch.Tensor:
        rates.append(module.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]
        return made(module, batch)

    monkeypatch.setattr(Distillation, "training_step", watch)
    for epochs in (2, 4):
        small = config.distil.model_copy(update={"epochs": epochs, "patience": 9})
        distil_style(config.model_copy(update={"distil": small}), out, tmp_path / "work")
    steps = len(rates) // 4
    share = np.repeat([0, 1 / 2, 2 / 4, 3 / 4], steps)
    np.testing.assert_allclose(rates, config.distil.learning_rate * 0.5 * (1 + np.cos(np.pi * share)))


def test_every_picture_of_the_larger_domain_is_shown(config: TranslationConfig, tmp_path: Path) -> None:
    xrays, radiographs = load_domains(config)
    module = CycleGAN(xrays, radiographs, config, tmp_path)
    assert module.counts == (12, 8)
    given = module.batch(torch.arange(12), 5)
    assert torch.equal(given.xrays[:, 0], xrays.pictures)
    assert given.radiographs.shape == given.xrays.shape
    assert torch.equal(given.radiographs, module.batch(torch.arange(12), 5).radiographs)
    assert not torch.equal(given.radiographs, module.batch(torch.arange(12), 6).radiographs)
    few = CycleGAN(xrays, radiographs, config.model_copy(update={"count": 3}), tmp_path)
    assert few.counts == (12, 3)


def test_sets_of_another_rig_are_refused(config: TranslationConfig, tmp_path: Path) -> None:
    fluoroscopes = toy_rig().fluoroscopes
    for scopes, says in ((fluoroscopes[:1], "2 views, found 1"), (fluoroscopes[::-1], "another rig")):
        Rig(scopes).save(tmp_path / "other.json")
        with pytest.raises(FileFormatError, match=rf"set\.h5.*{says}"):
            load_domains(config.model_copy(update={"rig": tmp_path / "other.json"}))


def test_bundles_for_other_pictures_or_bones_are_refused(
    config: TranslationConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = RadiographSet.load(config.set).owner
    network = LandmarkNet(len(owner.landmark_names), owner.views, 64, 4)
    facts = LandmarkFacts(size=64, preprocessing=Preprocessing(), training={}, crop_margin=None)
    add_networks(tmp_path / "large.fpbundle", owner, {"landmarks": (network, facts)})
    with pytest.raises(FileFormatError, match=r"large\.fpbundle: its network 'landmarks' takes crops of 64 px"):
        train_style(config, tmp_path / "large.fpbundle")
    other = owner.model_copy(update={"bone_fingerprint": "0" * 64})
    add_networks(tmp_path / "other.fpbundle", other, {"landmarks": (network, facts)})
    with pytest.raises(FileFormatError, match=r"other\.fpbundle: holds networks \(landmarks\) of bone"):
        train_style(config, tmp_path / "other.fpbundle")
    with pytest.raises(FileFormatError, match='expected a network "translate"'):
        distil_style(config, tmp_path / "large.fpbundle")
    assert not list(tmp_path.glob("*.work"))


@pytest.mark.slow
def test_a_training_goes_on_where_its_study_is_moved_to(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = shutil.copytree(folder, tmp_path / "study")
    train_style(load_translation_config(study / "style.toml"), study / "toy.fpbundle")
    monkeypatch.chdir(study)
    train_style(longer(load_translation_config("style.toml"), 2), "toy.fpbundle")
    monkeypatch.chdir(tmp_path)
    study.rename("moved")
    out = train_style(longer(load_translation_config("moved/style.toml"), 3), "moved/toy.fpbundle")
    facts = Bundle.load(out).manifest.networks.translate
    assert facts is not None
    assert facts.training["epochs"] == 3

    out.unlink()
    with pytest.raises(FileFormatError, match=r"toy\.fpbundle: expected the network 'translate' .* which is over"):
        train_style(longer(load_translation_config("moved/style.toml"), 3), out)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:1 frames left out")
def test_the_small_generator_is_tested_whichever_frames_are_left_out(folder: Path, tmp_path: Path) -> None:
    study = shutil.copytree(folder, tmp_path / "study")
    imageio.imwrite(study / "view1" / "0000.png", np.zeros((200, 200), np.uint8))
    few = STYLE.replace('"view2"]', '"view2"]\nrange = "0:3"')
    (study / "style.toml").write_text(few, encoding="utf-8")
    config = load_translation_config(study / "style.toml")
    out = train_style(config, study / "toy.fpbundle")
    assert 0 < distil_style(config, out).facts.training["test_loss"] < 2


def test_a_damaged_checkpoint_is_refused(config: TranslationConfig, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "last.ckpt").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(FileFormatError, match=r"last\.ckpt"):
        train_style(config, tmp_path / "toy.fpbundle", work)
    assert not (tmp_path / "toy.fpbundle").exists()


def test_frames_left_out_are_told(config: TranslationConfig, folder: Path, tmp_path: Path) -> None:
    for view in ("view1", "view2"):
        (tmp_path / view).mkdir()
        for file in (folder / view).iterdir():
            (tmp_path / view / file.name).write_bytes(file.read_bytes())
    imageio.imwrite(tmp_path / "view1" / "0002.png", np.full((200, 200), 7, np.uint8))
    xrays = config.xrays[0].model_copy(update={"frames": (tmp_path / "view1", tmp_path / "view2")})
    with pytest.warns(UserWarning, match=r"1 frames left out.*0002: constant"):
        loaded, _ = load_domains(config.model_copy(update={"xrays": (xrays,)}))
    assert len(loaded.pictures) == 11


def test_the_toy_set_is_as_this_file_expects() -> None:
    assert "count = 12" in CONFIG
    assert "test_count = 4" in CONFIG
