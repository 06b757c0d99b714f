"""What a Step-Audio 2 checkpoint's parley.json may say; knows no file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from parley_export import settings
from parley_export.code_decoder import DecoderSettings


@dataclass(frozen=True)
class Settings(DecoderSettings):
    """Settings of any checkpoint, those of its kind of decoder, and these.

    hidden_row: whether the last row of a piece is hidden from the encoder's attention, as the
        published code has it, or not, as the published server has it; a piece then sometimes has
        one feature more. Nobody says which one the weights were trained with.
    past_codes: the published code means to keep 50 and, by a slip, keeps the oldest ones instead.
    encoder_past_codes: codes that the flow decoder's encoder sees back, the voice's among them;
        the published one sees all, and costs more with every code.
    vocoder_lookahead_frames: the published one holds back as many. All that it can use is 20.
    """

    RANGES: ClassVar[settings.Ranges] = {**DecoderSettings.RANGES, "encoder_past_codes": (1, 4096)}
    hidden_row: bool = True
    encoder_past_codes: int = 375
