"""Fun-Audio-Chat as the exporter's family: names what is where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from parley_export.backbone_gguf import TokenModel
from parley_export.families.fun_audio_chat import (
    checkpoint,
    golden,
    manifest,
    parts,
    prompts,
    published,
)
from parley_export.families.fun_audio_chat.settings import Settings
from parley_export.family import Family
from parley_export.voices import write_voice


def _token_model(read: checkpoint.Checkpoint) -> TokenModel:
    return read.configs.token_model(read.tokenizer)


def _head_model(read: checkpoint.Checkpoint) -> TokenModel:
    return read.configs.head_model()


def _write_voices(read: checkpoint.Checkpoint, bundle: Path) -> dict[str, Any]:
    return {name: write_voice(bundle, name, voice) for name, voice in read.voices.items()}


FAMILY = Family(
    name="fun_audio_chat",
    title="Fun-Audio-Chat",
    files=("preprocessor_config.json",),
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
    head_model=_head_model,
    golden=golden.golden,
)
