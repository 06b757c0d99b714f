"""The audio encoder with its adapter, whole pieces only; knows no waveform.

Architecture: the encoder of Whisper (Radford et al., 2022); an average of pairs and one strided
convolution bring its 50 rows a second to 12.5 features.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from parley_export.families.step_audio_2.configs import AdapterConfig, EncoderConfig

ADAPTER_STRIDE = 2


class EncoderAttention(nn.Module):
    """Self-attention, `[B, T, D]` in and out; the key projection has no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor, seen: int) -> Tensor:
        """Every row sees the first `seen` rows."""
        q, k, v = (
            project(part).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project, part in (
                (self.query, x),
                (self.key, x[:, :seen]),
                (self.value, x[:, :seen]),
            )
        )
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.out(mixed.transpose(1, 2).flatten(2))


class EncoderBlock(nn.Module):
    """Pre-norm transformer layer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn, self.attn_ln = EncoderAttention(width, heads), nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor, seen: int) -> Tensor:
        x = x + self.attn(self.attn_ln(x), seen)
        return x + self.mlp(self.mlp_ln(x))


class AudioEncoder(nn.Module):
    """Log-mel `[1, n_mels, T]` of one piece to `[1, ceil(T / 2) // 2, D]`.

    The published code counts two mel frames fewer than there are, which hides the last row behind
    the convolutions from the attention; `hidden_rows` is how many.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(config.n_mels, config.width, 3, padding=1)
        self.conv2 = nn.Conv1d(config.width, config.width, 3, stride=2, padding=1)
        self.positional_embedding = nn.Embedding(config.positions, config.width)
        self.blocks = nn.ModuleList(
            EncoderBlock(config.width, config.heads) for _ in range(config.layers)
        )
        self.after_norm = nn.LayerNorm(config.width)

    def forward(self, log_mel: Tensor) -> Tensor:
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(log_mel)))).transpose(1, 2)
        n = x.shape[1]
        x = x + self.positional_embedding.weight[:n]
        for block in self.blocks:
            x = block(x, n - self.config.hidden_rows)
        pairs = x[:, : n // 2 * 2].unflatten(1, (-1, 2))
        return self.after_norm(pairs.mean(2))


class AudioAdapter(nn.Module):
    """Encoder rows `[1, T, D]` to features `[1, ceil(T / 2), out]`."""

    def __init__(self, config: AdapterConfig) -> None:
        super().__init__()
        self.config = config
        self.conv = nn.Conv1d(config.width, config.width, 3, stride=ADAPTER_STRIDE, padding=1)
        self.linear1 = nn.Linear(config.width, config.hidden)
        self.linear2 = nn.Linear(config.hidden, config.out_width)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.gelu(self.conv(x.transpose(1, 2))).transpose(1, 2)
        return self.linear2(functional.relu(self.linear1(x)))


def count_features(mel_frames: int, hidden_frames: int) -> int:
    """Features of a piece, of which those of the adapter's first rows are kept.

    `hidden_frames` of the mel frames are not counted (two as published).
    """
    rows = (mel_frames - hidden_frames + 1) // 2 // 2
    return (rows - 1) // ADAPTER_STRIDE + 1
