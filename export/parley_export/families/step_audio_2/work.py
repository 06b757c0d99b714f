"""What a run of each graph takes, counted from the configs; needs no torch."""

from __future__ import annotations

from parley_export import harmonic_vocoder
from parley_export.families.step_audio_2.configs import (
    AdapterConfig,
    CodeEncoderConfig,
    EncoderConfig,
    FieldConfig,
    FlowConfig,
)
from parley_export.work import Work, transformer

PARTS, LAST_PARTS = 9, 2  # of the modulation, of a block and of the output
TAPS = 3  # of a convolution in the encoder, the adapter and the field
LOOKAHEAD_TAPS, UPSAMPLE_TAPS = 4 + 3, 5


def encoder(sizes: EncoderConfig, adapter: AdapterConfig) -> Work:
    """A row is one behind the convolutions; the adapter makes one of four."""
    layers = transformer(sizes.layers, sizes.width, 4 * sizes.width)
    stem = TAPS * (sizes.n_mels + sizes.width) * sizes.width
    after = (TAPS * adapter.width + adapter.hidden) * adapter.width
    after += adapter.hidden * adapter.out_width
    weights = layers.weights + stem
    return Work(weights + after, weights + after // 4, layers.attention, layers.cached)


def code_encoder(sizes: CodeEncoderConfig, n_mels: int) -> Work:
    """A row is a log-mel frame, of which a code gives two; half of the blocks work on codes."""
    width = sizes.width
    block = 5 * width**2 + 2 * width * sizes.ffn_width
    on_codes = sizes.blocks * block + (1 + LOOKAHEAD_TAPS) * width**2
    on_frames = sizes.up_blocks * block + (1 + UPSAMPLE_TAPS) * width**2 + width * n_mels
    blocks = sizes.blocks + sizes.up_blocks
    # Half as many keys and half as many rows see them in the first blocks.
    attention = 2 * width * (sizes.up_blocks + sizes.blocks // 4)
    return Work(on_codes + on_frames, on_frames + on_codes // 2, attention, 2 * blocks * width)


def field(sizes: FieldConfig) -> Work:
    """A row is a log-mel frame."""
    inner = sizes.heads * sizes.head_width
    block = 4 * sizes.hidden * inner + 2 * sizes.hidden * sizes.ffn_width
    block += 2 * TAPS * sizes.hidden**2
    weights = sizes.layers * block + (4 + 1) * sizes.n_mels * sizes.hidden
    seen = 2 * sizes.layers * inner
    return Work(weights, weights, attention=seen, cached=seen)


def modulation(sizes: FieldConfig) -> Work:
    """A row is an evaluation."""
    weights = (PARTS * sizes.layers + LAST_PARTS) * sizes.hidden**2
    return Work(weights, weights)


def of(
    hearing: EncoderConfig,
    adapter: AdapterConfig,
    flow: FlowConfig,
    speech: harmonic_vocoder.VocoderConfig,
) -> dict[str, Work]:
    """By graph."""
    return {
        "encoder_segment": encoder(hearing, adapter),
        "flow_encoder": code_encoder(flow.encoder, flow.field.n_mels),
        "flow_field": field(flow.field),
        "flow_modulation": modulation(flow.field),
        "vocoder_with_noise": harmonic_vocoder.work_of(speech),
    }
