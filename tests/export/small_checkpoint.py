"""The checkpoint that the exporter's tests read and damage: smaller than the golden one."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from tiny_checkpoint import TINY, Spec

SMALL = Spec(
    width=64,
    ffn=96,
    layers=2,
    heads=4,
    kv_heads=2,
    encoder_width=32,
    encoder_layers=1,
    encoder_heads=2,
    encoder_ffn=48,
    code_width=8,
    z=8,
    speaker_width=12,
    flow_layers=1,
    flow_width=32,
    flow_ffn=48,
    flow_heads=2,
    vocoder_width=64,
    codes=32,
    base_vocab=260,
    prompt_tokens=3,
    prompt_frames=15,
    controls=TINY.controls,
    n_mels=20,
    positions=100,
    adapter_hidden=16,
    n_shards=2,
    kernels=(3,),
    dilations=(1, 3),
)


def save_shards(folder: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Replace a checkpoint's shards by two that hold `tensors`, and their index."""
    for shard in folder.glob("*.safetensors"):
        shard.unlink()
    index = {}
    for i in range(2):
        file = f"model-{i + 1:05d}-of-00002.safetensors"
        part = {name: tensors[name].contiguous() for name in list(tensors)[i::2]}
        save_file(part, folder / file)
        index |= dict.fromkeys(part, file)
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": index}))
