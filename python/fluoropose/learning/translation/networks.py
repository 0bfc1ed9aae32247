"""The networks of the CycleGAN (Zhu et al. 2017, as Zhou et al. 2021, 2.2, use it), with instance normalisation."""

from __future__ import annotations

from typing import Literal

import torch
from monai.networks.nets.patchgan_discriminator import PatchDiscriminator
from torch import Tensor, nn

__all__ = ["Discriminator", "Generator"]


class Generator(nn.Module):
    """Translates pictures (b, 1, h, w) in [-1, 1]; sides are multiples of 4.

    A 7 x 7 convolution, two of stride 2, residual blocks, two of stride 1/2, a 7 x 7 convolution and tanh.

    Parameters
    ----------
    width
        Channels of the first layer: 64 in the paper, 16 for training and running on a processor.
    blocks
        Residual blocks: 9 in the paper.
    """

    def __init__(self, width: int = 64, blocks: int = 9) -> None:
        super().__init__()
        layers = [*_convolution(1, width, 7, 1), *_convolution(width, 2 * width, 3, 2)]
        layers += _convolution(2 * width, 4 * width, 3, 2)
        layers += [_Residual(4 * width) for _ in range(blocks)]
        layers += [*_up(4 * width, 2 * width), *_up(2 * width, width)]
        layers += [nn.Conv2d(width, 1, 7, padding=3, padding_mode="reflect"), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_begin)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return the translated pictures, same shape and range."""
        translated: Tensor = self.layers(pictures)
        return translated


class Discriminator(nn.Module):
    """Judges every patch of 70 x 70 pixels: about 1 where it looks like the real ones, about 0 where it does not."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.patches = PatchDiscriminator(2, width, 1, num_layers_d=3, norm="INSTANCE", bias=True)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (b, 1, h', w') from pictures (b, 1, h, w)."""
        judged: Tensor = self.patches(pictures)[-1]
        return judged


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *_convolution(channels, channels, 3, 1), *_convolution(channels, channels, 3, 1)[:-1]
        )

    def forward(self, features: Tensor) -> Tensor:
        changed: Tensor = self.layers(features)
        return features + changed


def _convolution(inputs: int, outputs: int, kernel: int, stride: int) -> list[nn.Module]:
    mode: Literal["reflect", "zeros"] = (
        "reflect" if stride == 1 else "zeros"
    )  # zeros beyond the edge would be seen as grey there
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, padding_mode=mode, bias=False)
    return [convolution, nn.InstanceNorm2d(outputs), nn.ReLU()]  # in place, its gradient would need six copies


def _up(inputs: int, outputs: int) -> list[nn.Module]:
    convolution = nn.ConvTranspose2d(inputs, outputs, 3, 2, padding=1, output_padding=1, bias=False)
    return [convolution, nn.InstanceNorm2d(outputs), nn.ReLU()]


def _begin(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            torch.nn.init.zeros_(module.bias)
