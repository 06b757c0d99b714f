"""Rotary position embedding in the rotate-half form; knows no attention (Su et al., 2021)."""

from __future__ import annotations

import torch
from torch import Tensor


def rotary_rates(head_width: int, theta: float) -> Tensor:
    """Angle per position, `[head_width / 2]`."""
    even = torch.arange(0, head_width, 2, dtype=torch.float32)
    return theta ** (-even / head_width)


def rotary_angles(positions: Tensor, rates: Tensor) -> tuple[Tensor, Tensor]:
    """Positions `[T]` to cosines and sines `[T, head_width]`."""
    angles = positions.to(rates.dtype)[:, None] * rates
    angles = torch.cat([angles, angles], -1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """`x` [B, H, T, head_width] turned by the angles of its positions."""
    low, high = x.chunk(2, -1)
    return x * cos + torch.cat([-high, low], -1) * sin
