"""What a Step-Audio 2 checkpoint's parley.json may say; knows no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from parley_export import settings

RANGES: settings.Ranges = {
    **settings.RANGES,
    "flow_points": (2, 1000),
    "flow_guided": (0, 1000),
    "codes_per_run": (1, 1024),
    "past_codes": (0, 1024),
    "encoder_past_codes": (1, 4096),
    "vocoder_lookahead_frames": (0, 10**6),
}


@dataclass(frozen=True)
class Settings(settings.Settings):
    """Settings of any checkpoint, and these.

    hidden_row: whether the last row of a piece is hidden from the encoder's attention, as the
        published code has it, or not, as the published server has it; a piece then sometimes has
        one feature more. Nobody says which one the weights were trained with.
    flow_points, flow_guided: time points of the solver, Euler's over cosine spacing, and on how
        many of its evaluations guidance runs; null for as published.
    flow_cache: type of the kept keys and values, "f32" or "f16"; null takes the graphs'.
    codes_per_run: codes that the flow decoder turns into frames at once, three more seen ahead.
    past_codes: codes of the reply that the field sees beside those and the voice's. The published
        code means to keep these 50 and, by a slip, keeps the oldest ones instead.
    encoder_past_codes: codes that the flow decoder's encoder sees back, the voice's among them;
        the published one sees all, and costs more with every code.
    vocoder_lookahead_frames: log-mel frames that the vocoder waits for; the published one holds
        back as many. All that it can use is 20.
    """

    RANGES: ClassVar[settings.Ranges] = RANGES
    hidden_row: bool = True
    flow_points: int | None = None
    flow_guided: int | None = None
    flow_cache: Literal["f32", "f16"] | None = None
    codes_per_run: int = 25
    past_codes: int = 50
    encoder_past_codes: int = 375
    vocoder_lookahead_frames: int = 8
