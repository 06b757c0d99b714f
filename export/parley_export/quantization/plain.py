"""Turns a bundle's graph into one that ONNX Runtime's tools take: float32 inside.

Works on protobufs in memory; knows no stage.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from parley_export.contract import CUSTOM_DOMAIN

HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
F32 = "/f32"  # behind the names of values that stay half outside


def plain(model: onnx.ModelProto) -> None:
    """Makes all floats inside f32, in place. Inputs and outputs keep their types."""
    del model.graph.value_info[:]
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            if tensor.data_type in HALVES:
                tensor.CopyFrom(
                    numpy_helper.from_array(_values(tensor).astype(np.float32), tensor.name)
                )
        for value in graph.output if graph is not model.graph else ():
            if value.type.tensor_type.elem_type in HALVES:
                value.type.tensor_type.elem_type = TensorProto.FLOAT
        for node in graph.node:
            _widen_cast(node)
            _plain_convolution(node)
    _keep_halves_outside(model.graph)
    _drop_idle_casts(model.graph)


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from graphs(attribute.g)


def weights(graph: onnx.GraphProto) -> dict[str, onnx.TensorProto]:
    """Initializers by name."""
    return {tensor.name: tensor for tensor in graph.initializer}


def rename_inputs(graph: onnx.GraphProto, names: dict[str, str]) -> None:
    """Values read under other names, everywhere."""
    for part in graphs(graph):
        for node in part.node:
            for i, name in enumerate(node.input):
                if name in names:
                    node.input[i] = names[name]
        for value in part.output if part is not graph else ():
            value.name = names.get(value.name, value.name)


def turn_products(model: onnx.ModelProto) -> None:
    """Products of constant rows and columns, W X, become (X' W')': tools want weights behind."""
    ranks = _ranks(model)
    known = weights(model.graph)
    nodes: list[onnx.NodeProto] = []
    turned: dict[str, str] = {}
    for node in model.graph.node:
        if not _is_left_product(node, known, ranks):
            nodes.append(node)
            continue
        weight, x = node.input
        if weight not in turned:
            turned[weight] = f"{weight}/turned"
            array = np.ascontiguousarray(numpy_helper.to_array(known[weight]).T)
            model.graph.initializer.append(numpy_helper.from_array(array, turned[weight]))
        out, name = node.output[0], node.name
        nodes += [
            helper.make_node("Transpose", [x], [f"{out}/rows"], name=f"{name}/rows", perm=[1, 0]),
            helper.make_node(
                "MatMul", [f"{out}/rows", turned[weight]], [f"{out}/turned"], name=name
            ),
            helper.make_node(
                "Transpose", [f"{out}/turned"], [out], name=f"{name}/back", perm=[1, 0]
            ),
        ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    drop_unused(model.graph)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Leaves out initializers that nothing reads."""
    read = {name for part in graphs(graph) for node in part.node for name in node.input}
    read |= {value.name for part in graphs(graph) for value in part.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _values(tensor: onnx.TensorProto) -> np.ndarray:
    if tensor.data_type == TensorProto.BFLOAT16:
        bits = np.frombuffer(tensor.raw_data, np.uint16).astype(np.uint32) << 16
        return bits.view(np.float32).reshape(tuple(tensor.dims))
    return numpy_helper.to_array(tensor)


def _widen_cast(node: onnx.NodeProto) -> None:
    for attribute in node.attribute if node.op_type == "Cast" else ():
        if attribute.name == "to" and attribute.i in HALVES:
            attribute.i = TensorProto.FLOAT


def _plain_convolution(node: onnx.NodeProto) -> None:
    """The engine's own convolution, which multiplies in bfloat16, as ONNX's."""
    if node.op_type != "Conv1d" or node.domain != CUSTOM_DOMAIN:
        return
    dilation = next(a.i for a in node.attribute if a.name == "dilation")
    plain = helper.make_node("Conv", node.input, node.output, name=node.name, dilations=[dilation])
    node.CopyFrom(plain)


def _keep_halves_outside(graph: onnx.GraphProto) -> None:
    """Casts at the inputs and outputs of the whole graph that are half themselves."""
    entering = [v.name for v in graph.input if v.type.tensor_type.elem_type in HALVES]
    rename_inputs(graph, {name: name + F32 for name in entering})
    for name in entering:
        cast = helper.make_node("Cast", [name], [name + F32], name=name + F32, to=TensorProto.FLOAT)
        graph.node.insert(0, cast)
    leaving = {
        v.name: v.type.tensor_type.elem_type
        for v in graph.output
        if v.type.tensor_type.elem_type in HALVES
    }
    rename_inputs(graph, {name: name + F32 for name in leaving})
    for node in graph.node:
        for i, name in enumerate(node.output):
            if name in leaving:
                node.output[i] = name + F32
    for name, kind in leaving.items():
        graph.node.append(
            helper.make_node("Cast", [name + F32], [name], name=f"out/{name}/half", to=kind)
        )


def _drop_idle_casts(graph: onnx.GraphProto) -> None:
    """Weights that were kept half and cast are what the casts gave."""
    floats = {t.name for t in graph.initializer if t.data_type == TensorProto.FLOAT}
    results = {value.name for value in graph.output}
    idle = {
        node.output[0]: node.input[0]
        for part in graphs(graph)
        for node in part.node
        if node.op_type == "Cast" and node.input[0] in floats and node.output[0] not in results
    }
    rename_inputs(graph, idle)
    for part in graphs(graph):
        kept = [n for n in part.node if not (n.op_type == "Cast" and n.output[0] in idle)]
        del part.node[:]
        part.node.extend(kept)


def _ranks(model: onnx.ModelProto) -> dict[str, int]:
    """Of values whose shape can be inferred."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    inferred = onnx.shape_inference.infer_shapes(bare).graph
    return {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.input)
        if value.type.tensor_type.HasField("shape")
    }


def _is_left_product(
    node: onnx.NodeProto, known: dict[str, onnx.TensorProto], ranks: dict[str, int]
) -> bool:
    if node.op_type != "MatMul" or node.input[0] not in known or node.input[1] in known:
        return False
    return len(known[node.input[0]].dims) == 2 and ranks.get(node.input[1], 2) == 2
