"""Names and shapes of the weights in ONNX and GGUF files; reads no values, needs no package."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

# Field numbers of onnx.proto.
_MODEL_GRAPH, _GRAPH_INITIALIZER, _TENSOR_DIMS, _TENSOR_NAME = 7, 5, 1, 8


def onnx_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Initializer -> shape. Raises ValueError for a file that is no ONNX model."""
    shapes = {}
    for graph in _fields(memoryview(path.read_bytes()), _MODEL_GRAPH):
        for tensor in _fields(graph, _GRAPH_INITIALIZER):
            name, dims = "", []
            for number, value in _messages(tensor):
                if number == _TENSOR_NAME and isinstance(value, memoryview):
                    name = bytes(value).decode()
                elif number == _TENSOR_DIMS and isinstance(value, memoryview):
                    dims += list(_packed(value))
                elif number == _TENSOR_DIMS:
                    dims.append(int(value))
            shapes[name] = tuple(dims)
    return shapes


def _fields(data: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, value in _messages(data):
        if number == wanted and isinstance(value, memoryview):
            yield value


def _messages(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Fields of one protobuf message: number, and a varint or the bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
        elif kind == 2:
            n, at = _varint(data, at)
            if at + n > len(data):
                raise ValueError("the file ends inside a field")
            yield key >> 3, data[at : at + n]
            at += n
        elif kind in (1, 5):
            at += 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")


def _packed(data: memoryview) -> Iterator[int]:
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data):
            raise ValueError("the file ends inside a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7


@dataclass(frozen=True)
class StoredTensor:
    """Shape with the row's length last, and bytes in the file."""

    shape: tuple[int, ...]
    n_bytes: int


# ggml type -> (weights of a block, bytes of a block).
_BLOCKS = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
    10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 30: (1, 2),
}  # fmt: skip
_SCALARS = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_STRING, _ARRAY = 8, 9


def gguf_tensors(path: Path) -> dict[str, StoredTensor]:
    """Tensor -> shape and bytes. Raises ValueError for a file that is no GGUF."""
    with path.open("rb") as file:
        if file.read(4) != b"GGUF":
            raise ValueError(f"{path.name} is no GGUF file")
        _, n_tensors, n_values = struct.unpack("<IQQ", _exactly(file, 20))
        for _ in range(n_values):
            _text(file)
            _skip(file, _number(file, "<I"))
        tensors = {}
        for _ in range(n_tensors):
            name = _text(file)
            dims = [_number(file, "<Q") for _ in range(_number(file, "<I"))]
            block, n_bytes = _BLOCKS[_number(file, "<I")]
            _number(file, "<Q")  # where it lies
            shape = tuple(reversed(dims))
            tensors[name] = StoredTensor(shape, math.prod(shape) // block * n_bytes)
    return tensors


def _exactly(file: BinaryIO, n: int) -> bytes:
    data = file.read(n)
    if len(data) != n:
        raise ValueError("the file ends inside its header")
    return data


def _number(file: BinaryIO, kind: str) -> int:
    return int(struct.unpack(kind, _exactly(file, struct.calcsize(kind)))[0])


def _text(file: BinaryIO) -> str:
    return _exactly(file, _number(file, "<Q")).decode("utf-8", "replace")


def _skip(file: BinaryIO, kind: int) -> None:
    if kind == _STRING:
        file.seek(_number(file, "<Q"), 1)
    elif kind == _ARRAY:
        inner, n = _number(file, "<I"), _number(file, "<Q")
        if inner in _SCALARS:
            file.seek(n * _SCALARS[inner], 1)
        else:
            for _ in range(n):
                _skip(file, inner)
    else:
        file.seek(_SCALARS[kind], 1)
