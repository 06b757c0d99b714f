"""Writes checkpoints of Covo-Audio's layout whose weights depend on names and shapes alone.

The same rule made the golden numbers, so no weights need to ship. Knows none of parley's modules
and needs no torch.
"""

from __future__ import annotations

import json
import math
import struct
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from checkpoint_layout import (
    OTHER,
    TINY,
    Shapes,
    Spec,
    backbone_shapes,
    decoder_config,
    encoder_shapes,
    flow_shapes,
    model_config,
    vocoder_shapes,
)

__all__ = ["OTHER", "TINY", "Spec", "tensors", "voice", "write_checkpoint"]


def generator(name: str) -> np.random.Generator:
    """The random stream of one name."""
    return np.random.default_rng(zlib.crc32(name.encode()))


def sinusoids(length: int, width: int) -> np.ndarray:
    """Whisper's position table `[length, width]`."""
    rates = np.exp(-math.log(10000.0) / (width // 2 - 1) * np.arange(width // 2))
    angles = np.arange(length)[:, None] * rates
    return np.concatenate([np.sin(angles), np.cos(angles)], 1).astype(np.float32)


def tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Values of one tensor, float32, from its name and shape. Activations stay near unit size."""
    draw, leaf = generator(name), name.rsplit(".", 1)[-1]
    if name == "encoder.embed_positions.weight":
        return sinusoids(*shape)
    if "embed_tokens" in name or "token_embedding" in name:
        return draw.standard_normal(shape, dtype=np.float32)
    values = draw.standard_normal(shape)
    if leaf in ("alpha", "beta"):
        values = 0.3 * values
    elif "norm" in name and leaf == "weight":
        values = 1 + 0.1 * values
    elif leaf == "bias":
        values = 0.05 * values
    elif name.startswith("wavegan.ups") or "token_proj.1" in name:  # two taps overlap
        values = values / math.sqrt(2 * shape[0])
    else:
        values = values / math.sqrt(math.prod(shape[1:]))
    return values.astype(np.float32)


def gain(name: str, shape: tuple[int, ...], direction: np.ndarray) -> np.ndarray:
    """A `weight_g`: the lengths of the direction's rows, times a drawn gain."""
    rows = direction.astype(np.float64).reshape(shape[0], -1)
    norms = np.sqrt((rows**2).sum(1)).reshape(shape)
    scale = 0.02 if "conv_post" in name else 0.5 if "resblocks" in name else 1.0
    return (scale * norms * (0.5 + generator(name).random(shape))).astype(np.float32)


def tensors(shapes: Shapes) -> dict[str, np.ndarray]:
    """Every tensor of `shapes` with its values."""
    values = {n: tensor(n, s) for n, s in shapes.items() if not n.endswith("weight_g")}
    for name in shapes.keys() - values.keys():
        values[name] = gain(name, shapes[name], values[name[:-1] + "v"])
    return {name: values[name] for name in shapes}


def voice(spec: Spec) -> dict[str, np.ndarray]:
    """File name -> array of the default voice."""
    prompt = "token2wav.prompt."
    latents = generator(prompt + "latent").standard_normal((1, spec.prompt_frames, spec.z))
    speaker = 0.06 * generator(prompt + "speaker").standard_normal((1, spec.speaker_width))
    tokens = generator(prompt + "token").integers(0, spec.codes, (1, spec.prompt_tokens))
    return {
        "prompt_token.npy": tokens,
        "prompt_latent.npy": latents.astype(np.float32),
        "speaker_embed.npy": speaker.astype(np.float32),
    }


def mean_and_variance(spec: Spec) -> np.ndarray:
    """global_mean_var.npy, `[1, 2 z]`."""
    mean = 0.2 * generator("global_mean").standard_normal(spec.z)
    variance = 0.5 + generator("global_var").random(spec.z)
    return np.concatenate([mean, variance]).astype(np.float32)[None]


def write_tokenizer(folder: Path, base_vocab: int, specials: list[str]) -> None:
    """A byte-level BPE in Qwen2's layout: bytes first, then padding, then special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    padding = [f"<|pad_{i}|>" for i in range(len(alphabet), base_vocab)]
    vocab = {text: i for i, text in enumerate(alphabet + padding)}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for text in specials:
        tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False)])
    tokenizer.save(str(folder / "tokenizer.json"))
    config = {"tokenizer_class": "Qwen2TokenizerFast", "eos_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))


def write_safetensors(path: Path, values: dict[str, np.ndarray], dtype: str) -> None:
    """Float32 arrays as `dtype`, float32 or bfloat16 (rounded to nearest even)."""
    header, blobs, offset = {}, [], 0
    for name, array in values.items():
        blob = array.astype("<f4").tobytes()
        if dtype == "bfloat16":
            bits = np.frombuffer(blob, "<u4").astype(np.uint64)
            blob = ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2").tobytes()
        header[name] = {
            "dtype": {"float32": "F32", "bfloat16": "BF16"}[dtype],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + len(blob)],
        }
        blobs.append(blob)
        offset += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_shards(folder: Path, values: dict[str, np.ndarray], n: int, dtype: str) -> None:
    """The tensors dealt out to `n` safetensors files, and their index."""
    index = {}
    for i in range(n):
        file = f"model-{i + 1:05d}-of-{n:05d}.safetensors"
        part = {name: values[name] for name in list(values)[i::n]}
        write_safetensors(folder / file, part, dtype)
        index |= dict.fromkeys(part, file)
    text = json.dumps({"metadata": {}, "weight_map": index})
    (folder / "model.safetensors.index.json").write_text(text)


def write_state_dict(path: Path, values: dict[str, Any], wrapped: bool = True) -> None:
    """`{"model": values}`, or the values alone, as torch.save lays them out: a zip with one pickle
    and raw storages. Values are float32 or int64, or dicts of such."""
    arrays: list[np.ndarray] = []
    pickle = _pickled({"model": values} if wrapped else values, arrays)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("model/data.pkl", b"\x80\x02" + pickle + b".")
        archive.writestr("model/byteorder", "little")
        for i, array in enumerate(arrays):
            archive.writestr(f"model/data/{i}", np.ascontiguousarray(array).tobytes())
        archive.writestr("model/version", "3\n")


def _pickled(value: Any, arrays: list[np.ndarray]) -> bytes:
    if isinstance(value, dict):
        inner = b"".join(_text(name) + _pickled(part, arrays) for name, part in value.items())
        return b"}(" + inner + b"u"
    kind = {"<f4": b"Float", "<i8": b"Long"}[value.dtype.str]
    strides = [s // value.itemsize for s in np.ascontiguousarray(value).strides]
    arrays.append(value)
    storage = b"((" + _text("storage") + b"ctorch\n" + kind + b"Storage\n"
    storage += _text(str(len(arrays) - 1)) + _text("cpu") + _number(value.size) + b"tQ"
    layout = _number(0) + _tuple(value.shape) + _tuple(strides)
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n"
        + storage
        + layout
        + b"\x89ccollections\nOrderedDict\n)RtR"
    )


def _text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def _number(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _tuple(values: Iterable[int]) -> bytes:
    return b"(" + b"".join(_number(v) for v in values) + b"t"


def write_checkpoint(folder: Path, spec: Spec = TINY) -> Path:
    """A whole checkpoint folder, decoder config and voice under token2wav/. Returns the folder."""
    t2w = folder / "token2wav"
    (t2w / "prompt").mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(model_config(spec)))
    (t2w / "config.json").write_text(json.dumps(decoder_config(spec)))
    write_tokenizer(folder, spec.base_vocab, spec.specials)
    values = tensors(backbone_shapes(spec) | encoder_shapes(spec))
    write_shards(folder, values, spec.n_shards, spec.dtype)
    write_state_dict(t2w / "model.pt", tensors(flow_shapes(spec) | vocoder_shapes(spec)))
    np.save(t2w / "global_mean_var.npy", mean_and_variance(spec))
    for name, array in voice(spec).items():
        np.save(t2w / "prompt" / name, array)
    return folder
