"""Made-up inputs for each graph, and how the modules come to the same outputs; reads no file."""

from __future__ import annotations

import numpy as np
import torch

from parley_export.families.fun_audio_chat.modules import (
    AudioEncoder,
    AudioTower,
    Flow,
    SpeechHead,
    Vocoder,
)
from parley_export.family import Probe
from parley_export.modules.code_flow import PADDING

POSITIONS, CODES, FRAMES = 3, 28, 29
TIME = 0.6


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def encoder_segment(encoder: AudioEncoder, tower: AudioTower) -> Probe:
    """One whole block: of several the graph holds the layers' values along its batch."""
    log_mel = noise(1, encoder.config.n_mels, encoder.config.block_frames)

    def run() -> dict[str, torch.Tensor]:
        encoded = encoder(log_mel)
        return {"encoded": encoded, "features": tower.features(encoder.project(encoded))}

    return Probe({"log_mel": log_mel.numpy()}, run)


def head_input(tower: AudioTower) -> Probe:
    text, codes = noise(1, tower.config.backbone_width), torch.arange(tower.config.group)
    feeds = {"text": text.numpy(), "codes": codes.numpy()}
    return Probe(feeds, lambda: {"row": tower.compose(text[0], codes)[None]})


def head_slots(head: SpeechHead) -> Probe:
    hidden, text = noise(2, POSITIONS, head.config.backbone_width)
    feeds = {"hidden": hidden.numpy(), "text": text.numpy()}
    return Probe(feeds, lambda: {"slots": head.input_matching(head.slots(hidden, text))})


def flow_encoder(flow: Flow) -> Probe:
    """A whole reply."""
    codes = torch.arange(CODES)[None] % flow.config.codes
    codes = torch.nn.functional.pad(codes, (0, 3), value=PADDING)
    speaker = noise(1, flow.config.speaker_width)

    def run() -> dict[str, torch.Tensor]:
        rows, _ = flow.ahead(codes, flow.no_past())
        voice = flow.speaker(speaker)[:, None].expand_as(rows)
        return {"token_features": torch.cat([rows, voice], 2).repeat_interleave(2, 1)}

    return Probe({"codes": codes.numpy(), "speaker": speaker.numpy()}, run)


def flow_modulation(flow: Flow) -> Probe:
    t = torch.tensor([TIME])
    feeds = {"t": t.numpy(), "speaker": np.zeros((1, flow.config.speaker_width))}
    return Probe(feeds, lambda: {"modulation": flow.decoder.estimator.modulation(t)})


def flow_field(flow: Flow) -> Probe:
    """Both branches, all frames together: nothing is recalled."""
    field, n = flow.decoder.estimator, FRAMES
    config = field.config
    inputs = noise(2, n, 4 * config.n_mels)
    state, condition, said, voice = inputs.chunk(4, 2)
    modulation = field.modulation(torch.tensor([TIME]))
    feeds = {
        "inputs": torch.cat([said, voice, condition, state], 2).numpy(),
        "modulation": modulation.numpy(),
        "positions": np.arange(n),
        "prompt_positions": np.arange(n),
        "mask": np.zeros(n),
        "carried": np.zeros((2, config.conv_kernel - 1, 2 * config.hidden)),
    }
    none = np.zeros((2, config.heads, 0, config.head_width))
    for i in range(config.layers):
        for name in ("prompt_keys", "past_keys", "past_values"):
            feeds[f"{name}.{i}"] = none
        feeds[f"prompt_values.{i}"] = none.transpose(0, 1, 3, 2)
    return Probe(feeds, lambda: {"velocity": field(inputs, modulation)})


def vocoder_with_noise(module: Vocoder) -> Probe:
    """A whole reply, behind it silence for as long as the graph is late."""
    config, late = module.config, module.config.full_lookahead
    mel = torch.nn.functional.pad(noise(1, config.n_mels, FRAMES) - 3, (0, late))
    n = mel.shape[-1]
    feeds = {
        "latents": mel.numpy(),
        "noise": np.zeros((1, 1, n * config.samples_per_frame)),
        "range": np.array([0, n]),
        "kept": np.array([n]),
    }
    return Probe(feeds, lambda: {"wave": module(mel)})
