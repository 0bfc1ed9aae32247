"""The segmentation network: a small U-Net of half a million parameters."""

from __future__ import annotations

from monai.networks.nets.basic_unet import BasicUNet
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

__all__ = ["SegmentNet"]


class SegmentNet(nn.Module):
    """Tells for every pixel of a crop whether its ray crosses the bone.

    Four neighbouring pixels become the channels of one, and back at the end: a U-Net spends most of its time on its
    first and last layers, and a mask needs no finer features than that. It takes a third of the time.

    Parameters
    ----------
    width
        Channels of the first layers; doubled three times on the way down.
    """

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        features = (width, width, 2 * width, 4 * width, 8 * width, width)
        self.unet = BasicUNet(
            spatial_dims=2,
            in_channels=4,
            out_channels=4,
            features=features,
            norm=("batch", {}),
            act=("relu", {"inplace": True}),
        )

    def forward(self, crops: Tensor) -> Tensor:
        """Return logits (b, 1, h, w) of crops (b, 1, h, w) in [-1, 1]; h and w multiples of 32."""
        return pixel_shuffle(self.unet(pixel_unshuffle(crops, 2)), 2)
