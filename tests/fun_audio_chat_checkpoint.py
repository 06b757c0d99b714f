"""Writes checkpoints of Fun-Audio-Chat's layout whose weights depend on names and shapes alone.

The same rule made the golden numbers, so no weights need to ship. Knows none of parley's modules.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from checkpoint_layout import Shapes
from fun_audio_chat_layout import (
    PREPROCESSOR,
    SPECIALS,
    TINY,
    VOICES,
    Spec,
    backbone_shapes,
    decoder_config,
    decoder_yaml,
    encoder_shapes,
    flow_shapes,
    model_config,
    speech_shapes,
    vocoder_shapes,
)
from tiny_checkpoint import generator, write_shards, write_state_dict, write_tokenizer

MODEL, DECODER, UTILS = "Fun-Audio-Chat-8B", "Fun-CosyVoice3-0.5B-2512", "utils"
_GAINS = {"conv_post": 0.8, "resblocks": 0.5}


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of one tensor, float32, from its name and shape. Activations stay near unit size."""
    draw, leaf = generator(name), name.rsplit(".", 1)[-1]
    if leaf == "inv_freq":  # a constant of the architecture
        even = np.arange(0, 2 * shape[0], 2)
        return (10000.0 ** (-even / (2 * shape[0]))).astype(np.float32)
    if name == "f0_predictor.classifier.bias":  # Hz: some frames are voiced, some are not
        return np.full(shape, 20, np.float32)
    if name == "audio_tower.embed_tokens.weight":
        return 0.5 * draw.standard_normal(shape, dtype=np.float32)
    if "embed_tokens" in name or name == "input_embedding.weight":
        return draw.standard_normal(shape, dtype=np.float32)
    values = draw.standard_normal(shape)
    if leaf == "alpha":
        values = np.exp(0.3 * values)
    elif leaf == "weight" and len(shape) == 1:
        values = 1 + 0.1 * values
    elif leaf == "bias":
        values = 0.05 * values
    else:
        loud = {"f0_predictor.classifier.weight": 100, "language_model.lm_head.weight": 2}
        values = loud.get(name, 1) * values / math.sqrt(math.prod(shape[1:]))
    return values.astype(np.float32)


def size(name: str, shape: tuple[int, ...], direction: np.ndarray) -> np.ndarray:
    """A weight norm's magnitudes: the lengths of the direction's rows, times a drawn gain."""
    norms = np.sqrt((direction.astype(np.float64) ** 2).reshape(shape[0], -1).sum(1))
    gain = next((value for part, value in _GAINS.items() if part in name), 1.0)
    return (gain * norms.reshape(shape) * (0.5 + generator(name).random(shape))).astype(np.float32)


def tensors(shapes: Shapes) -> dict[str, np.ndarray]:
    """Every tensor of `shapes` with its values."""
    values = {n: tensor(n, s) for n, s in shapes.items() if not n.endswith("original0")}
    for name in shapes.keys() - values.keys():
        values[name] = size(name, shapes[name], values[name[:-1] + "1"])
    return {name: values[name] for name in shapes}


def speaker(name: str, width: int) -> np.ndarray:
    """A voice's embedding `[1, width]`."""
    drawn = generator(f"voice.{name}.embedding").standard_normal((1, width))
    return (0.9 * drawn).astype(np.float32)


def source_noise(n_samples: int) -> np.ndarray:
    """The vocoder's noise table of the golden numbers, `[n, 9]`."""
    return generator("hift.source_noise").random((n_samples, 9), dtype=np.float32)


def voices(width: int) -> dict[str, dict[str, np.ndarray]]:
    """As published: beside each speaker lie arrays that belong to another model."""
    return {
        name: {
            "embedding": speaker(name, width),
            "speech_token": np.zeros((1, 12), np.int64),
            "speech_feat": np.zeros((1, 20, 80), np.float32),
        }
        for name in VOICES
    }


def write_checkpoint(parent: Path, spec: Spec = TINY) -> Path:
    """Three folders as published: the model's, the decoder's and one with the voices.

    Returns the model's.
    """
    model, decoder, utils = (parent / name for name in (MODEL, DECODER, UTILS))
    for folder in (model, decoder, utils):
        folder.mkdir(parents=True)
    (model / "config.json").write_text(json.dumps(model_config(spec)))
    (model / "preprocessor_config.json").write_text(json.dumps(PREPROCESSOR))
    write_tokenizer(model, spec.base_vocab, list(SPECIALS))
    values = tensors(backbone_shapes(spec) | encoder_shapes(spec) | speech_shapes(spec))
    write_shards(model, values, spec.n_shards, spec.dtype)
    (decoder / "cosyvoice3.yaml").write_text(decoder_yaml(decoder_config(spec)))
    write_state_dict(decoder / "flow.pt", tensors(flow_shapes(spec)), wrapped=False)
    write_state_dict(decoder / "hift.pt", tensors(vocoder_shapes(spec)), wrapped=False)
    write_state_dict(utils / "new_spk2info.pt", voices(spec.speaker_width), wrapped=False)
    return model
