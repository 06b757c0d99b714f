"""Graph nodes of Whisper's encoder, as modules/whisper.py has its layers; knows no family."""

from __future__ import annotations

from torch import Tensor, nn

from parley_export.graph_builder import GraphBuilder
from parley_export.modules.whisper import EncoderLayer

# Finite, so half precision holds it; the softmax of a masked score is exactly zero.
MASKED = -1e4


def encoder_layer(
    g: GraphBuilder,
    x: str,
    layer: EncoderLayer,
    mask: str | None = None,
    past: tuple[str, str] | None = None,
) -> tuple[str, str, str]:
    """A layer; `mask` is added to the scores, `past` holds keys and values before the own ones.

    Returns the output and this call's own keys and values.
    """
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


def taps(conv: nn.Module, name: str) -> tuple[Tensor, Tensor, str]:
    """Arguments of `GraphBuilder.conv` for a plain convolution."""
    return conv.weight, conv.bias, name
