"""A Fun-Audio-Chat checkpoint's sections of manifest.json; reads no tensors and writes no files."""

from __future__ import annotations

from typing import Any

from parley_export.code_decoder import flow_section, vocoder_section
from parley_export.errors import InputError
from parley_export.families.fun_audio_chat import prompts
from parley_export.families.fun_audio_chat.checkpoint import Checkpoint, Configs
from parley_export.families.fun_audio_chat.modules import front_end
from parley_export.family import Choices
from parley_export.manifest import Sections
from parley_export.tokenizer import Tokenizer

# Numbers of the published system that no config file holds.
CONTEXT = 2048  # positions that it was trained on
TEXT_PER_GROUP = 1
MAX_NEW_TOKENS = 2048
GREEDY = {
    "temperature": 0.0,
    "top_k": 0,
    "top_p": 1.0,
    "repetition_penalty": 1.0,
    "recent_penalty": 1.0,
    "recent_window": 0,
}
# Of codes: the penalty reaches back over the whole reply and the group under way, nothing else.
CODE_SAMPLING = {**GREEDY, "temperature": 0.8, "top_p": 0.9, "repetition_penalty": 1.2}


def check(checkpoint: Checkpoint, choices: Choices) -> None:
    """Refuse what the checkpoint does not serve. Raises InputError."""
    if choices.duplex:
        raise InputError(
            "[export.start] expected no --duplex for a Fun-Audio-Chat checkpoint, whose weights "
            "hold whole turns, got it; leave it out"
        )
    if not checkpoint.settings.turns:
        raise InputError(
            "[export.start] expected turns in parley.json of a Fun-Audio-Chat checkpoint, got that "
            "it has none; leave that setting out"
        )


def sections(checkpoint: Checkpoint, choices: Choices) -> Sections:
    """Of the manifest, all that the exporter does not know by itself."""
    configs, settings, tokenizer = checkpoint.configs, checkpoint.settings, checkpoint.tokenizer
    flow, vocoder, head = configs.flow, configs.vocoder, configs.head
    most = min(configs.max_positions, head.max_positions // head.group)
    context = min(most, settings.context or CONTEXT)
    system = choices.system if choices.system is not None else settings.system
    speech = flow_section(settings, vocoder, steps=flow.steps, guidance=flow.guidance)
    return {
        "rates": {
            "input_hz": front_end.ENCODER_HZ,
            "encoder_hz": front_end.ENCODER_HZ,
            "output_hz": vocoder.sample_rate,
            "chunk_ms": 1000 * head.group // speech["codes_hz"],
        },
        "front_end": _front_end(configs),
        "backbone": {
            "vocab_size": configs.backbone.vocab_size,
            "width": configs.backbone.width,
            "context": context,
        },
        "head": {
            "vocab_size": head.table,
            "width": head.layers.width,
            "context": head.group * context,
            "group": head.group,
            "start": head.start,
            "end": head.end,
            "sampling": CODE_SAMPLING,
        },
        "vocabulary": _vocabulary(configs, tokenizer),
        "turns": _turns(tokenizer, head.group, settings.short_segments),
        "duplex": None,
        "prompts": {
            "system": prompts.SPOKEN if system is None else system,
            **prompts.tool_templates(),
        },
        "flow": speech,
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
        "segment_samples": configs.clip_seconds * front_end.ENCODER_HZ,
        "tail_samples": front_end.TAIL_SAMPLES,
        # Mel frames halved in turn, then in groups, are what the graph gives; how many of those
        # are kept follows from the samples: so many rows a second, cut off, in groups.
        "feature_halvings": 2,
        "pooled_halving": 2,
        "feature_group": configs.encoder.group,
        "feature_rows_hz": front_end.ROWS_HZ,
        # What comes of a block never changes: it may be encoded as soon as it is heard.
        "block_mel_frames": configs.encoder.block_frames,
        "positions_hz": front_end.ENCODER_HZ // front_end.HOP,
        "resampler": {"zeros": 6, "rolloff": 0.99},
    }


def _vocabulary(configs: Configs, tokenizer: Tokenizer) -> dict[str, Any]:
    """The head's ids stand behind all of the backbone's."""
    return {
        "text_end": configs.backbone.vocab_size,
        "audio_begin": configs.backbone.vocab_size,
        "audio_codes": configs.flow.codes,
        "audio_placeholder": tokenizer.id_of(prompts.AUDIO_PLACEHOLDER),
        "control": dict(tokenizer.special),
    }


def _turns(tokenizer: Tokenizer, group: int, short_segments: bool) -> dict[str, Any]:
    close = tokenizer.id_of(prompts.TURN_END)
    return {
        **prompts.turn_templates(),
        "history": prompts.HISTORY,
        "end": [close],
        "close": close,
        "max_new_tokens": MAX_NEW_TOKENS,
        "max_tokens_per_step": 1 + group,
        "first_sampling": GREEDY,
        "sampling": GREEDY,
        "short_segments": short_segments,
        # Between begin and end every text token has a group of codes beside it.
        "speech": {
            "begin": tokenizer.id_of(prompts.AUDIO_BEGIN),
            "end": tokenizer.id_of(prompts.AUDIO_END),
            "text_pad": tokenizer.id_of(prompts.SILENCE),
            "text": TEXT_PER_GROUP,
            "audio": group,
        },
    }
