"""Describe a bundle as manifest.json's dictionary; reads no tensors and writes no files.

The engine's reader (cpp/src/bundle/manifest.h) is strict: it knows exactly these keys.
"""

from __future__ import annotations

from typing import Any

from parley_export import tokenizer as tk
from parley_export.errors import BundleError
from parley_export.families.covo_audio.checkpoint import Checkpoint, Configs
from parley_export.settings import Settings

SCHEMA_VERSION = 1
FAMILY = "covo_audio"

# Numbers of the published system that no config file holds.
CHUNK_MS = 160
ENCODER_HZ = 16000
MEL_HZ = 100
TRAINED_CONTEXT = 8192  # positions; the config's own limit is that of the base model
N_FFT, HOP = 400, 160
# The chunk form's own: mel frames may see 15 ms back, and the floor keeps silence bounded.
DUPLEX_LOG_FLOOR, DUPLEX_FRAME_PAD = 1e-6, 240

PERSONA = (
    "You are a friendly voice assistant. You hear the user and answer aloud, in the user's "
    "language, in a few short and clear sentences. If you do not know something, say so."
)
# The published weights were trained with this sentence: 5 text and 15 audio tokens in turn, spoken
# by the named speaker.
FUNCTION = (
    "请用文本和音频进行对话，交替生成5个文本token和15个音频token，"
    "音频部分使用发音人：default_female"
)

FAMILY_NOTICE = (
    "The weights published as Covo-Audio are for academic use only. If this bundle comes from "
    "them, that holds for it too; do not pass it on without their licence."
)
_OPEN_LICENCES = {
    "Apache-2.0": ("Apache License", "Version 2.0"),
    "MIT": ("Permission is hereby granted, free of charge", "MIT License"),
    "CC0-1.0": ("CC0 1.0 Universal",),
}


def system_prompt(persona: str | None, own: str | None = None) -> str:
    """The persona, ours by default, followed by the sentence that the weights were trained with.

    A checkpoint's own system prompt is whole, and only used where the user gives no persona.
    """
    if persona is None and own is not None:
        return own
    persona = PERSONA if persona is None else persona.strip()
    return persona if FUNCTION in persona else f"{persona}\n{FUNCTION}".lstrip()


def licence_and_notice(text: str | None) -> tuple[str, str]:
    """A checkpoint's licence in a few words and what its user must be shown."""
    if text is None:
        return "unknown", FAMILY_NOTICE
    for name, marks in _OPEN_LICENCES.items():
        if all(mark in text for mark in marks):
            return name, f"The weights of this bundle are under {name}; its text is in LICENSE."
    title = next((line.strip() for line in text.splitlines() if line.strip()), "untitled")[:120]
    return f"see LICENSE: {title}", (
        f"The weights of this bundle come under their own licence ({title}); its text is in "
        f"LICENSE. {FAMILY_NOTICE}"
    )


def build_manifest(
    checkpoint: Checkpoint,
    *,
    name: str,
    source: dict[str, Any],
    created_by: dict[str, str],
    files: dict[str, dict[str, Any]],
    graphs: dict[str, Any],
    backbone: dict[str, str],
    voices: dict[str, Any],
    system: str,
    duplex: bool,
) -> dict[str, Any]:
    """Put everything together; `backbone` gives file and precision, the rest comes from configs."""
    configs, settings = checkpoint.configs, checkpoint.settings
    context = context_of(configs, settings)
    return {
        "schema_version": SCHEMA_VERSION,
        "family": FAMILY,
        "name": name,
        "source": source,
        "created_by": created_by,
        "files": files,
        "rates": _rates(configs),
        "front_end": _front_end(configs),
        "graphs": graphs,
        "backbone": {
            **backbone,
            "vocab_size": configs.backbone.vocab_size,
            "width": configs.backbone.width,
            "context": context,
        },
        "vocabulary": _vocabulary(configs, checkpoint.tokenizer),
        "turns": _turns(checkpoint.tokenizer, settings) if settings.turns else None,
        "duplex": _duplex(configs, checkpoint.tokenizer, settings) if duplex else None,
        "prompts": {"system": system},
        "flow": _flow(checkpoint),
        "vocoder": {
            "samples_per_latent": configs.vocoder.samples_per_latent,
            "full_lookahead_frames": configs.vocoder.full_lookahead,
            "lookahead_frames": min(
                settings.vocoder_lookahead_frames, configs.vocoder.full_lookahead
            ),
        },
        "voices": voices,
        "default_voice": next(iter(voices)),
        "limits": {"context": context, "max_turn_seconds": 600},
    }


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


def _vocabulary(configs: Configs, tokenizer: tk.Tokenizer) -> dict[str, Any]:
    return {
        "text_end": configs.audio_begin,
        "audio_begin": configs.audio_begin,
        "audio_codes": configs.audio_codes,
        "audio_placeholder": tokenizer.id_of(tk.AUDIO_PLACEHOLDER),
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


def _turns(tokenizer: tk.Tokenizer, settings: Settings) -> dict[str, Any]:
    system = f"{tk.IM_START}system\n{{system}}{tk.IM_END}\n"
    spoken = f"{tk.AUDIO_BEGIN}{{user}}{tk.AUDIO_END}"

    def user(content: str) -> str:
        return f"{tk.IM_START}user\n{content}{tk.IM_END}\n{tk.IM_START}assistant\n"

    return {
        "first": system + user(spoken),
        "next": "\n" + user(spoken),
        "first_text": system + user("{user}"),
        "next_text": "\n" + user("{user}"),
        "end": [tokenizer.id_of(tk.IM_END), tokenizer.id_of(tk.END_OF_TEXT)],
        "close": tokenizer.id_of(tk.IM_END),
        "max_new_tokens": 2048,
        "max_tokens_per_step": 40,
        "first_sampling": _sampling(0.0, 1.05),
        "sampling": _sampling(0.5, 1.05),
        "short_segments": settings.short_segments,
    }


def check_duplex(configs: Configs, tokenizer: tk.Tokenizer, settings: Settings) -> None:
    """Raise BundleError where full duplex lacks control tokens or room for its window."""
    missing = [name for name in tk.DUPLEX_CONTROL if name not in tokenizer.added]
    if missing:
        raise BundleError(
            f"[export.duplex] expected the control tokens {', '.join(tk.DUPLEX_CONTROL)} in the "
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


def _duplex(configs: Configs, tokenizer: tk.Tokenizer, settings: Settings) -> dict[str, Any]:
    check_duplex(configs, tokenizer, settings)
    think, shift, stop = (tokenizer.id_of(name) for name in tk.DUPLEX_CONTROL)
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
        "text_pad": tokenizer.id_of(tk.END_OF_TEXT),
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
