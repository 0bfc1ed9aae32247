"""A device that fails: the processor goes on, with a message, and nothing is lost."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from cameras import Cameras, errors
from fluoropose.errors import InputError
from fluoropose.learning.bundle import Bundle
from fluoropose.learning.bundle.placed import Placed, device_named
from fluoropose.streaming.run import run_stream
from fluoropose.streaming.sinks import Callback
from fluoropose.streaming.stream import Stream
from fluoropose.tracking import Phase, Tracker
from fluoropose.tracking.stored import Attenuating
from trial_laboratory import Laboratory

# PyTorch's device "meta" takes networks and tensors and never gives anything back: it fails at every result, as a GPU
# does that was lost.
LOST = torch.device("meta")


class Doubling(nn.Module):
    """Doubles; on another device than the processor it fails from a given call on."""

    def __init__(self, error: Exception, works: int = 0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(2.0))
        self.error, self.works = error, works

    def forward(self, x: Tensor) -> Tensor:
        if self.weight.device.type != "cpu":
            self.works -= 1
            if self.works < 0:
                raise self.error
            return torch.full(x.shape, 2.0)  # as if it had come back
        return self.weight * x


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore words"),
            "CUDA out of memory. Tried",
        ),
        (RuntimeError("CUDA error: device-side assert triggered"), "CUDA error: device-side assert"),
        (RuntimeError(""), "RuntimeError"),
    ],
)
def test_a_network_whose_device_fails_goes_on_on_the_processor(error: Exception, said: str) -> None:
    placed = Placed(lambda device: Doubling(error, works=2).to(device), LOST, "landmarks")
    ones = torch.ones(3)
    with torch.inference_mode():
        assert [placed(ones)[0].tolist() for _ in range(2)] == [[2, 2, 2]] * 2
        assert placed.problem == ""
        assert [placed(ones)[0].tolist() for _ in range(3)] == [[2, 2, 2]] * 3
    assert placed.problem.startswith(f"landmarks: meta failed, the processor goes on: {said}")
    assert "\n" not in placed.problem


def test_a_device_that_gives_nothing_back_is_left() -> None:
    placed = Placed(lambda device: nn.Linear(3, 1).to(device), LOST, "landmarks")
    with torch.inference_mode():
        assert placed(torch.ones(2, 3))[0].shape == (2, 1)
    assert "meta failed" in placed.problem


def test_what_fails_on_the_processor_too_is_an_error() -> None:
    placed = Placed(lambda device: nn.Linear(3, 1).to(device), LOST, "landmarks")
    with torch.inference_mode(), pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        placed(torch.ones(2, 4))


def test_a_stream_whose_gpu_is_lost_loses_no_pair_and_says_so(lab: Laboratory, tmp_path: Path) -> None:
    plain = Tracker(lab.bone, lab.rig, Bundle.load(lab.folder / "bone.fpbundle"))
    tracker = Tracker(lab.bone, lab.rig, Bundle.load(lab.folder / "bone.fpbundle", str(LOST)))
    found, expected = [], []
    for follower, outputs in ((plain, expected), (tracker, found)):
        stream = Stream(Cameras(lab, 12), follower, Attenuating(16), [Callback(outputs.append)], policy="every")
        summary = run_stream(stream, lab.trial(tmp_path))
    assert [one.tracked.phase for one in found] == [Phase.ACQUIRED] + [Phase.TRACKING] * 11
    np.testing.assert_array_equal(errors(lab, found), errors(lab, expected))
    (problem,) = summary.problems
    assert problem.startswith("bone.fpbundle: meta failed, the processor goes on: ")
    assert json.loads((tmp_path / "stream.json").read_text())["problems"] == [problem]


def test_devices_that_are_not_there_are_named() -> None:
    assert device_named("cpu").type == "cpu"
    with pytest.raises(InputError, match="device: expected cpu, cuda or cuda:N, found 'toaster'"):
        device_named("toaster")
    with pytest.raises(InputError, match="device: cuda:99 is not there: found"):
        device_named("cuda:99")
    with pytest.raises(InputError, match="is not there: found"):
        device_named("cuda:1000")


@pytest.mark.needs_cuda
def test_a_bundle_gives_the_same_on_the_gpu(lab: Laboratory) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs PyTorch with CUDA")
    crops = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64)).astype(np.float32)
    on = [Bundle.load(lab.folder / "bone.fpbundle", device) for device in ("cpu", "cuda")]
    first, second = (bundle.landmarks.predict(crops, [0, 1]).px for bundle in on)
    assert on[1].landmarks.module.problem == ""
    np.testing.assert_allclose(first, second, atol=1e-2)
