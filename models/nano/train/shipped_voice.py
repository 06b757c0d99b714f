"""The voice's parts, read back from the bundle that ships; knows no training.

The bundle is the committed checkpoint: float16 for flow decoder and vocoder, float32 for the two
voices. Read back and exported again, the graphs' weights are the same.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from parley_export.families.covo_audio.modules import FlowField, Vocoder
from parley_export.families.covo_audio.modules.activation import EPSILON
from train.shipped import BUNDLE, Weights, find, read_graph

# A module's parameter -> its name in the flow's graphs.
FLOW_NAMES = (
    (r"token_embedding\.weight", "token_embedding"),
    (r"token_proj\.0\.", "project."),
    (r"token_proj\.1\.", "upsample."),
    (r"time_embedder\.mlp\.", "time."),
    (r"conv_embed\.conv\.", "conv_embed."),
    (r"blocks\.(\d+)\.modulation_layer\.1\.", r"modulation.\1."),
    (r"blocks\.(\d+)\.(attn|ffn)\.", r"blocks.\1/"),
    (r"output_layer\.linear\.", "output."),
)


def shipped_vocoder(like: Vocoder, bundle: Path = BUNDLE) -> Weights:
    """`like.state_dict()` with the bundle's weights.

    Raises:
        FileNotFoundError: there is no such bundle.
    """
    graph = read_graphs(bundle, "vocoder*.onnx")
    found = {}
    for name in like.state_dict():
        stem, _, leaf = name.rpartition(".")
        stem = re.sub(r"^ups\.(\d+)\.0", r"ups.\1", stem)
        stem = re.sub(r"^resblocks\.(\d+)\.", r"resblocks.\1/", stem).removesuffix(".act")
        if leaf in ("alpha", "beta"):
            value = logarithm(graph, stem, leaf)
        elif leaf == "weight_g":
            value = graph[f"{stem}.weight"].norm(dim=(1, 2), keepdim=True)
        else:
            value = graph[f"{stem}.{leaf.replace('weight_v', 'weight')}"]
        found[name] = value
    return found


def logarithm(graph: Weights, activation: str, leaf: str) -> Tensor:
    """alpha or beta `[C]`, from the fused operator or from plain nodes (see SnakeBeta)."""
    if f"{activation}/{leaf}" in graph:
        return graph[f"{activation}/{leaf}"]
    if leaf == "alpha":
        return graph[f"{activation}/rate"][::2, 0].log()
    return (1 / graph[f"{activation}/gain"][::2, 0] - EPSILON).log()


def shipped_flow(like: FlowField, bundle: Path = BUNDLE) -> Weights:
    """`like.state_dict()` with the bundle's weights.

    Raises:
        FileNotFoundError: there is no such bundle.
    """
    graph = read_graphs(bundle, "flow_[cm]*.onnx")
    # In the field weights stand on the left of their products: matrices as in the module, biases
    # as columns.
    for name, tensor in read_graphs(bundle, "flow_field*.onnx").items():
        graph[name] = tensor.T.squeeze(0) if tensor.dim() == 2 else tensor
    # The graph has a row of zeros for padding.
    graph["token_embedding"] = graph["token_embedding"][: like.config.codes].T
    blocks = len(like.blocks)
    found = {}
    for name, tensor in like.state_dict().items():
        theirs = name.replace("output_layer.adaLN_modulation.1", f"modulation.{blocks}")
        for pattern, stem in FLOW_NAMES:
            theirs = re.sub(f"^{pattern}", stem, theirs)
        found[name] = find(graph, theirs, tensor)
    return found


def read_graphs(bundle: Path, pattern: str) -> Weights:
    """The initializers of all graphs whose file fits."""
    found: Weights = {}
    for path in sorted(bundle.glob(pattern)):
        found |= read_graph(path)
    if not found:
        raise FileNotFoundError(
            f"[shipped.read] expected {pattern} in {bundle}, got none; train the voice first"
        )
    return found


def shipped_speaker(name: str, bundle: Path = BUNDLE) -> dict[str, np.ndarray]:
    """A voice: tokens int32 [P], latents [4 P, z] (normalised), speaker [S]."""
    entry = _manifest(bundle)["voices"][name]
    found = {}
    for leaf, kind in (("tokens", "<i4"), ("latents", "<f4"), ("speaker", "<f4")):
        values = np.fromfile(bundle / entry[leaf]["file"], kind)
        found[leaf] = values.reshape(entry[leaf]["shape"])
    return found


def shipped_stats(bundle: Path = BUNDLE) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of the latents per band."""
    flow = _manifest(bundle)["flow"]
    return np.float32(flow["latent_mean"]), np.float32(flow["latent_var"])


def _manifest(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "manifest.json").read_text())
