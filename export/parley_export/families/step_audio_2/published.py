"""Step-Audio 2 mini's published sizes, and small ones to fit one stage; reads no checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from parley_export import loading
from parley_export.families.step_audio_2.checkpoint import Checkpoint, Configs, Layout
from parley_export.families.step_audio_2.configs import (
    AdapterConfig,
    CodeEncoderConfig,
    EncoderConfig,
    FieldConfig,
    FlowConfig,
)
from parley_export.families.step_audio_2.prompts import (
    CALL_BEGIN,
    CALL_END,
    REQUIRED,
    audio_token,
)
from parley_export.families.step_audio_2.settings import Settings
from parley_export.harmonic_vocoder import VocoderConfig
from parley_export.qwen import BackboneConfig
from parley_export.random_weights import WHOLE, RandomShards, byte_tokenizer
from parley_export.voices import Voice

STAGES = ("encoder", "backbone", "flow", "vocoder")
CODES, TEXT_IDS = 6561, 151696
VOICE_CODES, SPEAKER_WIDTH = 100, 192

BACKBONE = BackboneConfig(
    width=3584,
    ffn_width=18944,
    layers=28,
    heads=28,
    kv_heads=4,
    vocab_size=158720,
    head_width=128,
)
ENCODER = EncoderConfig(width=1280, layers=32, heads=20, n_mels=128, positions=1500)
FLOW = FlowConfig(
    codes=CODES,
    speaker_width=SPEAKER_WIDTH,
    encoder=CodeEncoderConfig(width=512, heads=8, ffn_width=2048, blocks=6, up_blocks=4),
    field=FieldConfig(hidden=512, heads=8, head_width=64, ffn_width=2048, layers=16),
)
VOCODER = VocoderConfig()

SMALL_WIDTH, SMALL_TEXT_IDS, SMALL_CODES = 64, 320, 32
SMALL_ENCODER = EncoderConfig(width=64, layers=1, heads=2, n_mels=128, positions=1500)
SMALL_FLOW = FlowConfig(
    codes=SMALL_CODES,
    speaker_width=SPEAKER_WIDTH,
    encoder=CodeEncoderConfig(width=64, heads=2, ffn_width=64, blocks=1, up_blocks=1),
    field=FieldConfig(hidden=64, heads=2, head_width=32, ffn_width=64, layers=1),
)
SMALL_VOCODER = VocoderConfig(width=64, pitch_width=16)


def random_checkpoint(stage: str, settings: Settings) -> Checkpoint:
    """Random weights; `stage` (one of STAGES, or WHOLE) has the published sizes."""
    configs = stage_configs(stage)
    text = TEXT_IDS if stage in ("backbone", WHOLE) else SMALL_TEXT_IDS
    codes = [audio_token(code) for code in range(configs.flow.codes + 1)]
    names = (*REQUIRED, CALL_BEGIN, CALL_END, *codes)
    tokenizer = byte_tokenizer(text + len(codes), names)
    modules = loading.module_shapes(*configs.hearing, *configs.speech)
    shapes = configs.token_model(tokenizer).shapes | modules
    return Checkpoint(
        layout=Layout(
            folder=Path(),
            name=f"random weights, {stage} in full",
            location="random",
            token2wav=Path(),
            voice=None,
        ),
        tokenizer=tokenizer,
        shards=RandomShards(shapes),
        settings=settings,
        configs=configs,
        decoder={},
        voices={"default": voice_of(configs)},
    )


def stage_configs(stage: str) -> Configs:
    """The published sizes of one stage (or all, WHOLE), and small ones that fit to it."""
    in_full = {name: stage in (name, WHOLE) for name in STAGES}
    width = BACKBONE.width if in_full["encoder"] or in_full["backbone"] else SMALL_WIDTH
    flow = FLOW if in_full["flow"] else SMALL_FLOW
    if in_full["backbone"]:
        backbone, flow = BACKBONE, replace(flow, codes=CODES)
    else:
        heads, n = width // 64, SMALL_TEXT_IDS + flow.codes + 1
        backbone = replace(
            BACKBONE,
            width=width,
            ffn_width=64,
            layers=1,
            heads=heads,
            kv_heads=heads,
            head_width=64,
            vocab_size=n,
        )
    encoder = ENCODER if in_full["encoder"] else SMALL_ENCODER
    return Configs(
        backbone=backbone,
        encoder=encoder,
        adapter=AdapterConfig(encoder.width, width, 2048 if in_full["encoder"] else 64),
        flow=flow,
        vocoder=VOCODER if in_full["vocoder"] else SMALL_VOCODER,
        max_positions=16384,
    )


def voice_of(configs: Configs) -> Voice:
    """A voice of four seconds."""
    draw = np.random.default_rng(0)
    return Voice(
        tokens=draw.integers(0, configs.flow.codes, VOICE_CODES).astype("<i4"),
        latents=draw.standard_normal((2 * VOICE_CODES, configs.vocoder.n_mels)).astype("<f4"),
        speaker=draw.standard_normal(configs.flow.speaker_width).astype("<f4"),
    )
