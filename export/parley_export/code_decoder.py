"""Settings and manifest sections of a code flow with a harmonic vocoder; knows no family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from parley_export import settings
from parley_export.harmonic_vocoder import VocoderConfig
from parley_export.modules.code_flow import FRAMES_PER_CODE, LOOKAHEAD


@dataclass(frozen=True)
class DecoderSettings(settings.Settings):
    """Settings of any checkpoint, and these.

    flow_points, flow_guided: time points of the solver, Euler's over cosine spacing, and on how
        many of its evaluations guidance runs; null for as published.
    flow_cache: type of the kept keys and values, "f32" or "f16"; null takes the graphs'.
    codes_per_run: codes that the flow decoder turns into frames at once, three more seen ahead.
    past_codes: codes of the reply that the field sees beside those and the voice's.
    vocoder_lookahead_frames: log-mel frames that the vocoder waits for.
    """

    RANGES: ClassVar[settings.Ranges] = {
        **settings.RANGES,
        "flow_points": (2, 1000),
        "flow_guided": (0, 1000),
        "codes_per_run": (1, 1024),
        "past_codes": (0, 1024),
        "vocoder_lookahead_frames": (0, 10**6),
    }
    flow_points: int | None = None
    flow_guided: int | None = None
    flow_cache: Literal["f32", "f16"] | None = None
    codes_per_run: int = 25
    past_codes: int = 50
    vocoder_lookahead_frames: int = 8


def flow_section(
    wanted: DecoderSettings, vocoder: VocoderConfig, *, steps: int, guidance: float
) -> dict[str, Any]:
    """The manifest's, of a flow whose frames are the vocoder's."""
    points = wanted.flow_points or steps + 1
    guided = points - 1 if wanted.flow_guided is None else wanted.flow_guided
    n_mels = vocoder.n_mels
    return {
        "mode": "cached",
        "solver": "euler",
        "spacing": "cosine",
        "points": points,
        "guidance": guidance,
        "guided_evaluations": min(guided, points - 1) if guidance else 0,
        "free_condition": False,  # without guidance the condition is left out too
        "frames_per_code": FRAMES_PER_CODE,
        "codes_hz": vocoder.sample_rate // (vocoder.samples_per_frame * FRAMES_PER_CODE),
        "z": n_mels,
        "hidden": 2 * n_mels,
        "prompt_codes": 0,
        "past_codes": wanted.past_codes,
        "lookahead_codes": LOOKAHEAD,
        "codes_per_run": wanted.codes_per_run,
        "latent_mean": [0.0] * n_mels,
        "latent_var": [1.0] * n_mels,
    }


def vocoder_section(wanted: DecoderSettings, vocoder: VocoderConfig) -> dict[str, int]:
    """The manifest's."""
    return {
        "samples_per_latent": vocoder.samples_per_frame,
        "full_lookahead_frames": vocoder.full_lookahead,
        "lookahead_frames": min(wanted.vocoder_lookahead_frames, vocoder.full_lookahead),
        "source_lookahead_samples": vocoder.source_lookahead,
    }
