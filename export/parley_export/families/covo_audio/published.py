"""Covo-Audio's published sizes, and small ones to fit one stage of them; reads no checkpoint."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from parley_export import loading
from parley_export.families.covo_audio.checkpoint import Checkpoint, Configs, Layout, parse_configs
from parley_export.families.covo_audio.configs import (
    AdapterConfig,
    EncoderConfig,
    FlowConfig,
    VocoderConfig,
)
from parley_export.families.covo_audio.prompts import DUPLEX_CONTROL, REQUIRED
from parley_export.families.covo_audio.settings import Settings
from parley_export.families.covo_audio.work import PUBLISHED
from parley_export.random_weights import WHOLE, RandomShards, byte_tokenizer
from parley_export.voices import Voice

STAGES = ("encoder", "backbone", "flow", "vocoder")
TEXT_IDS = 300  # of a small vocabulary, special names and all

SMALL_ENCODER = EncoderConfig(
    width=64, layers=1, heads=2, ffn_width=64, n_mels=128, positions=1500, left_context_frames=64
)
SMALL_FLOW = {"layers": 1, "hidden": 64, "ffn_width": 64, "heads": 2, "code_width": 8}
SMALL_WIDTH = 64


def random_checkpoint(stage: str, settings: Settings) -> Checkpoint:
    """Random weights; `stage` (one of STAGES, or WHOLE) has the published sizes."""
    configs = stage_configs(stage)
    tokenizer = byte_tokenizer(configs.audio_begin, (*REQUIRED, *DUPLEX_CONTROL))
    modules = loading.module_shapes(*configs.hearing, *configs.speech)
    return Checkpoint(
        layout=Layout(
            folder=Path(),
            name=f"random weights, {stage} in full",
            location="random",
            token2wav=Path(),
            decoder_config=Path(),
            voice=None,
        ),
        tokenizer=tokenizer,
        shards=RandomShards(configs.token_model(tokenizer).shapes | modules),
        settings=settings,
        configs=configs,
        decoder={},
        latent_mean=np.zeros(configs.flow.z, np.float32),
        latent_var=np.ones(configs.flow.z, np.float32),
        voices={"default": voice_of(configs)},
    )


def stage_configs(stage: str) -> Configs:
    """The published sizes of one stage (or all, WHOLE), and small ones that fit to it."""
    full = parse_configs(PUBLISHED["config"], PUBLISHED["decoder"])
    if stage == WHOLE:
        return full
    width = full.backbone.width if stage in ("encoder", "backbone") else SMALL_WIDTH
    codes = full.flow.codes if stage in ("backbone", "flow") else 32
    text = full.audio_begin if stage == "backbone" else TEXT_IDS
    encoder = full.encoder if stage == "encoder" else SMALL_ENCODER
    if stage != "backbone":
        heads = width // 64
        backbone = replace(
            full.backbone,
            width=width,
            ffn_width=64,
            layers=1,
            heads=heads,
            kv_heads=heads,
            head_width=64,
            vocab_size=text + codes,
        )
    else:
        backbone = full.backbone
    hidden = full.adapter.hidden if stage == "encoder" else 64
    adapter = AdapterConfig(encoder.width, width, full.adapter.stages, hidden)
    flow: FlowConfig = full.flow
    if stage != "flow":
        flow = replace(full.flow, codes=codes, **SMALL_FLOW)
    vocoder: VocoderConfig = full.vocoder
    if stage != "vocoder":
        vocoder = replace(
            full.vocoder, width=SMALL_WIDTH, block_kernels=(3,), block_dilations=((1,),)
        )
    return replace(
        full,
        backbone=backbone,
        encoder=encoder,
        adapter=adapter,
        flow=flow,
        vocoder=vocoder,
        audio_begin=text,
    )


def voice_of(configs: Configs) -> Voice:
    """A voice of the published length."""
    draw, sizes = np.random.default_rng(0), PUBLISHED["voice"]
    return Voice(
        tokens=draw.integers(0, configs.flow.codes, sizes["codes"]).astype("<i4"),
        latents=draw.standard_normal((sizes["latent_frames"], configs.flow.z)).astype("<f4"),
        speaker=draw.standard_normal(configs.flow.speaker_width).astype("<f4"),
    )
