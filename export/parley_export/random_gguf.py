"""Writes a GGUF file of a backbone's shape with random quantized blocks; for measurements only.

A quantizer would take minutes for weights that mean nothing. Blocks are drawn once per type and
repeated. Their layouts are those of ggml's q4_K and q6_K.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from parley_export import backbone_gguf
from parley_export.backbone_gguf import TokenModel

BLOCK = 256  # weights
Q4_K_BYTES, Q6_K_BYTES = 144, 210  # of a block
DRAWN_BLOCKS = 1 << 16  # 16.8 million weights, more than any processor's cache holds
Q4_K_M_FILE_TYPE = 15
# Spread of evenly drawn 4 and 6 bit numbers.
SPREAD_4, SPREAD_6 = math.sqrt((16**2 - 1) / 12), math.sqrt((64**2 - 1) / 12)


def tensor_kinds(model: TokenModel) -> dict[str, str]:
    """GGUF name -> type, the mixture that llama.cpp calls q4_k_m."""
    kinds = {}
    for name, shape in model.names.values():
        layer = int(name.split(".")[1]) if name.startswith("blk.") else 0
        finer = name == "output.weight" or (
            name.endswith(("attn_v.weight", "ffn_down.weight"))
            and _more_bits(layer, model.config.layers)
        )
        kinds[name] = "F32" if len(shape) == 1 else "Q6_K" if finer else "Q4_K"
    return kinds


def _more_bits(layer: int, layers: int) -> bool:
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def tensor_bytes(model: TokenModel) -> dict[str, int]:
    """GGUF name -> bytes, in the order of the file."""
    kinds, sizes = tensor_kinds(model), {}
    for name, shape in model.names.values():
        n = math.prod(shape)
        sizes[name] = {
            "F32": 4 * n,
            "Q4_K": n * Q4_K_BYTES // BLOCK,
            "Q6_K": n * Q6_K_BYTES // BLOCK,
        }[kinds[name]]
    return sizes


def q4_k_blocks(n: int, deviation: float, draw: np.random.Generator) -> np.ndarray:
    """`[n, 144]` bytes: random nibbles about zero, all scales and minima of a block equal."""
    blocks = draw.integers(0, 256, (n, Q4_K_BYTES), np.uint8)
    d = deviation / (32 * SPREAD_4)
    blocks[:, 0:2] = _half(d)
    blocks[:, 2:4] = _half(7.5 * d)
    blocks[:, 4:12], blocks[:, 12:16] = 0xA0, 0  # eight scales and eight minima of 32, 6 bits each
    return blocks


def q6_k_blocks(n: int, deviation: float, draw: np.random.Generator) -> np.ndarray:
    """`[n, 210]` bytes: random 6-bit numbers about zero."""
    blocks = draw.integers(0, 256, (n, Q6_K_BYTES), np.uint8)
    blocks[:, 192:208] = 8  # the sixteen scales
    blocks[:, 208:210] = _half(deviation / (8 * SPREAD_6))
    return blocks


def _half(value: float) -> np.ndarray:
    return np.array([value], "<f2").view(np.uint8)


def write_random_q4_k_m(
    path: Path,
    model: TokenModel,
    *,
    name: str,
    progress: Callable[[float], None] = lambda done: None,
) -> None:
    """Write the file; matrices have the deviation that keeps activations near unit size.

    Raises:
        LibraryError: the package gguf is missing.
        OSError: the disk is full or cannot be written.
    """
    writer = backbone_gguf.open_writer(model, name)
    kinds, sizes = tensor_kinds(model), tensor_bytes(model)
    _add_infos(writer, model)
    writer.add_file_type(Q4_K_M_FILE_TYPE)
    draw, deviation = np.random.default_rng(0), 1.0 / math.sqrt(model.config.width)
    drawn = {
        "Q4_K": q4_k_blocks(DRAWN_BLOCKS, deviation, draw).reshape(-1),
        "Q6_K": q6_k_blocks(DRAWN_BLOCKS, deviation, draw).reshape(-1),
    }
    written, total = 0, sum(sizes.values())
    try:
        writer.write_header_to_file(path)
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        out = writer.fout[0]
        writer.write_padding(out, out.tell())
        for tensor, kind in kinds.items():
            vector = np.full(
                model.config.vocab_size, 0.0 if tensor.endswith("bias") else 1.0, "<f4"
            )
            _repeat(out, drawn.get(kind, vector.view(np.uint8)), sizes[tensor])
            writer.write_padding(out, out.tell())
            written += sizes[tensor]
            progress(written / total)
        out.flush()
    finally:
        writer.close()


def _add_infos(writer: Any, model: TokenModel) -> None:
    kinds, sizes = tensor_kinds(model), tensor_bytes(model)
    for tensor, shape in model.names.values():
        kind = kinds[tensor]
        # The writer takes the shape of a quantized tensor in bytes per row.
        stored = shape if kind == "F32" else (shape[0], sizes[tensor] // shape[0])
        dtype = np.dtype("<f4" if kind == "F32" else np.uint8)
        writer.add_tensor_info(tensor, stored, dtype, sizes[tensor], backbone_gguf.gguf_type(kind))


def _repeat(out: Any, source: np.ndarray, n_bytes: int) -> None:
    left = n_bytes
    while left > 0:
        piece = source[: min(left, source.nbytes)]
        out.write(memoryview(piece))  # type: ignore[arg-type]
        left -= piece.nbytes
