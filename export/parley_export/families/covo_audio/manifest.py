"""A Covo-Audio checkpoint's sections of manifest.json; reads no tensors and writes no files.

The engine's manifest reader is strict: it knows exactly these keys.
"""

from __future__ import annotations

from typing import Any

from parley_export.errors import BundleError, InputError
from parley_export.families.covo_audio import prompts
from parley_export.families.covo_audio.checkpoint import Checkpoint, Configs
from parley_export.families.covo_audio.prompts import DUPLEX_CONTROL
from parley_export.families.covo_audio.settings import Settings
from parley_export.family import Choices
from parley_export.manifest import Sections
from parley_export.tokenizer import END_OF_TEXT, Tokenizer

# Numbers of the published system that no config file holds.
CHUNK_MS = 160
ENCODER_HZ = 16000
MEL_HZ = 100
TRAINED_CONTEXT = 8192  # positions; the config's own limit is that of the base model
N_FFT, HOP = 400, 160
# The chunk form's own: mel frames may see 15 ms back, and the floor keeps silence bounded.
DUPLEX_LOG_FLOOR, DUPLEX_FRAME_PAD = 1e-6, 240


def sections(checkpoint: Checkpoint, choices: Choices) -> Sections:
    """Of the manifest, all that the exporter does not know by itself."""
    configs, settings, tokenizer = checkpoint.configs, checkpoint.settings, checkpoint.tokenizer
    context = context_of(configs, settings)
    return {
        "rates": _rates(configs),
        "front_end": _front_end(configs),
        "backbone": {
            "vocab_size": configs.backbone.vocab_size,
            "width": configs.backbone.width,
            "context": context,
        },
        "vocabulary": _vocabulary(configs, tokenizer),
        "turns": _turns(tokenizer, settings) if settings.turns else None,
        "duplex": _duplex(configs, tokenizer, settings) if choices.duplex else None,
        "prompts": {"system": prompts.system_prompt(choices.system, settings.system)},
        "flow": _flow(checkpoint),
        "vocoder": {
            "samples_per_latent": configs.vocoder.samples_per_latent,
            "full_lookahead_frames": configs.vocoder.full_lookahead,
            "lookahead_frames": min(
                settings.vocoder_lookahead_frames, configs.vocoder.full_lookahead
            ),
        },
        "limits": {"context": context, "max_turn_seconds": 600},
    }


def check(checkpoint: Checkpoint, choices: Choices) -> None:
    """Refuse what the checkpoint does not serve. Raises BundleError, InputError."""
    if choices.duplex:
        check_duplex(checkpoint.configs, checkpoint.tokenizer, checkpoint.settings)
    elif not checkpoint.settings.turns:
        raise InputError(
            "[export.start] expected --duplex for a checkpoint whose parley.json says that it has "
            "no whole turns, got none; add --duplex"
        )


def context_of(configs: Configs, settings: Settings) -> int:
    """Positions that a conversation may take."""
    return min(configs.max_positions, settings.context or TRAINED_CONTEXT)


def _rates(configs: Configs) -> dict[str, int]:
    rate = configs.vocoder.sample_rate
    return {
        "input_hz": rate,
        "encoder_hz": ENCODER_HZ,
        "output_hz": rate,
        "chunk_ms": CHUNK_MS,
    }


def _vocabulary(configs: Configs, tokenizer: Tokenizer) -> dict[str, Any]:
    return {
        "text_end": configs.audio_begin,
        "audio_begin": configs.audio_begin,
        "audio_codes": configs.audio_codes,
        "audio_placeholder": tokenizer.id_of(prompts.AUDIO_PLACEHOLDER),
        "control": dict(tokenizer.special),
    }


def _flow(checkpoint: Checkpoint) -> dict[str, Any]:
    flow, vocoder = checkpoint.configs.flow, checkpoint.configs.vocoder
    wanted = checkpoint.settings
    points = wanted.flow_points or flow.points
    evaluations = (points - 1) * (2 if wanted.flow_solver == "midpoint" else 1)
    guided = evaluations if wanted.flow_guided is None else wanted.flow_guided
    return {
        "mode": wanted.flow_mode,
        "solver": wanted.flow_solver,
        "spacing": wanted.flow_spacing,
        "points": points,
        "guidance": flow.guidance,
        "guided_evaluations": min(guided, evaluations) if flow.guidance else 0,
        "frames_per_code": flow.frames_per_code,
        "codes_hz": vocoder.sample_rate // (vocoder.samples_per_latent * flow.frames_per_code),
        "z": flow.z,
        "hidden": flow.hidden,
        "prompt_codes": wanted.flow_prompt_codes,
        "past_codes": wanted.past_codes,
        "lookahead_codes": wanted.lookahead_codes,
        "latent_mean": [float(x) for x in checkpoint.latent_mean],
        "latent_var": [float(x) for x in checkpoint.latent_var],
    }


def _front_end(configs: Configs) -> dict[str, Any]:
    rate = configs.vocoder.sample_rate
    # The encoder's second convolution and each adapter stage halve the rate once.
    return {
        "n_fft": N_FFT,
        "hop": HOP,
        "n_mels": configs.encoder.n_mels,
        "mel_max_hz": ENCODER_HZ / 2,
        "log_floor": 1e-10,
        "clamp_range": 8.0,
        "offset": 4.0,
        "scale": 4.0,
        "trim_samples": rate // MEL_HZ,
        "pad_samples": configs.pad_samples,
        "segment_samples": 2 * configs.encoder.positions * rate // MEL_HZ,
        "feature_halvings": 1 + configs.adapter.stages,
        "positions_hz": MEL_HZ,
        "resampler": {"zeros": 6, "rolloff": 0.99},
    }


def _sampling(temperature: float, penalty: float) -> dict[str, Any]:
    """The published example's numbers; temperature 0 is greedy."""
    return {
        "temperature": temperature,
        "top_k": 50,
        "top_p": 0.9,
        "repetition_penalty": penalty,
        "recent_penalty": penalty,
        "recent_window": 8,
    }


def _turns(tokenizer: Tokenizer, settings: Settings) -> dict[str, Any]:
    return {
        **prompts.turn_templates(),
        "end": [tokenizer.id_of(prompts.IM_END), tokenizer.id_of(END_OF_TEXT)],
        "close": tokenizer.id_of(prompts.IM_END),
        "max_new_tokens": 2048,
        "max_tokens_per_step": 40,
        "first_sampling": _sampling(0.0, 1.05),
        "sampling": _sampling(0.5, 1.05),
        "short_segments": settings.short_segments,
    }


def check_duplex(configs: Configs, tokenizer: Tokenizer, settings: Settings) -> None:
    """Raise BundleError where full duplex lacks control tokens or room for its window."""
    missing = [name for name in DUPLEX_CONTROL if name not in tokenizer.added]
    if missing:
        raise BundleError(
            f"[export.duplex] expected the control tokens {', '.join(DUPLEX_CONTROL)} in the "
            f"tokenizer, got none of the name {', '.join(missing)}; leave out --duplex (these "
            "weights hold whole turns only), or use a checkpoint trained for full duplex"
        )
    context = context_of(configs, settings)
    if settings.window_positions > context:
        raise BundleError(
            f"[export.duplex] expected window_positions of at most the context, {context}, got "
            f"{settings.window_positions}; set window_positions or context in the checkpoint's "
            "parley.json"
        )


def _duplex(configs: Configs, tokenizer: Tokenizer, settings: Settings) -> dict[str, Any]:
    check_duplex(configs, tokenizer, settings)
    think, shift, stop = (tokenizer.id_of(name) for name in DUPLEX_CONTROL)
    audio = [["audio"]] * (
        CHUNK_MS
        * configs.vocoder.sample_rate
        // (1000 * configs.vocoder.samples_per_latent * configs.flow.frames_per_code)
    )
    return {
        "prompt": settings.duplex_prompt,
        "think": think,
        "shift": shift,
        "break": stop,
        "text_pad": tokenizer.id_of(END_OF_TEXT),
        "plans": {
            "listen": [["think", "shift"]],
            "shift": [["text", "text_pad"], *audio],
            "speak": [["break", "text", "text_pad"], *audio],
        },
        "log_floor": DUPLEX_LOG_FLOOR,
        "frame_pad": DUPLEX_FRAME_PAD,
        "left_context_frames": configs.encoder.left_context_frames,
        "chunk_mel_frames": 2 * configs.encoder.chunk_frames,
        "window_positions": settings.window_positions,
        "max_reply_chunks": settings.max_reply_chunks,
        "fade_ms": settings.fade_ms,
        # Penalties would push down the text pad, which a long reply repeats in every chunk.
        "sampling": _sampling(settings.duplex_temperature, 1.0),
    }
