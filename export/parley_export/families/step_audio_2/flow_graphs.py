"""The flow decoder's graphs; knows neither checkpoint files nor the runtime's caches.

The field's one graph serves every mode: without prompt and past it is the whole computation, with
them it computes the own rows alone. Its attention has no positions, so those inputs are not used.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import nn

from parley_export import contract
from parley_export.code_flow_graphs import known_rows, look_ahead, speaker_rows
from parley_export.column_graphs import Columns, Sight, modulate, silu
from parley_export.families.step_audio_2.modules import Flow
from parley_export.families.step_audio_2.modules.code_encoder import EncoderBlock, RowEmbed
from parley_export.families.step_audio_2.modules.flow import CARRIED, FieldBlock
from parley_export.graph_builder import GraphBuilder, GraphInfo

MASKED = -1e4  # finite, so half precision holds it; the softmax of such a score is exactly zero
PAST_CODES = 375  # that the encoder's attention keeps, 15 s: its cost must not grow with a reply


def export_flow_encoder(
    flow: Flow, path: Path, precision: str = "f32", past_codes: int = PAST_CODES
) -> GraphInfo:
    """Codes and a voice to what the field is given of them, with its streaming states."""
    return _EncoderGraph(flow, precision, past_codes).export(path)


class _EncoderGraph:
    def __init__(self, flow: Flow, precision: str, past_codes: int) -> None:
        self.flow, config = flow, flow.encoder.config
        self.past = past_codes
        sizes = {
            "hidden": 2 * flow.config.field.n_mels,
            "speaker_width": flow.config.speaker_width,
            "width": config.width,
            "lookahead_rows": 2,
            "upsampled_rows": 4,
            "blocks": config.blocks,
            "up_blocks": config.up_blocks,
            "heads": config.heads,
            "past": past_codes,
            "up_past": 2 * past_codes,
            "head_width": config.width // config.heads,
        }
        self.g = GraphBuilder(contract.graph("flow_encoder"), sizes, precision)

    def export(self, path: Path) -> GraphInfo:
        g, encoder = self.g, self.flow.encoder
        x, known = known_rows(g, self.flow.input_embedding)
        x = g.op("Mul", self.embed(x, encoder.embed, "embed"), known)
        x = look_ahead(g, x, encoder.pre_lookahead_layer)
        filled = g.input("state_in.filled")
        n = g.op("Shape", x, start=1, end=2)
        x = self.blocks(x, "encoders", "", filled)
        x = self.upsample(x)
        x = self.embed(x, encoder.up_embed, "up_embed")
        x = self.blocks(x, "up_encoders", "up_", g.op("Mul", filled, g.ints(2)))
        after = g.op("Min", g.op("Add", filled, n), g.ints(self.past))
        g.output("state_out.filled", after)
        x = g.layer_norm(x, encoder.after_norm, "after_norm")
        x = g.linear(x, self.flow.encoder_proj, "encoder_proj")
        g.output(
            "token_features", g.concat(2, x, speaker_rows(g, self.flow.spk_embed_affine_layer, x))
        )
        return g.save(path)

    def embed(self, x: str, module: RowEmbed, name: str) -> str:
        g, (linear, norm) = self.g, module.out
        x = g.layer_norm(g.linear(x, linear, f"{name}.linear"), norm, f"{name}.norm")
        return g.op("Mul", x, g.scalar(math.sqrt(norm.weight.shape[0])))

    def upsample(self, x: str) -> str:
        g, conv = self.g, self.flow.encoder.up_layer.conv
        rows = g.op("Unsqueeze", g.transpose(x, 0, 2, 1), g.ints(3))
        twice = g.op("Reshape", g.concat(3, rows, rows), g.ints(0, 0, -1))
        twice = g.concat(2, g.input("state_in.upsampled"), twice)
        g.output("state_out.upsampled", g.slice(twice, 2, -4, 1 << 30))
        return g.transpose(g.conv(twice, conv.weight, conv.bias, "up_layer"), 0, 2, 1)

    def blocks(self, x: str, name: str, prefix: str, filled: str) -> str:
        """The blocks of one rate, whose keys and values are one state each, newest last."""
        g, modules = self.g, getattr(self.flow.encoder, name)
        past = self.past * (2 if prefix else 1)
        n = g.op("Squeeze", g.op("Shape", x, start=1, end=2), g.ints(0))
        distances, mask = self.distances(n, past), self.mask(n, past, filled)
        split = {"axis": 0, "num_outputs": len(modules)}
        olds = [
            [g.input(f"state_in.{prefix}{kind}")]
            if len(modules) == 1
            else g.ops("Split", len(modules), g.input(f"state_in.{prefix}{kind}"), **split)
            for kind in ("keys", "values")
        ]
        news: list[list[str]] = [[], []]
        for i, block in enumerate(modules):
            with g.scope(f"{name}.{i}"):
                pair = (olds[0][i], olds[1][i])
                x, keys, values = self.block(x, block, pair, (distances, mask))
            for new, rows in zip(news, (keys, values), strict=True):
                new.append(g.slice(rows, 2, -past, 1 << 30))
        for kind, new in zip(("keys", "values"), news, strict=True):
            g.output(f"state_out.{prefix}{kind}", g.concat(0, *new))
        return x

    def distances(self, n: str, past: int) -> str:
        """Sinusoids of the distances between n queries and past + n keys, farthest first."""
        g, width = self.g, self.flow.encoder.config.width
        farthest = g.op("Add", n, g.index(past - 1))
        far = g.op("Range", farthest, g.op("Neg", n), g.index(-1))
        rates = torch.exp(torch.arange(0, width, 2).float() * (-math.log(10000.0) / width))
        angles = g.op(
            "Mul",
            g.op("Unsqueeze", g.cast(far, "f32"), g.ints(1)),
            g.floats("distance_rates", rates),
        )
        parts = [g.op("Unsqueeze", g.op(f, angles), g.ints(2)) for f in ("Sin", "Cos")]
        rows = g.op("Reshape", g.concat(2, *parts), g.ints(0, width))
        return g.cast(rows, g.precision, "f32")

    def mask(self, n: str, past: int, filled: str) -> str:
        """`[past + n]` to add to scores; hides the rows that are not filled yet."""
        g = self.g
        index = g.op("Range", g.index(-past), n, g.index(1))
        hidden = g.op("Less", index, g.op("Neg", filled))
        return g.op("Mul", g.cast(hidden, g.precision), g.scalar(MASKED))

    def block(
        self, x: str, block: EncoderBlock, past: tuple[str, str], shared: tuple[str, str]
    ) -> tuple[str, str, str]:
        g, attn = self.g, block.self_attn
        head_width = attn.linear_q.out_features // attn.heads
        distances, mask = shared
        normed = g.layer_norm(x, block.norm_mha, "norm_mha")
        q = g.split_heads(g.linear(normed, attn.linear_q, "q"), attn.heads)
        k = g.concat(2, past[0], g.split_heads(g.linear(normed, attn.linear_k, "k"), attn.heads))
        v = g.concat(2, past[1], g.split_heads(g.linear(normed, attn.linear_v, "v"), attn.heads))
        rows = g.linear(g.op("Unsqueeze", distances, g.ints(0)), attn.linear_pos, "pos")
        rows = g.split_heads(rows, attn.heads)
        u, w = (
            g.op("Add", q, g.weight(name, lambda bias=bias: bias[:, None]))
            for name, bias in (("u", attn.pos_bias_u), ("v", attn.pos_bias_v))
        )
        near = g.op("MatMul", u, g.transpose(k, 0, 1, 3, 2))
        far = g.op("MatMul", w, g.transpose(rows, 0, 1, 3, 2))
        scores = g.op("Add", near, self.skewed(far, near))
        scores = g.op("Add", g.op("Mul", scores, g.scalar(head_width**-0.5)), mask)
        mixed = g.merge_heads(g.op("MatMul", g.op("Softmax", scores, axis=-1), v))
        x = g.op("Add", x, g.linear(mixed, attn.linear_out, "out"))
        feed = block.feed_forward
        inner = silu(g, g.linear(g.layer_norm(x, block.norm_ff, "norm_ff"), feed.w_1, "w_1"))
        return g.op("Add", x, g.linear(inner, feed.w_2, "w_2")), k, v

    def skewed(self, far: str, near: str) -> str:
        """Scores by distance `[1, H, n, keys + n - 1]` to scores by key, in the shape of `near`.

        Row i begins at its own distance to the first key: a skewed read of the flat scores.
        """
        g = self.g
        n, keys = (g.op("Shape", near, start=i, end=i + 1) for i in (2, 3))
        width = g.op("Add", keys, g.op("Sub", n, g.ints(2)))
        flat = g.op("Reshape", far, g.ints(0, 0, -1))
        begin = g.op("Sub", n, g.ints(1))
        end = g.op("Add", begin, g.op("Mul", n, width))
        flat = g.op("Slice", flat, begin, end, g.ints(2))
        rows = g.op("Reshape", flat, g.concat(0, g.ints(0, 0), n, width))
        return g.op("Slice", rows, g.ints(0), keys, g.ints(3))


def export_flow_modulation(flow: Flow, path: Path, precision: str = "f32") -> GraphInfo:
    """Times to modulation vectors; the sinusoids are computed in f32, no voice has a part in it."""
    field = flow.decoder.estimator
    sizes = {
        "speaker_width": flow.config.speaker_width,
        "modulation_width": field.modulation_width,
    }
    g = GraphBuilder(contract.graph("flow_modulation"), sizes, precision)
    rates = g.floats("time_rates", field.t_embedder.rates)
    angles = g.op("Mul", g.op("Unsqueeze", "t", g.ints(1)), rates)
    x = g.cast(g.concat(-1, g.op("Cos", angles), g.op("Sin", angles)), precision, "f32")
    first, _, second = field.t_embedder.mlp
    c = silu(g, g.linear(silu(g, g.linear(x, first, "time.0")), second, "time.2"))
    layers = [block.adaLN_modulation[1] for block in field.blocks]
    layers.append(field.final_layer.adaLN_modulation[1])
    parts = [g.linear(c, layer, f"modulation.{i}") for i, layer in enumerate(layers)]
    g.output("modulation", g.concat(-1, *parts))
    return g.save(path)


def export_flow_field(flow: Flow, path: Path, precision: str = "f32", cache: str = "") -> GraphInfo:
    """One evaluation of the velocity; one modulation serves the whole batch.

    A row of `inputs` is what the codes say, the speaker, the condition and the state. What later
    frames carry are the last two inputs of every convolution, side by side.

    `cache` is the type (f32, f16) of the keys and values that go in and out; empty: `precision`.
    """
    field = flow.decoder.estimator
    config = field.config
    sizes = {
        "field_width": 4 * config.n_mels,
        "modulation_width": field.modulation_width,
        "z": config.n_mels,
        "carried_width": 2 * config.layers * config.hidden,
        "layers": config.layers,
        "heads": config.heads,
        "head_width": config.head_width,
        "carried_frames": CARRIED,
        "ROWS_LEFT": CARRIED,
    }
    g = GraphBuilder(contract.graph("flow_field"), sizes, precision, cache=cache)
    columns = Columns(g, config.hidden)
    x = _embed(g, field.in_proj, columns)
    carried = g.transpose(g.input("carried"), 0, 2, 1)
    split = {"axis": 1, "num_outputs": 2 * config.layers}
    before = g.ops("Split", 2 * config.layers, carried, **split)
    sight = Sight(g)
    after: list[str] = []
    for i, block in enumerate(field.blocks):
        with g.scope(f"blocks.{i}"):
            x = _attention(g, x, (i, block), columns, sight)
            x = _convolution(g, x, (i, block), columns, (before, after))
            inner = columns.linear(modulate(g, x, 9 * i + 3, columns), block.mlp.fc1, "fc1")
            inner = columns.linear(g.op("Gelu", inner, approximate="tanh"), block.mlp.fc2, "fc2")
            x = g.op("Add", x, columns.gate(inner, 9 * i + 5))
    g.output("rows", g.transpose(g.concat(1, *after), 0, 2, 1))
    normed = modulate(g, x, 9 * config.layers, columns)
    velocity = columns.linear(normed, field.final_layer.linear, "output")
    g.output("velocity", columns.rows_of(velocity, config.n_mels))
    return g.save(path)


def _embed(g: GraphBuilder, project: nn.Linear, columns: Columns) -> str:
    """The inputs' columns; a checkpoint's rows begin with the state, the engine's end with it."""
    width = project.in_features
    order = torch.arange(width).roll(-(width // 4))
    weight = g.weight("in_proj.weight", lambda: project.weight[:, order])
    rows = g.op("Reshape", g.input("inputs"), g.ints(-1, width))
    x = g.op("MatMul", weight, columns.turn(rows))
    return g.op("Add", x, g.weight("in_proj.bias", lambda: project.bias[:, None]))


def _attention(
    g: GraphBuilder,
    x: str,
    numbered: tuple[int, FieldBlock],
    columns: Columns,
    sight: Sight,
) -> str:
    layer, block = numbered
    attn, first = block.attn, 9 * layer
    head_width = attn.q_norm.weight.shape[0]
    normed = modulate(g, x, first, columns)
    q, k, v = (
        columns.shaped(columns.linear(normed, project, name), attn.heads, head_width)
        for project, name in ((attn.to_q, "to_q"), (attn.to_k, "to_k"), (attn.to_v, "to_v"))
    )
    q, k, v = (g.transpose(part, 2, 0, 3, 1) for part in (q, k, v))
    q, k = g.layer_norm(q, attn.q_norm, "q_norm"), g.layer_norm(k, attn.k_norm, "k_norm")
    q = g.transpose(g.op("Mul", q, g.scalar(head_width**-0.5)), 0, 1, 3, 2)
    mixed = sight.attend(layer, lambda: [q, q], (k, v))
    mixed = columns.flat(g.transpose(mixed, 1, 2, 0, 3), attn.heads * head_width)
    return g.op("Add", x, columns.gate(columns.linear(mixed, attn.proj, "proj"), first + 2))


def _convolution(
    g: GraphBuilder,
    x: str,
    numbered: tuple[int, FieldBlock],
    columns: Columns,
    carried: tuple[list[str], list[str]],
) -> str:
    layer, block = numbered
    hidden, first, (before, after) = len(block.conv.block["1"].bias), 9 * layer + 6, carried
    one, norm, two = block.conv.block.values()

    def causal(x: str, conv: nn.Module, name: str) -> str:
        """`[B, D, T]` in and out."""
        rows = g.concat(2, before[len(after)], x)
        after.append(g.slice(rows, 2, -CARRIED, 1 << 30))
        return g.conv(rows, conv.weight, conv.bias, name)

    y = g.transpose(columns.shaped(modulate(g, x, first, columns), hidden), 1, 0, 2)
    y = g.transpose(causal(y, one, "conv.1"), 0, 2, 1)
    y = g.transpose(g.op("Mish", g.layer_norm(y, norm, "conv.norm")), 0, 2, 1)
    y = columns.flat(g.transpose(causal(y, two, "conv.2"), 1, 0, 2), hidden)
    return g.op("Add", x, columns.gate(y, first + 2))
