"""Made-up inputs for each graph, and how the modules come to the same outputs; reads no file."""

from __future__ import annotations

import numpy as np
import torch

from parley_export.families.step_audio_2.modules import (
    AudioAdapter,
    AudioEncoder,
    Flow,
    Vocoder,
)
from parley_export.families.step_audio_2.modules.flow import CARRIED
from parley_export.family import Probe

MEL_FRAMES, CODES, FRAMES = 160, 28, 29
TIME = 0.6


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape)))


def encoder_segment(encoder: AudioEncoder, adapter: AudioAdapter) -> Probe:
    log_mel = noise(1, encoder.config.n_mels, MEL_FRAMES)

    def run() -> dict[str, torch.Tensor]:
        encoded = encoder(log_mel)
        return {"encoded": encoded, "features": adapter(encoded)}

    return Probe({"log_mel": log_mel.numpy()}, run)


def flow_encoder(flow: Flow) -> Probe:
    """The first run of a stream."""
    codes = torch.arange(CODES)[None] % flow.config.codes
    speaker = noise(1, flow.config.speaker_width)

    def run() -> dict[str, torch.Tensor]:
        rows, _ = flow.encode(codes, flow.encoder.create_state())
        voice = flow.speaker(speaker)[:, None].expand_as(rows)
        return {"token_features": torch.cat([rows, voice], 2)}

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
    modulation = field.modulation(torch.tensor([TIME]))
    feeds = {
        "inputs": inputs.roll(-config.n_mels, -1).numpy(),  # the engine's rows end with the state
        "modulation": modulation.numpy(),
        "positions": np.arange(n),
        "prompt_positions": np.arange(n),
        "mask": np.zeros(n),
        "carried": np.zeros((2, CARRIED, 2 * config.layers * config.hidden)),
    }
    none = np.zeros((2, config.heads, 0, config.head_width))
    for i in range(config.layers):
        for name in ("prompt_keys", "past_keys", "past_values"):
            feeds[f"{name}.{i}"] = none
        feeds[f"prompt_values.{i}"] = none.transpose(0, 1, 3, 2)
    return Probe(feeds, lambda: {"velocity": field(inputs, modulation, field.no_past(2))[0]})


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
