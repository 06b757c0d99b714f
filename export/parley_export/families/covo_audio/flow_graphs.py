"""ONNX graphs of the flow decoder; knows neither checkpoint files nor the runtime's caches.

The field's one graph serves every mode. Without prompt and past it is the whole computation, as
`FlowField.field`; with them it computes the own rows alone, as `FlowField.extend`.
"""

from __future__ import annotations

from pathlib import Path

import torch

from parley_export import contract
from parley_export.column_graphs import Columns, RotarySight, modulate, silu
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
    x = silu(g, g.linear(x, flow.time_embedder.mlp[0], "time.0"))
    x = g.linear(x, flow.time_embedder.mlp[2], "time.2")
    rows = g.op("Shape", x, start=0, end=1)
    shape = g.concat(0, rows, g.ints(config.speaker_width))
    x = g.concat(-1, x, g.op("Expand", g.input("speaker"), shape))
    c = silu(g, g.linear(x, flow.cond_proj, "cond_proj"))
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
        "carried_width": config.hidden,
        "layers": config.layers,
        "heads": config.heads,
        "head_width": config.hidden // config.heads,
        "carried_frames": config.conv_kernel // 2,
    }
    g = GraphBuilder(contract.graph("flow_field"), sizes, precision, cache=cache)
    columns = Columns(g, config.hidden)
    x = _embed(g, flow, columns)
    rates = torch.cat([flow.blocks[0].attn.rotary.inv_freq] * 2)
    sight = RotarySight(g, rates)
    for i, block in enumerate(flow.blocks):
        with g.scope(f"blocks.{i}"):
            x = _flow_block(g, x, (i, block), columns, sight)
    normed = modulate(g, x, 6 * config.layers, columns)
    velocity = columns.linear(normed, flow.output_layer.linear, "output")
    g.output("velocity", columns.rows_of(velocity, config.z))
    return g.save(path)


def _embed(g: GraphBuilder, flow: FlowField, columns: Columns) -> str:
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


def _flow_block(
    g: GraphBuilder, x: str, numbered: tuple[int, FlowBlock], columns: Columns, sight: RotarySight
) -> str:
    layer, block = numbered
    attn, ffn, first = block.attn, block.ffn, 6 * layer
    width, head_width = attn.q_proj.out_features, attn.q_proj.out_features // attn.heads
    normed = modulate(g, x, first, columns)
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
    k = g.transpose(sight.turned(k)[0], 0, 1, 3, 2)
    v = g.transpose(v, 2, 0, 3, 1)
    mixed = sight.attend(layer, lambda: sight.turned(q, prompt=True), (k, v))
    mixed = columns.flat(g.transpose(mixed, 1, 2, 0, 3), width)
    mixed = columns.linear(mixed, attn.o_proj, "o_proj")
    x = g.op("Add", x, columns.gate(mixed, first + 2))
    inner = columns.linear(modulate(g, x, first + 3, columns), ffn.fc1, "fc1")
    inner = columns.linear(g.op("Gelu", inner, approximate="tanh"), ffn.fc2, "fc2")
    return g.op("Add", x, columns.gate(inner, first + 5))
