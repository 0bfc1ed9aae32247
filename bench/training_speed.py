"""How many steps a second the landmark network and the CycleGAN learn on this machine, at the paper's sizes.

    python bench/training_speed.py --out out/bench/training_speed.json [--seconds 15] [--device cuda]

It needs no data: pictures are random numbers, which take as long as any. Networks, batches, styles and epochs are those
of bench/configs; the domains have the paper's sizes: 9,251 radiographs for landmarks, 6,525 X-rays and 6,716
radiographs for the CycleGAN. Each is measured once it runs steadily. steps_per_second is how ``fluoropose train`` makes
them, eager_steps_per_second the same without CUDA graphs; projected_minutes is what the steps of the full run take,
without tests and exports. --quick, with tiny networks, shows that the script runs; its numbers mean nothing else.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning.pytorch as pl
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from fluoropose._files import write_text
from fluoropose.learning.bundle import Owner
from fluoropose.learning.config import LearningConfig, load_config
from fluoropose.learning.dataset import RadiographSet
from fluoropose.learning.training.fit import device_name, training_precision
from fluoropose.learning.training.graphed import fastest_step
from fluoropose.learning.training.landmarks import LandmarkTraining
from fluoropose.learning.training.module import SetTraining
from fluoropose.learning.translation.config import GeneratorConfig, load_translation_config
from fluoropose.learning.translation.cyclegan import CycleGAN
from fluoropose.learning.translation.xrays import XRayPictures
from fluoropose.registration.summary import Environment

CONFIGS = Path(__file__).parent / "configs"
LANDMARKS, XRAYS, RADIOGRAPHS = 9251, 6525, 6716
WARM_UP_S = 8  # in which cuDNN chooses its kernels and the graph is captured

console = Console()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=15, help="how long each is measured")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cuda")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    told = parser.parse_args()
    learning = load_config(CONFIGS / "head_plain.toml")
    style = load_translation_config(CONFIGS / "head_style.toml")
    landmarks, n_xrays, n_radiographs = LANDMARKS, XRAYS, RADIOGRAPHS
    if told.quick:
        landmarks, n_xrays, n_radiographs = 512, 64, 64
        learning = learning.model_copy(update={"training": learning.training.model_copy(update={"width": 4})})
        style = style.model_copy(update={"generator": GeneratorConfig(width=4, blocks=1)})
    size, tests = learning.dataset.size, learning.dataset.test_count
    shown = torch.rand(n_xrays, size, size) * 2 - 1
    xrays = XRayPictures(shown, torch.ones_like(shown, dtype=torch.bool), torch.arange(n_xrays), ())
    trainings: dict[str, LandmarkTraining | CycleGAN] = {
        "landmarks": LandmarkTraining(random_set(learning, landmarks + tests), learning),
        "style": CycleGAN(xrays, random_set(learning, n_radiographs + tests), style, told.out.with_suffix(".pictures")),
    }
    rows: list[dict[str, Any]] = []
    failed: dict[str, str] = {}
    document = {
        "device": device_name(torch.device(told.device)),
        "quick": told.quick,
        "rows": rows,
        "failed": failed,
        "environment": Environment.here().model_dump(),
    }
    for network, module in trainings.items():
        try:
            rows.append({"network": network} | speed(module, told))
        except RuntimeError as error:  # of one network, which tells nothing of the other
            failed[network] = str(error)
        console.print(failed.get(network) or rows[-1], markup=False)
        write_text(told.out, json.dumps(document, indent=1) + "\n")
    return len(failed)


def speed(module: LandmarkTraining | CycleGAN, told: argparse.Namespace) -> dict[str, float]:
    """Return the numbers of one network."""
    pace, eager = (measured(module, way, told) for way in (fastest_step, lambda _, step: step))
    steps = module.config.training.epochs * module.batches.steps
    return {
        "steps_per_second": pace,
        "eager_steps_per_second": eager,
        "steps_in_full_run": steps,
        "projected_minutes": steps / pace / 60,
    }


class Pace(pl.Callback):
    """Counts the steps of a while and then ends the training."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._begun = self._steady = 0.0
        self._before = 0
        self.per_second = 0.0

    def on_train_start(self, *_: Any) -> None:
        """Begin."""
        self._begun = time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Look at the clock."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        now, steps = time.perf_counter(), trainer.global_step // len(trainer.optimizers)
        if self._steady == 0 and now - self._begun > min(WARM_UP_S, self._seconds):
            self._steady, self._before = now, steps
        elif self._steady and now - self._steady > self._seconds:
            self.per_second = (steps - self._before) / (now - self._steady)
            trainer.should_stop = True


def measured(module: LandmarkTraining | CycleGAN, way: Any, told: argparse.Namespace) -> float:
    """Return steps per second where ``way`` decides how they are made."""
    pace = Pace(told.seconds)
    trainer = pl.Trainer(
        max_epochs=-1,
        accelerator=told.device,
        precision=training_precision("auto" if told.device == "cuda" else "cpu"),
        callbacks=[pace],
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        benchmark=True,
    )
    places = (f"{one.__module__}.fastest_step" for one in (CycleGAN, SetTraining))
    with patch(next(places), way), patch(next(places), way):
        trainer.fit(module, DataLoader(module.batches, batch_size=None))
    return pace.per_second


def random_set(config: LearningConfig, count: int) -> RadiographSet:
    """Return a set of random numbers, with one layer for the bone and one for each part that moves."""
    data = config.dataset
    side, names = data.size + 2 * data.border, tuple(f"p{k}" for k in range(33))
    owner = Owner(bone_name="none", bone_fingerprint="", landmark_names=names, views=2, rig=None)
    layers = torch.rand(count, 2 + len(data.moving), side, side).half()
    return RadiographSet(
        layers,
        (layers[:, 0] > 0.5).byte(),
        torch.rand(count, len(names), 2) * data.size,
        torch.arange(count) % 2,
        torch.tensor([[data.size / 2, data.size / 2, data.size / 2]]).repeat(count, 1),
        torch.rand(count) < data.segmented_share,
        config,
        owner,
        recipe="random numbers",
    )


if __name__ == "__main__":
    sys.exit(main())
