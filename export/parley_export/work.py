"""What one run of a graph or of a token model takes, by arithmetic; knows no model and no machine.

A family counts it from its configs and the manifest says it, so that what a bundle costs can be
told without looking into its files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from parley_export.qwen import BackboneConfig


@dataclass(frozen=True)
class Work:
    """In numbers and multiply-adds; a row is one frame or position of the run.

    weights: read in every run, vectors left out. macs: of a row. attention: of a row with each row
    that it sees. cached: numbers read of each earlier row that it sees. activated: values of a row
    that pass an activation worth counting. bytes: of the weights, where their type does not tell.
    """

    weights: int
    macs: int
    attention: int = 0
    cached: int = 0
    activated: int = 0
    bytes: int = 0

    def as_dict(self) -> dict[str, int]:
        """For the manifest: zeros are left out."""
        return {key: n for key, n in asdict(self).items() if n}


@dataclass(frozen=True)
class Works:
    """Of a whole model; graphs by their names in the contract.

    audio_share: of the vocabulary, what a draw of a code needs of the logits; 0 for all.
    """

    graphs: Mapping[str, Work]
    backbone: Work
    logits: Work
    audio_share: float = 0.0


def transformer(layers: int, width: int, ffn_width: int) -> Work:
    """Of blocks of attention and two matrices."""
    weights = layers * (4 * width**2 + 2 * width * ffn_width)
    return Work(weights, weights, attention=2 * layers * width, cached=2 * layers * width)


def token_model(sizes: BackboneConfig, n_bytes: int = 0) -> Work:
    """Of the layers; a row is a position."""
    inner, kv = sizes.heads * sizes.head_width, sizes.kv_heads * sizes.head_width
    layer = 2 * sizes.width * (inner + kv) + 3 * sizes.width * sizes.ffn_width
    weights = sizes.layers * layer
    attention, cached = 2 * sizes.layers * inner, 2 * sizes.layers * kv
    return Work(weights, weights, attention, cached, bytes=n_bytes)


def logits(sizes: BackboneConfig, n_bytes: int = 0) -> Work:
    """Of the logits; a row is a position that something is drawn at."""
    weights = sizes.vocab_size * sizes.width
    return Work(weights, weights, bytes=n_bytes)
