"""What a Covo-Audio checkpoint's parley.json may say of its decoder; knows no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from parley_export import settings

RANGES: settings.Ranges = {
    **settings.RANGES,
    "flow_points": (2, 1000),
    "flow_guided": (0, 2000),
    "flow_prompt_codes": (0, 10**6),
    "past_codes": (0, 1024),
    "lookahead_codes": (0, 1024),
    "vocoder_lookahead_frames": (0, 10**6),
}


@dataclass(frozen=True)
class Settings(settings.Settings):
    """Settings of any checkpoint, and these.

    flow_mode: how the flow decoder streams: "window" computes voice prompt and past again with
        every chunk, "cached" keeps their keys and values. Whole utterances at once need no
        setting: `parley.open(flow={"mode": "exact"})` takes any bundle.
    flow_solver, flow_spacing, flow_points: "midpoint" or "euler" over time points that lie
        "linear" or "cosine"; null points takes the config's. flow_guided: on how many of the
        first evaluations guidance runs, null for all.
    flow_cache: type of the kept keys and values, "f32" or "f16"; null takes the graphs'.
    flow_prompt_codes: how many of a voice's last codes the flow decoder sees, 0 for all.
    past_codes, lookahead_codes: what it sees of the reply beside a chunk's own codes.
    vocoder_lookahead_frames: latent frames that the vocoder waits for; all that it can use at most.
    """

    RANGES: ClassVar[settings.Ranges] = RANGES
    flow_mode: Literal["window", "cached"] = "cached"
    flow_solver: Literal["midpoint", "euler"] = "midpoint"
    flow_spacing: Literal["linear", "cosine"] = "linear"
    flow_points: int | None = None
    flow_guided: int | None = None
    flow_cache: Literal["f32", "f16"] | None = None
    flow_prompt_codes: int = 0
    past_codes: int = 16
    # One chunk of codes, so speech comes 160 ms later and chunks join as in a whole utterance: see
    # the sweep on nano in BENCHMARKS.md. nano takes 0 and answers sooner.
    lookahead_codes: int = 4
    # What its first convolution sees ahead; behind that only filter tails are guessed.
    vocoder_lookahead_frames: int = 3
