"""The flow decoder's encoder: codes to what the flow is conditioned on, at twice their rate.

Architecture: a Conformer (Gulati et al., 2020) without its convolutions, with the relative
positions of Transformer-XL (Dai et al., 2019). It sees three codes ahead, and all rows that it is
given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.families.step_audio_2.configs import CodeEncoderConfig
from parley_export.modules.code_flow import LookaheadLayer


class RowEmbed(nn.Module):
    """Linear, layer norm, times the root of the width: `[B, T, in]` -> `[B, T, D]`."""

    def __init__(self, in_width: int, width: int) -> None:
        super().__init__()
        self.out = nn.Sequential(nn.Linear(in_width, width), nn.LayerNorm(width))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(x) * math.sqrt(x.shape[-1])


class UpsampleLayer(nn.Module):
    """Each row twice, then a causal convolution: `[B, T, D]` -> `[B, 2 T, D]`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, width, 5)

    def forward(self, x: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """`past` [B, D, 4] and the new one; zeros before the first row."""
        twice = torch.cat([past, x.repeat_interleave(2, 1).transpose(1, 2)], 2)
        return self.conv(twice).transpose(1, 2), twice[..., -4:]


def distance_rows(n_queries: int, n_keys: int, width: int) -> Tensor:
    """Sinusoids of every distance query minus key, farthest first, `[n_keys + n_queries - 1, D]`.

    The queries are the last of the keys; sines and cosines alternate.
    """
    distances = torch.arange(n_keys - 1, -n_queries, -1, dtype=torch.float32)
    rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
    angles = distances[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)


class RelativeAttention(nn.Module):
    """Attention whose scores also depend on the distance between query and key."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.linear_q, self.linear_k = nn.Linear(width, width), nn.Linear(width, width)
        self.linear_v, self.linear_out = nn.Linear(width, width), nn.Linear(width, width)
        self.linear_pos = nn.Linear(width, width, bias=False)
        self.pos_bias_u = nn.Parameter(torch.zeros(heads, width // heads))
        self.pos_bias_v = nn.Parameter(torch.zeros(heads, width // heads))

    def split(self, x: Tensor) -> Tensor:
        """`[B, T, D]` -> `[B, H, T, D/H]`."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor], distances: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Rows behind the `past` keys and values `[B, H, S, D/H]`; returns all keys and values."""
        q = self.split(self.linear_q(x))
        k, v = (
            torch.cat([before, self.split(project(x))], 2)
            for before, project in zip(past, (self.linear_k, self.linear_v), strict=True)
        )
        n, n_keys = q.shape[2], k.shape[2]
        near = (q + self.pos_bias_u[:, None]) @ k.transpose(2, 3)
        rows = self.split(self.linear_pos(distances)[None])
        far = (q + self.pos_bias_v[:, None]) @ rows.transpose(2, 3)
        # Row i begins at its own distance to the first key: a skewed read of the flat scores.
        width = n_keys + n - 1
        flat = far.flatten(2)[..., n - 1 :][..., : n * (width - 1)]
        far = flat.unflatten(2, (n, width - 1))[..., :n_keys]
        weights = ((near + far) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.linear_out((weights @ v).transpose(1, 2).flatten(2)), (k, v)


class FeedForward(nn.Module):
    """Two linear layers around a SiLU."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.w_1, self.w_2 = nn.Linear(width, inner), nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.w_2(functional.silu(self.w_1(x)))


class EncoderBlock(nn.Module):
    """Pre-norm attention and feed-forward layer."""

    def __init__(self, config: CodeEncoderConfig) -> None:
        super().__init__()
        self.self_attn = RelativeAttention(config.width, config.heads)
        self.feed_forward = FeedForward(config.width, config.ffn_width)
        self.norm_mha = nn.LayerNorm(config.width, eps=1e-12)
        self.norm_ff = nn.LayerNorm(config.width, eps=1e-12)

    def forward(
        self, x: Tensor, past: tuple[Tensor, Tensor], distances: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        mixed, after = self.self_attn(self.norm_mha(x), past, distances)
        x = x + mixed
        return x + self.feed_forward(self.norm_ff(x)), after


@dataclass(frozen=True)
class EncoderState:
    """What one stream remembers: `lookahead` [1, D, 2] and `upsampled` [1, D, 4] rows before the
    convolutions, per block the keys and values `[1, H, S, D/H]` of all rows so far."""

    lookahead: Tensor
    upsampled: Tensor
    past: list[tuple[Tensor, Tensor]]


class CodeEncoder(nn.Module):
    """Embedded codes `[1, N + 3, D]`, the last three ahead, to rows `[1, 2 N, D]`."""

    def __init__(self, config: CodeEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = RowEmbed(config.width, config.width)
        self.pre_lookahead_layer = LookaheadLayer(config.width, config.width)
        self.encoders = nn.ModuleList(EncoderBlock(config) for _ in range(config.blocks))
        self.up_layer = UpsampleLayer(config.width)
        self.up_embed = RowEmbed(config.width, config.width)
        self.up_encoders = nn.ModuleList(EncoderBlock(config) for _ in range(config.up_blocks))
        self.after_norm = nn.LayerNorm(config.width)

    def create_state(self) -> EncoderState:
        """Before the first code."""
        config, like = self.config, self.after_norm.weight
        none = like.new_zeros(1, config.heads, 0, config.width // config.heads)
        rows = [like.new_zeros(1, config.width, n) for n in (2, 4)]
        return EncoderState(*rows, [(none, none)] * (config.blocks + config.up_blocks))

    def forward(self, x: Tensor, known: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """`known` `[1, N + 3, 1]` is 0 for rows that nothing is known of, else 1."""
        x = self.embed(x) * known
        x, lookahead = self.pre_lookahead_layer(x, state.lookahead)
        past, n = state.past, self.config.blocks
        x, lower = self._run(self.encoders, x, past[:n])
        x, upsampled = self.up_layer(x, state.upsampled)
        x, upper = self._run(self.up_encoders, self.up_embed(x), past[n:])
        return self.after_norm(x), EncoderState(lookahead, upsampled, lower + upper)

    def _run(
        self, blocks: nn.ModuleList, x: Tensor, past: list[tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        n, after = x.shape[1], []
        distances = distance_rows(n, past[0][0].shape[2] + n, x.shape[2]).to(x.device)
        for block, before in zip(blocks, past, strict=True):
            x, pair = block(x, before, distances)
            after.append(pair)
        return x, after
