"""X-ray styles drawn at random: from line integrals to pictures as many different fluoroscopes would show them.

A network that has seen every style in these ranges takes a real frame for one more of them. Everything works on whole
batches and costs a fraction of a training step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, avg_pool2d, conv2d, grid_sample, interpolate

from fluoropose.learning import shapes
from fluoropose.learning.config import StyleConfig
from fluoropose.learning.preprocess import LIT_SHARE, Preprocessing
from fluoropose.learning.shapes import uniform

__all__ = ["Pictures", "Samples", "draw", "draw_shown", "ragged"]


@dataclass
class Samples:
    """A batch of the artificial set.

    Attributes
    ----------
    layers
        (b, k, c, c) line integrals: the bone, then its surroundings; c = size + 2 border.
    mask
        (b, c, c) rays that cross the bone, 0 or 1.
    landmarks_px
        (b, n, 2) pixels of the inner size x size picture.
    field
        (b, 3) centre u, v and radius of the circular field, pixels of the inner picture.
    """

    layers: Tensor
    mask: Tensor
    landmarks_px: Tensor
    field: Tensor


@dataclass
class Pictures:
    """What the network is shown, before preprocessing.

    Attributes
    ----------
    crops
        (b, size, size) in [0, 1], bright = attenuating.
    lit
        (b, size, size) bool, pixels that carry signal.
    mask
        (b, size, size) bool, lit pixels whose ray crosses the bone.
    landmarks_px
        (b, n, 2) where the landmarks lie.
    """

    crops: Tensor
    lit: Tensor
    mask: Tensor
    landmarks_px: Tensor


def draw(samples: Samples, size: int, style: StyleConfig, rng: torch.Generator) -> Pictures:
    """Draw a picture of every sample."""
    layers, mask, landmarks, field = _move(samples, size, style, rng)
    signal = _beam(_line_integral(layers, style, rng), style, rng)
    crops, lit = _camera(signal, field, style, rng)
    return Pictures(crops, lit, (mask > 0.5) & lit, landmarks)


def draw_shown(
    samples: Samples,
    segmented: Tensor,
    size: int,
    style: StyleConfig,
    preprocessing: Preprocessing,
    rng: torch.Generator,
) -> tuple[Pictures, Tensor]:
    """Draw a picture of every sample and what the landmark network is shown of it, (b, size, size) in [-1, 1].

    The ``segmented`` ones, (b,) bool, are cut out, along outlines that are not quite right.
    """
    pictures = draw(samples, size, style, rng)
    inputs = preprocessing(pictures.crops, pictures.lit)
    rough = ragged(pictures.mask, style.mask_play_px, rng) & pictures.lit
    return pictures, torch.where(segmented[:, None, None], preprocessing.cut_out(inputs, rough), inputs)


def ragged(mask: Tensor, play_px: float, rng: torch.Generator) -> Tensor:
    """Move the outlines of masks (b, h, w) bool in and out, as a network or a hurried hand would draw them.

    By up to ``play_px``, along each outline and from mask to mask; gaps narrower than that come and go.
    """
    if play_px == 0:
        return mask
    b, size, _ = mask.shape
    reach = max(1, round(play_px))
    # The share of bone near a pixel falls from 1 to 0 across the outline, over twice the reach.
    near = avg_pool2d(mask[:, None].float(), 2 * reach + 1, 1, reach, count_include_pad=False)[:, 0]
    wander = 0.6 * shapes.smooth_noise(b, size, 12, rng) + uniform((b, 1, 1), -0.4, 0.4, rng)
    return near > 0.5 + 0.5 * wander.clamp(-0.98, 0.98)


def _move(samples: Samples, size: int, style: StyleConfig, rng: torch.Generator) -> tuple[Tensor, ...]:
    """Turn, scale and shift the pictures in their plane; labels and field go along."""
    b, _, canvas, _ = samples.layers.shape
    angle = uniform((b,), -1, 1, rng) * math.radians(style.turn_deg)
    zoom = torch.exp(uniform((b,), math.log(style.scale[0]), math.log(style.scale[1]), rng))
    shift = uniform((b, 2), -1, 1, rng) * style.shift * size
    c, s = torch.cos(angle), torch.sin(angle)
    forward = torch.stack([torch.stack([c, -s], 1), torch.stack([s, c], 1)], 1) * zoom[:, None, None]
    middle = (size - 1) / 2

    def move(points: Tensor) -> Tensor:
        return (points - middle) @ forward.transpose(1, 2) + middle + shift[:, None]

    # grid_sample wants, for each pixel of the result, where it comes from: in half sides of the canvas from its middle.
    back = torch.linalg.inv(forward)
    theta = torch.cat([back * (size / canvas), -(back @ shift[:, :, None]) * (2 / canvas)], 2)
    grid = affine_grid(theta, [b, 1, size, size], align_corners=False)
    stack = torch.cat([samples.layers.float(), samples.mask[:, None].float()], 1)
    moved = grid_sample(stack, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    field = torch.cat([move(samples.field[:, None, :2])[:, 0], samples.field[:, 2:] * zoom[:, None]], 1)
    return moved[:, :-1], moved[:, -1], move(samples.landmarks_px), field


def _line_integral(layers: Tensor, style: StyleConfig, rng: torch.Generator) -> Tensor:
    """Weigh the set's layers and add what the set does not hold."""
    b, k, size, _ = layers.shape
    total = layers[:, 0] * _log_uniform(b, style.bone, rng)
    for i in range(1, k):
        total = total + layers[:, i] * _log_uniform(b, style.surroundings, rng)
    for _ in range(style.metal):
        total += _some(b, 0.4, 0.5, 5.0, rng) * shapes.plates(b, size, rng)
    for _ in range(style.beads):
        total += _some(b, 0.5, 0.1, 3.0, rng) * shapes.beads(b, size, rng)
    return total + interpolate(_soft_shapes(b, size // 2, style, rng)[:, None], (size, size), mode="bilinear")[:, 0]


def _soft_shapes(b: int, size: int, style: StyleConfig, rng: torch.Generator) -> Tensor:
    """Draw the objects without fine detail; half the resolution is enough for them."""
    tissue = uniform((b, 1, 1), *style.tissue, rng)
    total = tissue * 0.5 * (1 + shapes.smooth_noise(b, size, 3, rng)).clamp_min(0)
    for _ in range(style.limbs):
        total += _some(b, 0.6, 0.3, 2.0, rng) * shapes.cylinders(b, size, (0.2, 1.2), False, rng)
    for _ in range(style.shafts):
        total += _some(b, 0.6, 0.2, 1.5, rng) * shapes.cylinders(b, size, (0.08, 0.35), True, rng)
    if style.occluder_share > 0:
        depth = uniform((b, 1, 1), *style.occluder, rng)
        present = (uniform((b, 1, 1), 0, 1, rng) < style.occluder_share).float()
        total += present * depth * shapes.half_plane(b, size, (0.05, 0.8), rng)
    return total


def _beam(integral: Tensor, style: StyleConfig, rng: torch.Generator) -> Tensor:
    """Attenuate the beam and add what reaches the screen on other ways: signal (b, h, w), open field about 1."""
    b = len(integral)
    hardened = integral / (1 + uniform((b, 1, 1), *style.hardening, rng) * integral)
    primary = torch.exp(-hardened)
    diffuse = _low_pass(primary, 8)
    scatter = uniform((b, 1, 1), *style.scatter, rng)
    glare = uniform((b, 1, 1), *style.glare, rng)
    everywhere = primary.mean((1, 2), keepdim=True)
    scattered = scatter * (0.4 * everywhere + 0.6 * diffuse) * _slope(b, integral.shape[-1], style, rng)
    return (1 - glare) * (primary + scattered) + glare * diffuse


def _slope(b: int, size: int, style: StyleConfig, rng: torch.Generator) -> Tensor:
    """Return factors (b, size, size), 1 on average, that rise across the picture in some direction."""
    if style.scatter_slope[1] == 0:
        return torch.ones((), device=rng.device)
    most = uniform((b, 1, 1), *style.scatter_slope, rng)
    towards = uniform((b, 1, 1), 0, 2 * math.pi, rng)
    place = torch.linspace(-1, 1, size, device=rng.device)
    along = towards.cos() * place + towards.sin() * place[:, None]
    return (1 + most * along).clamp_min(0)


def _camera(signal: Tensor, field: Tensor, style: StyleConfig, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Turn signal at the screen into what is stored, bright = attenuating, 1 = no signal; and which pixels are lit."""
    b, size, _ = signal.shape
    shading = uniform((b, 1, 1), *style.shading, rng) * shapes.smooth_noise(b, size, 2, rng)
    signal = signal * (1 + shading).clamp_min(0.1) * _gain(signal, style, rng)
    signal = _blur(signal, uniform((b,), *style.blur_px, rng))
    signal = signal.clamp(1e-4, 1) ** _log_uniform(b, style.gamma, rng)
    noise = torch.randn(signal.shape, generator=rng, device=rng.device)
    signal = signal + uniform((b, 1, 1), *style.noise, rng) * noise * signal.sqrt()
    beyond = _beyond(field, size)
    drawn = uniform((b, 1, 1), 0, 1, rng) < style.field_share
    # An edge about a pixel wide, not exactly where it is said to be.
    play = field[:, 2, None, None] * uniform((b, 1, 1), -0.02, 0.02, rng)
    inside = torch.where(drawn, torch.sigmoid((play - beyond) * 1.5), 1.0)
    black = uniform((b, 1, 1), *style.black, rng)
    stored = (inside * signal + (1 - inside) * black).clamp(0, 1)
    return 1 - stored, ~drawn | (beyond <= -(1 - LIT_SHARE) * field[:, 2, None, None])


def _gain(signal: Tensor, style: StyleConfig, rng: torch.Generator) -> Tensor:
    if style.level is None:
        return _log_uniform(len(signal), style.exposure, rng)
    dark = torch.quantile(signal[:, ::4, ::4].flatten(1), 0.3, dim=1)[:, None, None]
    return (_log_uniform(len(signal), style.level, rng) / dark.clamp_min(1e-6)).clamp(*style.exposure)


def _beyond(field: Tensor, size: int) -> Tensor:
    """Return how far each pixel (b, size, size) lies outside the circular field, pixels; negative inside."""
    axis = torch.arange(size, device=field.device, dtype=torch.float32)
    u, v, radius = (field[:, i, None] for i in range(3))
    return (((axis - u) ** 2)[:, None, :] + ((axis - v) ** 2)[:, :, None]).sqrt() - radius[:, None]


def _low_pass(images: Tensor, cells: int) -> Tensor:
    size = images.shape[-1]
    coarse = avg_pool2d(images[:, None], max(1, size // cells))
    return interpolate(coarse, (size, size), mode="bilinear", align_corners=False)[:, 0]


def _blur(images: Tensor, sd: Tensor) -> Tensor:
    """Blur each picture (b, h, w) by its own Gaussian, sd (b,) pixels, cut at 3 pixels."""
    b = len(images)
    x = torch.arange(-3, 4, device=images.device, dtype=torch.float32)
    kernel = torch.exp(-0.5 * (x / sd.clamp_min(0.05)[:, None]) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True))[:, None]
    out = conv2d(images[None], kernel[:, :, None], padding=(0, 3), groups=b)
    weight = conv2d(torch.ones_like(images)[None], kernel[:, :, None], padding=(0, 3), groups=b)
    out = conv2d(out / weight, kernel[:, :, :, None], padding=(3, 0), groups=b)
    return (out / weight.transpose(2, 3))[0]


def _log_uniform(b: int, low_high: tuple[float, float], rng: torch.Generator) -> Tensor:
    low, high = low_high
    return torch.exp(uniform((b, 1, 1), math.log(low), math.log(high), rng))


def _some(b: int, share: float, low: float, high: float, rng: torch.Generator) -> Tensor:
    """Weights (b, 1, 1): zero in most pictures, log-uniform in a ``share`` of them."""
    return (uniform((b, 1, 1), 0, 1, rng) < share).float() * _log_uniform(b, (low, high), rng)
