"""The flow decoder: audio codes to latents by flow matching; knows no waveform and no voice file.

Field: a diffusion transformer with adaptive layer norm (Peebles and Xie, 2023). Solver: explicit
midpoint with classifier-free guidance (Ho and Salimans, 2022).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.families.covo_audio.configs import FlowConfig
from parley_export.modules.rotary import rotary_angles, rotary_rates, rotate


class TimeEmbedder(nn.Module):
    """Time `[K]` in 0..1 to `[K, D]`: sinusoids (cosines first), linear, SiLU, linear."""

    def __init__(self, n_sinusoids: int, hidden: int) -> None:
        super().__init__()
        half = n_sinusoids // 2
        rates = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("rates", rates, persistent=False)
        self.mlp = nn.Sequential(
            nn.Linear(n_sinusoids, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )

    def forward(self, t: Tensor) -> Tensor:
        angles = t[:, None] * self.rates
        return self.mlp(torch.cat([angles.cos(), angles.sin()], -1).to(self.mlp[0].weight.dtype))


class Rotary(nn.Module):
    """Holds the rates under the name that checkpoints give them."""

    def __init__(self, head_width: int, theta: float) -> None:
        super().__init__()
        self.register_buffer("inv_freq", rotary_rates(head_width, theta), persistent=False)


class FlowAttention(nn.Module):
    """All positions see all, and the past where there is one: `[B, T, D]` in and out."""

    def __init__(self, hidden: int, heads: int, theta: float) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(hidden, hidden, bias=False)
        self.k_proj = nn.Linear(hidden, hidden, bias=False)
        self.v_proj = nn.Linear(hidden, hidden, bias=False)
        self.o_proj = nn.Linear(hidden, hidden)
        self.rotary = Rotary(hidden // heads, theta)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.o_proj(mixed.transpose(1, 2).flatten(-2))

    def extend(
        self, x: Tensor, past: tuple[Tensor, Tensor], cos: Tensor, sin: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Rows behind the `past` keys and values `[B, S, D]`, unrotated; angles of all S + T rows.

        Returns the output and the own keys and values.
        """
        own = self.k_proj(x), self.v_proj(x)
        k, v = (torch.cat(pair, 1) for pair in zip(past, own, strict=True))
        q, k, v = (
            rows.unflatten(-1, (self.heads, -1)).transpose(1, 2) for rows in (self.q_proj(x), k, v)
        )
        n = x.shape[1]
        q, k = rotate(q, cos[-n:], sin[-n:]), rotate(k, cos, sin)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return self.o_proj(mixed.transpose(1, 2).flatten(-2)), own


class FlowFeedForward(nn.Module):
    """Two linear layers around a tanh GELU."""

    def __init__(self, hidden: int, ffn_width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden, ffn_width)
        self.fc2 = nn.Linear(ffn_width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))


def modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without affine, then scale and shift `[B, 1, D]`."""
    return functional.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift


class FlowBlock(nn.Module):
    """A block whose six modulation vectors come from outside, `[B, 6 D]`."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.attn = FlowAttention(config.hidden, config.heads, config.rope_theta)
        self.ffn = FlowFeedForward(config.hidden, config.ffn_width)
        self.modulation_layer = nn.Sequential(
            nn.SiLU(), nn.Linear(config.hidden, 6 * config.hidden)
        )

    def forward(self, x: Tensor, modulation: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        parts = modulation[:, None].chunk(6, -1)
        x = x + parts[2] * self.attn(modulate(x, parts[0], parts[1]), cos, sin)
        return x + parts[5] * self.ffn(modulate(x, parts[3], parts[4]))

    def extend(
        self,
        x: Tensor,
        modulation: Tensor,
        past: tuple[Tensor, Tensor],
        angles: tuple[Tensor, Tensor],
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The same for rows behind a past; see `FlowAttention.extend`."""
        parts = modulation[:, None].chunk(6, -1)
        mixed, own = self.attn.extend(modulate(x, parts[0], parts[1]), past, *angles)
        x = x + parts[2] * mixed
        return x + parts[5] * self.ffn(modulate(x, parts[3], parts[4])), own


class FlowOutput(nn.Module):
    """Final adaptive layer norm and projection to latents."""

    def __init__(self, hidden: int, z: int) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(hidden, 2 * hidden))
        self.linear = nn.Linear(hidden, z)

    def forward(self, x: Tensor, modulation: Tensor) -> Tensor:
        shift, scale = modulation[:, None].chunk(2, -1)
        return self.linear(modulate(x, shift, scale))


class ConvEmbed(nn.Module):
    """Grouped convolution along time, `[B, T, D]` in and out."""

    def __init__(self, hidden: int, kernel: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(hidden, hidden, kernel, padding=kernel // 2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return functional.gelu(self.conv(x.transpose(1, 2))).transpose(1, 2)

    def extend(self, carried: Tensor, x: Tensor) -> Tensor:
        """The same with `carried` rows `[B, kernel // 2, D]` in front; zeros follow."""
        return self.forward(torch.cat([carried, x], 1))[:, carried.shape[1] :]


@dataclass(frozen=True)
class FlowPast:
    """What one evaluation keeps of earlier rows for later ones, prompt first, oldest first."""

    rows: Tensor  # [B, S, D], projected inputs
    keys: list[Tensor]  # per layer [B, S, D], unrotated
    values: list[Tensor]

    def select(self, kept: Tensor) -> FlowPast:
        """Only those rows' keys and values; the convolution sees the last ones in any case."""
        keys, values = ([x[:, kept] for x in part] for part in (self.keys, self.values))
        return FlowPast(self.rows, keys, values)

    def append(self, own: FlowPast) -> FlowPast:
        """The own rows behind these."""
        keys, values = (
            [torch.cat(pair, 1) for pair in zip(*parts, strict=True)]
            for parts in ((self.keys, own.keys), (self.values, own.values))
        )
        return FlowPast(torch.cat([self.rows, own.rows], 1), keys, values)


class FlowField(nn.Module):
    """Velocity of the flow in three parts, each of them a graph: condition, modulation, field."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.config = config
        hidden, factor = config.hidden, config.frames_per_code
        self.token_embedding = nn.Embedding(config.codes, config.code_width)
        self.token_proj = nn.Sequential(
            nn.Linear(config.code_width, hidden),
            nn.ConvTranspose1d(hidden, hidden, 2 * factor, stride=factor, padding=factor // 2),
        )
        self.time_embedder = TimeEmbedder(config.time_width, hidden)
        self.cond_proj = nn.Linear(hidden + config.speaker_width, hidden)
        self.transformer_input_proj = nn.Linear(hidden + 2 * config.z, hidden)
        self.conv_embed = ConvEmbed(hidden, config.conv_kernel, config.conv_groups)
        self.blocks = nn.ModuleList(FlowBlock(config) for _ in range(config.layers))
        self.output_layer = FlowOutput(hidden, config.z)

    @property
    def modulation_width(self) -> int:
        """M: six vectors per block and two for the output."""
        return (6 * self.config.layers + 2) * self.config.hidden

    def constants(self) -> dict[str, Tensor]:
        """Tensors that a checkpoint may carry though they are no weights: compare, don't load."""
        return {
            f"blocks.{i}.attn.rotary.inv_freq": block.attn.rotary.inv_freq
            for i, block in enumerate(self.blocks)
        }

    def condition(self, codes: Tensor) -> Tensor:
        """Codes `[B, N]`, -1 for padding, to token features `[B, factor * N, D]`."""
        known = (codes >= 0)[..., None]
        x = self.token_embedding(codes.clamp(min=0)) * known.to(self.token_embedding.weight.dtype)
        project, upsample = self.token_proj
        return upsample(project(x).transpose(1, 2)).transpose(1, 2)

    def modulation(self, t: Tensor, speaker: Tensor) -> Tensor:
        """Times `[K]` and a speaker embedding `[1, S]` to `[K, M]`."""
        time = self.time_embedder(t)
        c = self.cond_proj(torch.cat([time, speaker.expand(time.shape[0], -1)], -1))
        parts = [block.modulation_layer(c) for block in self.blocks]
        return torch.cat([*parts, self.output_layer.adaLN_modulation(c)], -1)

    def field(self, inputs: Tensor, modulation: Tensor) -> Tensor:
        """One evaluation. `inputs` [B, T, D + 2 z] (token features, condition latents, x_t),
        `modulation` [B or 1, M] -> velocity `[B, T, z]`."""
        hidden = self.config.hidden
        x = self.transformer_input_proj(inputs)
        x = x + self.conv_embed(x)
        positions = torch.arange(x.shape[1], device=x.device)
        rates = self.blocks[0].attn.rotary.inv_freq.float()
        cos, sin = (part.to(x.dtype) for part in rotary_angles(positions, rates))
        sizes = [6 * hidden] * len(self.blocks) + [2 * hidden]
        *parts, last = modulation.split(sizes, -1)
        for block, part in zip(self.blocks, parts, strict=True):
            x = block(x, part, cos, sin)
        return self.output_layer(x, last)

    def extend(self, inputs: Tensor, modulation: Tensor, past: FlowPast) -> tuple[Tensor, FlowPast]:
        """`field` for rows behind a past that is not computed again: it does not see these rows,
        and its positions count from 0 in the order in which it lies.

        Returns the velocity and what these rows leave behind.
        """
        hidden, reach = self.config.hidden, self.config.conv_kernel // 2
        rows = self.transformer_input_proj(inputs)
        carried = functional.pad(past.rows, (0, 0, reach, 0))[:, past.rows.shape[1] :]
        x = rows + self.conv_embed.extend(carried, rows)
        positions = torch.arange(past.keys[0].shape[1] + x.shape[1], device=x.device)
        rates = self.blocks[0].attn.rotary.inv_freq.float()
        angles = rotary_angles(positions, rates)
        *parts, last = modulation.split([6 * hidden] * len(self.blocks) + [2 * hidden], -1)
        own = []
        for i, (block, part) in enumerate(zip(self.blocks, parts, strict=True)):
            x, pair = block.extend(x, part, (past.keys[i], past.values[i]), angles)
            own.append(pair)
        keys, values = zip(*own, strict=True)
        return self.output_layer(x, last), FlowPast(rows, list(keys), list(values))

    def no_past(self, batch: int) -> FlowPast:
        """Nothing, for the first rows."""
        none = self.transformer_input_proj.weight.new_zeros(batch, 0, self.config.hidden)
        return FlowPast(none, [none for _ in self.blocks], [none for _ in self.blocks])

    def forward(
        self, x: Tensor, t: Tensor, token_features: Tensor, condition: Tensor, speaker: Tensor
    ) -> Tensor:
        """Velocity at `x` [B, T, z] and times `t` [B]; `speaker` [1 or B, S]."""
        inputs = torch.cat([token_features, condition, x], -1)
        return self.field(inputs, self.modulation(t, speaker))

    def solve(
        self, noise: Tensor, token_features: Tensor, condition: Tensor, speaker: Tensor
    ) -> list[Tensor]:
        """Midpoint steps from `noise` [1, T, z] at t=0; latents after each step, normalised.

        Guidance runs as a batch of two whose first half has its token features zeroed:
        v = v_c + guidance * (v_c - v_u).
        """
        times = torch.linspace(0, 1, self.config.points, device=noise.device)
        pair = torch.cat([torch.zeros_like(token_features), token_features])
        fixed = torch.cat([pair, condition.expand(2, -1, -1)], -1)

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            inputs = torch.cat([fixed, x.expand(2, -1, -1)], -1)
            free, guided = self.field(inputs, self.modulation(t[None], speaker)).chunk(2)
            return guided + self.config.guidance * (guided - free)

        x, trajectory = noise, []
        for begin, end in itertools.pairwise(times):
            step = end - begin
            middle = x + velocity(x, begin) * (step / 2)
            x = x + velocity(middle, begin + step / 2) * step
            trajectory.append(x)
        return trajectory
