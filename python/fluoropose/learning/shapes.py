"""Random things that get between bone and detector, as line integrals on the network's pixel grid, batched."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

__all__ = ["beads", "cylinders", "half_plane", "plates", "smooth_noise", "uniform"]


def uniform(shape: tuple[int, ...], low: float, high: float, rng: torch.Generator) -> Tensor:
    """Draw uniform numbers of ``shape``."""
    return low + (high - low) * torch.rand(shape, generator=rng, device=rng.device)


def smooth_noise(batch: int, size: int, cells: int, rng: torch.Generator) -> Tensor:
    """Draw smooth fields (batch, size, size) in about [-1, 1] with ``cells`` bumps along a side."""
    coarse = uniform((batch, 1, cells + 1, cells + 1), -1, 1, rng)
    return interpolate(coarse, (size, size), mode="bicubic", align_corners=True)[:, 0]


def cylinders(batch: int, size: int, radius: tuple[float, float], hollow: bool, rng: torch.Generator) -> Tensor:
    """Draw one tapered cylinder per picture, lying across it: (batch, size, size), 1 through its full thickness.

    ``radius``: (least, most) as a share of the side. A hollow one is a tube, dense at its outline, as a bone's shaft
    is; half of them end inside the picture.
    """
    u, v = _turned(batch, size, rng)
    taper = 1 + uniform((batch, 1, 1), -0.5, 0.5, rng) * v
    half_width = (uniform((batch, 1, 1), *radius, rng) * taper).clamp_min(0.01)
    bend = uniform((batch, 1, 1), -0.15, 0.15, rng)
    off = u + bend * v**2
    solid = (1 - (off / half_width) ** 2).clamp_min(0).sqrt()
    if hollow:
        wall = uniform((batch, 1, 1), 0.4, 0.9, rng)
        solid = solid - wall * (1 - (off / (wall * half_width)) ** 2).clamp_min(0).sqrt()
    ends = uniform((batch, 1, 1), -0.6, 0.6, rng)
    open_ended = (uniform((batch, 1, 1), 0, 1, rng) < 0.5).float()
    edge = torch.sigmoid((v - ends) / 0.02)
    return solid * (open_ended + (1 - open_ended) * edge)


def plates(batch: int, size: int, rng: torch.Generator) -> Tensor:
    """Draw one slab with soft corners per picture, such as an implant's tray or a marker wire: values in [0, 1]."""
    u, v = _turned(batch, size, rng)
    half_u, half_v = uniform((batch, 1, 1), 0.01, 0.06, rng), uniform((batch, 1, 1), 0.05, 0.5, rng)
    sharp = size / 2.0
    return torch.sigmoid((half_u - u.abs()) * sharp) * torch.sigmoid((half_v - v.abs()) * sharp)


def beads(batch: int, size: int, rng: torch.Generator) -> Tensor:
    """Draw one small disc or ring per picture, values in [0, 1]."""
    u, v = _turned(batch, size, rng)
    radius = uniform((batch, 1, 1), 0.008, 0.05, rng)
    inner = radius * uniform((batch, 1, 1), 0, 0.9, rng) * (uniform((batch, 1, 1), 0, 1, rng) < 0.4)
    distance = torch.hypot(u, v)
    sharp = size / 2.0
    return torch.sigmoid((radius - distance) * sharp) * (1 - 0.7 * torch.sigmoid((inner - distance) * sharp))


def half_plane(batch: int, size: int, softness: tuple[float, float], rng: torch.Generator) -> Tensor:
    """Draw one rounded dark region per picture that comes from below, as shoulders do: grows from 0 to 1 downwards."""
    axis = torch.linspace(-1, 1, size, device=rng.device)
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    level = uniform((batch, 1, 1), -0.4, 0.9, rng)
    slope, bulge = uniform((batch, 1, 1), -0.5, 0.5, rng), uniform((batch, 1, 1), -0.6, 0.2, rng)
    middle = uniform((batch, 1, 1), -0.7, 0.7, rng)
    edge = v - level - slope * u + bulge * (1 - (u - middle) ** 2)
    soft = uniform((batch, 1, 1), *softness, rng)
    return (1 - torch.exp(-edge.clamp_min(0) / soft)).clamp(0, 1)


def _turned(batch: int, size: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Coordinates (batch, size, size) in a randomly placed and turned frame; the picture's half side is 1."""
    axis = torch.linspace(-1, 1, size, device=rng.device)
    centre_u, centre_v = uniform((2, batch, 1), -1, 1, rng)
    angle = uniform((batch, 1), 0, 2 * torch.pi, rng)
    c, s = torch.cos(angle), torch.sin(angle)
    du, dv = axis - centre_u, axis - centre_v
    return (c * du)[:, None, :] + (s * dv)[:, :, None], (c * dv)[:, :, None] - (s * du)[:, None, :]
