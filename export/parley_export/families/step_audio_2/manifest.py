"""A Step-Audio 2 checkpoint's sections of manifest.json; reads no tensors and writes no files."""

from __future__ import annotations

from typing import Any

from parley_export.code_decoder import flow_section, vocoder_section
from parley_export.errors import InputError
from parley_export.families.step_audio_2 import prompts
from parley_export.families.step_audio_2.checkpoint import Checkpoint, Configs
from parley_export.families.step_audio_2.modules import front_end
from parley_export.families.step_audio_2.settings import Settings
from parley_export.family import Choices
from parley_export.manifest import Sections
from parley_export.tokenizer import END_OF_TEXT, Tokenizer

# Numbers of the published system that no config file holds.
CHUNK_MS = 160
TEXT_PER_GROUP, AUDIO_PER_GROUP = 1, 4  # tokens of a reply, in turn: a group is a chunk of sound
IM_END = "<|im_end|>"  # ends a turn in one revision of the config


def check(checkpoint: Checkpoint, choices: Choices) -> None:
    """Refuse what the checkpoint does not serve. Raises InputError."""
    if choices.duplex:
        raise InputError(
            "[export.start] expected no --duplex for a Step-Audio 2 checkpoint, whose weights hold "
            "whole turns, got it; leave it out"
        )
    if not checkpoint.settings.turns:
        raise InputError(
            "[export.start] expected turns in parley.json of a Step-Audio 2 checkpoint, got that "
            "it has none; leave that setting out"
        )


def sections(checkpoint: Checkpoint, choices: Choices) -> Sections:
    """Of the manifest, all that the exporter does not know by itself."""
    configs, settings, tokenizer = checkpoint.configs, checkpoint.settings, checkpoint.tokenizer
    context = min(configs.max_positions, settings.context or configs.max_positions)
    vocoder = configs.vocoder
    system = choices.system if choices.system is not None else settings.system
    return {
        "rates": {
            "input_hz": front_end.ENCODER_HZ,
            "encoder_hz": front_end.ENCODER_HZ,
            "output_hz": vocoder.sample_rate,
            "chunk_ms": CHUNK_MS,
        },
        "front_end": _front_end(configs),
        "backbone": {
            "vocab_size": configs.backbone.vocab_size,
            "width": configs.backbone.width,
            "context": context,
        },
        "vocabulary": _vocabulary(configs, tokenizer),
        "turns": _turns(tokenizer, settings),
        "duplex": None,
        "prompts": {
            "system": prompts.PERSONA if system is None else system,
            **prompts.tool_templates(),
        },
        "flow": flow_section(
            settings, vocoder, steps=configs.flow.steps, guidance=configs.flow.guidance
        ),
        "vocoder": vocoder_section(settings, vocoder),
        "limits": {"context": context, "max_turn_seconds": 600},
    }


def _front_end(configs: Configs) -> dict[str, Any]:
    return {
        "n_fft": front_end.N_FFT,
        "hop": front_end.HOP,
        "n_mels": configs.encoder.n_mels,
        "mel_max_hz": front_end.MEL_MAX_HZ,
        "log_floor": front_end.LOG_FLOOR,
        "clamp_range": front_end.CLAMP_RANGE,
        "offset": front_end.OFFSET,
        "scale": front_end.SCALE,
        "trim_samples": 1,
        "pad_samples": 1,
        "segment_samples": front_end.PIECE_SAMPLES,
        # Behind each piece, in place of silence up to a whole one.
        "tail_samples": front_end.TAIL_SAMPLES,
        # Mel frames less the hidden ones, halved in turn: features of a piece.
        "hidden_mel_frames": 2 * configs.encoder.hidden_rows,
        "feature_halvings": 3,
        "pooled_halving": 2,
        "positions_hz": front_end.ENCODER_HZ // front_end.HOP,
        "resampler": {"zeros": 6, "rolloff": 0.99},
    }


def _vocabulary(configs: Configs, tokenizer: Tokenizer) -> dict[str, Any]:
    codes = configs.flow.codes
    of_codes = {prompts.audio_token(code) for code in range(codes + 1)}
    return {
        "text_end": tokenizer.id_of(prompts.AUDIO_BEGIN),
        "audio_begin": tokenizer.id_of(prompts.audio_token(0)),
        "audio_codes": codes,
        "audio_placeholder": tokenizer.id_of(prompts.AUDIO_PLACEHOLDER),
        "control": {n: i for n, i in tokenizer.special.items() if n not in of_codes},
    }


def _turns(tokenizer: Tokenizer, settings: Settings) -> dict[str, Any]:
    ends = [prompts.TURN_END, END_OF_TEXT, IM_END]
    sampling = {
        "temperature": 0.7,
        "top_k": 0,
        "top_p": 0.9,
        "repetition_penalty": 1.05,  # over the prompt's ids too
        "recent_penalty": 1.0,
        "recent_window": 0,
        "all_turns": 1,
    }
    return {
        **prompts.turn_templates(),
        "end": [tokenizer.id_of(name) for name in ends if name in tokenizer.added],
        "close": tokenizer.id_of(prompts.TURN_END),
        "max_new_tokens": 2048,
        "max_tokens_per_step": 40,
        "first_sampling": sampling,
        "sampling": sampling,
        "short_segments": settings.short_segments,
        # How a spoken reply lies: from begin to end text and sound in turn, then text or a call.
        "speech": {
            "begin": tokenizer.id_of(prompts.SPEECH_BEGIN),
            "end": tokenizer.id_of(prompts.SPEECH_END),
            "text_pad": tokenizer.id_of(prompts.TEXT_PAD),
            "text": TEXT_PER_GROUP,
            "audio": AUDIO_PER_GROUP,
        },
    }
