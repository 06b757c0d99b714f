"""What flow decoders of audio codes have in common: a look ahead, times and steps; no family's."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

FRAMES_PER_CODE = 2  # of log-mel
LOOKAHEAD = 3  # codes
PADDING = -1  # the code of a row of zeros, where nothing is known of what comes
SLOPE = 0.01


class LookaheadLayer(nn.Module):
    """Adds what the next three rows and the last two results say.

    `[B, T + 3, D]` -> `[B, T, D]`; `inner` is the results' width.
    """

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(width, inner, LOOKAHEAD + 1)
        self.conv2 = nn.Conv1d(inner, width, 3)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """`past` [B, inner, 2] and the new one; zeros before the first row."""
        ahead = functional.leaky_relu(self.conv1(x.transpose(1, 2)), SLOPE)
        ahead = torch.cat([past, ahead], 2)
        return x[:, :-LOOKAHEAD] + self.conv2(ahead).transpose(1, 2), ahead[..., -2:]


def cosine_times(steps: int) -> Tensor:
    """The solver's times, slow at first: `[steps + 1]`."""
    return 1 - torch.cos(torch.linspace(0, 1, steps + 1) * 0.5 * torch.pi)


def guided_euler(
    noise: Tensor,
    times: Tensor,
    guidance: float,
    field: Callable[[int, Tensor, Tensor], Tensor],
) -> list[Tensor]:
    """Euler steps from `noise` `[1, T, z]`; the state after each.

    `field(step, state, time)` gives the velocities of two branches, with the condition and without,
    `[2, T, z]`: v = v_c + guidance (v_c - v_u) (Ho and Salimans, 2022).
    """
    x, t, trajectory = noise, times[0], []
    for i, end in enumerate(times[1:]):
        step = end - t
        guided, free = field(i, x.expand(2, -1, -1), t).chunk(2)
        x = x + step * (guided + guidance * (guided - free))
        t = t + step
        trajectory.append(x)
    return trajectory
