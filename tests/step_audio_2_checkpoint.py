"""Writes checkpoints of Step-Audio 2's layout whose weights depend on names and shapes alone.

The same rule made the golden numbers, so no weights need to ship. Knows none of parley's modules
and needs no torch.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np

from checkpoint_layout import Shapes
from step_audio_2_layout import (
    TINY,
    Spec,
    backbone_shapes,
    encoder_shapes,
    flow_config,
    flow_shapes,
    flow_yaml,
    model_config,
    vocoder_shapes,
)
from tiny_checkpoint import (
    generator,
    sinusoids,
    write_shards,
    write_state_dict,
    write_tokenizer,
)

_GAINS = {"conv_post": 0.4, "resblocks": 0.5, "f0_predictor": 1.4}


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of one tensor, float32, from its name and shape. Activations stay near unit size."""
    draw, leaf = generator(name), name.rsplit(".", 1)[-1]
    if name == "encoder.positional_embedding.weight":
        return sinusoids(*shape)
    if leaf == "alpha":
        return (1 + 0.3 * draw.random(shape)).astype(np.float32)
    if "embed_tokens" in name or "input_embedding" in name:
        return draw.standard_normal(shape, dtype=np.float32)
    if name.endswith("f0_predictor.classifier.bias"):  # Hz: some frames are voiced, some are not
        return np.full(shape, 50.0, np.float32)
    values = draw.standard_normal(shape)
    if "f0_predictor.classifier" in name:
        values = 12 * values
    elif leaf == "weight" and len(shape) == 1:
        values = 1 + 0.1 * values
    elif leaf == "bias":
        values = 0.05 * values
    else:  # two taps of an upsampling layer overlap
        taps = 2 * shape[0] if len(shape) == 3 and "ups." in name else math.prod(shape[1:])
        values = values / math.sqrt(taps)
    return values.astype(np.float32)


def size(name: str, shape: tuple[int, ...], direction: np.ndarray) -> np.ndarray:
    """A weight norm's magnitudes: the lengths of the direction's rows, times a drawn gain."""
    norms = np.sqrt((direction.astype(np.float64) ** 2).reshape(shape[0], -1).sum(1))
    gain = next((value for part, value in _GAINS.items() if part in name), 1.0)
    drawn = 0.5 + generator(name).random(shape)
    return (gain * norms.reshape(shape) * drawn).astype(np.float32)


def tensors(shapes: Shapes) -> dict[str, np.ndarray]:
    """Every tensor of `shapes` with its values."""
    values = {n: tensor(n, s) for n, s in shapes.items() if not n.endswith("original0")}
    for name in shapes.keys() - values.keys():
        values[name] = size(name, shapes[name], values[name[:-1] + "1"])
    return {name: values[name] for name in shapes}


def voice(spec: Spec) -> dict[str, np.ndarray]:
    """File name -> array of the default voice."""
    n = spec.prompt_tokens
    tokens = generator("voice.token").integers(0, spec.codes, (1, n))
    mel = -3 + 1.5 * generator("voice.mel").standard_normal((1, 2 * n, 80))
    speaker = generator("voice.speaker").standard_normal((1, spec.speaker_width))
    return {
        "prompt_token.npy": tokens,
        "prompt_mel.npy": mel.astype(np.float32),
        "speaker_embed.npy": speaker.astype(np.float32),
    }


def write_checkpoint(folder: Path, spec: Spec = TINY) -> Path:
    """A whole checkpoint folder with a prepared voice under token2wav/. Returns the folder."""
    t2w = folder / "token2wav"
    (t2w / "voice").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(model_config(spec)))
    (t2w / "flow.yaml").write_text(flow_yaml(flow_config(spec)))
    write_tokenizer(folder, spec.base_vocab, spec.specials)
    values = tensors(backbone_shapes(spec) | encoder_shapes(spec))
    write_shards(folder, values, spec.n_shards, spec.dtype)
    write_state_dict(t2w / "flow.pt", tensors(flow_shapes(spec)), wrapped=False)
    write_state_dict(t2w / "hift.pt", tensors(vocoder_shapes(spec)), wrapped=False)
    for name, array in voice(spec).items():
        np.save(t2w / "voice" / name, array)
    return folder
