"""Fun-Audio-Chat-8B's published sizes, and small ones to fit one stage; reads no checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from parley_export import loading
from parley_export.families.fun_audio_chat.checkpoint import Checkpoint, Configs, Layout
from parley_export.families.fun_audio_chat.configs import (
    EncoderConfig,
    FieldConfig,
    FlowConfig,
    HeadConfig,
)
from parley_export.families.fun_audio_chat.prompts import CALL_BEGIN, CALL_END, REQUIRED
from parley_export.families.fun_audio_chat.settings import Settings
from parley_export.harmonic_vocoder import VocoderConfig
from parley_export.qwen import BackboneConfig
from parley_export.random_weights import WHOLE, RandomShards, byte_tokenizer
from parley_export.voices import Voice

STAGES = ("encoder", "backbone", "head", "flow", "vocoder")
GROUP, CONTROLS = 5, 4  # codes of a backbone position, ids of the head that are no codes

BACKBONE = BackboneConfig(
    width=4096,
    ffn_width=12288,
    layers=36,
    heads=32,
    kv_heads=8,
    vocab_size=151936,
    head_width=128,
    rope_theta=5e6,
    architecture="qwen3",
)
HEAD = replace(
    BACKBONE,
    width=1024,
    ffn_width=3072,
    layers=28,
    heads=16,
    vocab_size=6561 + CONTROLS,
    rope_theta=1e6,
)
ENCODER = EncoderConfig(
    width=1280,
    layers=32,
    heads=20,
    ffn_width=5120,
    n_mels=128,
    block_frames=200,
    out_width=BACKBONE.width,
    group=GROUP,
)
FLOW = FlowConfig(
    codes=6561,
    speaker_width=192,
    lookahead_width=1024,
    field=FieldConfig(
        hidden=1024, heads=16, head_width=64, ffn_width=2048, layers=22, block_frames=50
    ),
)
VOCODER = VocoderConfig(causal=True, looks_ahead=4, pitch_looks_ahead=3)

SMALL_WIDTH, SMALL_CODES, SMALL_IDS = 64, 32, 320
SMALL = replace(BACKBONE, width=64, ffn_width=64, layers=1, heads=1, kv_heads=1, head_width=64)
SMALL_ENCODER = replace(ENCODER, width=64, layers=1, heads=2, ffn_width=64)
SMALL_FLOW = replace(
    FLOW,
    codes=SMALL_CODES,
    lookahead_width=64,
    field=replace(FLOW.field, hidden=64, heads=2, head_width=32, ffn_width=64, layers=1),
)
SMALL_VOCODER = replace(VOCODER, width=64, pitch_width=16)


def random_checkpoint(stage: str, settings: Settings) -> Checkpoint:
    """Random weights; `stage` (one of STAGES, or WHOLE) has the published sizes."""
    configs = stage_configs(stage)
    tokenizer = byte_tokenizer(configs.backbone.vocab_size, (*REQUIRED, CALL_BEGIN, CALL_END))
    modules = (*configs.hearing, configs.speech_head, *configs.speech)
    shapes = configs.token_model(tokenizer).shapes | loading.module_shapes(*modules)
    speaker = np.random.default_rng(0).standard_normal(configs.flow.speaker_width)
    nothing = np.zeros((0, configs.vocoder.n_mels), "<f4")
    return Checkpoint(
        layout=Layout(
            folder=Path(),
            name=f"random weights, {stage} in full",
            location="random",
            decoder=Path(),
            voices=Path(),
        ),
        tokenizer=tokenizer,
        shards=RandomShards(shapes),
        settings=settings,
        configs=configs,
        decoder={},
        voices={"default": Voice(np.zeros(0, "<i4"), nothing, speaker.astype("<f4"))},
    )


def stage_configs(stage: str) -> Configs:
    """The published sizes of one stage (or all, WHOLE), and small ones that fit to it."""
    in_full = {name: stage in (name, WHOLE) for name in STAGES}
    wide = in_full["encoder"] or in_full["backbone"] or in_full["head"]
    width = BACKBONE.width if wide else SMALL_WIDTH
    flow = FLOW if in_full["flow"] else SMALL_FLOW
    if in_full["head"]:
        flow = replace(flow, codes=FLOW.codes)
    small = replace(SMALL, width=width, vocab_size=SMALL_IDS)
    inner = HEAD if in_full["head"] else replace(SMALL, vocab_size=flow.codes + CONTROLS)
    return Configs(
        backbone=BACKBONE if in_full["backbone"] else small,
        encoder=replace(ENCODER if in_full["encoder"] else SMALL_ENCODER, out_width=width),
        head=HeadConfig(
            group=GROUP,
            table=flow.codes + CONTROLS,
            start=flow.codes,
            end=flow.codes + 1,
            backbone_width=width,
            layers=inner,
            max_positions=32768,
        ),
        flow=flow,
        vocoder=VOCODER if in_full["vocoder"] else SMALL_VOCODER,
        max_positions=262144,
        clip_seconds=30,
        ids={},
    )
