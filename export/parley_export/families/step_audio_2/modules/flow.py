"""The flow decoder: codes to log-mel frames by flow matching; knows no waveform and no voice file.

Field: a diffusion transformer with adaptive layer norm (Peebles and Xie, 2023) and causal
convolutions. Solver: Euler steps with classifier-free guidance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.families.step_audio_2.configs import FieldConfig, FlowConfig
from parley_export.families.step_audio_2.modules.code_encoder import CodeEncoder, EncoderState
from parley_export.modules.code_flow import cosine_times, guided_euler

CARRIED = 2  # rows that a causal convolution remembers


class TimeEmbedder(nn.Module):
    """Time `[K]` in 0..1 to `[K, D]`: sinusoids (cosines first), linear, SiLU, linear."""

    def __init__(self, n_sinusoids: int, hidden: int) -> None:
        super().__init__()
        half = n_sinusoids // 2
        rates = 1000 * torch.exp(-math.log(10000.0) * torch.arange(half).float() / half)
        self.register_buffer("rates", rates, persistent=False)
        self.mlp = nn.Sequential(
            nn.Linear(n_sinusoids, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None] * self.rates
        return self.mlp(torch.cat([angles.cos(), angles.sin()], -1))


@dataclass(frozen=True)
class BlockPast:
    """What a block remembers: `carried` [B, 2 D, 2], the last inputs of its first convolution over
    those of its second; keys and values `[B, H, S, d]`, in any order."""

    carried: Tensor
    keys: Tensor
    values: Tensor


class FieldAttention(nn.Module):
    """All rows see all, and the past; no positions. `[B, T, D]` in and out."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        inner = config.heads * config.head_width
        self.heads = config.heads
        self.to_q, self.to_k = nn.Linear(config.hidden, inner), nn.Linear(config.hidden, inner)
        self.to_v, self.proj = nn.Linear(config.hidden, inner), nn.Linear(inner, config.hidden)
        self.q_norm, self.k_norm = (nn.LayerNorm(config.head_width) for _ in range(2))

    def split(self, x: Tensor) -> Tensor:
        """`[B, T, H d]` -> `[B, H, T, d]`."""
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def forward(self, x: Tensor, past: BlockPast) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the output and the own keys and values."""
        q, k = self.q_norm(self.split(self.to_q(x))), self.k_norm(self.split(self.to_k(x)))
        v = self.split(self.to_v(x))
        keys, values = torch.cat([past.keys, k], 2), torch.cat([past.values, v], 2)
        mixed = functional.scaled_dot_product_attention(q, keys, values)
        return self.proj(mixed.transpose(1, 2).flatten(2)), k, v


class FieldFeedForward(nn.Module):
    """Two linear layers around a tanh GELU."""

    def __init__(self, hidden: int, ffn_width: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(hidden, ffn_width), nn.Linear(ffn_width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))


class FieldConvolution(nn.Module):
    """Causal convolution, layer norm, Mish, causal convolution: `[B, T, D]` in and out."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        # Named by their places among layers that hold no weights.
        self.block = nn.ModuleDict(
            {
                "1": nn.Conv1d(hidden, hidden, CARRIED + 1),
                "3": nn.LayerNorm(hidden),
                "6": nn.Conv1d(hidden, hidden, CARRIED + 1),
            }
        )

    def forward(self, x: Tensor, carried: Tensor) -> tuple[Tensor, Tensor]:
        """`carried` `[B, 2 D, 2]` and the new one; zeros before the first row."""
        first, norm, second = self.block.values()
        before, between = carried.chunk(2, 1)
        x = torch.cat([before, x.transpose(1, 2)], 2)
        y = functional.mish(norm(first(x).transpose(1, 2))).transpose(1, 2)
        y = torch.cat([between, y], 2)
        after = torch.cat([x[..., -CARRIED:], y[..., -CARRIED:]], 1)
        return second(y).transpose(1, 2), after


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without affine, then scale and shift `[B, 1, D]`."""
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


def modulation_layer(hidden: int, parts: int) -> nn.Sequential:
    """From a time's embedding to shifts, scales and gates."""
    return nn.Sequential(nn.SiLU(), nn.Linear(hidden, parts * hidden))


class FieldBlock(nn.Module):
    """A block whose nine modulation vectors come from outside, `[B, 9 D]`."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.attn = FieldAttention(config)
        self.conv = FieldConvolution(config.hidden)
        self.mlp = FieldFeedForward(config.hidden, config.ffn_width)
        self.adaLN_modulation = modulation_layer(config.hidden, 9)

    def forward(self, x: Tensor, modulation: Tensor, past: BlockPast) -> tuple[Tensor, BlockPast]:
        """Returns the output and what the own rows leave behind."""
        of_attn, of_mlp, of_conv = (part.chunk(3, -1) for part in modulation[:, None].chunk(3, -1))
        mixed, keys, values = self.attn(modulate(x, *of_attn[:2]), past)
        x = x + of_attn[2] * mixed
        mixed, carried = self.conv(modulate(x, *of_conv[:2]), past.carried)
        x = x + of_conv[2] * mixed
        x = x + of_mlp[2] * self.mlp(modulate(x, *of_mlp[:2]))
        return x, BlockPast(carried, keys, values)


class FieldOutput(nn.Module):
    """Final adaptive layer norm and projection to log-mel."""

    def __init__(self, hidden: int, n_mels: int) -> None:
        super().__init__()
        self.adaLN_modulation = modulation_layer(hidden, 2)
        self.linear = nn.Linear(hidden, n_mels)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        return self.linear(modulate(x, *modulation[:, None].chunk(2, -1)))


class FlowField(nn.Module):
    """Velocity of the flow in two parts, each of them a graph: modulation and field."""

    def __init__(self, config: FieldConfig) -> None:
        super().__init__()
        self.config = config
        self.t_embedder = TimeEmbedder(config.time_width, config.hidden)
        self.in_proj = nn.Linear(4 * config.n_mels, config.hidden)
        self.blocks = nn.ModuleList(FieldBlock(config) for _ in range(config.layers))
        self.final_layer = FieldOutput(config.hidden, config.n_mels)

    @property
    def modulation_width(self) -> int:
        """M: nine vectors per block and two for the output."""
        return (9 * self.config.layers + 2) * self.config.hidden

    def modulation(self, t: Tensor) -> Tensor:
        """Times `[K]` to `[K, M]`."""
        c = self.t_embedder(t)
        parts = [block.adaLN_modulation(c) for block in self.blocks]
        return torch.cat([*parts, self.final_layer.adaLN_modulation(c)], -1)

    def no_past(self, batch: int) -> list[BlockPast]:
        """Nothing, for the first rows."""
        config, like = self.config, self.in_proj.weight
        carried = like.new_zeros(batch, 2 * config.hidden, CARRIED)
        none = like.new_zeros(batch, config.heads, 0, config.head_width)
        return [BlockPast(carried, none, none) for _ in self.blocks]

    def forward(
        self, inputs: Tensor, modulation: Tensor, past: list[BlockPast]
    ) -> tuple[Tensor, list[BlockPast]]:
        """One evaluation for rows behind a past, which does not see them.

        `inputs` [B, T, 4 n_mels] (state, what the codes say, speaker, condition), `modulation`
        [B or 1, M] -> velocity `[B, T, n_mels]` and what the own rows leave behind.
        """
        hidden = self.config.hidden
        *parts, last = modulation.split([9 * hidden] * len(self.blocks) + [2 * hidden], -1)
        x, after = self.in_proj(inputs), []
        for block, part, before in zip(self.blocks, parts, past, strict=True):
            x, own = block(x, part, before)
            after.append(own)
        return self.final_layer(x, last), after


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
        width, n_mels = config.encoder.width, config.field.n_mels
        self.input_embedding = nn.Embedding(config.codes, width)
        self.spk_embed_affine_layer = nn.Linear(config.speaker_width, n_mels)
        self.encoder = CodeEncoder(config.encoder)
        self.encoder_proj = nn.Linear(width, n_mels)
        self.decoder = ConditionalFlow(config.field)

    def speaker(self, embedding: Tensor) -> Tensor:
        """A voice's embedding `[1, S]` to `[1, n_mels]`."""
        return self.spk_embed_affine_layer(functional.normalize(embedding, dim=1))

    def encode(self, codes: Tensor, state: EncoderState) -> tuple[Tensor, EncoderState]:
        """Codes `[1, N + 3]`, the last three only seen ahead, to `[1, 2 N, n_mels]`.

        A code of -1 stands for nothing known, as behind the end of a reply.
        """
        known = (codes >= 0)[..., None]
        rows, after = self.encoder(self.input_embedding(codes.clamp(min=0)), known, state)
        return self.encoder_proj(rows), after

    def times(self) -> Tensor:
        """The solver's, `[steps + 1]`."""
        return cosine_times(self.config.steps)

    def solve(
        self,
        noise: Tensor,
        fixed: tuple[Tensor, Tensor, Tensor],
        past: list[list[BlockPast]] | None = None,
    ) -> tuple[list[Tensor], list[list[BlockPast]]]:
        """Euler steps from `noise` `[1, T, n_mels]`; the state after each, `[1, T, n_mels]`.

        Where guidance leaves the condition out, everything but the state is zero.

        Args:
            fixed: what the codes say, the speaker and the condition, each `[1, T or 1, n_mels]`.
            past: per step what earlier rows left behind.
        Returns:
            also what these rows leave behind, per step.
        """
        field, times = self.decoder.estimator, self.times()
        given = torch.cat([part.expand_as(noise) for part in fixed], -1)
        given = torch.cat([given, torch.zeros_like(given)])
        past, after = past or [field.no_past(2) for _ in times[1:]], []

        def evaluate(step: int, x: Tensor, t: Tensor) -> Tensor:
            modulation = field.modulation(t[None])
            velocity, own = field(torch.cat([x, given], -1), modulation, past[step])
            after.append(own)
            return velocity

        return guided_euler(noise, times, self.config.guidance, evaluate), after
