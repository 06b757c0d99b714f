"""The encoder's graph, one for pieces of any length; knows no checkpoint and no manifest."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from parley_export import contract
from parley_export.families.step_audio_2.modules import AudioAdapter, AudioEncoder
from parley_export.families.step_audio_2.modules.encoder import EncoderBlock
from parley_export.graph_builder import GraphBuilder, GraphInfo

TO_THE_END = 1 << 30


def export_encoder_segment(
    encoder: AudioEncoder, adapter: AudioAdapter, path: Path, precision: str = "f32"
) -> GraphInfo:
    """One piece's log-mel to encoder rows and features, all of them: who asks keeps the counted."""
    config = encoder.config
    sizes = {
        "n_mels": config.n_mels,
        "encoder_width": config.width,
        "width": adapter.config.out_width,
    }
    g = GraphBuilder(contract.graph("encoder_segment"), sizes, precision)
    x = g.op("Gelu", _conv(g, g.input("log_mel"), encoder.conv1, "conv1"))
    x = g.op("Gelu", _conv(g, x, encoder.conv2, "conv2", strides=[2]))
    x = g.transpose(x, 0, 2, 1)
    n = g.op("Shape", x, start=1, end=2)
    positions = g.weight("positions", encoder.positional_embedding.weight)
    x = g.op("Add", x, g.op("Slice", positions, g.ints(0), n, g.ints(0)))
    for i, block in enumerate(encoder.blocks):
        with g.scope(f"blocks.{i}"):
            x = _block(g, x, block, config.hidden_rows)
    # A row of zeros would go into the average: an odd last one is dropped.
    pairs = g.op("Div", n, g.ints(2))
    x = g.op("Slice", x, g.ints(0), g.op("Mul", pairs, g.ints(2)), g.ints(1))
    x = g.op("Reshape", x, g.concat(0, g.ints(1), pairs, g.ints(2, config.width)))
    x = g.op("ReduceMean", x, g.ints(2), keepdims=0)
    x = g.layer_norm(x, encoder.after_norm, "after_norm")
    g.output("encoded", x)
    with g.scope("adapter"):
        x = _conv(g, g.transpose(x, 0, 2, 1), adapter.conv, "conv", strides=[2])
        x = g.transpose(g.op("Gelu", x), 0, 2, 1)
        x = g.op("Relu", g.linear(x, adapter.linear1, "linear1"))
        g.output("features", g.linear(x, adapter.linear2, "linear2"))
    return g.save(path)


def _conv(g: GraphBuilder, x: str, conv: nn.Conv1d, name: str, **attributes: list[int]) -> str:
    return g.conv(x, conv.weight, conv.bias, name, pads=[1, 1], **attributes)


def _block(g: GraphBuilder, x: str, block: EncoderBlock, hidden_rows: int) -> str:
    attn = block.attn
    normed = g.layer_norm(x, block.attn_ln, "attn_ln")
    seen = g.slice(normed, 1, 0, -hidden_rows or TO_THE_END)
    q = g.split_heads(g.linear(normed, attn.query, "query"), attn.heads)
    k = g.split_heads(g.linear(seen, attn.key, "key"), attn.heads)
    v = g.split_heads(g.linear(seen, attn.value, "value"), attn.heads)
    mixed = g.merge_heads(g.attend(q, k, v, attn.query.out_features // attn.heads))
    x = g.op("Add", x, g.linear(mixed, attn.out, "out"))
    inner = g.linear(g.layer_norm(x, block.mlp_ln, "mlp_ln"), block.mlp[0], "mlp.0")
    return g.op("Add", x, g.linear(g.op("Gelu", inner), block.mlp[2], "mlp.2"))
