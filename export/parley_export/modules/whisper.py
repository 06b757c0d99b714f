"""Layers and positions of Whisper's encoder under their published names; knows no family.

Architecture: Radford et al., "Robust speech recognition via large-scale weak supervision", 2022.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class EncoderAttention(nn.Module):
    """Self-attention, `[B, T, D]` in and out; the key projection has no bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def split(self, x: Tensor) -> Tensor:
        """`[B, T, D]` -> `[B, H, T, D/H]`."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def keys_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.split(self.k_proj(x)), self.split(self.v_proj(x))

    def attend(self, x: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
        """`mask` (bool: is seen) broadcasts to `[B, H, T, S]`."""
        q = self.split(self.q_proj(x))
        mixed = functional.scaled_dot_product_attention(q, keys, values, attn_mask=mask)
        return self.out_proj(mixed.transpose(1, 2).flatten(-2))


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer, `[B, T, D]` in and out."""

    def __init__(self, width: int, heads: int, ffn_width: int) -> None:
        super().__init__()
        self.self_attn = EncoderAttention(width, heads)
        self.self_attn_layer_norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, ffn_width), nn.Linear(ffn_width, width)
        self.final_layer_norm = nn.LayerNorm(width)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        past: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the output and the keys and values attended to, `past` first."""
        normed = self.self_attn_layer_norm(x)
        keys, values = self.self_attn.keys_values(normed)
        if past is not None:
            keys, values = torch.cat([past[0], keys], 2), torch.cat([past[1], values], 2)
        x = x + self.self_attn.attend(normed, keys, values, mask)
        x = x + self.fc2(functional.gelu(self.fc1(self.final_layer_norm(x))))
        return x, keys, values


def sinusoids(length: int, width: int, max_timescale: float = 10000.0) -> Tensor:
    """Whisper's fixed position table `[length, width]`: sines, then cosines."""
    step = math.log(max_timescale) / (width // 2 - 1)
    rates = torch.exp(-step * torch.arange(width // 2, dtype=torch.float64))
    angles = torch.arange(length)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], 1).float()
