"""Writes checkpoints of a second family: Covo-Audio's architecture, other names, other row order.

family.py beside it is all that the exporter needs for it, a line of the engine's table all that the
engine does. Knows none of parley's modules.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import tiny_checkpoint
from checkpoint_layout import (
    TINY,
    Spec,
    backbone_shapes,
    encoder_shapes,
    flow_shapes,
    vocoder_shapes,
)

MODEL_TYPE = "second"
# Prefix in the first family -> in this one.
PREFIXES = {
    "llm.": "brain.",
    "encoder.": "ear.",
    "audio_adapter.": "bridge.",
    "token2latent.": "throat.",
    "wavegan.": "mouth.",
}
FIELD_INPUT = "token2latent.transformer_input_proj.weight"


def renamed(name: str) -> str:
    """A tensor's name in this family."""
    prefix = next(old for old in PREFIXES if name.startswith(old))
    return PREFIXES[prefix] + name.removeprefix(prefix)


def reordered(columns: np.ndarray, z: int) -> np.ndarray:
    """The field's input columns: features, condition, x in the first family, here the reverse."""
    features, condition, x = np.split(columns, [-2 * z, -z], axis=1)
    return np.ascontiguousarray(np.concatenate([x, condition, features], axis=1))


def write_second(folder: Path, spec: Spec = TINY) -> Path:
    """A whole checkpoint folder: the tensors of `write_checkpoint(folder, spec)` in one file."""
    tiny_checkpoint.write_checkpoint(folder, spec)
    for old in (*folder.glob("*.safetensors*"), folder / "token2wav" / "model.pt"):
        old.unlink()
    (folder / "token2wav").rename(folder / "speech")
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = MODEL_TYPE
    (folder / "config.json").write_text(json.dumps(config))
    values = tiny_checkpoint.tensors(
        backbone_shapes(spec) | encoder_shapes(spec) | flow_shapes(spec) | vocoder_shapes(spec)
    )
    values[FIELD_INPUT] = reordered(values[FIELD_INPUT], spec.z)
    tensors = {renamed(name): array for name, array in values.items()}
    tiny_checkpoint.write_safetensors(folder / "model.safetensors", tensors, spec.dtype)
    return folder
