"""Networks of the paper's size, to measure how long they take where none that large have been trained for the demo.

    python bench/paper_size.py out/soak/paper.fpbundle

The landmark network is the shipped one, made twice as wide with weights of zero: it does four times the work and says
the same. The generator of the CycleGAN, 64 channels and 9 blocks, has random weights, and what it makes counts for
nothing: it gives out the crops that it was given. So the poses are those of the shipped networks.
"""

from __future__ import annotations

import argparse
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor, nn

from fluoropose.demo.run import BUNDLE
from fluoropose.learning.bundle import Bundle, NetworkFacts, NetworkName, StyleFacts, add_networks, copy_networks

__all__ = ["WEIGHTS", "paper_size"]

WEIGHTS = {
    "landmarks": "trained at half the width, made twice as wide with zeros",
    "segment": "trained",
    "translate": "random; what it makes counts for nothing",
}


def paper_size(path: Path) -> Bundle:
    """Write them into a bundle for the demo's skull, where they are not yet, and return it."""
    if path.exists():
        return Bundle.load(path)
    with as_file(files("fluoropose") / "data" / BUNDLE) as shipped:
        bundle = Bundle.load(shipped)
        copy_networks(shipped, path, {"segment"})
    from fluoropose.learning.translation.networks import Generator  # made networks need no monai

    facts = bundle.landmarks.facts
    style = StyleFacts(size=facts.size, preprocessing=facts.preprocessing, training={})
    networks: dict[NetworkName, tuple[nn.Module, NetworkFacts]] = {
        "landmarks": (_wider(bundle), facts),
        "translate": (_Unused(Generator()), style),
    }
    add_networks(path, bundle.manifest.owner, networks, "float16")
    return Bundle.load(path)


class _Unused(nn.Module):
    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, crops: Tensor) -> Tensor:
        """Return the crops, once the generator has worked."""
        unused: Tensor = self.generator(crops)
        return crops + 0 * unused


def _wider(bundle: Bundle) -> nn.Module:
    from fluoropose.learning.landmark_net import LandmarkNet, UncertainLandmarkNet

    weights = bundle.module("landmarks").state_dict()
    landmarks, views, size = len(bundle.manifest.landmark_names), bundle.manifest.views, bundle.landmarks.facts.size
    prefix = "net." if bundle.landmarks.facts.deviations else ""
    net = LandmarkNet(landmarks, views, size, 2 * weights[f"{prefix}body.0.weight"].shape[0])
    module: nn.Module = UncertainLandmarkNet(net, views) if prefix else net
    wide = module.state_dict()
    for name, values in wide.items():
        values.fill_(1 if name.endswith("running_var") else 0)  # a channel of zeros is divided by it
    if f"{prefix}maps.weight" not in weights:  # a network that only reads positions off: none of the maps' share
        for name in (f"{prefix}head.weight", f"{prefix}head.bias"):
            rows = weights[name].unflatten(0, (-1, 2))
            share = torch.zeros_like(rows[:, :1]) if name.endswith("weight") else torch.full_like(rows[:, :1], -50.0)
            weights[name] = torch.cat([rows, share], 1).flatten(0, 1)
    for name, values in weights.items():
        wide[name][tuple(slice(n) for n in values.shape)] = values
    module.load_state_dict(wide)
    return module.eval()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path)
    torch.manual_seed(0)
    for name, count in paper_size(parser.parse_args().out).parameters.items():
        print(f"{name}: {count:,} parameters, {WEIGHTS[name]}")
