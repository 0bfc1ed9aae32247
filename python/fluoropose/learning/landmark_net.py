"""The landmark network: a ResNet-18 of 12 million parameters (Zhou et al. 2021, 2.1) that also maps landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from monai.networks.nets.resnet import ResNet
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate

__all__ = ["Features", "LandmarkNet", "UncertainLandmarkNet"]


class Features(NamedTuple):
    """What the heads rest on.

    Attributes
    ----------
    flat
        (b, f) the coarsest map, whole: it knows where the bone is as a whole.
    fine
        (b, c, size / 8, size / 8) all scales together: it knows what is where.
    """

    flat: Tensor
    fine: Tensor


class LandmarkNet(nn.Module):
    """Predicts where every landmark lies in a crop.

    Four things differ from a classifier's ResNet. A second channel, made inside from the first, shows local contrast.
    The last 4 x 4 feature map is not averaged, since an average forgets where things are. Each view of the rig has
    heads of its own: the views see the bone from sides that one picture alone may not tell apart. And a landmark is
    found twice: as two numbers that a linear head reads off the coarsest map, as in the paper, which can also lie
    outside the picture; and as the mean place of a map of where it may be (integral regression: Sun et al., ECCV 2018),
    which is finer where the landmark shows. A third number says how much of each.

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
        self.lateral = nn.ModuleList(nn.Conv2d(channels, kept, 1) for channels in planes[1:])
        self.smooth = nn.Sequential(
            nn.Conv2d(kept, kept, 3, padding=1, bias=False), nn.BatchNorm2d(kept), nn.ReLU(inplace=True)
        )
        self.maps = nn.Conv2d(kept, views * landmarks, 1)
        side = size // 32
        self.head = nn.Linear(kept * side * side, views * landmarks * 3)

    @classmethod
    def of_weights(cls, weights: Mapping[str, Tensor], views: int, size: int) -> LandmarkNet:
        """Build the network that exported weights belong to; raises KeyError or RuntimeError where they are none."""
        net = cls(weights["maps.weight"].shape[0] // views, views, size, weights["body.0.weight"].shape[0])
        net.load_state_dict(weights)
        return net

    def forward(self, crops: Tensor, views: Tensor) -> Tensor:
        """Predict (b, n, 2), normalised to [-1, 1], from crops (b, 1, h, w) in [-1, 1] and view indices (b,)."""
        return self.positions(self.features(crops), views)

    def features(self, crops: Tensor) -> Features:
        """Return what the heads rest on."""
        mean = self._local_mean(crops)
        square = self._local_mean(crops * crops)
        contrast = (crops - mean) / (3 * (square - mean * mean).clamp_min(0.0).sqrt() + 0.05)
        eighth = self.body[:6](torch.cat([crops, contrast], 1))
        sixteenth = self.body[6](eighth)
        last = self.body[7](sixteenth)
        fine = self.lateral[2](last)
        fine = interpolate(fine, scale_factor=2.0) + self.lateral[1](sixteenth)
        fine = interpolate(fine, scale_factor=2.0) + self.lateral[0](eighth)
        return Features(torch.flatten(self.squeeze(last), 1), self.smooth(fine))

    def positions(self, features: Features, views: Tensor) -> Tensor:
        """Predict (b, n, 2) from features and view indices (b,)."""
        read, mapped, share = self.candidates(features, views)
        return torch.lerp(read, mapped, share)

    def candidates(self, features: Features, views: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return positions (b, n, 2) as read off, as mapped, and the share (b, n, 1) of the latter, in [0, 1]."""
        b, _, h, w = features.fine.shape
        numbers = _of_view(self.head(features.flat).view(b, -1, self.landmarks, 3), views).float()
        maps = _of_view(self.maps(features.fine).view(b, -1, self.landmarks, h, w), views).float()
        return numbers[..., :2], _mean_place(maps), torch.sigmoid(numbers[..., 2:])

    def _local_mean(self, images: Tensor) -> Tensor:
        w = self.window
        rows = avg_pool2d(images, (1, w), (1, 1), (0, w // 2), count_include_pad=False)
        return avg_pool2d(rows, (w, 1), (1, 1), (w // 2, 0), count_include_pad=False)


def _of_view(every: Tensor, views: Tensor) -> Tensor:
    """Pick from (b, all views, n, ...) what belongs to each picture's own view, (b, n, ...)."""
    index = views.reshape(-1, *[1] * (every.ndim - 1)).expand(-1, 1, *every.shape[2:])
    return every.gather(1, index)[:, 0]


def _mean_place(maps: Tensor) -> Tensor:
    """Return the mean place (b, n, 2), normalised, under the softmax of maps (b, n, h, w)."""
    b, n, h, w = maps.shape
    share = torch.softmax(maps.reshape(b, n, h * w), 2).reshape(b, n, h, w)
    # Counted on the maps' own device: exported, a device that is named would stay the one of the export.
    u, v = ((2 * torch.ones_like(one).cumsum(0) - 1) / len(one) - 1 for one in (maps[0, 0, 0], maps[0, 0, :, 0]))
    return torch.stack([(share.sum(2) * u).sum(2), (share.sum(3) * v).sum(2)], 2)


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
        log_sd = self.log_spread(features.flat, views) + self.log_factor
        return torch.cat([self.net.positions(features, views), log_sd[..., None]], 2)

    def log_spread(self, flat: Tensor, views: Tensor) -> Tensor:
        """Return (b, n), the logarithm of the standard deviation but for a common factor."""
        return _of_view(self.spread(flat).view(flat.shape[0], -1, self.net.landmarks), views)
