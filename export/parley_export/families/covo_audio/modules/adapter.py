"""The audio adapter: encoder frames to backbone features; knows neither model around it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.families.covo_audio.configs import AdapterConfig


class AdapterStage(nn.Module):
    """Halves the rate: `[B, T, D]` -> `[B, ceil(T/2), out]`."""

    def __init__(self, width: int, hidden: int, out: int) -> None:
        super().__init__()
        self.conv1d = nn.Conv1d(width, width, 3, stride=2)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, out)

    def padded(self, x: Tensor) -> Tensor:
        """`x` has its neighbours already: `[B, 2 T + 1, D]` -> `[B, T, out]`."""
        x = functional.relu(self.conv1d(x.transpose(1, 2))).transpose(1, 2)
        return self.linear2(functional.relu(self.linear1(x)))

    def forward(self, x: Tensor) -> Tensor:
        return self.padded(functional.pad(x, (0, 0, 1, 1)))


class AudioAdapter(nn.Module):
    """Encoder frames `[B, T, D]` to features `[B, ceil(T / 2^stages), out]`.

    On whole chunks (a multiple of 2^stages frames) the right neighbour of the last frame is never
    used, so `forward` is also the reference of `step`.
    """

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        outs = [config.width] * (config.stages - 1) + [config.out_width]
        self.downsample_layers = nn.ModuleList(
            AdapterStage(config.width, config.hidden, out) for out in outs
        )

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.downsample_layers:
            x = stage(x)
        return x

    def create_state(self) -> list[Tensor]:
        """Per stage the frame before the next one, `[1, 1, D]`."""
        like = self.downsample_layers[0].conv1d.weight
        return [like.new_zeros(1, 1, self.config.width) for _ in self.downsample_layers]

    def step(self, x: Tensor, state: list[Tensor]) -> tuple[Tensor, list[Tensor]]:
        """`[1, chunk frames, D]` -> `[1, chunk frames / 2^stages, out]` and the new state."""
        after = []
        for stage, left in zip(self.downsample_layers, state, strict=True):
            after.append(x[:, -1:])
            x = stage.padded(torch.cat([left, x], 1))
        return x, after
