"""ONNX graphs of the encoder; knows neither checkpoint files nor the manifest around them.

Each function says in graph nodes what the module of the same name computes; tests hold the two
equal. Built by hand rather than traced: it takes milliseconds, streams the weights from wherever
they lie, and shapes, names and constants are exactly these.
"""

from __future__ import annotations

from pathlib import Path

import torch

from parley_export import contract
from parley_export.families.covo_audio.modules import AudioAdapter, AudioEncoder
from parley_export.graph_builder import GraphBuilder, GraphInfo
from parley_export.whisper_graphs import MASKED, encoder_layer, taps


def export_encoder_segment(
    encoder: AudioEncoder, adapter: AudioAdapter, path: Path, precision: str = "f32"
) -> GraphInfo:
    """Segments: log-mel to encoder frames and features.

    A whole segment has twice as many mel frames as the encoder has positions (30 s as published);
    the graph takes shorter ones too.
    """
    config = encoder.config
    sizes = {
        "n_mels": config.n_mels,
        "encoder_width": config.width,
        "width": adapter.config.out_width,
    }
    g = GraphBuilder(contract.graph("encoder_segment"), sizes, precision)
    x = g.op("Gelu", g.conv(g.input("log_mel"), *taps(encoder.conv1, "conv1"), pads=[1, 1]))
    x = g.op("Gelu", g.conv(x, *taps(encoder.conv2, "conv2"), pads=[1, 1], strides=[2]))
    x = g.transpose(x, 0, 2, 1)
    positions = g.weight("embed_positions", encoder.embed_positions.weight)
    n_frames = g.op("Shape", x, start=1, end=2)
    x = g.op("Add", x, g.op("Slice", positions, g.ints(0), n_frames, g.ints(0)))
    for i, layer in enumerate(encoder.layers):
        with g.scope(f"layers.{i}"):
            x = encoder_layer(g, x, layer)[0]
    x = g.layer_norm(x, encoder.layer_norm, "layer_norm")
    g.output("encoded", x)
    x = g.transpose(x, 0, 2, 1)
    for i, stage in enumerate(adapter.downsample_layers):
        with g.scope(f"adapter.{i}"):
            x = g.conv(x, *taps(stage.conv1d, "conv1d"), pads=[1, 1], strides=[2])
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
            x, layer_keys, layer_values = encoder_layer(
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
    x = g.op("Gelu", g.conv(mel, *taps(encoder.conv1, "conv1")))
    half = g.concat(2, g.input("state_in.conv2"), x)
    g.output("state_out.conv2", g.slice(half, 2, -1, 1 << 30))
    x = g.op("Gelu", g.conv(half, *taps(encoder.conv2, "conv2"), strides=[2]))
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
            x = g.conv(x, *taps(stage.conv1d, "conv1d"), strides=[2])
            x = _adapter_linears(g, x, stage)
    g.output("state_out.adapter", g.concat(0, *after))
    return x
