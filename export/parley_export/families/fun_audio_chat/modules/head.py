"""The speech head and the tables of its codes; knows no text and no sampling policy.

A backbone position becomes `group` slots, each of them, together with the code before it, a
position of a decoder with a cache of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from parley_export.families.fun_audio_chat.configs import HeadConfig
from parley_export.modules.backbone import Cache, Layers


class AudioTower(nn.Module):
    """Embeddings of codes, and what brings them and heard sound to the backbone."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        width = config.backbone_width
        self.embed_tokens = nn.Embedding(config.table, width)
        self.output_matching = nn.Linear(width, width, bias=False)
        self.continual_output_matching = nn.Linear(width, width, bias=False)

    def feedback(self, codes: Tensor) -> Tensor:
        """A group of codes `[group]` to what the next backbone input has of them, `[width]`."""
        return self.output_matching(self.embed_tokens(codes).mean(0))

    def compose(self, text: Tensor, codes: Tensor) -> Tensor:
        """The next backbone input, `[width]`, of a text token's embedding and a group of codes."""
        return (text + self.feedback(codes)) / 2

    def features(self, projected: Tensor) -> Tensor:
        """Rows of the encoder `[1, T, width]` to features `[1, ceil(T / group), width]`.

        Zeros fill the last group up and count in its mean.
        """
        group = self.config.group
        rows = nn.functional.pad(projected, (0, 0, 0, -projected.shape[1] % group))
        return self.continual_output_matching(rows.unflatten(1, (-1, group)).mean(2))


class SpeechHead(nn.Module):
    """Backbone states and texts to codes, over a cache of `group` positions a backbone position."""

    def __init__(self, config: HeadConfig) -> None:
        super().__init__()
        self.config = config
        width, inner = config.backbone_width, config.layers.width
        self.pre_matching = nn.Linear(width, config.group * width)
        self.input_matching = nn.Linear(width, inner, bias=False)
        self.crq_transformer = Layers(config.layers)
        self.output_matching = nn.Linear(inner, width, bias=False)

    def slots(self, hidden: Tensor, text: Tensor) -> Tensor:
        """Of N positions, both `[N, width]`: their slots `[N group, width]`."""
        return self.pre_matching(hidden + text).unflatten(1, (self.config.group, -1)).flatten(0, 1)

    def forward(
        self, slots: Tensor, codes: Tensor, table: Tensor, cache: Cache | None
    ) -> tuple[Tensor, Cache]:
        """Slots `[n, width]`, each with the code before it `[n]`, to logits `[n, table]`.

        `table` [table, width] embeds the codes and is the head's matrix too.
        """
        x = self.input_matching(slots + table[codes])
        hidden, after = self.crq_transformer(x[None], cache)
        return self.output_matching(hidden[0]) @ table.T, after

    def folded_slots(self) -> tuple[Tensor, Tensor]:
        """`pre_matching` and `input_matching` in one: weight `[group inner, width]` and bias."""
        both = self.input_matching.weight.float()
        weight = self.pre_matching.weight.float().unflatten(0, (self.config.group, -1))
        bias = self.pre_matching.bias.float().unflatten(0, (self.config.group, -1))
        return torch.matmul(both, weight).flatten(0, 1), (bias @ both.T).flatten()
