"""The landmark network: a ResNet-18 of 11.8 million parameters, two outputs per landmark (Zhou et al. 2021, 2.1)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d

__all__ = ["LandmarkNet", "UncertainLandmarkNet"]


class LandmarkNet(nn.Module):
    """Predicts where every landmark lies in a crop.

    Three things differ from a classifier's ResNet. A second channel, made inside from the first, shows local contrast.
    The last 4 x 4 feature map is not averaged, since an average forgets where things are. And each view of the rig has
    its own linear head: the views see the bone from sides that one picture alone may not tell apart.

    Parameters
    ----------
    landmarks
        Number of landmarks n.
    views
        Number of views of the rig.
    size
        Side of the crop, a multiple of 32.
    width
        Channels of the first layers; 64 makes it the ResNet-18, half as many a quarter of its size and work.
    """

    def __init__(self, landmarks: int, views: int, size: int = 128, width: int = 64) -> None:
        super().__init__()
        self.landmarks = landmarks
        self.window = size // 8 + 1
        planes = [width, 2 * width, 4 * width, 8 * width]
        body = ResNet(
            "basic", [2, 2, 2, 2], planes, spatial_dims=2, n_input_channels=2, num_classes=1, conv1_t_stride=2
        )
        self.body = nn.Sequential(
            body.conv1, body.bn1, body.act, body.maxpool, body.layer1, body.layer2, body.layer3, body.layer4
        )
        kept = 2 * width
        self.squeeze = nn.Sequential(
            nn.Conv2d(8 * width, kept, 1, bias=False), nn.BatchNorm2d(kept), nn.ReLU(inplace=True)
        )
        side = size // 32
        self.head = nn.Linear(kept * side * side, views * landmarks * 2)

    @classmethod
    def of_weights(cls, weights: Mapping[str, Tensor], views: int, size: int) -> LandmarkNet:
        """Build the network that exported weights belong to; raises KeyError or RuntimeError where they are none."""
        net = cls(weights["head.weight"].shape[0] // (2 * views), views, size, weights["body.0.weight"].shape[0])
        net.load_state_dict(weights)
        return net

    def forward(self, crops: Tensor, views: Tensor) -> Tensor:
        """Predict (b, n, 2), normalised to [-1, 1], from crops (b, 1, h, w) in [-1, 1] and view indices (b,)."""
        return self.positions(self.features(crops), views)

    def features(self, crops: Tensor) -> Tensor:
        """Return what the heads rest on, (b, f)."""
        mean = self._local_mean(crops)
        square = self._local_mean(crops * crops)
        contrast = (crops - mean) / (3 * (square - mean * mean).clamp_min(0.0).sqrt() + 0.05)
        return torch.flatten(self.squeeze(self.body(torch.cat([crops, contrast], 1))), 1)

    def positions(self, features: Tensor, views: Tensor) -> Tensor:
        """Predict (b, n, 2) from features (b, f) and view indices (b,)."""
        every: Tensor = self.head(features).view(features.shape[0], -1, self.landmarks, 2)
        index = views[:, None, None, None].expand(-1, 1, self.landmarks, 2)
        return every.gather(1, index)[:, 0]

    def _local_mean(self, images: Tensor) -> Tensor:
        w = self.window
        rows = avg_pool2d(images, (1, w), (1, 1), (0, w // 2), count_include_pad=False)
        return avg_pool2d(rows, (w, 1), (1, 1), (w // 2, 0), count_include_pad=False)


class UncertainLandmarkNet(nn.Module):
    """A landmark network that also tells how sure it is; its positions are those of the network it is built on.

    Parameters
    ----------
    net
        The landmark network, which is left as it is.
    views
        Number of views of the rig.
    """

    log_factor: Tensor

    def __init__(self, net: LandmarkNet, views: int) -> None:
        super().__init__()
        self.net = net
        last = nn.Linear(128, views * net.landmarks)
        nn.init.constant_(last.bias, -4.0)  # about a pixel of 128
        self.spread = nn.Sequential(nn.Linear(net.head.in_features, 128), nn.ReLU(inplace=True), last)
        self.register_buffer("log_factor", torch.zeros(()))

    def forward(self, crops: Tensor, views: Tensor) -> Tensor:
        """Predict (b, n, 3): as ``LandmarkNet``, and the logarithm of the standard deviation per axis."""
        features = self.net.features(crops)
        log_sd = self.log_spread(features, views) + self.log_factor
        return torch.cat([self.net.positions(features, views), log_sd[..., None]], 2)

    def log_spread(self, features: Tensor, views: Tensor) -> Tensor:
        """Return (b, n), the logarithm of the standard deviation but for a common factor."""
        every: Tensor = self.spread(features).view(features.shape[0], -1, self.net.landmarks)
        return every.gather(1, views[:, None, None].expand(-1, 1, self.net.landmarks))[:, 0]
