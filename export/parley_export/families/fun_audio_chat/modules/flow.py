"""The flow decoder: codes to log-mel frames by flow matching; knows no waveform and no voice file.

Field: a diffusion transformer with adaptive layer norm (Peebles and Xie, 2023). Solver: Euler steps
with classifier-free guidance.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.families.fun_audio_chat.configs import FieldConfig, FlowConfig
from parley_export.modules.code_flow import (
    FRAMES_PER_CODE,
    LookaheadLayer,
    cosine_times,
    guided_euler,
)
from parley_export.modules.rotary import rotary_rates


class TimeEmbed(nn.Module):
    """Time `[K]` in 0..1 to `[K, D]`: sinusoids (sines first), linear, SiLU, linear."""

    def __init__(self, n_sinusoids: int, hidden: int) -> None:
        super().__init__()
        half = n_sinusoids // 2
        rates = 1000 * torch.exp(-math.log(10000.0) * torch.arange(half).float() / (half - 1))
        self.register_buffer("rates", rates, persistent=False)
        self.time_mlp = nn.Sequential(
            nn.Linear(n_sinusoids, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None] * self.rates
        return self.time_mlp(torch.cat([angles.sin(), angles.cos()], -1))


class PositionConv(nn.Module):
    """Two causal grouped convolutions, Mish behind each: `[B, T, D]` in and out."""

    def __init__(self, hidden: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.past = kernel - 1
        self.conv1 = nn.Sequential(nn.Conv1d(hidden, hidden, kernel, groups=groups), nn.Mish())
        self.conv2 = nn.Sequential(nn.Conv1d(hidden, hidden, kernel, groups=groups), nn.Mish())

    def forward(self, x: Tensor) -> Tensor:
        x = x.transpose(1, 2)
        for conv in (self.conv1, self.conv2):
            x = conv(functional.pad(x, (self.past, 0)))
        return x.transpose(1, 2)


class InputEmbed(nn.Module):
    """State, condition, what the codes say and speaker, `[B, T, 4 n_mels]`, to `[B, T, D]`."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.proj = nn.Linear(4 * config.n_mels, config.hidden)
        sizes = (config.hidden, config.conv_kernel, config.conv_groups)
        self.conv_pos_embed = PositionConv(*sizes)

    def forward(self, inputs: Tensor) -> Tensor:
        x = self.proj(inputs)
        return x + self.conv_pos_embed(x)


def rotate_pairs(x: Tensor, rates: Tensor) -> Tensor:
    """The first head of `x` `[B, H, T, d]` turned by its positions, neighbours as pairs.

    Published that way: the rotation is as wide as one head and meets all heads side by side.
    """
    angles = torch.arange(x.shape[2], device=x.device)[:, None] * rates
    cos, sin = angles.cos(), angles.sin()
    even, odd = x[:, :1, :, 0::2], x[:, :1, :, 1::2]
    turned = torch.stack([even * cos - odd * sin, odd * cos + even * sin], -1).flatten(-2)
    return torch.cat([turned, x[:, 1:]], 1)


class FieldAttention(nn.Module):
    """`[B, T, D]` in and out; only the first head knows positions."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        inner = config.heads * config.head_width
        self.heads = config.heads
        self.to_q, self.to_k = nn.Linear(config.hidden, inner), nn.Linear(config.hidden, inner)
        self.to_v = nn.Linear(config.hidden, inner)
        self.to_out = nn.Sequential(nn.Linear(inner, config.hidden))

    def forward(self, x: Tensor, rates: Tensor, mask: Tensor | None) -> Tensor:
        """`mask` [T, T] bool: is seen."""
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.to_q, self.to_k, self.to_v)
        )
        q, k = rotate_pairs(q, rates), rotate_pairs(k, rates)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.to_out(mixed.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers around a tanh GELU, under their published names."""

    def __init__(self, hidden: int, ffn_width: int) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(hidden, ffn_width), nn.GELU(approximate="tanh"))
        self.ff = nn.ModuleDict({"0": first, "2": nn.Linear(ffn_width, hidden)})

    def forward(self, x: Tensor) -> Tensor:
        return self.ff["2"](self.ff["0"](x))


class Modulation(nn.Module):
    """From a time's embedding to `parts` shifts, scales and gates."""

    def __init__(self, hidden: int, parts: int) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden, parts * hidden)

    def forward(self, c: Tensor) -> Tensor:
        return self.linear(functional.silu(c))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without affine, then scale and shift `[B, 1, D]`."""
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class FieldBlock(nn.Module):
    """A block whose six modulation vectors come from outside, `[B, 6 D]`."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.attn_norm = Modulation(config.hidden, 6)
        self.attn = FieldAttention(config)
        self.ff = FeedForward(config.hidden, config.ffn_width)

    def forward(self, x: Tensor, modulation: Tensor, rates: Tensor, mask: Tensor | None) -> Tensor:
        parts = modulation[:, None].chunk(6, -1)
        x = x + parts[2] * self.attn(modulate(x, *parts[:2]), rates, mask)
        return x + parts[5] * self.ff(modulate(x, *parts[3:5]))


class Rotary(nn.Module):
    """Holds the rates under the name that checkpoints give them."""

    def __init__(self, head_width: int, theta: float) -> None:
        super().__init__()
        self.register_buffer("inv_freq", rotary_rates(head_width, theta), persistent=False)


class FlowField(nn.Module):
    """Velocity of the flow in two parts, each of them a graph: modulation and field."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.config = config
        self.time_embed = TimeEmbed(config.time_width, config.hidden)
        self.input_embed = InputEmbed(config)
        self.rotary_embed = Rotary(config.head_width, config.rope_theta)
        self.transformer_blocks = nn.ModuleList(FieldBlock(config) for _ in range(config.layers))
        self.norm_out = Modulation(config.hidden, 2)
        self.proj_out = nn.Linear(config.hidden, config.n_mels)

    @property
    def modulation_width(self) -> int:
        """M: six vectors per block and two for the output."""
        return (6 * self.config.layers + 2) * self.config.hidden

    def modulation(self, t: Tensor) -> Tensor:
        """Times `[K]` to `[K, M]`; a shift before its scale, though the output's layer has them
        the other way round."""
        c = self.time_embed(t)
        parts = [block.attn_norm(c) for block in self.transformer_blocks]
        scale, shift = self.norm_out(c).chunk(2, -1)
        return torch.cat([*parts, shift, scale], -1)

    def block_mask(self, n_frames: int) -> Tensor:
        """`[T, T]` bool: in streams a frame sees its own block and all before it."""
        block = torch.arange(n_frames) // self.config.block_frames
        return block[None] <= block[:, None]

    def forward(self, inputs: Tensor, modulation: Tensor, mask: Tensor | None = None) -> Tensor:
        """`inputs` [B, T, 4 n_mels] and `modulation` [B or 1, M] to velocities `[B, T, n_mels]`."""
        hidden = self.config.hidden
        sizes = [6 * hidden] * self.config.layers + [2 * hidden]
        *parts, last = modulation.split(sizes, -1)
        x, rates = self.input_embed(inputs), self.rotary_embed.inv_freq
        for block, part in zip(self.transformer_blocks, parts, strict=True):
            x = block(x, part, rates, mask)
        return self.proj_out(modulate(x, *last[:, None].chunk(2, -1)))


class ConditionalFlow(nn.Module):
    """Holds the field under the name that checkpoints give it."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.estimator = FlowField(config)


class Flow(nn.Module):
    """Codes to log-mel frames, two a code."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        n_mels = config.field.n_mels
        self.input_embedding = nn.Embedding(config.codes, n_mels)
        self.spk_embed_affine_layer = nn.Linear(config.speaker_width, n_mels)
        self.pre_lookahead_layer = LookaheadLayer(n_mels, config.lookahead_width)
        self.decoder = ConditionalFlow(config.field)

    def constants(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint carries though they are no weights: compare, don't load."""
        rates: Tensor = self.decoder.estimator.rotary_embed.inv_freq
        return {"decoder.estimator.rotary_embed.inv_freq": rates}

    def speaker(self, embedding: Tensor) -> Tensor:
        """A voice's embedding `[1, S]` to `[1, n_mels]`."""
        return self.spk_embed_affine_layer(functional.normalize(embedding, dim=1))

    def no_past(self) -> Tensor:
        """The look-ahead's, before the first code."""
        return self.input_embedding.weight.new_zeros(1, self.config.lookahead_width, 2)

    def ahead(self, codes: Tensor, past: Tensor) -> tuple[Tensor, Tensor]:
        """Codes `[1, N + 3]`, the last three only seen ahead, to `[1, N, n_mels]`, and the past.

        A code of -1 stands for nothing known, as behind the end of a reply.
        """
        rows = self.input_embedding(codes.clamp(min=0)) * (codes >= 0)[..., None]
        return self.pre_lookahead_layer(rows, past)

    def solve(
        self, noise: Tensor, rows: Tensor, speaker: Tensor, mask: Tensor | None = None
    ) -> list[Tensor]:
        """Euler steps from `noise` `[1, T, n_mels]`; the state after each.

        Args:
            rows: what the codes say, `[1, T / 2, n_mels]`. speaker: `[1, n_mels]`.
        """
        field, times = self.decoder.estimator, cosine_times(self.config.steps)
        said = rows.repeat_interleave(FRAMES_PER_CODE, 1)
        voice = speaker[:, None].expand_as(said)
        given = torch.cat([torch.zeros_like(said), said, voice], -1)
        given = torch.cat([given, torch.zeros_like(given)])

        def evaluate(step: int, x: Tensor, t: Tensor) -> Tensor:
            return field(torch.cat([x, given], -1), field.modulation(t[None]), mask)

        return guided_euler(noise, times, self.config.guidance, evaluate)
