"""The audio encoder in independent blocks, and its projection; knows no waveform.

Architecture: the encoder of Whisper (Radford et al., 2022) on blocks of two seconds; an average of
pairs brings its 50 rows a second to 25, one of groups those to 5 features.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.families.fun_audio_chat.configs import EncoderConfig
from parley_export.modules.whisper import EncoderLayer, sinusoids


class AudioEncoder(nn.Module):
    """Log-mel `[1, n_mels, T]` to rows `[1, ceil(T / 2), D]`, and those to projected ones."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.n_mels, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        positions = sinusoids(config.block_rows, config.width)
        self.register_buffer("positions", positions, persistent=False)
        self.layers = nn.ModuleList(
            EncoderLayer(config.width, config.heads, config.ffn_width) for _ in range(config.layers)
        )
        self.ln_post = nn.LayerNorm(config.width)
        self.proj = nn.Linear(config.width, config.out_width)

    def forward(self, log_mel: Tensor) -> Tensor:
        blocks = log_mel.split(self.config.block_frames, 2)
        return torch.cat([self.block(block) for block in blocks], 1)

    def block(self, log_mel: Tensor) -> Tensor:
        """One block of at most `block_frames`; positions count from its beginning."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(log_mel)))).transpose(1, 2)
        x = x + self.positions[: x.shape[1]]
        for layer in self.layers:
            x = layer(x)[0]
        return x

    def project(self, rows: Tensor) -> Tensor:
        """Rows `[1, T, D]` to `[1, T // 2, out]`; an odd last one is dropped, an only one kept."""
        if rows.shape[1] > 1:
            rows = rows[:, : rows.shape[1] // 2 * 2].unflatten(1, (-1, 2)).mean(2)
        return self.proj(self.ln_post(rows))
