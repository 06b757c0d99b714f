"""The second family as the exporter's value: its files, names and rows, the rest Covo-Audio's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from second_family.checkpoint import FIELD_INPUT, MODEL_TYPE, renamed

from parley_export import loading
from parley_export.config_section import read_json
from parley_export.errors import Problems
from parley_export.families.covo_audio import checkpoint as covo
from parley_export.families.covo_audio.family import FAMILY as COVO
from parley_export.families.covo_audio.prompts import DUPLEX_CONTROL, REQUIRED
from parley_export.families.covo_audio.settings import Settings
from parley_export.families.covo_audio.voices import read_voice
from parley_export.family import Places
from parley_export.settings import read_settings
from parley_export.tokenizer import read_tokenizer
from parley_export.weights import Shards


@dataclass(frozen=True)
class Checkpoint(covo.Checkpoint):
    """All tensors in one file."""

    def read(self, name: str) -> Any:
        """A tensor by the first family's name, in the first family's order of columns."""
        tensor = self.shards.read(renamed(name))
        if name != FIELD_INPUT:
            return tensor
        flow = self.configs.flow
        x, condition, features = tensor.split([flow.z, flow.z, flow.hidden], dim=1)
        return torch.cat([features, condition, x], dim=1)


def locate(folder: Path, places: Places, location: str) -> covo.Layout:
    speech = folder / "speech"
    return covo.Layout(
        folder=folder,
        name=folder.name,
        location=location or folder.name,
        token2wav=speech,
        decoder_config=speech / "config.json",
        voice=places.voice or speech / "prompt",
    )


def read(layout: covo.Layout) -> Checkpoint:
    config = {**read_json(layout.folder / "config.json"), "model_type": COVO.name}
    configs = covo.parse_configs(config, read_json(layout.decoder_config))
    tokenizer = read_tokenizer(layout.folder, REQUIRED, DUPLEX_CONTROL)
    shards, problems = Shards(layout.folder), Problems("second.read", "write it again")
    modules = loading.module_shapes(*configs.hearing, *configs.speech)
    shapes = configs.token_model(tokenizer).shapes | modules
    expected = {renamed(name): shape for name, shape in shapes.items()}
    found = {name: info.shape for name, info in shards.tensors.items()}
    loading.compare_shapes("model.safetensors", expected, found, problems)
    problems.raise_if_any()
    mean, var = covo.read_stats(layout.token2wav / "global_mean_var.npy", configs.flow.z)
    return Checkpoint(
        layout=layout,
        tokenizer=tokenizer,
        shards=shards,
        settings=read_settings(layout.folder, Settings),
        configs=configs,
        decoder={},
        latent_mean=mean,
        latent_var=var,
        voices={"default": read_voice(layout.voice or layout.folder, configs.flow)},
    )


def sources(checkpoint: Checkpoint) -> dict[str, Path]:
    return {"model.safetensors": checkpoint.layout.folder / "model.safetensors"}


FAMILY = replace(COVO, name=MODEL_TYPE, locate=locate, read=read, sources=sources)
