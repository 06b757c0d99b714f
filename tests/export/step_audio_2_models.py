"""Step-Audio 2's modules with the weights of a test checkpoint, without files."""

from __future__ import annotations

import functools
from types import SimpleNamespace

import torch
from torch import nn

import step_audio_2_checkpoint
import step_audio_2_layout as layout
from parley_export.families.step_audio_2 import configs, modules
from parley_export.harmonic_vocoder import VocoderConfig
from parley_export.modules.backbone import Backbone
from parley_export.qwen import BackboneConfig


@functools.cache
def models() -> SimpleNamespace:
    """encoder, adapter, backbone, flow and vocoder of TINY; float32, no gradients."""
    torch.set_num_threads(1)
    spec = layout.TINY
    config, flow = layout.model_config(spec), layout.flow_config(spec)
    heard = config["audio_encoder_config"]
    backbone = Backbone(BackboneConfig.from_dict(config["text_config"] | _QWEN2))
    encoder = modules.AudioEncoder(configs.EncoderConfig.from_dict(heard))
    adapter = modules.AudioAdapter(configs.AdapterConfig.from_dict(heard))
    vocoder = VocoderConfig(width=spec.vocoder_width, pitch_width=spec.pitch_width)
    return SimpleNamespace(
        spec=spec,
        backbone=_fill(backbone, "", layout.backbone_shapes(spec)),
        encoder=_fill(encoder, "encoder.", layout.encoder_shapes(spec)),
        adapter=_fill(adapter, "adapter.", layout.encoder_shapes(spec)),
        flow=_fill(modules.Flow(configs.FlowConfig.from_dict(flow)), "", layout.flow_shapes(spec)),
        vocoder=_fill(modules.Vocoder(vocoder), "generator.", layout.vocoder_shapes(spec)),
    )


# What the other family's config says and this one's leaves to its own model type.
_QWEN2 = {"tie_word_embeddings": False, "model_type": "qwen2"}


def _fill(module: nn.Module, prefix: str, shapes: layout.Shapes) -> nn.Module:
    values = step_audio_2_checkpoint.tensors(shapes)
    state = {
        name.removeprefix(prefix): torch.from_numpy(value)
        for name, value in values.items()
        if name.startswith(prefix)
    }
    module.load_state_dict(state)
    return module.eval().requires_grad_(False)


def prompt(spec: layout.Spec) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The voice: codes `[1, N]`, log-mel `[1, 2 N, 80]`, speaker `[1, S]`."""
    codes, mel, speaker = step_audio_2_checkpoint.voice(spec).values()
    return torch.from_numpy(codes), torch.from_numpy(mel), torch.from_numpy(speaker)
