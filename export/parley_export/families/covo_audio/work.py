"""What a run of each graph takes, counted from the configs; needs no torch."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from parley_export.families.covo_audio.configs import (
    AdapterConfig,
    EncoderConfig,
    FlowConfig,
    VocoderConfig,
)
from parley_export.qwen import BackboneConfig
from parley_export.work import Work, Works, logits, token_model, transformer

# The sizes of the published model, as its two config files say them, and of its voice.
PUBLISHED: dict[str, Any] = json.loads(
    (Path(__file__).parent / "published.json").read_text("utf-8")
)


def encoder(sizes: EncoderConfig, adapter: AdapterConfig) -> Work:
    """A row is an encoder frame; each stage of the adapter works on half as many as the last."""
    layers = transformer(sizes.layers, sizes.width, sizes.ffn_width)
    stem = 3 * (sizes.n_mels + sizes.width) * sizes.width
    weights = macs = layers.weights + stem
    for stage in range(adapter.stages):
        out = adapter.out_width if stage + 1 == adapter.stages else adapter.width
        n = (3 * adapter.width + adapter.hidden) * adapter.width + adapter.hidden * out
        weights += n
        macs += n >> (stage + 1)
    return Work(weights, macs, layers.attention, layers.cached)


def field(sizes: FlowConfig) -> Work:
    """A row is a latent frame."""
    blocks = transformer(sizes.layers, sizes.hidden, sizes.ffn_width)
    rows_in = (sizes.hidden + 2 * sizes.z) * sizes.hidden
    convolution = sizes.hidden * (sizes.hidden // sizes.conv_groups) * sizes.conv_kernel
    weights = blocks.weights + rows_in + convolution + sizes.hidden * sizes.z
    return Work(weights, weights, blocks.attention, blocks.cached)


def modulation(sizes: FlowConfig) -> Work:
    """A row is an evaluation; the embedding of speaker and time is not worth counting."""
    weights = (6 * sizes.layers + 2) * sizes.hidden**2
    return Work(weights, weights)


def vocoder(sizes: VocoderConfig) -> Work:
    """A row is a latent frame. A transposed convolution multiplies every value that comes in."""
    weights = macs = activated = 0
    speed, before = 1, sizes.width

    def add(shape: tuple[int, int, int], speed: int) -> None:
        nonlocal weights, macs
        weights += math.prod(shape)
        macs += math.prod(shape) * speed

    add((sizes.width, sizes.z, 7), speed)
    for rate, after in zip(sizes.rates, sizes.widths, strict=True):
        add((before, after, 2 * rate), speed)
        speed, before = speed * rate, after
        for kernel, dilations in zip(sizes.block_kernels, sizes.block_dilations, strict=True):
            for _ in range(2 * len(dilations)):
                add((after, after, kernel), speed)
                activated += after * speed
    add((1, before, 7), speed)
    return Work(weights, macs, activated=activated + before * speed)


def of(
    hearing: EncoderConfig, adapter: AdapterConfig, flow: FlowConfig, speech: VocoderConfig
) -> dict[str, Work]:
    """By graph. The condition's share is not worth counting."""
    heard = encoder(hearing, adapter)
    return {
        "encoder_segment": heard,
        "encoder_chunk": heard,
        "flow_field": field(flow),
        "flow_modulation": modulation(flow),
        "vocoder": vocoder(speech),
    }


def published() -> Works:
    """Of the published model."""
    config, decoder = PUBLISHED["config"], PUBLISHED["decoder"]
    flow, backbone = FlowConfig.from_dict(decoder), BackboneConfig.from_dict(config["llm_config"])
    hearing = EncoderConfig.from_dict(config["encoder_config"])
    return Works(
        graphs=of(hearing, AdapterConfig.from_dict(config), flow, VocoderConfig.from_dict(decoder)),
        backbone=token_model(backbone),
        logits=logits(backbone),
        audio_share=flow.codes / backbone.vocab_size,
    )
