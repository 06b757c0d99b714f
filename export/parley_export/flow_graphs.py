"""ONNX graphs of the flow decoder; knows neither checkpoint files nor the runtime's caches.

The field's one graph serves every mode. Without prompt and past it is the whole computation, as
`FlowField.field`; with them it computes the own rows alone, as `FlowField.extend`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from parley_export import contract
from parley_export.graph_builder import GraphBuilder, GraphInfo
from parley_export.modules import FlowField
from parley_export.modules.flow import FlowBlock

TO_THE_END = 1 << 30


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
    rows = g.op("Reshape", g.input("modulation"), g.ints(-1, config.hidden))
    x = _embed(g, flow)
    sight = _Sight(g, flow)
    for i, block in enumerate(flow.blocks):
        with g.scope(f"blocks.{i}"):
            vectors = [g.op("Gather", rows, g.index(6 * i + k), axis=0) for k in range(6)]
            x = _flow_block(g, x, (i, block), vectors, sight)
    first = 6 * config.layers
    shift, scale = (g.op("Gather", rows, g.index(first + k), axis=0) for k in range(2))
    x = g.linear(_modulate(g, x, shift, scale), flow.output_layer.linear, "output")
    g.output("velocity", x)
    return g.save(path)


def _embed(g: GraphBuilder, flow: FlowField) -> str:
    """Projected inputs and their convolution, which goes on from the carried rows."""
    conv, half = flow.conv_embed.conv, flow.config.conv_kernel // 2
    x = g.linear(g.input("inputs"), flow.transformer_input_proj, "transformer_input_proj")
    g.output("rows", x)
    y = g.transpose(g.concat(1, g.input("carried"), x), 0, 2, 1)
    taps = (conv.weight, conv.bias, "conv_embed")
    y = g.conv(y, *taps, group=flow.config.conv_groups, pads=[0, half])
    return g.op("Add", x, g.transpose(g.op("Gelu", y), 0, 2, 1))


class _Sight:
    """What all blocks' attention shares: angles, mask, and whether there is anything to recall."""

    def __init__(self, g: GraphBuilder, flow: FlowField) -> None:
        positions = g.op("Unsqueeze", g.cast(g.input("positions"), "f32"), g.ints(1))
        angles = g.op("Mul", positions, g.floats("rates", flow.blocks[0].attn.rotary.inv_freq))
        angles = g.concat(-1, angles, angles)
        self.angles = [g.cast(g.op(f, angles), g.precision, "f32") for f in ("Cos", "Sin")]
        n_past = g.op("Shape", "past_keys.0", start=1, end=2)
        own = (g.ints(TO_THE_END), g.ints(0))
        self.own_angles = [g.op("Slice", part, n_past, *own) for part in self.angles]
        self.mask = g.op("Unsqueeze", g.input("mask"), g.ints(1))
        recalled = g.op("Add", g.op("Shape", "prompt_keys.0", start=2, end=3), n_past)
        self.alone = g.op("Squeeze", g.op("Equal", recalled, g.ints(0)), g.ints(0))


def _flow_block(
    g: GraphBuilder, x: str, numbered: tuple[int, FlowBlock], vectors: list[str], sight: _Sight
) -> str:
    layer, block = numbered
    attn, ffn = block.attn, block.ffn
    normed = _modulate(g, x, vectors[0], vectors[1])
    head_width = attn.q_proj.out_features // attn.heads
    q = g.split_heads(g.linear(normed, attn.q_proj, "q_proj"), attn.heads)
    q = g.op("Mul", _rotate(g, q, sight.own_angles), g.scalar(head_width**-0.5))
    k, v = (
        _recall(g, g.linear(normed, project, f"{name[0]}_proj"), name, layer)
        for project, name in ((attn.k_proj, "keys"), (attn.v_proj, "values"))
    )
    k = _rotate(g, g.split_heads(k, attn.heads), sight.angles)
    v = g.split_heads(v, attn.heads)
    g.output(f"as_prompt_keys.{layer}", k)
    g.output(f"as_prompt_values.{layer}", v)
    mixed = g.choose(
        sight.alone,
        lambda: _attend(g, q, k, v),
        lambda: _attend_all(g, q, (k, v), sight, layer),
    )
    mixed = g.linear(g.merge_heads(mixed), attn.o_proj, "o_proj")
    x = g.op("Add", x, g.op("Mul", mixed, vectors[2]))
    inner = g.linear(_modulate(g, x, vectors[3], vectors[4]), ffn.fc1, "fc1")
    inner = g.linear(g.op("Gelu", inner, approximate="tanh"), ffn.fc2, "fc2")
    return g.op("Add", x, g.op("Mul", inner, vectors[5]))


def _recall(g: GraphBuilder, own: str, name: str, layer: int) -> str:
    """The past's keys or values and behind them the own ones `[B, R + T, D]`."""
    g.output(f"{name}.{layer}", own)
    return g.concat(1, g.input(f"past_{name}.{layer}"), own)


def _attend(g: GraphBuilder, q: str, k: str, v: str) -> str:
    scores = g.op("MatMul", q, g.transpose(k, 0, 1, 3, 2))
    return g.op("MatMul", g.op("Softmax", scores, axis=-1), v)


def _attend_all(g: GraphBuilder, q: str, rows: tuple[str, str], sight: _Sight, layer: int) -> str:
    """Over the prompt's keys where they lie and over `rows`; the large ones are never copied.

    Scores stand upright, `[keys, T]`: so a matrix product packs the few queries and not the many
    keys, which halves its time. The softmax is written out, since its two parts stay apart.
    """
    upright = g.transpose(q, 0, 1, 3, 2)
    far = g.op("MatMul", g.input(f"prompt_keys.{layer}"), upright)
    near = g.op("Add", g.op("MatMul", rows[0], upright), sight.mask)
    axis = g.ints(2)
    top = g.op("Max", g.op("ReduceMax", far, axis), g.op("ReduceMax", near, axis))
    far, near = (g.op("Exp", g.op("Sub", part, top)) for part in (far, near))
    total = g.op("Add", g.op("ReduceSum", far, axis), g.op("ReduceSum", near, axis))
    far = g.op("MatMul", g.input(f"prompt_values.{layer}"), far)
    near = g.op("MatMul", g.transpose(rows[1], 0, 1, 3, 2), near)
    mixed = g.op("Div", g.op("Add", far, near), total)
    return g.transpose(mixed, 0, 1, 3, 2)


def _modulate(g: GraphBuilder, x: str, shift: str, scale: str) -> str:
    """The modulation vectors stand in for the norm's own affine: one pass instead of three."""
    scale = g.op("Add", scale, g.scalar(1.0))
    return g.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-6)


def _rotate(g: GraphBuilder, x: str, angles: list[str]) -> str:
    low, high = g.ops("Split", 2, x, axis=-1, num_outputs=2)
    turned = g.concat(-1, g.op("Neg", high), low)
    return g.op("Add", g.op("Mul", x, angles[0]), g.op("Mul", turned, angles[1]))


def _silu(g: GraphBuilder, x: str) -> str:
    return g.op("Mul", x, g.op("Sigmoid", x))
