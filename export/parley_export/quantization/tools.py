"""ONNX Runtime's quantization tools on graphs in memory; knows no bundle.

Every function takes a float32 graph whose weights stand behind (`plain`), and gives one that the
same runs, with integers inside.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from parley_export.errors import InputError
from parley_export.quantization.plain import graphs, weights
from parley_export.quantization.types import GraphType

Inputs = Mapping[str, np.ndarray]


def products(model: onnx.ModelProto) -> list[str]:
    """Names of the matrix products with constant weights behind."""
    known = weights(model.graph)
    return [
        node.name
        for part in graphs(model.graph)
        for node in part.node
        if node.op_type == "MatMul" and node.input[1] in known
    ]


def convolutions(model: onnx.ModelProto) -> list[str]:
    """Names of the convolutions with constant weights."""
    known = weights(model.graph)
    return [n.name for n in model.graph.node if n.op_type == "Conv" and n.input[1] in known]


def quantize(
    model: onnx.ModelProto, kind: GraphType, runs: Sequence[Inputs] = ()
) -> onnx.ModelProto:
    """The graph with its products in the form of `kind`; `runs`: what it read in conversations."""
    # These tools tell each node that they pass over.
    logging.getLogger("onnxruntime.quantization").setLevel(logging.ERROR)
    logging.getLogger("neural_compressor").setLevel(logging.ERROR)
    if kind.products == "dynamic" and products(model):
        return _dynamic(model)
    if kind.products == "static" and (products(model) or convolutions(model)):
        return _static(model, runs)
    if kind.products == "blocks" and products(model):
        with _root_logger_kept():
            return _gptq(model, kind, runs) if kind.calibrated else _blocks(model, kind)
    return model


@contextlib.contextmanager
def _root_logger_kept() -> Iterator[None]:
    """The module of MatMulNBits sets the root logger up for all, to tell everything."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)


def _dynamic(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.onnx_quantizer import ONNXQuantizer
    from onnxruntime.quantization.quant_utils import QuantizationMode

    quantizer = ONNXQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        mode=QuantizationMode.IntegerOps,
        static=False,
        # Both unsigned: with signed weights, processors without VNNI saturate, others do not.
        weight_qType=QuantType.QUInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=None,
        nodes_to_quantize=products(model),
        nodes_to_exclude=[],
        op_types_to_quantize=["MatMul"],
        extra_options={"MatMulConstBOnly": True, "EnableSubgraph": True},
    )
    quantizer.quantize_model()
    return _proto(quantizer.model)


def _static(model: onnx.ModelProto, runs: Sequence[Inputs]) -> onnx.ModelProto:
    from onnxruntime.quantization import QuantType
    from onnxruntime.quantization.calibrate import MinMaxCalibrater
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    inside = _read_inside(model)
    chosen = [name for name in products(model) if name not in inside] + convolutions(model)
    kinds = ["MatMul", "Conv"]
    with tempfile.TemporaryDirectory() as folder:
        source, seeing = Path(folder) / "model.onnx", Path(folder) / "seeing.onnx"
        outside = onnx.ModelProto()
        outside.CopyFrom(model)  # saving takes the weights out of what is saved
        onnx.save(outside, source, save_as_external_data=True, location="model.data")
        del outside
        calibrater = MinMaxCalibrater(source, kinds, seeing, use_external_data_format=True)
        calibrater.augment_graph()
        calibrater.infer_session = _session(seeing)
        calibrater.collect_data(_Reader(runs))
        ranges = calibrater.compute_data()
        calibrater.infer_session = None
    quantizer = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=True,  # 7 bits: no product saturates on processors without VNNI
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=ranges,
        nodes_to_quantize=chosen,
        nodes_to_exclude=[],
        op_types_to_quantize=kinds,
        extra_options={},
    )
    quantizer.quantize_model()
    return _proto(quantizer.model)


MOVES = ("Transpose", "Reshape", "Squeeze", "Unsqueeze", "Slice", "Split", "Concat")


def _read_inside(model: onnx.ModelProto) -> set[str]:
    """Nodes whose values come unchanged into a graph inside a node.

    ONNX Runtime moves the conversions between integers and floats over what only moves data, and
    ends the process where that brings it to such a graph (1.32).
    """
    values = {
        name
        for part in graphs(model.graph)
        for node in (part.node if part is not model.graph else ())
        for name in node.input
    }
    found = set()
    for node in reversed(model.graph.node):
        if not values.isdisjoint(node.output):
            found.add(node.name)
            if node.op_type in MOVES:
                values.update(node.input)
    return found


def _blocks(model: onnx.ModelProto, kind: GraphType) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantizer = MatMulNBitsQuantizer(
        model, bits=kind.bits, block_size=kind.block, is_symmetric=False, accuracy_level=4
    )
    quantizer.process()
    return _proto(quantizer.model)


def _gptq(model: onnx.ModelProto, kind: GraphType, runs: Sequence[Inputs]) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_nbits_quantizer import (
        GPTQWeightOnlyQuantConfig,
        MatMulNBitsQuantizer,
    )

    if any(node.domain == "parley" for node in model.graph.node):
        raise InputError(
            "[quantize.graph] expected a graph of ONNX's own operators for GPTQ, got one with "
            "others; take w4"
        )
    config = GPTQWeightOnlyQuantConfig(_Reader(runs), block_size=kind.block)
    quantizer = MatMulNBitsQuantizer(
        model,
        block_size=kind.block,
        is_symmetric=False,
        accuracy_level=4,
        nodes_to_exclude=[],
        algo_config=config,
    )
    with contextlib.redirect_stdout(io.StringIO()):  # a bar of its own
        quantizer.process()
    return _proto(quantizer.model)


class _Reader:
    """Runs as ONNX Runtime's calibration wants them: one after another, or iterated over."""

    def __init__(self, runs: Sequence[Inputs]) -> None:
        self._runs = runs
        self._next = iter(runs)

    def get_next(self) -> Inputs | None:
        return next(self._next, None)

    def __iter__(self) -> Iterator[Inputs]:
        return iter(self._runs)

    def __deepcopy__(self, memo: object) -> _Reader:
        return _Reader(self._runs)


def _session(path: Path) -> Any:
    """A graph with the engine's own operators, unoptimized: all values are there."""
    import onnxruntime

    import parley

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    options.register_custom_ops_library(parley.ops_library())
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _proto(model: Any) -> onnx.ModelProto:
    """The protobuf in ONNX Runtime's wrapper, with its weights inside."""
    proto: onnx.ModelProto = getattr(model, "model", model)
    return proto


def count(model: onnx.ModelProto) -> dict[str, int]:
    """Nodes that compute in integers, by operator; "QDQ" behind those between conversions."""
    kinds = ("MatMulInteger", "MatMulNBits")
    found: dict[str, int] = {}
    for part in graphs(model.graph):
        dequantized = {n.output[0] for n in part.node if n.op_type == "DequantizeLinear"}
        for node in part.node:
            name = node.op_type
            if name in ("MatMul", "Conv") and dequantized.issuperset(node.input[:2]):
                name += " QDQ"
            elif name not in kinds:
                continue
            found[name] = found.get(name, 0) + 1
    return found
