"""Step-Audio 2 as the exporter's family: names what is where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from parley_export.backbone_gguf import TokenModel
from parley_export.families.step_audio_2 import (
    checkpoint,
    manifest,
    parts,
    prompts,
    published,
    recording,
)
from parley_export.families.step_audio_2.settings import Settings
from parley_export.family import Family
from parley_export.voices import Voice, save_voice, write_voice


def _token_model(read: checkpoint.Checkpoint) -> TokenModel:
    return read.configs.token_model(read.tokenizer)


def _write_voices(read: checkpoint.Checkpoint, bundle: Path) -> dict[str, Any]:
    return {name: write_voice(bundle, name, voice) for name, voice in read.voices.items()}


def _make_voice(samples: np.ndarray, rate: int, token2wav: Path, out: Path) -> Voice:
    voice = recording.voice_of_recording(samples, rate, token2wav)
    save_voice(voice, out, checkpoint.VOICE_FILES)
    return voice


FAMILY = Family(
    name="step_audio_2",
    title="Step-Audio 2",
    files=(
        "token2wav/*.yaml",
        "token2wav/*.pt",
        "token2wav/*.onnx",
        "token2wav/voice/*.npy",
    ),
    notice=prompts.NOTICE,
    settings=Settings,
    stages=published.STAGES,
    locate=checkpoint.locate,
    read=checkpoint.read_checkpoint,
    check=manifest.check,
    parts=parts.parts,
    token_model=_token_model,
    sections=manifest.sections,
    write_voices=_write_voices,
    sources=checkpoint.source_files,
    random=published.random_checkpoint,
    make_voice=_make_voice,
)
