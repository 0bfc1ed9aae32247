from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from fluoropose.errors import FileFormatError
from fluoropose.learning.bundle import Bundle
from fluoropose.learning.config import TrainingConfig, load_config
from fluoropose.learning.coordinates import normalised_from_px, px_from_normalised
from fluoropose.learning.dataset import RadiographSet, make_dataset
from fluoropose.learning.landmark_net import LandmarkNet
from fluoropose.learning.train import LandmarkTraining, landmark_loss, train_landmarks
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
        loss = module.loss((rows, 7))
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(float(loss.detach()))
    # Measured: a factor of 56.
    assert losses[-1] < 0.1 * losses[0]


@pytest.mark.slow
def test_training_writes_a_bundle_and_resumes(set_path: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "toy.fpbundle", tmp_path / "work"
    train_landmarks(set_path, out, work_dir=work)
    bundle = Bundle.load(out)
    bundle.require(toy_bone(), toy_rig())
    assert bundle.manifest.landmark_names == toy_bone().landmark_names
    assert np.isfinite(bundle.landmarks.facts.training["test_log10_mse"])
    rows = (work / "log" / "version_0" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert "test_log10_mse" in rows[0]
    done = torch.load(work / "last.ckpt", weights_only=False)["epoch"]

    config = RadiographSet.load(set_path).config
    longer = config.model_copy(update={"training": config.training.model_copy(update={"epochs": 3})})
    train_landmarks(set_path, out, longer, work)
    assert torch.load(work / "last.ckpt", weights_only=False)["epoch"] == done + 1


@pytest.mark.slow
def test_a_checkpoint_cut_short_is_refused(set_path: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "toy.fpbundle", tmp_path / "work"
    work.mkdir()
    (work / "last.ckpt").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(FileFormatError, match=r"last\.ckpt"):
        train_landmarks(set_path, out, work_dir=work)
    assert not out.exists()
