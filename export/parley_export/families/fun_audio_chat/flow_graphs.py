"""The flow decoder's graphs; knows neither checkpoint files nor the runtime's caches.

The field's one graph serves every mode: without prompt and past it is the whole computation, with
them it computes the own rows alone, which see one another and all that is recalled.
"""

from __future__ import annotations

from pathlib import Path

import torch

from parley_export import contract
from parley_export.code_flow_graphs import known_rows, look_ahead, speaker_rows
from parley_export.column_graphs import Columns, RotarySight, modulate, silu
from parley_export.families.fun_audio_chat.modules import Flow
from parley_export.families.fun_audio_chat.modules.flow import FieldBlock
from parley_export.graph_builder import GraphBuilder, GraphInfo
from parley_export.modules.code_flow import FRAMES_PER_CODE

HEADS_TURNED = 1  # that know positions


def export_flow_encoder(flow: Flow, path: Path, precision: str = "f32") -> GraphInfo:
    """Codes and a voice to what the field is given of them, two rows a code."""
    n_mels = flow.config.field.n_mels
    sizes = {
        "hidden": 2 * n_mels,
        "speaker_width": flow.config.speaker_width,
        "width": flow.config.lookahead_width,
        "lookahead_rows": 2,
    }
    g = GraphBuilder(contract.graph("flow_encoder"), sizes, precision)
    x, known = known_rows(g, flow.input_embedding)
    x = look_ahead(g, g.op("Mul", x, known), flow.pre_lookahead_layer)
    x = g.concat(2, x, speaker_rows(g, flow.spk_embed_affine_layer, x))
    rows = g.op("Unsqueeze", x, g.ints(2))
    many = g.concat(2, *[rows] * FRAMES_PER_CODE)
    g.output("token_features", g.op("Reshape", many, g.ints(1, -1, 2 * n_mels)))
    return g.save(path)


def export_flow_modulation(flow: Flow, path: Path, precision: str = "f32") -> GraphInfo:
    """Times to modulation vectors; the sinusoids are computed in f32, no voice has a part in it.

    The output's shift stands before its scale, as everywhere else.
    """
    field = flow.decoder.estimator
    sizes = {
        "speaker_width": flow.config.speaker_width,
        "modulation_width": field.modulation_width,
    }
    g = GraphBuilder(contract.graph("flow_modulation"), sizes, precision)
    rates = g.floats("time_rates", field.time_embed.rates)
    angles = g.op("Mul", g.op("Unsqueeze", "t", g.ints(1)), rates)
    x = g.cast(g.concat(-1, g.op("Sin", angles), g.op("Cos", angles)), precision, "f32")
    first, _, second = field.time_embed.time_mlp
    c = silu(g, g.linear(silu(g, g.linear(x, first, "time.0")), second, "time.2"))
    layers = [block.attn_norm.linear for block in field.transformer_blocks]
    parts = [g.linear(c, layer, f"modulation.{i}") for i, layer in enumerate(layers)]
    last = g.linear(c, field.norm_out.linear, "modulation.out")
    scale, shift = g.ops("Split", 2, last, axis=-1, num_outputs=2)
    g.output("modulation", g.concat(-1, *parts, shift, scale))
    return g.save(path)


def export_flow_field(flow: Flow, path: Path, precision: str = "f32", cache: str = "") -> GraphInfo:
    """One evaluation of the velocity; one modulation serves the whole batch.

    A row of `inputs` is what the codes say, the speaker, the condition and the state. What later
    frames carry are the inputs of both convolutions, side by side.

    `cache` is the type (f32, f16) of the keys and values that go in and out; empty: `precision`.
    """
    field = flow.decoder.estimator
    config = field.config
    sizes = {
        "field_width": 4 * config.n_mels,
        "modulation_width": field.modulation_width,
        "z": config.n_mels,
        "carried_width": 2 * config.hidden,
        "layers": config.layers,
        "heads": config.heads,
        "head_width": config.head_width,
        "carried_frames": config.conv_kernel - 1,
    }
    g = GraphBuilder(contract.graph("flow_field"), sizes, precision, cache=cache)
    columns = Columns(g, config.hidden)
    x = _embed(g, flow, columns)
    sight = RotarySight(g, torch.cat([field.rotary_embed.inv_freq] * 2), HEADS_TURNED)
    for i, block in enumerate(field.transformer_blocks):
        with g.scope(f"blocks.{i}"):
            x = _attention(g, x, (i, block), columns, sight)
            inner, first = modulate(g, x, 6 * i + 3, columns), block.ff.ff["0"][0]
            inner = g.op("Gelu", columns.linear(inner, first, "ff.0"), approximate="tanh")
            inner = columns.linear(inner, block.ff.ff["2"], "ff.2")
            x = g.op("Add", x, columns.gate(inner, 6 * i + 5))
    normed = modulate(g, x, 6 * config.layers, columns)
    velocity = columns.linear(normed, field.proj_out, "output")
    g.output("velocity", columns.rows_of(velocity, config.n_mels))
    return g.save(path)


def _embed(g: GraphBuilder, flow: Flow, columns: Columns) -> str:
    """The inputs' columns and their convolutions, which go on from what is carried.

    A checkpoint's rows are state, condition, codes and speaker; the engine's begin with the codes.
    """
    module = flow.decoder.estimator.input_embed
    width, hidden = module.proj.in_features, module.proj.out_features
    state, condition, said, voice = torch.arange(width).chunk(4)
    order = torch.cat([said, voice, condition, state])
    weight = g.weight("proj.weight", lambda: module.proj.weight[:, order])
    rows = g.op("Reshape", g.input("inputs"), g.ints(-1, width))
    x = g.op("MatMul", weight, columns.turn(rows))
    x = g.op("Add", x, g.weight("proj.bias", lambda: module.proj.bias[:, None]))
    conv = module.conv_pos_embed
    carried = g.transpose(g.input("carried"), 0, 2, 1)
    before = g.ops("Split", 2, carried, axis=1, num_outputs=2)
    y, own = g.transpose(columns.shaped(x, hidden), 1, 0, 2), []
    for past, (layer, _), name in zip(before, (conv.conv1, conv.conv2), ("1", "2"), strict=True):
        own.append(y)
        taps = (layer.weight, layer.bias, f"conv.{name}")
        y = g.op("Mish", g.conv(g.concat(2, past, y), *taps, group=layer.groups))
    g.output("rows", g.transpose(g.concat(1, *own), 0, 2, 1))
    return g.op("Add", x, columns.flat(g.transpose(y, 1, 0, 2), hidden))


def _attention(
    g: GraphBuilder,
    x: str,
    numbered: tuple[int, FieldBlock],
    columns: Columns,
    sight: RotarySight,
) -> str:
    layer, block = numbered
    attn, first = block.attn, 6 * layer
    width = attn.to_q.out_features
    head_width = width // attn.heads
    normed, pairs = modulate(g, x, first, columns), _pairs_across(attn.heads, head_width)
    q, k, v = (
        columns.shaped(columns.linear(normed, project, name, order), attn.heads, head_width)
        for project, name, order in (
            (attn.to_q, "to_q", pairs),
            (attn.to_k, "to_k", pairs),
            (attn.to_v, "to_v", None),
        )
    )
    q, k = (g.transpose(part, 2, 0, 1, 3) for part in (q, k))
    q = g.op("Mul", q, g.scalar(head_width**-0.5))
    k = g.transpose(sight.turned(k)[0], 0, 1, 3, 2)
    v = g.transpose(v, 2, 0, 3, 1)
    mixed = sight.attend(layer, lambda: sight.turned(q, prompt=True), (k, v))
    mixed = columns.flat(g.transpose(mixed, 1, 2, 0, 3), width)
    return g.op("Add", x, columns.gate(columns.linear(mixed, attn.to_out[0], "to_out"), first + 2))


def _pairs_across(heads: int, width: int) -> torch.Tensor:
    """Order of a projection's outputs in which the turned heads' pairs of neighbours are pairs
    across the head's halves; scores do not depend on it."""
    order = torch.arange(heads * width).unflatten(0, (heads, width))
    turned = order[:HEADS_TURNED].unflatten(1, (-1, 2)).transpose(1, 2).flatten(1)
    return torch.cat([turned, order[HEADS_TURNED:]]).flatten()
