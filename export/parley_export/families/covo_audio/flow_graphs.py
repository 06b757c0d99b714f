"""ONNX graphs of the flow decoder; knows neither checkpoint files nor the runtime's caches.

The field's one graph serves every mode. Without prompt and past it is the whole computation, as
`FlowField.field`; with them it computes the own rows alone, as `FlowField.extend`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from parley_export import contract
from parley_export.families.covo_audio.modules import FlowField
from parley_export.families.covo_audio.modules.flow import FlowBlock
from parley_export.graph_builder import GraphBuilder, GraphInfo


def export_flow_condition(flow: FlowField, path: Path, precision: str = "f32") -> GraphInfo:
    """Codes to token features; code -1 embeds to zero."""
    config = flow.config
    sizes = {"hidden": config.hidden}
    g = GraphBuilder(contract.graph("flow_condition"), sizes, precision)
    codes = g.input("codes")
    # The row after the last code is the padding's, so no mask is needed.
    zero = torch.zeros(1, config.code_width)
    table = g.weight(
        "token_embedding", lambda: torch.cat([flow.token_embedding.weight.to(zero), zero])
    )
    rows = g.op("Where", g.op("Less", codes, g.index(0)), g.index(config.codes), codes)
    project, upsample = flow.token_proj
    taps = (upsample.weight, upsample.bias, "upsample")
    x = g.transpose(g.linear(g.op("Gather", table, rows), project, "project"), 0, 2, 1)
    pad = upsample.padding[0]
    x = g.conv_transpose(x, *taps, strides=list(upsample.stride), pads=[pad, pad])
    g.output("token_features", g.transpose(x, 0, 2, 1))
    return g.save(path)


def export_flow_modulation(flow: FlowField, path: Path, precision: str = "f32") -> GraphInfo:
    """Times and a speaker to modulation vectors; the sinusoids are computed in f32."""
    config = flow.config
    sizes = {"speaker_width": config.speaker_width, "modulation_width": flow.modulation_width}
    g = GraphBuilder(contract.graph("flow_modulation"), sizes, precision)
    t = g.op("Unsqueeze", "t", g.ints(1))
    angles = g.op("Mul", t, g.floats("time_rates", flow.time_embedder.rates))
    x = g.cast(g.concat(-1, g.op("Cos", angles), g.op("Sin", angles)), precision, "f32")
    x = _silu(g, g.linear(x, flow.time_embedder.mlp[0], "time.0"))
    x = g.linear(x, flow.time_embedder.mlp[2], "time.2")
    rows = g.op("Shape", x, start=0, end=1)
    shape = g.concat(0, rows, g.ints(config.speaker_width))
    x = g.concat(-1, x, g.op("Expand", g.input("speaker"), shape))
    c = _silu(g, g.linear(x, flow.cond_proj, "cond_proj"))
    layers = [block.modulation_layer[1] for block in flow.blocks]
    layers.append(flow.output_layer.adaLN_modulation[1])
    parts = [g.linear(c, layer, f"modulation.{i}") for i, layer in enumerate(layers)]
    g.output("modulation", g.concat(-1, *parts))
    return g.save(path)


def export_flow_field(
    flow: FlowField, path: Path, precision: str = "f32", cache: str = ""
) -> GraphInfo:
    """One evaluation of the velocity; one modulation serves the whole batch.

    `cache` is the type (f32, f16) of the keys and values that go in and out; empty: `precision`.
    """
    config = flow.config
    sizes = {
        "field_width": config.hidden + 2 * config.z,
        "modulation_width": flow.modulation_width,
        "z": config.z,
        "hidden": config.hidden,
        "layers": config.layers,
        "heads": config.heads,
        "head_width": config.hidden // config.heads,
        "carried_frames": config.conv_kernel // 2,
    }
    g = GraphBuilder(contract.graph("flow_field"), sizes, precision, cache=cache)
    columns = _Columns(g, flow)
    x = _embed(g, flow, columns)
    sight = _Sight(g, flow)
    for i, block in enumerate(flow.blocks):
        with g.scope(f"blocks.{i}"):
            x = _flow_block(g, x, (i, block), columns, sight)
    normed = _modulate(g, x, 6 * config.layers, columns)
    velocity = columns.linear(normed, flow.output_layer.linear, "output")
    g.output("velocity", columns.rows_of(velocity, config.z))
    return g.save(path)


class _Columns:
    """Frames of both branches as columns `[D, B T]`, the form in which most of the field computes.

    A product of weights `[N, D]` and few columns reads the weights once, as they lie; with frames
    as rows a matrix product packs them or misses the cache (measured on weights that lie in
    memory, 32 frames of width 1024: 200 against 133 GFLOPS, one thread).
    """

    def __init__(self, g: GraphBuilder, flow: FlowField) -> None:
        self.g, hidden = g, flow.config.hidden
        self.frames = g.op("Shape", "inputs", start=0, end=2)  # [B, T]
        modulation = g.input("modulation")
        self.vectors = g.op("Reshape", modulation, g.ints(-1, hidden))
        self.upright_vectors = g.op("Reshape", modulation, g.ints(-1, hidden, 1))

    def linear(self, x: str, module: nn.Linear, name: str) -> str:
        """Columns `[in, B T]` -> `[out, B T]`."""
        g = self.g
        y = g.op("MatMul", g.weight(f"{name}.weight", lambda: module.weight), x)
        if module.bias is None:
            return y
        bias = module.bias
        return g.op("Add", y, g.weight(f"{name}.bias", lambda: bias[:, None]))

    def turn(self, x: str) -> str:
        """Rows to columns, or columns to rows."""
        return self.g.transpose(x, 1, 0)

    def shaped(self, x: str, *sizes: int) -> str:
        """Columns to `[*sizes, B, T]`."""
        return self.g.op("Reshape", x, self.g.concat(0, self.g.ints(*sizes), self.frames))

    def flat(self, x: str, width: int) -> str:
        """Back from any shape that ends in B, T."""
        return self.g.op("Reshape", x, self.g.ints(width, -1))

    def rows_of(self, x: str, width: int) -> str:
        """Columns to `[B, T, width]`."""
        return self.g.transpose(self.shaped(x, width), 1, 2, 0)

    def vector(self, i: int) -> str:
        """Modulation vector `[D]`."""
        return self.g.op("Gather", self.vectors, self.g.index(i), axis=0)

    def gate(self, x: str, i: int) -> str:
        """Columns times modulation vector `i`."""
        gate = self.g.op("Gather", self.upright_vectors, self.g.index(i), axis=0)
        return self.g.op("Mul", x, gate)


def _embed(g: GraphBuilder, flow: FlowField, columns: _Columns) -> str:
    """Projected inputs and their convolution, which goes on from the carried rows."""
    config, conv, half = flow.config, flow.conv_embed.conv, flow.config.conv_kernel // 2
    inputs = g.op("Reshape", g.input("inputs"), g.ints(-1, config.hidden + 2 * config.z))
    project = flow.transformer_input_proj
    x = columns.linear(columns.turn(inputs), project, "transformer_input_proj")
    g.output("rows", columns.rows_of(x, config.hidden))
    own = g.transpose(columns.shaped(x, config.hidden), 1, 0, 2)
    y = g.concat(2, g.transpose(g.input("carried"), 0, 2, 1), own)
    taps = (conv.weight, conv.bias, "conv_embed")
    y = g.op("Gelu", g.conv(y, *taps, group=config.conv_groups, pads=[0, half]))
    return g.op("Add", x, columns.flat(g.transpose(y, 1, 0, 2), config.hidden))


class _Sight:
    """What all blocks' attention shares: angles, mask, and whether there is anything to recall."""

    def __init__(self, g: GraphBuilder, flow: FlowField) -> None:
        self.angles, self.prompt_angles = (
            self.turns(g, flow, name) for name in ("positions", "prompt_positions")
        )
        self.mask = g.op("Unsqueeze", g.input("mask"), g.ints(1))
        counts = (g.op("Shape", f"{name}_keys.0", start=2, end=3) for name in ("prompt", "past"))
        self.alone = g.op("Squeeze", g.op("Equal", g.op("Add", *counts), g.ints(0)), g.ints(0))

    def turns(self, g: GraphBuilder, flow: FlowField, name: str) -> list[str]:
        """Cosines and sines of the positions, upright `[d, T]`."""
        rates = torch.cat([flow.blocks[0].attn.rotary.inv_freq] * 2)[:, None]
        angles = g.op("Mul", g.floats("rates", rates), g.cast(g.input(name), "f32"))
        return [g.cast(g.op(f, angles), g.precision, "f32") for f in ("Cos", "Sin")]


def _flow_block(
    g: GraphBuilder, x: str, numbered: tuple[int, FlowBlock], columns: _Columns, sight: _Sight
) -> str:
    layer, block = numbered
    attn, ffn, first = block.attn, block.ffn, 6 * layer
    width, head_width = attn.q_proj.out_features, attn.q_proj.out_features // attn.heads
    normed = _modulate(g, x, first, columns)
    q, k, v = (
        columns.shaped(columns.linear(normed, project, name), attn.heads, head_width)
        for project, name in (
            (attn.q_proj, "q_proj"),
            (attn.k_proj, "k_proj"),
            (attn.v_proj, "v_proj"),
        )
    )
    q, k = (g.transpose(part, 2, 0, 1, 3) for part in (q, k))
    q = g.op("Mul", q, g.scalar(head_width**-0.5))
    k = g.transpose(_rotate(g, k, sight.angles)[0], 0, 1, 3, 2)
    v = g.transpose(v, 2, 0, 3, 1)
    g.output(f"keys.{layer}", k)
    g.output(f"values.{layer}", v)
    mixed = g.choose(
        sight.alone,
        lambda: _attend(g, _rotate(g, q, sight.angles)[0], k, v),
        lambda: _attend_all(
            g, _rotate(g, q, sight.angles, sight.prompt_angles), (k, v), sight, layer
        ),
    )
    mixed = columns.flat(g.transpose(mixed, 1, 2, 0, 3), width)
    mixed = columns.linear(mixed, attn.o_proj, "o_proj")
    x = g.op("Add", x, columns.gate(mixed, first + 2))
    inner = columns.linear(_modulate(g, x, first + 3, columns), ffn.fc1, "fc1")
    inner = columns.linear(g.op("Gelu", inner, approximate="tanh"), ffn.fc2, "fc2")
    return g.op("Add", x, columns.gate(inner, first + 5))


def _attend(g: GraphBuilder, q: str, k: str, v: str) -> str:
    """Queries are upright `[B, H, d, T]`, and so is the result."""
    scores = g.op("MatMul", g.transpose(q, 0, 1, 3, 2), g.transpose(k, 0, 1, 3, 2))
    return g.transpose(g.op("MatMul", g.op("Softmax", scores, axis=-1), v), 0, 1, 3, 2)


def _attend_all(
    g: GraphBuilder, queries: list[str], own: tuple[str, str], sight: _Sight, layer: int
) -> str:
    """Over the prompt where it lies, and over the past and the `own` keys and values.

    Scores stand upright, `[keys, T]`: so a matrix product packs the few queries and not the many
    keys, which halves its time. The softmax is written out, since its two parts stay apart.
    """
    k, v = (
        g.concat(2, g.input(f"past_{name}.{layer}"), part)
        for name, part in zip(("keys", "values"), own, strict=True)
    )
    far = g.op("MatMul", g.input(f"prompt_keys.{layer}"), queries[1])
    near = g.op("Add", g.op("MatMul", k, queries[0]), sight.mask)
    axis = g.ints(2)
    top = g.op("Max", g.op("ReduceMax", far, axis), g.op("ReduceMax", near, axis))
    far, near = (g.op("Exp", g.op("Sub", part, top)) for part in (far, near))
    total = g.op("Add", g.op("ReduceSum", far, axis), g.op("ReduceSum", near, axis))
    far = g.op("MatMul", g.input(f"prompt_values.{layer}"), far)
    near = g.op("MatMul", g.transpose(v, 0, 1, 3, 2), near)
    return g.op("Div", g.op("Add", far, near), total)


def _modulate(g: GraphBuilder, x: str, first: int, columns: _Columns) -> str:
    """Normalised, shifted by modulation vector `first` and scaled by the next.

    They stand in for the norm's own affine: one pass instead of three.
    """
    scale = g.op("Add", columns.vector(first + 1), g.scalar(1.0))
    rows = columns.turn(x)
    rows = g.op("LayerNormalization", rows, scale, columns.vector(first), axis=-1, epsilon=1e-6)
    return columns.turn(rows)


def _rotate(g: GraphBuilder, x: str, *angles: list[str]) -> list[str]:
    """Upright `x` `[B, H, d, T]`, rotated by each of the `angles`."""
    low, high = g.ops("Split", 2, x, axis=2, num_outputs=2)
    turned = g.concat(2, g.op("Neg", high), low)
    return [g.op("Add", g.op("Mul", x, cos), g.op("Mul", turned, sin)) for cos, sin in angles]


def _silu(g: GraphBuilder, x: str) -> str:
    return g.op("Mul", x, g.op("Sigmoid", x))
