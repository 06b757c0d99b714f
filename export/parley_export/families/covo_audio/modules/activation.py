"""The vocoder's activation: up 2x, snakebeta, down 2x; knows nothing of the layers around it.

Source: alias-free activations (Karras et al., 2021) with the periodic snake (Ziyin et al., 2020) as
in BigVGAN. Both filters run at the input's rate on two phases (even and odd samples of the doubled
signal), so nothing is interleaved.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

TAPS = 12
EPSILON = 1e-9


def lowpass_filter() -> Tensor:
    """Kaiser-windowed sinc `[12]`: cutoff a quarter of the doubled rate, half width 0.3, sum 1."""
    attenuation = 2.285 * (TAPS // 2 - 1) * math.pi * 4 * 0.3 + 7.95
    window = torch.kaiser_window(
        TAPS, periodic=False, beta=0.1102 * (attenuation - 8.7), dtype=torch.float64
    )
    time = torch.arange(-TAPS // 2, TAPS // 2, dtype=torch.float64) + 0.5
    taps = window * torch.sinc(0.5 * time)
    return (taps / taps.sum()).float()


def phase_rate(alpha: Tensor) -> Tensor:
    """e^alpha per channel and phase, `[2 C, 1]`."""
    return alpha.exp().repeat_interleave(2)[:, None]


def phase_gain(beta: Tensor) -> Tensor:
    """1 / (e^beta + 1e-9) per channel and phase, `[2 C, 1]`."""
    return (1 / (beta.exp() + EPSILON)).repeat_interleave(2)[:, None]


class SnakeBeta(nn.Module):
    """x + sin(x e^alpha)^2 / (e^beta + 1e-9), alpha and beta per channel on a log scale."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(width))
        self.beta = nn.Parameter(torch.zeros(width))


class AliasFreeActivation(nn.Module):
    """`[B, C, T]` in and out; kernels/snakebeta is the same in one pass.

    With u the doubled signal: u[2n] = 2 sum_j taps[2j+1] x[n+2-j], u[2n+1] = 2 sum_j taps[2j]
    x[n+3-j]; out[n] = sum_k taps[k] snake(u)[2n-5+k]; both signals repeat their edges.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.act = SnakeBeta(width)
        self.register_buffer("filter", lowpass_filter(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        width = x.shape[1]
        up, down = phase_filters(self.filter)
        x = functional.pad(x, (3, 3), mode="replicate")
        u = functional.conv1d(x, up.repeat(width, 1, 1), groups=width)
        wave = (u * phase_rate(self.act.alpha)).sin().square()
        u = u + phase_gain(self.act.beta) * wave
        phases = u.unflatten(1, (width, 2))
        first, last = phases[:, :, :1, :1], phases[:, :, 1:, -1:]
        edged = torch.cat([first.expand(-1, -1, 2, 3), phases, last.expand(-1, -1, 2, 3)], -1)
        return functional.conv1d(edged.flatten(1, 2), down.repeat(width, 1, 1), groups=width)


def phase_filters(taps: Tensor) -> tuple[Tensor, Tensor]:
    """The filter's two phases, of one channel: up `[2, 1, 7]` (times 2) and down `[1, 2, 7]`."""
    zero = taps.new_zeros(1)
    up = torch.stack([torch.cat([taps[1::2].flip(0), zero]), torch.cat([zero, taps[0::2].flip(0)])])
    down = torch.stack([torch.cat([zero, taps[1::2]]), torch.cat([taps[0::2], zero])])
    return 2 * up[:, None], down[None]
