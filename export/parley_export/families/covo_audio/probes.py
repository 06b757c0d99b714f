"""Made-up inputs for each graph, and how the modules come to the same outputs; reads no file."""

from __future__ import annotations

import numpy as np
import torch

from parley_export.families.covo_audio.modules import (
    AudioAdapter,
    AudioEncoder,
    FlowField,
    Vocoder,
)
from parley_export.family import Probe

MEL_FRAMES, CODES, LATENT_FRAMES = 160, 6, 29
TIME = 0.6


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def encoder_segment(encoder: AudioEncoder, adapter: AudioAdapter) -> Probe:
    log_mel = noise(1, encoder.config.n_mels, MEL_FRAMES)

    def run() -> dict[str, torch.Tensor]:
        encoded = encoder(log_mel)
        return {"encoded": encoded, "features": adapter(encoded)}

    return Probe({"log_mel": log_mel.numpy()}, run)


def encoder_chunk(encoder: AudioEncoder, adapter: AudioAdapter) -> Probe:
    """The first chunk of a stream."""
    log_mel = noise(1, encoder.config.n_mels, encoder.chunk_mel_frames)

    def run() -> dict[str, torch.Tensor]:
        encoded, _ = encoder.step(log_mel, encoder.create_state())
        return {"features": adapter.step(encoded, adapter.create_state())[0]}

    return Probe({"log_mel": log_mel.numpy()}, run)


def flow_condition(flow: FlowField) -> Probe:
    codes = torch.arange(CODES)[None] % flow.config.codes
    return Probe({"codes": codes.numpy()}, lambda: {"token_features": flow.condition(codes)})


def flow_modulation(flow: FlowField) -> Probe:
    t, speaker = torch.tensor([TIME]), noise(1, flow.config.speaker_width)
    feeds = {"t": t.numpy(), "speaker": speaker.numpy()}
    return Probe(feeds, lambda: {"modulation": flow.modulation(t, speaker)})


def flow_field(flow: FlowField) -> Probe:
    """Both branches, all frames together: nothing is recalled."""
    config, n = flow.config, LATENT_FRAMES
    inputs = noise(2, n, config.hidden + 2 * config.z)
    modulation = flow.modulation(torch.tensor([TIME]), noise(1, config.speaker_width))
    heads, width = config.heads, config.hidden // config.heads
    feeds = {
        "inputs": inputs.numpy(),
        "modulation": modulation.numpy(),
        "positions": np.arange(n),
        "prompt_positions": np.arange(n),
        "mask": np.zeros(n),
        "carried": np.zeros((2, config.conv_kernel // 2, config.hidden)),
    }
    for i in range(config.layers):
        feeds[f"prompt_keys.{i}"] = np.zeros((2, heads, 0, width))
        feeds[f"prompt_values.{i}"] = np.zeros((2, heads, width, 0))
        feeds[f"past_keys.{i}"] = feeds[f"past_values.{i}"] = np.zeros((2, heads, 0, width))
    return Probe(feeds, lambda: {"velocity": flow.field(inputs, modulation)})


def vocoder(module: Vocoder) -> Probe:
    """A whole reply, behind it silence for as long as the graph is late."""
    latents = noise(1, module.config.z, LATENT_FRAMES)
    latents = torch.nn.functional.pad(latents, (0, module.config.full_lookahead))
    n = latents.shape[-1]
    feeds = {
        "latents": latents.numpy(),
        "range": np.array([0, n]),
        "kept": np.array([n]),
    }
    return Probe(feeds, lambda: {"wave": module(latents)})
