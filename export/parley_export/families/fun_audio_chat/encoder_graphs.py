"""The encoder's graph, one for turns of any length; knows no checkpoint and no manifest.

Blocks see nothing of each other, so they lie along the batch: 200 frames at a time give the same as
all at once.
"""

from __future__ import annotations

from pathlib import Path

from parley_export import contract
from parley_export.families.fun_audio_chat.modules import AudioEncoder, AudioTower
from parley_export.graph_builder import GraphBuilder, GraphInfo
from parley_export.whisper_graphs import MASKED, encoder_layer, taps


def export_encoder_segment(
    encoder: AudioEncoder, tower: AudioTower, path: Path, precision: str = "f32"
) -> GraphInfo:
    """Log-mel to the encoder's rows and features: who asks keeps the counted ones."""
    config = encoder.config
    sizes = {"n_mels": config.n_mels, "encoder_width": config.width, "width": config.out_width}
    g = GraphBuilder(contract.graph("encoder_segment"), sizes, precision)
    n = g.op("Shape", "log_mel", start=2, end=3)
    x, counts = _blocks(g, n, config.block_frames)
    x = g.op("Gelu", g.conv(x, *taps(encoder.conv1, "conv1"), pads=[1, 1]))
    # What fills the last block up must look to the next convolution like its padding.
    x = g.op("Mul", x, _below(g, config.block_frames, counts, 2))
    x = g.op("Gelu", g.conv(x, *taps(encoder.conv2, "conv2"), pads=[1, 1], strides=[2]))
    x = g.op("Add", g.transpose(x, 0, 2, 1), g.weight("positions", encoder.positions))
    halves = g.op("Div", g.op("Add", counts, g.ints(1)), g.ints(2))
    seen = _below(g, config.block_rows, halves, 3)
    mask = g.op("Mul", g.op("Sub", g.scalar(1.0), seen), g.scalar(MASKED))
    for i, layer in enumerate(encoder.layers):
        with g.scope(f"layers.{i}"):
            x = encoder_layer(g, x, layer, mask)[0]
    rows = g.op("Div", g.op("Add", n, g.ints(1)), g.ints(2))
    x = g.op("Reshape", x, g.ints(1, -1, config.width))
    x = g.op("Slice", x, g.ints(0), rows, g.ints(1))
    g.output("encoded", x)
    x = g.linear(g.layer_norm(_pairs(g, x, rows), encoder.ln_post, "ln_post"), encoder.proj, "proj")
    x = _groups(g, x, config.group)
    matching = tower.continual_output_matching
    g.output("features", g.linear(x, matching, "continual_output_matching"))
    return g.save(path)


def _blocks(g: GraphBuilder, n: str, size: int) -> tuple[str, str]:
    """The input as `[blocks, n_mels, size]`, filled up with zeros, and the frames of each block."""
    n_blocks = g.op("Div", g.op("Add", n, g.ints(size - 1)), g.ints(size))
    missing = g.op("Sub", g.op("Mul", n_blocks, g.ints(size)), n)
    x = g.op("Pad", g.input("log_mel"), g.concat(0, g.ints(0, 0, 0, 0, 0), missing))
    shape = g.concat(0, g.ints(1, 0), n_blocks, g.ints(size))
    blocks = g.transpose(g.op("Reshape", x, shape), 0, 2, 1, 3)
    x = g.op("Squeeze", blocks, g.ints(0))
    first = g.op("Range", g.index(0), g.op("Squeeze", n, g.ints(0)), g.index(size))
    return x, g.op("Min", g.op("Sub", n, first), g.ints(size))


def _below(g: GraphBuilder, size: int, counts: str, ones: int) -> str:
    """`[blocks, 1 (`ones` - 1 times), size]`: 1 at the first `counts[i]` places, 0 behind."""
    counts = g.op("Unsqueeze", counts, g.ints(*range(1, ones + 1)))
    index = g.op("Range", g.index(0), g.index(size), g.index(1))
    return g.cast(g.op("Less", index, counts), g.precision)


def _pairs(g: GraphBuilder, x: str, rows: str) -> str:
    """The mean of every two rows; an odd last one is dropped, an only one is kept."""
    twice = g.op("Min", rows, g.ints(2))
    pairs = g.op("Div", rows, twice)
    x = g.op("Slice", x, g.ints(0), g.op("Mul", pairs, twice), g.ints(1))
    x = g.op("Reshape", x, g.concat(0, g.ints(1), pairs, twice, g.ints(-1)))
    return g.op("ReduceMean", x, g.ints(2), keepdims=0)


def _groups(g: GraphBuilder, x: str, size: int) -> str:
    """The mean of every `size` rows; zeros fill the last group up."""
    n = g.op("Shape", x, start=1, end=2)
    missing = g.op("Mod", g.op("Neg", n), g.ints(size))
    x = g.op("Pad", x, g.concat(0, g.ints(0, 0, 0, 0), missing, g.ints(0)))
    groups = g.op("Div", g.op("Add", n, missing), g.ints(size))
    width = g.op("Shape", x, start=2, end=3)
    x = g.op("Reshape", x, g.concat(0, g.ints(1), groups, g.ints(size), width))
    return g.op("ReduceMean", x, g.ints(2), keepdims=0)
