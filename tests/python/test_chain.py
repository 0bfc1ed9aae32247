"""The networks one after the other: step by step on the processor, and as CUDA graphs."""

from __future__ import annotations

import gc
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fluoropose.learning.bundle import Bundle, Placed, add_networks
from fluoropose.learning.bundle.archive import quiet
from fluoropose.learning.bundle.captured import Captured
from fluoropose.learning.bundle.precision import name_device, reduce_weights
from fluoropose.learning.landmark_net import LandmarkNet
from fluoropose.learning.preprocess import Preprocessing
from fluoropose.learning.segment_net import SegmentNet
from fluoropose.learning.translation.networks import Generator
from fluoropose.registration.sight import Look, Sight
from toy_bundle import FACTS, MASKS, SIZE, STYLES, N, toy_owner
from toy_learning import toy_rig


class Seeing(nn.Module):
    """A segmentation network, so biased that it finds a bone in noise."""

    def __init__(self) -> None:
        super().__init__()
        self.net = SegmentNet(width=8)

    def forward(self, crops: Tensor) -> Tensor:
        return torch.sigmoid(40 * self.net(crops) + 40 * crops)


class Counting(nn.Module):
    def forward(self, one: Tensor) -> Tensor:
        return torch.arange(one.shape[0], device=one.device)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All networks, small and untrained."""
    path = tmp_path_factory.mktemp("chain") / "toy.fpbundle"
    facts = FACTS.model_copy(update={"preprocessing": Preprocessing()})
    torch.manual_seed(5)
    networks = {
        "landmarks": (LandmarkNet(N, 2, SIZE, width=16).eval(), facts),
        "segment": (Seeing().eval(), MASKS),
        "translate": (Generator(width=8, blocks=2), STYLES),
    }
    add_networks(path, toy_owner(), networks)  # type: ignore[arg-type]
    return path


def sight_on(path: Path, device: str) -> Sight:
    bundle = Bundle.load(path, device)
    return Sight(toy_rig(), bundle, *bundle.asked(True, True))


def look(path: Path, pairs: int = 1, looks: int = 1, seed: int = 0) -> Look:
    """Look at noise, in the second pair at a blank frame."""
    through, rng = sight_on(path, "cpu"), np.random.default_rng(seed)
    regions = [scope.whole for scope in through.rig.fluoroscopes]

    def frame() -> NDArray[np.float32]:
        coarse = rng.uniform(0.1, 0.9, (8, 8)).astype(np.float32)
        return cv2.resize(coarse, through.rig.views[0].size_px, interpolation=cv2.INTER_LINEAR)

    frames = [[frame() for _ in regions] for _ in range(pairs)]
    if pairs > 1:
        frames[1][0][:] = 0.5
    return through.look(frames, [regions] * pairs, looks)


def test_it_is_what_the_networks_say_one_by_one(path: Path) -> None:
    seen, bundle = look(path, pairs=2), Bundle.load(path)
    laps: list[str] = []
    landmarks, masks = sight_on(path, "cpu").found(seen, laps.append)
    assert laps == ["segment", "translate", "landmarks"]
    assert masks is not None
    assert not masks[2].any()
    assert bundle.segment is not None
    assert bundle.translate is not None
    crops = bundle.landmarks.facts.preprocessing.apply(seen.crops[0], seen.lit[0])[None]
    expected = (bundle.segment.predict(crops) > 0.5) & seen.lit[:1]
    assert 0.05 < expected.mean() < 0.9
    np.testing.assert_array_equal(masks[:1], expected)
    translated = np.where(seen.lit[:1], bundle.translate.translate(crops), np.float32(1))
    shown = Preprocessing().cut_out(torch.from_numpy(translated), torch.from_numpy(masks[:1])).numpy()
    np.testing.assert_allclose(landmarks.px[:1], bundle.landmarks.predict(shown, [0]).px, atol=1e-3)


def test_devices_that_an_export_named_are_the_one_it_runs_on() -> None:
    """A trace names the processor, on which it was made, wherever a network makes a tensor anew."""
    with quiet():
        module = torch.jit.freeze(torch.jit.trace(Counting(), torch.ones(3)).eval())  # type: ignore[no-untyped-call]
        assert module(torch.ones(3)).device.type == "cpu"
        module = torch.jit.freeze(torch.jit.trace(Counting(), torch.ones(3)).eval())  # type: ignore[no-untyped-call]
        name_device(module.graph, torch.device("meta"))
    assert module(torch.ones(3)).device.type == "meta"


def test_rounding_weights_once_changes_nothing_that_autocast_gives() -> None:
    net, crops, views = LandmarkNet(N, 2, SIZE, width=16).eval(), torch.rand(2, 1, SIZE, SIZE), torch.tensor([0, 1])
    with torch.inference_mode(), quiet():
        exported = torch.jit.trace(net, (crops, views))  # type: ignore[no-untyped-call]
        plain, rounded = torch.jit.freeze(exported), torch.jit.freeze(exported)
        reduce_weights(rounded.graph, torch.bfloat16)
        assert "BFloat16" in str(
            [
                one.t("value").type()
                for one in rounded.graph.findAllNodes("prim::Constant", False)
                if one.hasAttribute("value") and one.kindOf("value") == "t"
            ]
        )
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(rounded(crops, views), plain(crops, views), rtol=0, atol=0)


@pytest.mark.parametrize("module", [LandmarkNet(N, 2, SIZE, width=16).eval(), Seeing().eval(), Generator(8, 2)])
def test_our_networks_name_no_device(module: nn.Module) -> None:
    inputs = (torch.zeros(2, 1, SIZE, SIZE), torch.tensor([0, 1]))
    with torch.inference_mode(), quiet():
        graph = torch.jit.trace(module, inputs if isinstance(module, LandmarkNet) else inputs[:1]).inlined_graph  # type: ignore[no-untyped-call]
    assert "Device = prim::Constant" not in str(graph)


# --- on a GPU --------------------------------------------------------------------------------------------------------

# What cannot be recorded goes on without a graph and gives the same numbers.
recorded = pytest.mark.filterwarnings("error:no CUDA graph")


@pytest.fixture
def cuda() -> torch.device:
    if not torch.cuda.is_available():
        pytest.skip("needs PyTorch with CUDA")
    return torch.device("cuda")


@pytest.mark.needs_cuda
@recorded
@pytest.mark.usefixtures("cuda")
def test_a_gpu_sees_what_the_processor_sees(path: Path) -> None:
    on_gpu, on_processor = (sight_on(path, device) for device in ("cuda", "cpu"))
    for pairs, looks, seed in ((1, 1, 0), (2, 4, 1), (1, 1, 2), (2, 4, 3)):
        seen = look(path, pairs, looks, seed)
        (px, _), masks = on_gpu.found(seen)
        (expected, _), expected_masks = on_processor.found(seen)
        assert on_gpu.problem == ""
        assert masks is not None
        assert expected_masks is not None
        # Half precision: pixels at a mask's edge change sides, and what is cut out changes with them.
        assert np.mean(masks != expected_masks) < 0.01
        assert np.sqrt(np.mean((px - expected) ** 2)) < 0.5  # px of 64


@pytest.mark.needs_cuda
@recorded
@pytest.mark.usefixtures("cuda")
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
def test_the_steady_state_allocates_nothing_and_waits_once(path: Path) -> None:
    """PyTorch raises where anything but the one wait at the end waits for the GPU."""
    through, seen = sight_on(path, "cuda"), [look(path, seed=seed) for seed in range(4)]
    first = through.found(seen[0]).landmarks.px
    gc.collect()  # both times: what only cycles keep alive would go at a moment of Python's choice
    allocated = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
    torch.cuda.set_sync_debug_mode("error")
    try:
        found = [through.found(one).landmarks.px for one in 5 * seen]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    gc.collect()
    assert (torch.cuda.memory_allocated(), torch.cuda.memory_reserved()) == allocated
    assert through.problem == ""
    for k, one in enumerate(found):
        np.testing.assert_array_equal(one, found[k % 4])  # each answer to its own question
    np.testing.assert_array_equal(found[0], first)
    assert not np.array_equal(found[0], found[1])


@pytest.mark.needs_cuda
@recorded
def test_several_shapes_are_kept_apart(cuda: torch.device) -> None:
    def function(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return a + b.sum(), a > 0

    graphs, plain = Captured(function, cuda), function
    for n in [*range(1, 30), 3, 3]:  # more shapes than are kept
        a, b = torch.randn(n), torch.arange(n)
        for one, other in zip(graphs(a, b), plain(a, b), strict=True):
            torch.testing.assert_close(one, other)


@pytest.mark.needs_cuda
def test_a_gpu_out_of_memory_is_left_to_others(cuda: torch.device) -> None:
    def hungry(a: Tensor) -> Tensor:
        if a.is_cuda:
            torch.empty(1 << 46, dtype=torch.uint8, device=a.device)
        return 3 * a

    placed = Placed(lambda device: hungry, cuda, "hungry")
    for _ in range(2):
        assert placed(torch.ones(2))[0].tolist() == [3, 3]
    assert placed.problem.startswith("hungry: cuda failed, the processor goes on: CUDA out of memory")
    assert Captured(torch.neg, cuda)(torch.ones(2))[0].tolist() == [-1, -1]
