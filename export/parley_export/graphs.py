"""ONNX graphs of the modules; knows neither checkpoint files nor the manifest around them.

Each function says in graph nodes what the module of the same name computes; tests hold the two
equal. Built by hand rather than traced: it takes milliseconds, streams the weights from wherever
they lie, and shapes, names and constants are exactly these.
"""

from __future__ import annotations

from pathlib import Path

import torch

from parley_export import contract
from parley_export.graph_builder import GraphBuilder, GraphInfo
from parley_export.modules import AudioAdapter, AudioEncoder, FlowField
from parley_export.modules.encoder import EncoderLayer
from parley_export.modules.flow import FlowBlock
from parley_export.vocoder_graph import export_vocoder

# Finite, so half precision holds it; the softmax of a masked score is exactly zero.
MASKED = -1e4

__all__ = [
    "GraphInfo",
    "export_encoder_chunk",
    "export_encoder_segment",
    "export_flow_condition",
    "export_flow_field",
    "export_flow_modulation",
    "export_vocoder",
]


def export_encoder_segment(
    encoder: AudioEncoder, adapter: AudioAdapter, path: Path, precision: str = "f32"
) -> GraphInfo:
    """Whole segments as published: log-mel to encoder frames and features.

    A segment has twice as many mel frames as the encoder has positions (30 s as published).
    """
    config = encoder.config
    n_features = config.positions
    for _ in adapter.downsample_layers:
        n_features = -(-n_features // 2)
    sizes = {
        "n_mels": config.n_mels,
        "segment_mel_frames": 2 * config.positions,
        "segment_frames": config.positions,
        "segment_features": n_features,
        "encoder_width": config.width,
        "width": adapter.config.out_width,
    }
    g = GraphBuilder(contract.graph("encoder_segment"), sizes, precision)
    x = g.op("Gelu", g.conv(g.input("log_mel"), *_taps(encoder.conv1, "conv1"), pads=[1, 1]))
    x = g.op("Gelu", g.conv(x, *_taps(encoder.conv2, "conv2"), pads=[1, 1], strides=[2]))
    x = g.transpose(x, 0, 2, 1)
    x = g.op("Add", x, g.weight("embed_positions", encoder.embed_positions.weight))
    for i, layer in enumerate(encoder.layers):
        with g.scope(f"layers.{i}"):
            x = _encoder_layer(g, x, layer)[0]
    x = g.layer_norm(x, encoder.layer_norm, "layer_norm")
    g.output("encoded", x)
    x = g.transpose(x, 0, 2, 1)
    for i, stage in enumerate(adapter.downsample_layers):
        with g.scope(f"adapter.{i}"):
            x = g.conv(x, *_taps(stage.conv1d, "conv1d"), pads=[1, 1], strides=[2])
            x = _adapter_linears(g, x, stage)
            x = g.transpose(x, 0, 2, 1)
    g.output("features", g.transpose(x, 0, 2, 1))
    return g.save(path)


def export_encoder_chunk(
    encoder: AudioEncoder,
    adapter: AudioAdapter,
    path: Path,
    left_context_frames: int | None = None,
    precision: str = "f32",
) -> GraphInfo:
    """One chunk with its streaming states; left context in encoder frames (None: the encoder's)."""
    config, chunk = encoder.config, encoder.config.chunk_frames
    context = config.left_context_frames if left_context_frames is None else left_context_frames
    sizes = {
        "n_mels": config.n_mels,
        "chunk_mel_frames": encoder.chunk_mel_frames,
        "chunk_features": chunk >> len(adapter.downsample_layers),
        "encoder_width": config.width,
        "width": adapter.config.out_width,
        "layers": config.layers,
        "heads": config.heads,
        "left_context": context,
        "head_width": config.width // config.heads,
        "adapter_stages": len(adapter.downsample_layers),
    }
    g = GraphBuilder(contract.graph("encoder_chunk"), sizes, precision)
    x = _chunk_frames(g, encoder)
    mask = _context_mask(g, context, chunk)
    split = {"axis": 0, "num_outputs": config.layers}
    past_keys = g.ops("Split", config.layers, g.input("state_in.keys"), **split)
    past_values = g.ops("Split", config.layers, g.input("state_in.values"), **split)
    keys, values = [], []
    for i, layer in enumerate(encoder.layers):
        with g.scope(f"layers.{i}"):
            x, layer_keys, layer_values = _encoder_layer(
                g, x, layer, mask, (past_keys[i], past_values[i])
            )
        keys.append(layer_keys)
        values.append(layer_values)
    for name, news in (("keys", keys), ("values", values)):
        kept = g.slice(g.input(f"state_in.{name}"), 2, chunk, context)
        g.output(f"state_out.{name}", g.concat(2, kept, g.concat(0, *news)))
    x = g.layer_norm(x, encoder.layer_norm, "layer_norm")
    g.output("features", _adapter_chunk(g, x, adapter))
    return g.save(path)


def _chunk_frames(g: GraphBuilder, encoder: AudioEncoder) -> str:
    """Convolutions with carried frames, positions, and their states: `[1, chunk frames, D]`."""
    config, chunk = encoder.config, encoder.config.chunk_frames
    mel = g.concat(2, g.input("state_in.conv1"), g.input("log_mel"))
    g.output("state_out.conv1", g.slice(mel, 2, -2, 1 << 30))
    x = g.op("Gelu", g.conv(mel, *_taps(encoder.conv1, "conv1")))
    half = g.concat(2, g.input("state_in.conv2"), x)
    g.output("state_out.conv2", g.slice(half, 2, -1, 1 << 30))
    x = g.op("Gelu", g.conv(half, *_taps(encoder.conv2, "conv2"), strides=[2]))
    position, table = g.input("state_in.position"), g.ints(config.positions)
    frames = g.op("Mod", g.op("Add", position, g.ints(*range(chunk))), table)
    rows = g.weight("embed_positions", encoder.embed_positions.weight)
    x = g.op("Add", g.transpose(x, 0, 2, 1), g.op("Gather", rows, frames))
    after = g.op("Mod", g.op("Add", position, g.ints(chunk)), table)
    g.output("state_out.position", after)
    return x


def _context_mask(g: GraphBuilder, context: int, chunk: int) -> str:
    """`[context + chunk]` to add to scores; hides the cache rows that are not filled yet."""
    filled = g.input("state_in.filled")
    after = g.op("Min", g.op("Add", filled, g.ints(chunk)), g.ints(context))
    g.output("state_out.filled", after)
    hidden = g.op("Less", g.ints(*range(-context, chunk)), g.op("Neg", filled))
    return g.op("Mul", g.cast(hidden, g.precision), g.scalar(MASKED))


def _encoder_layer(
    g: GraphBuilder,
    x: str,
    layer: EncoderLayer,
    mask: str | None = None,
    past: tuple[str, str] | None = None,
) -> tuple[str, str, str]:
    """Returns the output and this call's own keys and values."""
    attn = layer.self_attn
    normed = g.layer_norm(x, layer.self_attn_layer_norm, "self_attn_layer_norm")
    q = g.split_heads(g.linear(normed, attn.q_proj, "q_proj"), attn.heads)
    k = g.split_heads(g.linear(normed, attn.k_proj, "k_proj"), attn.heads)
    v = g.split_heads(g.linear(normed, attn.v_proj, "v_proj"), attn.heads)
    all_k = g.concat(2, past[0], k) if past else k
    all_v = g.concat(2, past[1], v) if past else v
    head_width = attn.q_proj.out_features // attn.heads
    mixed = g.merge_heads(g.attend(q, all_k, all_v, head_width, mask))
    x = g.op("Add", x, g.linear(mixed, attn.out_proj, "out_proj"))
    normed = g.layer_norm(x, layer.final_layer_norm, "final_layer_norm")
    inner = g.op("Gelu", g.linear(normed, layer.fc1, "fc1"))
    return g.op("Add", x, g.linear(inner, layer.fc2, "fc2")), k, v


def _adapter_linears(g: GraphBuilder, x: str, stage: torch.nn.Module) -> str:
    """After a stage's convolution: `[B, D, T]` -> `[B, T, out]`."""
    x = g.transpose(g.op("Relu", x), 0, 2, 1)
    return g.linear(g.op("Relu", g.linear(x, stage.linear1, "linear1")), stage.linear2, "linear2")


def _adapter_chunk(g: GraphBuilder, x: str, adapter: AudioAdapter) -> str:
    """`[1, chunk frames, D]` -> `[1, features, out]`, with the stages' left frames as states."""
    n = len(adapter.downsample_layers)
    state = g.input("state_in.adapter")
    lefts = [g.slice(state, 0, i, i + 1) for i in range(n)]
    after = []
    for i, stage in enumerate(adapter.downsample_layers):
        with g.scope(f"adapter.{i}"):
            after.append(g.slice(x, 1, -1, 1 << 30))
            x = g.transpose(g.concat(1, lefts[i], x), 0, 2, 1)
            x = g.conv(x, *_taps(stage.conv1d, "conv1d"), strides=[2])
            x = _adapter_linears(g, x, stage)
    g.output("state_out.adapter", g.concat(0, *after))
    return x


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
    x = g.transpose(g.linear(g.op("Gather", table, rows), project, "project"), 0, 2, 1)
    pad = upsample.padding[0]
    x = g.conv_transpose(
        x, *_taps(upsample, "upsample"), strides=list(upsample.stride), pads=[pad, pad]
    )
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


def export_flow_field(flow: FlowField, path: Path, precision: str = "f32") -> GraphInfo:
    """One evaluation of the velocity; one modulation serves the whole batch."""
    config = flow.config
    sizes = {
        "field_width": config.hidden + 2 * config.z,
        "modulation_width": flow.modulation_width,
        "z": config.z,
    }
    g = GraphBuilder(contract.graph("flow_field"), sizes, precision)
    rows = g.op("Reshape", g.input("modulation"), g.ints(-1, config.hidden))
    x = g.linear(g.input("inputs"), flow.transformer_input_proj, "transformer_input_proj")
    conv, half = flow.conv_embed.conv, config.conv_kernel // 2
    y = g.transpose(x, 0, 2, 1)
    y = g.conv(y, *_taps(conv, "conv_embed"), group=config.conv_groups, pads=[half, half])
    x = g.op("Add", x, g.transpose(g.op("Gelu", y), 0, 2, 1))
    angles = _rotary_angles(g, x, flow)
    for i, block in enumerate(flow.blocks):
        with g.scope(f"blocks.{i}"):
            vectors = [g.op("Gather", rows, g.index(6 * i + k), axis=0) for k in range(6)]
            x = _flow_block(g, x, block, vectors, angles)
    first = 6 * config.layers
    shift, scale = (g.op("Gather", rows, g.index(first + k), axis=0) for k in range(2))
    x = g.linear(_modulate(g, x, shift, scale), flow.output_layer.linear, "output")
    g.output("velocity", x)
    return g.save(path)


def _rotary_angles(g: GraphBuilder, x: str, flow: FlowField) -> tuple[str, str]:
    """Cosines and sines `[T, head width]` of positions 0 to T - 1, computed in f32."""
    length = g.op("Squeeze", g.op("Shape", x, start=1, end=2), g.ints(0))
    positions = g.op("Range", g.index(0), length, g.index(1))
    positions = g.op("Unsqueeze", g.cast(positions, "f32"), g.ints(1))
    rates = g.floats("rotary_rates", flow.blocks[0].attn.rotary.inv_freq)
    angles = g.op("Mul", positions, rates)
    angles = g.concat(-1, angles, angles)
    cos, sin = g.op("Cos", angles), g.op("Sin", angles)
    return g.cast(cos, g.precision, "f32"), g.cast(sin, g.precision, "f32")


def _flow_block(
    g: GraphBuilder, x: str, block: FlowBlock, vectors: list[str], angles: tuple[str, str]
) -> str:
    attn, ffn = block.attn, block.ffn
    normed = _modulate(g, x, vectors[0], vectors[1])
    q = _rotate(g, g.split_heads(g.linear(normed, attn.q_proj, "q_proj"), attn.heads), angles)
    k = _rotate(g, g.split_heads(g.linear(normed, attn.k_proj, "k_proj"), attn.heads), angles)
    v = g.split_heads(g.linear(normed, attn.v_proj, "v_proj"), attn.heads)
    head_width = attn.q_proj.out_features // attn.heads
    mixed = g.linear(g.merge_heads(g.attend(q, k, v, head_width)), attn.o_proj, "o_proj")
    x = g.op("Add", x, g.op("Mul", mixed, vectors[2]))
    inner = g.linear(_modulate(g, x, vectors[3], vectors[4]), ffn.fc1, "fc1")
    inner = g.linear(g.op("Gelu", inner, approximate="tanh"), ffn.fc2, "fc2")
    return g.op("Add", x, g.op("Mul", inner, vectors[5]))


def _modulate(g: GraphBuilder, x: str, shift: str, scale: str) -> str:
    """The modulation vectors stand in for the norm's own affine: one pass instead of three."""
    scale = g.op("Add", scale, g.scalar(1.0))
    return g.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-6)


def _rotate(g: GraphBuilder, x: str, angles: tuple[str, str]) -> str:
    low, high = g.ops("Split", 2, x, axis=-1, num_outputs=2)
    turned = g.concat(-1, g.op("Neg", high), low)
    return g.op("Add", g.op("Mul", x, angles[0]), g.op("Mul", turned, angles[1]))


def _silu(g: GraphBuilder, x: str) -> str:
    return g.op("Mul", x, g.op("Sigmoid", x))


def _taps(conv: torch.nn.Module, name: str) -> tuple[torch.Tensor, torch.Tensor, str]:
    """Arguments of `GraphBuilder.conv` for a plain convolution."""
    return conv.weight, conv.bias, name
