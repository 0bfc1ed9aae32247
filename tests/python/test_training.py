from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from fluoropose.errors import FileFormatError
from fluoropose.learning.bundle import Bundle, LandmarkFacts, StyleFacts, add_networks
from fluoropose.learning.config import LearningConfig, TrainingConfig, load_config
from fluoropose.learning.coordinates import normalised_from_px, px_from_normalised
from fluoropose.learning.dataset import RadiographSet, make_dataset
from fluoropose.learning.landmark_net import LandmarkNet
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.learning.training.landmarks import LandmarkTraining, landmark_loss, train_landmarks
from fluoropose.learning.training.module import train_on_set
from fluoropose.learning.training.resume import WholeCheckpoints
from fluoropose.learning.training.segment import SegmentTraining, overlap, train_segment
from fluoropose.learning.training.uncertainty import UncertaintyTraining, spread_loss, train_uncertainty
from toy_learning import CONFIG, toy_bone, toy_rig, write_toy

pytestmark = pytest.mark.filterwarnings(
    # Lightning's own remarks about logging, workers and torch internals; nothing of ours.
    "ignore::UserWarning:lightning",
    "ignore::DeprecationWarning:lightning",
    "ignore::FutureWarning",
)


@pytest.fixture(scope="module")
def set_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    text = CONFIG.replace("count = 12", "count = 40").replace("test_count = 4", "test_count = 8")
    return make_dataset(load_config(write_toy(folder, text.replace("batch = 4", "batch = 16"))), folder / "set.h5")


def test_it_has_about_eleven_million_parameters() -> None:
    count = sum(p.numel() for p in LandmarkNet(33, 2).parameters())
    assert 11.0e6 < count < 12.0e6


def test_normalised_coordinates_end_at_the_picture_s_edges() -> None:
    points = torch.tensor([[-0.5, 127.5], [63.5, 200.0]])
    normalised = normalised_from_px(points, 128)
    assert torch.allclose(normalised, torch.tensor([[-1.0, 1.0], [0.0, 2.1328125]]))
    assert torch.allclose(px_from_normalised(normalised, 128), points)


def test_overlap_is_intersection_over_union() -> None:
    found = torch.tensor([[1, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0]]).bool()
    mask = torch.tensor([[0, 1, 1, 1], [0, 0, 0, 0], [1, 0, 0, 0]]).bool()
    assert overlap(found, mask).tolist() == [0.5, 1.0, 0.0]


@pytest.mark.parametrize("kind", ["mse", "smooth_l1"])
def test_landmarks_outside_weigh_less(kind: str) -> None:
    labels = torch.tensor([[[0.0, 0.0], [0.0, 1.5]]])
    config = TrainingConfig(loss=kind, outside_weight=0.25)  # type: ignore[arg-type]
    inside = landmark_loss(labels + torch.tensor([[[0.1, 0.0], [0.0, 0.0]]]), labels, config)
    outside = landmark_loss(labels + torch.tensor([[[0.0, 0.0], [0.1, 0.0]]]), labels, config)
    assert float(landmark_loss(labels, labels, config)) == 0
    assert float(inside / outside) == pytest.approx(4, rel=1e-4)


@pytest.mark.slow
def test_it_learns(set_path: Path) -> None:
    """On a handful of samples in one fixed style the loss falls more than tenfold within twenty steps."""
    torch.manual_seed(0)
    module = LandmarkTraining(RadiographSet.load(set_path), RadiographSet.load(set_path).config)
    rows = torch.arange(16)
    optimiser = torch.optim.Adam(module.net.parameters(), 1e-3, fused=True)
    losses = []
    for _ in range(20):
        loss = module.loss(*module.given(rows, 7))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    # Measured: a factor of 56.
    assert losses[-1] < 0.1 * losses[0]


def training_of(config: LearningConfig, epochs: int) -> TrainingConfig:
    return config.training.model_copy(update={"epochs": epochs})


@pytest.mark.slow
def test_training_writes_a_bundle_and_resumes(set_path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    out, work = tmp_path / "toy.fpbundle", tmp_path / "work"
    with caplog.at_level("INFO"), warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*logging interval")
        train_landmarks(set_path, out, work_dir=work)
    assert "Tip" not in caplog.text
    bundle = Bundle.load(out)
    bundle.require(toy_bone(), toy_rig())
    assert bundle.manifest.landmark_names == toy_bone().landmark_names
    assert np.isfinite(bundle.landmarks.facts.training["test_log10_mse"])
    rows = (work / "log" / "version_0" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert "test_mse" in rows[0]
    done = torch.load(work / "last.ckpt", weights_only=False)["epoch"]

    config = RadiographSet.load(set_path).config
    longer = config.model_copy(update={"training": training_of(config, 3)})
    train_landmarks(set_path, out, longer, work)
    assert torch.load(work / "last.ckpt", weights_only=False)["epoch"] == done + 1

    other = longer.model_copy(update={"style": longer.style.model_copy(update={"limbs": 2})})
    with pytest.raises(FileFormatError, match=r"last\.ckpt: cannot resume.*another set, style or configuration"):
        train_landmarks(set_path, out, other, work)

    whole = (work / "last.ckpt").read_bytes()
    (work / "last.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FileFormatError, match=r"last\.ckpt: cannot resume"):
        train_landmarks(set_path, out, longer, work)
    (work / "last.ckpt").write_bytes(whole)
    with pytest.raises(FileFormatError, match=r"last\.ckpt: cannot resume.*max_epochs=1"):
        train_landmarks(set_path, out, config.model_copy(update={"training": training_of(config, 1)}), work)


@pytest.mark.slow
def test_training_ends_early_where_nothing_is_learnt(set_path: Path, tmp_path: Path) -> None:
    config = RadiographSet.load(set_path).config
    out, work = tmp_path / "toy.fpbundle", tmp_path / "work"
    training = config.training.model_copy(update={"epochs": 9, "patience": 2, "learning_rate": 1e-12, "width": 4})

    def last_epoch(patience: int) -> int:
        patient = training.model_copy(update={"patience": patience})
        train_landmarks(set_path, out, config.model_copy(update={"training": patient}), work)
        return int(torch.load(work / "last.ckpt", weights_only=False)["epoch"])

    ended = last_epoch(2)
    assert 2 <= ended < 8
    assert last_epoch(2) == ended  # it is over, whatever is asked for once more
    assert last_epoch(20) == 8  # unless that is more patience


def test_a_checkpoint_is_whole_or_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))  # from another disk it would be copied
    last = tmp_path / "work" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, last)

    def cut_short(path: Path, _: bytes) -> None:
        path.write_text("PK")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", cut_short)
    with pytest.raises(OSError, match="No space left"):
        WholeCheckpoints().save_checkpoint({"epoch": 2}, last)
    assert torch.load(last) == {"epoch": 1}
    assert list(last.parent.iterdir()) == [last]


@pytest.mark.slow
def test_checkpoints_are_written_beside_the_last_one(
    set_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    config = RadiographSet.load(set_path).config
    short = config.model_copy(update={"training": training_of(config, 1)})
    train_landmarks(set_path, tmp_path / "toy.fpbundle", short, tmp_path / "work")
    assert (tmp_path / "work" / "last.ckpt").exists()


def test_uncertainty_needs_test_samples_for_both_halves(tmp_path: Path) -> None:
    config = load_config(write_toy(tmp_path, CONFIG.replace("test_count = 4", "test_count = 1")))
    samples = make_dataset(config, tmp_path / "one.h5")
    with pytest.raises(FileFormatError, match=r"one\.h5: test_count: expected at least 2, .* found 1"):
        train_uncertainty(samples, tmp_path / "toy.fpbundle")


@pytest.mark.slow
def test_a_network_whose_loss_is_no_number_does_not_replace_one_that_works(set_path: Path, tmp_path: Path) -> None:
    config = RadiographSet.load(set_path).config
    training = config.training.model_copy(update={"epochs": 1, "width": 4})
    out = train_landmarks(set_path, tmp_path / "toy.fpbundle", config.model_copy(update={"training": training}))
    works = out.read_bytes()
    wild = config.model_copy(update={"training": training.model_copy(update={"learning_rate": 1e30})})
    for _ in range(2):  # also where that training is over
        with pytest.raises(FileFormatError, match=r"toy\.fpbundle: expected the network 'landmarks' .* was a number"):
            train_landmarks(set_path, out, wild, tmp_path / "wild")
        assert out.read_bytes() == works
    with pytest.raises(FileFormatError, match=r"none\.fpbundle: expected the network 'landmarks' .* was a number"):
        train_landmarks(set_path, tmp_path / "none.fpbundle", wild, tmp_path / "anew")


@pytest.mark.slow
def test_segmentation_joins_the_bundle_and_finds_the_bone(set_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "toy.fpbundle"
    owner = RadiographSet.load(set_path).owner
    style = StyleFacts(size=32, preprocessing=Preprocessing(), training={})
    add_networks(out, owner, {"translate": (torch.nn.Identity(), style)})
    config = RadiographSet.load(set_path).config
    quick = config.segmentation.model_copy(update={"epochs": 30, "batch": 8, "precision": "32-true", "patience": 30})
    train_segment(set_path, out, config.model_copy(update={"segmentation": quick}))
    bundle = Bundle.load(out)
    assert bundle.translate is not None
    assert bundle.segment is not None
    training = bundle.segment.facts.training
    # Measured 0.78 and 0.87 after 30 epochs on 32 pictures; a mask at random has less than 0.2.
    assert training["test_iou"] > 0.5
    assert training["test_iou"] < training["test_dice"] < 1
    assert (tmp_path / "toy.fpbundle.work" / "segment" / "last.ckpt").exists()


@pytest.mark.slow
def test_a_network_learns_how_sure_it_is(set_path: Path, tmp_path: Path) -> None:
    out = tmp_path / "toy.fpbundle"
    radiographs = RadiographSet.load(set_path)
    torch.manual_seed(2)
    net = LandmarkNet(7, 2, 32, width=8).eval()
    facts = LandmarkFacts(size=32, preprocessing=Preprocessing(), crop_margin=None, training={"test_mse": 0.5})
    add_networks(out, radiographs.owner, {"landmarks": (net, facts)})
    before = Bundle.load(out).landmarks
    config = radiographs.config
    quick = config.uncertainty.model_copy(
        update={"epochs": 36, "batch": 8, "learning_rate": 5e-3, "precision": "32-true", "patience": 36}
    )
    for _ in range(2):  # the second time begins with a network that tells its deviations, and adds nothing
        train_uncertainty(set_path, out, config.model_copy(update={"uncertainty": quick}))
        after = Bundle.load(out).landmarks
        crops = np.random.default_rng(1).uniform(-1, 1, (3, 32, 32)).astype(np.float32)
        np.testing.assert_allclose(after.predict(crops, [0, 1, 0]).px, before.predict(crops, [0, 1, 0]).px, atol=1e-4)
        assert np.isfinite(after.predict(crops, [0, 1, 0]).sd_px).all()
        training = after.facts.training
        assert training["test_mse"] == 0.5
        # Few pictures to learn from, and eight to check on; measured factors 0.58 to 1.06.
        for k in range(1, 6):
            assert 0.5 < training[f"sd_actual_px_{k}"] / training[f"sd_predicted_px_{k}"] < 2


def test_the_spread_is_that_of_the_errors() -> None:
    """Errors drawn from the assumed distribution: the loss is least at the true spread, per axis sqrt(3) of it."""
    rng = np.random.default_rng(5)
    distance = torch.from_numpy(rng.gamma(2.0, 0.3, 200_000))  # p(r) ~ r exp(-r / s) of a plane's radius
    losses = [float(spread_loss(distance, torch.full_like(distance, float(np.log(s))))) for s in (0.28, 0.3, 0.32)]
    assert losses[1] == min(losses)
    assert float((distance**2).mean().div(2).sqrt()) == pytest.approx(0.3 * 3**0.5, rel=0.01)


@pytest.mark.slow
def test_a_network_that_only_guesses_cannot_tell_how_sure_it_is(set_path: Path, tmp_path: Path) -> None:
    radiographs = RadiographSet.load(set_path)
    net = LandmarkNet(7, 2, 32, width=4)
    with torch.no_grad():
        net.head.weight.zero_()
        net.head.bias.view(2, 7, 3)[:] = torch.tensor([5.0, 5.0, -20.0])  # far outside of every picture
    out = tmp_path / "toy.fpbundle"
    facts = LandmarkFacts(size=32, preprocessing=Preprocessing(), crop_margin=None, training={})
    add_networks(out, radiographs.owner, {"landmarks": (net, facts)})
    before = out.read_bytes()
    with pytest.raises(FileFormatError, match="no loss was a number"):
        train_uncertainty(set_path, out)
    assert out.read_bytes() == before


def test_parts_without_a_prediction_are_left_out_of_the_table(set_path: Path) -> None:
    radiographs = RadiographSet.load(set_path)
    facts = LandmarkFacts(size=32, preprocessing=Preprocessing(), crop_margin=None, training={})
    net = LandmarkNet(7, 2, 32, width=4)
    module = UncertaintyTraining(radiographs, radiographs.config, net, facts, radiographs.owner)
    module._checked = [torch.tensor([[0.1, 0.2], [0.3, 0.1]])]
    assert set(module._reliability(1.0)) == {f"sd_{what}_px_{k}" for what in ("predicted", "actual") for k in (1, 2)}


@pytest.mark.slow
def test_uncertainty_needs_the_set_s_landmark_network(set_path: Path, tmp_path: Path) -> None:
    owner = RadiographSet.load(set_path).owner
    out = tmp_path / "toy.fpbundle"
    facts = LandmarkFacts(size=64, preprocessing=Preprocessing(), crop_margin=None, training={})
    add_networks(out, owner, {"landmarks": (LandmarkNet(7, 2, 64, width=8), facts)})
    with pytest.raises(FileFormatError, match="takes crops of 64 px"):
        train_uncertainty(set_path, out)
    other = owner.model_copy(update={"bone_fingerprint": "cd" * 32})
    add_networks(out, other, {"landmarks": (LandmarkNet(7, 2, 64, width=8), facts)})
    with pytest.raises(FileFormatError, match="holds networks \\(landmarks\\) of bone"):
        train_uncertainty(set_path, out)
    greyer = LandmarkFacts(size=32, preprocessing=Preprocessing(floor=0.1), crop_margin=None, training={})
    add_networks(out, owner, {"landmarks": (LandmarkNet(7, 2, 32, width=8), greyer)})
    with pytest.raises(FileFormatError, match=r"floor=0\.1"):
        train_uncertainty(set_path, out)


@pytest.mark.slow
def test_steps_follow_the_schedule_and_are_counted(set_path: Path, tmp_path: Path) -> None:
    """Warm-up, then a cosine to zero, over the steps of all epochs, however many are drawn together."""
    radiographs = RadiographSet.load(set_path)
    training = radiographs.config.training.model_copy(update={"epochs": 5, "batch": 8, "width": 4})
    module = LandmarkTraining(radiographs, radiographs.config.model_copy(update={"training": training}))
    assert module.batches.steps == 4
    assert len(module.batches) == 1
    rates = []
    step = module._step
    module.on_fit_start = lambda: None  # type: ignore[method-assign]  # leaves the step that is given here
    module._steps = 4

    def noted(*given: torch.Tensor) -> torch.Tensor:
        rates.append(float(module.optimizers().param_groups[0]["lr"]))  # type: ignore[union-attr]
        return step(*given)

    module._step = noted
    trainer = pl.Trainer(max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False, limit_val_batches=0)
    trainer.fit(module, DataLoader(module.batches, batch_size=None))
    assert trainer.global_step == 20
    k = np.arange(1, 20)
    cosine = 0.5 * (1 + np.cos(np.pi * (k - 1) / 19))
    np.testing.assert_allclose(rates, training.learning_rate * np.r_[1, cosine], rtol=1e-6)


@pytest.mark.needs_cuda
@pytest.mark.filterwarnings("error:no CUDA graph")  # without one the training would go on
def test_captured_steps_do_what_eager_ones_do(set_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 24 steps in float32, all but the first five replay a graph."""
    config = RadiographSet.load(set_path).config
    many = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 6, "batch": 8})})
    states = []
    for way in ("graph", "eager"):
        train_landmarks(set_path, tmp_path / f"{way}.fpbundle", many, tmp_path / way)
        states.append(torch.load(tmp_path / way / "last.ckpt", weights_only=False, map_location="cpu"))
        assert states[-1]["global_step"] == 24
        monkeypatch.setattr("fluoropose.learning.training.module.fastest_step", lambda _, step: step)
    # The same but for the order of sums, which steps of Adam enlarge; running means count every step once.
    for name in ("net.body.0.weight", "net.body.1.running_var", "net.head.weight"):
        graph, eager = (state["state_dict"][name].norm() for state in states)
        torch.testing.assert_close(graph, eager, rtol=0.02, atol=0.0, msg=name)
    assert int(states[0]["state_dict"]["net.body.1.num_batches_tracked"]) == 24


class Exhausting(SegmentTraining):
    """A GPU whose memory is full at the third step."""

    steps = 0

    def loss(self, *given: torch.Tensor) -> torch.Tensor:
        Exhausting.steps += 1
        if Exhausting.steps == 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has")
        return super().loss(*given)


@pytest.mark.slow
def test_without_gpu_memory_training_goes_on_with_the_processor(set_path: Path, tmp_path: Path) -> None:
    radiographs = RadiographSet.load(set_path)
    config = radiographs.config
    short = config.segmentation.model_copy(update={"epochs": 2, "batch": 16, "precision": "32-true"})
    module = Exhausting(radiographs, config.model_copy(update={"segmentation": short}))
    with warnings.catch_warnings(record=True) as said:  # Lightning's own among them
        warnings.simplefilter("always")
        train_on_set(module, "segment", tmp_path / "toy.fpbundle", tmp_path / "work")
    assert any("CUDA out of memory: training goes on with the processor" in str(one.message) for one in said)
    assert Exhausting.steps == 2 + 1 + 2  # the first epoch, the failure, and the second epoch from the checkpoint
    assert Bundle.load(tmp_path / "toy.fpbundle").segment is not None


_TOGETHER = """
import sys
import warnings
from pathlib import Path
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.training.segment import train_segment
config = RadiographSet.load(sys.argv[1]).config
short = config.segmentation.model_copy(update={"epochs": 1, "batch": 8, "precision": "32-true"})
train_segment(sys.argv[1], sys.argv[2], config.model_copy(update={"segmentation": short}))
"""


@pytest.mark.slow
def test_two_processes_train_together(set_path: Path, tmp_path: Path) -> None:
    """Through torchrun: each takes half of the batches, and one of them writes the bundle."""
    (tmp_path / "run.py").write_text(_TOGETHER)
    out = tmp_path / "toy.fpbundle"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    place = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "CUDA_VISIBLE_DEVICES": ""}
    subprocess.run([*command, str(tmp_path / "run.py"), str(set_path), str(out)], env=place, check=True)
    assert Bundle.load(out).segment is not None
    state = torch.load(tmp_path / "toy.fpbundle.work" / "segment" / "last.ckpt", weights_only=False)
    assert state["global_step"] == 2  # 32 samples, 8 per batch and process


@pytest.mark.slow
def test_a_checkpoint_cut_short_is_refused(set_path: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "toy.fpbundle", tmp_path / "work"
    work.mkdir()
    for content in (b"PK\x03\x04 and then nothing", b"", b'{"no": "checkpoint"}'):
        (work / "last.ckpt").write_bytes(content)
        with pytest.raises(FileFormatError, match=r"last\.ckpt"):
            train_landmarks(set_path, out, work_dir=work)
    assert not out.exists()
