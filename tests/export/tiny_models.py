"""The modules with the weights of a test checkpoint, without files; knows no expected numbers."""

from __future__ import annotations

import functools
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

import checkpoint_layout as layout
import tiny_checkpoint
from parley_export.families.covo_audio import modules

GOLDEN = Path(__file__).parent.parent / "golden_data"
SPECS = {"tiny": layout.TINY, "other": layout.OTHER}


@functools.cache
def models(name: str) -> SimpleNamespace:
    """encoder, adapter, backbone, flow and vocoder of one of SPECS; float32, no gradients."""
    torch.set_num_threads(1)
    spec = SPECS[name]
    config, decoder = layout.model_config(spec), layout.decoder_config(spec)
    weights = tiny_checkpoint.tensors(
        layout.backbone_shapes(spec)
        | layout.encoder_shapes(spec)
        | layout.flow_shapes(spec)
        | layout.vocoder_shapes(spec)
    )
    parts = {
        "llm.": modules.Backbone(modules.BackboneConfig.from_dict(config["llm_config"])),
        "encoder.": modules.AudioEncoder(modules.EncoderConfig.from_dict(config["encoder_config"])),
        "audio_adapter.": modules.AudioAdapter(modules.AdapterConfig.from_dict(config)),
        "token2latent.": modules.FlowField(modules.FlowConfig.from_dict(decoder)),
        "wavegan.": modules.Vocoder(modules.VocoderConfig.from_dict(decoder)),
    }
    for prefix, module in parts.items():
        state = {
            n.removeprefix(prefix): torch.from_numpy(v)
            for n, v in weights.items()
            if n.startswith(prefix)
        }
        module.load_state_dict(state)
        module.eval().requires_grad_(False)
    names = ("backbone", "encoder", "adapter", "flow", "vocoder")
    return SimpleNamespace(spec=spec, **dict(zip(names, parts.values(), strict=True)))


@functools.cache
def golden(name: str) -> dict[str, np.ndarray]:
    """A golden file's arrays."""
    with np.load(GOLDEN / f"{name}.npz", allow_pickle=False) as file:
        return dict(file)


def relative_error(got: object, expected: object) -> float:
    """Length of the difference over the length of `expected`."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def largest_error(got: object, expected: object) -> float:
    """Largest absolute difference."""
    got, expected = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    assert got.shape == expected.shape, (got.shape, expected.shape)
    return float(np.abs(got - expected).max())


def snr_db(got: object, expected: object) -> float:
    """Signal-to-noise ratio of `got`."""
    return -20 * float(np.log10(relative_error(got, expected)))
