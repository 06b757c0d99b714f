"""Writes a graph with its weights beside it, large ones in few bits; torch-free.

A weight in half precision or 8 bits is a Cast, and a Mul by the scales of its channels, that ONNX
Runtime computes once when it opens the graph: smaller on disk, the same afterwards.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from parley_export.contract import CUSTOM_DOMAIN, CUSTOM_OPSET, INLINE_BYTES
from parley_export.quantization.plain import drop_unused, graphs, rename_inputs, weights

ALIGNMENT, PAGE = 64, 4096  # of weights in the file; of those that are worth mapping
LARGE = 1 << 16
# Node -> the axis of its weight's output channels; of a table, its rows.
CHANNELS = {"Conv": 0, "ConvTranspose": 1, "Gather": 0, "MatMul": -1}


@dataclass
class Kept:
    """What became of the weights: nodes by how theirs are kept, and the worst loss."""

    nodes: Counter[tuple[str, str]] = field(default_factory=Counter)  # (operator, how)
    snr_db: dict[str, float] = field(default_factory=dict)  # weight -> against f32


def keep_weights(model: onnx.ModelProto, rest: str, kept: Kept) -> None:
    """Replaces the f32 weights of `model` by smaller ones, in place; `rest` as GraphType has it."""
    if rest == "bf16":
        _convolve_in_bf16(model, kept)
    users = _users(model.graph)
    small: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    names: dict[str, str] = {}
    for tensor in model.graph.initializer:
        using = users.get(tensor.name, [])
        is_float = tensor.data_type == TensorProto.FLOAT
        if rest == "f32" or not is_float or 4 * math.prod(tensor.dims) < INLINE_BYTES:
            small.append(tensor)
            continue
        axis = _axis(using, tensor) if rest == "i8" else None
        how = rest if rest != "i8" else "i8" if axis is not None else "f16"
        names[tensor.name] = f"{tensor.name}/wide"
        stored, expanding = _shrink(tensor, how, names[tensor.name], axis)
        small += stored
        nodes += expanding
        kept.snr_db[tensor.name] = _snr_db(tensor, stored, how)
        for node in using:
            if node.op_type in CHANNELS:
                kept.nodes[node.op_type, how] += 1
    rename_inputs(model.graph, names)
    del model.graph.initializer[:]
    model.graph.initializer.extend(small)
    for node in reversed(nodes):
        model.graph.node.insert(0, node)
    drop_unused(model.graph)


def save(model: onnx.ModelProto, path: Path) -> list[str]:
    """Writes the graph and `<file>.data`; returns the names of files beside the graph's."""
    data = path.with_name(path.name + ".data")
    with data.open("wb") as file:
        for tensor in model.graph.initializer:
            _move_out(tensor, file, data.name)
        used = file.tell() > 0
    if not used:
        data.unlink()
    path.write_bytes(model.SerializeToString())
    return [data.name] if used else []


def _move_out(tensor: onnx.TensorProto, file: Any, location: str) -> None:
    raw = tensor.raw_data or numpy_helper.to_array(tensor).tobytes()
    if len(raw) < INLINE_BYTES:
        return
    step = PAGE if len(raw) >= LARGE else ALIGNMENT
    file.seek(-(-file.tell() // step) * step)
    begin = file.tell()
    file.write(raw)
    outside = TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
    outside.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", begin), ("length", len(raw))):
        outside.external_data.add(key=key, value=str(value))
    tensor.CopyFrom(outside)


def _users(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    found: dict[str, list[onnx.NodeProto]] = {}
    for part in graphs(graph):
        for node in part.node:
            for name in node.input:
                found.setdefault(name, []).append(node)
    return found


def _axis(using: list[onnx.NodeProto], tensor: onnx.TensorProto) -> int | None:
    """The axis of the channels that get scales of their own; None where 8 bits are not for it."""
    axes = {CHANNELS.get(node.op_type) for node in using}
    if len(axes) != 1 or len(tensor.dims) < 2:
        return None
    axis = axes.pop()
    if axis is not None and using[0].op_type == "MatMul" and using[0].input[0] == tensor.name:
        return 0
    return axis


def _shrink(
    tensor: onnx.TensorProto, how: str, name: str, axis: int | None
) -> tuple[list[onnx.TensorProto], list[onnx.NodeProto]]:
    """The smaller tensors, and the nodes that give `name` from them."""
    values = numpy_helper.to_array(tensor)
    cast: dict[str, Any] = {"to": TensorProto.FLOAT}
    if how == "f16":
        limit = float(np.finfo(np.float16).max)
        half = np.clip(values, -limit, limit).astype(np.float16)
        stored = [numpy_helper.from_array(half, tensor.name)]
        return stored, [helper.make_node("Cast", [tensor.name], [name], name=name, **cast)]
    if how == "bf16":
        return [_bf16(tensor.name, values)], [
            helper.make_node("Cast", [tensor.name], [name], name=name, **cast)
        ]
    assert axis is not None
    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    scales = np.maximum(np.abs(values).max(axis=others, keepdims=True), 1e-30) / 127.0
    scales = scales.astype(np.float32)
    levels = np.rint(values / scales).astype(np.int8)
    stored = [
        numpy_helper.from_array(levels, tensor.name),
        numpy_helper.from_array(scales, f"{tensor.name}/scales"),
    ]
    return stored, [
        helper.make_node("Cast", [tensor.name], [f"{name}/levels"], name=f"{name}/levels", **cast),
        helper.make_node("Mul", [f"{name}/levels", f"{tensor.name}/scales"], [name], name=name),
    ]


def _bf16(name: str, values: np.ndarray) -> onnx.TensorProto:
    """Rounded to nearest, ties to even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    half = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    proto = TensorProto(name=name, data_type=TensorProto.BFLOAT16, dims=values.shape)
    proto.raw_data = half.tobytes()
    return proto


def _snr_db(tensor: onnx.TensorProto, stored: list[onnx.TensorProto], how: str) -> float:
    values = numpy_helper.to_array(tensor)
    if how == "i8":
        back = numpy_helper.to_array(stored[0]).astype(np.float32) * numpy_helper.to_array(
            stored[1]
        )
    elif how == "f16":
        back = numpy_helper.to_array(stored[0]).astype(np.float32)
    else:
        bits = np.frombuffer(stored[0].raw_data, np.uint16).astype(np.uint32) << 16
        back = bits.view(np.float32).reshape(values.shape)
    return snr_db(values, back)


def snr_db(values: np.ndarray, back: np.ndarray) -> float:
    """Signal-to-noise ratio of what came back, at most 200."""
    signal = float(np.square(values.astype(np.float64)).sum())
    noise = float(np.square(values.astype(np.float64) - back).sum())
    return 10 * math.log10(max(signal, 1e-300) / max(noise, 1e-20 * signal, 1e-300))


def _convolve_in_bf16(model: onnx.ModelProto, kept: Kept) -> None:
    """Plain convolutions by the engine's operator, as the exporter's --vocoder bf16 writes them."""
    known = weights(model.graph)
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if not _is_plain_convolution(node, known):
            nodes.append(node)
            continue
        given = {a.name: list(a.ints) for a in node.attribute}
        x, weight, bias = node.input
        pads = given.get("pads", [0, 0])
        if any(pads):
            amounts = np.array([0, 0, pads[0], 0, 0, pads[1]], np.int64)
            model.graph.initializer.append(numpy_helper.from_array(amounts, f"{node.name}/pads"))
            nodes.append(
                helper.make_node(
                    "Pad", [x, f"{node.name}/pads"], [f"{node.name}/padded"], f"{node.name}/pad"
                )
            )
            x = f"{node.name}/padded"
        half = f"{weight}/bf16"
        values = numpy_helper.to_array(known[weight])
        model.graph.initializer.append(_bf16(half, values))
        nodes.append(
            helper.make_node(
                "Conv1d",
                [x, half, bias],
                node.output,
                name=node.name,
                domain=CUSTOM_DOMAIN,
                dilation=given.get("dilations", [1])[0],
            )
        )
        kept.nodes["Conv", "Conv1d"] += 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    if not any(opset.domain == CUSTOM_DOMAIN for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(CUSTOM_DOMAIN, CUSTOM_OPSET))
    drop_unused(model.graph)


def _is_plain_convolution(node: onnx.NodeProto, known: dict[str, onnx.TensorProto]) -> bool:
    if node.op_type != "Conv" or len(node.input) != 3 or node.input[1] not in known:
        return False
    for attribute in node.attribute:
        ones = attribute.name in ("strides", "group") and {*attribute.ints, attribute.i or 1} == {1}
        if not ones and attribute.name not in ("dilations", "pads", "kernel_shape"):
            return False
    return len(known[node.input[1]].dims) == 3
