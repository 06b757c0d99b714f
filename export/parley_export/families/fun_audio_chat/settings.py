"""What a Fun-Audio-Chat checkpoint's parley.json may say; knows no file."""

from __future__ import annotations

from dataclasses import dataclass

from parley_export.code_decoder import DecoderSettings


@dataclass(frozen=True)
class Settings(DecoderSettings):
    """Settings of any checkpoint, and those of its kind of decoder.

    codes_per_run: the field was trained to see blocks of 25 codes whole, and all before them.
    past_codes: the published code keeps all, or all of the last 200, and costs more with each.
    vocoder_lookahead_frames: all that it can use is 5. The published code holds back 8.
    """
