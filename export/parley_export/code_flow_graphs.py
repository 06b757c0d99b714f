"""Graph nodes that flow decoders of audio codes have in common, as modules/code_flow.py has them.

Knows no family.
"""

from __future__ import annotations

from torch import nn

from parley_export.graph_builder import GraphBuilder
from parley_export.modules.code_flow import LOOKAHEAD, SLOPE, LookaheadLayer


def known_rows(g: GraphBuilder, table: nn.Embedding) -> tuple[str, str]:
    """Rows of the codes `[1, N, D]`, and `[1, N, 1]`: 1 where a code is known, else 0."""
    codes = g.input("codes")
    known = g.op("GreaterOrEqual", codes, g.index(0))
    rows = g.weight("input_embedding", table.weight)
    x = g.op("Gather", rows, g.op("Max", codes, g.index(0)))
    return x, g.op("Unsqueeze", g.cast(known, g.precision), g.ints(2))


def look_ahead(g: GraphBuilder, x: str, layer: LookaheadLayer) -> str:
    """`[1, N + 3, D]` -> `[1, N, D]`, with its state `lookahead`."""
    ahead = g.conv(g.transpose(x, 0, 2, 1), layer.conv1.weight, layer.conv1.bias, "ahead.1")
    ahead = g.concat(2, g.input("state_in.lookahead"), g.op("LeakyRelu", ahead, alpha=SLOPE))
    g.output("state_out.lookahead", g.slice(ahead, 2, -2, 1 << 30))
    ahead = g.conv(ahead, layer.conv2.weight, layer.conv2.bias, "ahead.2")
    return g.op("Add", g.slice(x, 1, 0, -LOOKAHEAD), g.transpose(ahead, 0, 2, 1))


def speaker_rows(g: GraphBuilder, affine: nn.Linear, like: str) -> str:
    """The voice's row, its embedding brought to length one, for each of `like`'s."""
    given = g.input("speaker")
    length = g.op("Sqrt", g.op("ReduceSumSquare", given, g.ints(1)))
    length = g.op("Max", length, g.scalar(1e-12 if g.precision == "f32" else 1e-4))
    row = g.linear(g.op("Div", given, length), affine, "spk_embed_affine_layer")
    return g.op("Expand", g.op("Unsqueeze", row, g.ints(1)), g.op("Shape", like))
