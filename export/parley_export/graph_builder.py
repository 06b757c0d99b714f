"""Builds one ONNX graph node by node and streams its weights to disk; knows no architecture.

Weights are read from their modules one at a time while saving, so a graph of any size costs the
memory of its largest tensor beside the modules (which may be mapped files).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import onnx
import torch
from onnx import TensorProto, helper
from torch import Tensor, nn

from parley_export.contract import (
    CUSTOM_DOMAIN,
    CUSTOM_OPSET,
    INLINE_BYTES,
    STATE_IN,
    STATE_OUT,
    GraphContract,
    TensorContract,
    state_tensors,
)
from parley_export.errors import InputError

OPSET = 20
IR_VERSION = 10
ALIGNMENT = 4096  # of weights in the external file, so that a runtime can map them

_ONNX_TYPES = {
    "f32": TensorProto.FLOAT,
    "f16": TensorProto.FLOAT16,
    "bf16": TensorProto.BFLOAT16,
    "i64": TensorProto.INT64,
}
_TORCH_TYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
PRECISIONS = ("f32", "f16", "bf16")


Source = Tensor | Callable[[], Tensor]  # a weight, or how to get it when it is written


class GraphInfo(TypedDict, total=False):
    """One entry of the manifest's `graphs`; the last three only where there are any."""

    file: str
    external: list[str]
    precision: str
    opset: int
    inputs: list[dict[str, object]]
    outputs: list[dict[str, object]]
    custom_ops: list[str]
    states: list[dict[str, object]]
    work: dict[str, int]


@dataclass
class _Weight:
    name: str
    read: Callable[[], Tensor]
    precision: str


class GraphBuilder:
    """One graph of a contract. Values are strings; `precision` (f32, f16) is that of the inside.

    Inputs and outputs stay f32 whatever the precision, but for those that the contract calls a
    cache: `cache` is their type, `precision` where it is empty. With `arithmetic` given only the
    weights are stored in `precision`; an engine turns them into the other once, when it opens the
    graph. With bf16 the inside is f32 too, but plain convolutions multiply in bfloat16, by the
    engine's operator `parley.Conv1d` (kernels/conv1d).
    """

    def __init__(
        self,
        contract: GraphContract,
        sizes: dict[str, int],
        precision: str,
        *,
        arithmetic: str = "",
        cache: str = "",
    ) -> None:
        if precision not in PRECISIONS:
            raise InputError(
                f"[graphs.export] expected precision {' or '.join(PRECISIONS)}, got {precision!r}; "
                "choose one"
            )
        self.contract, self.sizes, self.named = contract, sizes, precision
        self.stored = "f32" if precision == "bf16" else precision
        self.precision = arithmetic or self.stored
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[_Weight] = []
        self._small: dict[str, onnx.TensorProto] = {}
        self._scopes: list[str] = []
        layers, cache = sizes.get("layers", 0), cache or self.stored
        self._tensors = [
            [own for t in tensors for own in t.expand(layers, cache)]
            for tensors in (contract.inputs, contract.outputs)
        ]
        self._inputs = (*self._tensors[0], *state_tensors(contract.states, STATE_IN))
        self._outputs = (*self._tensors[1], *state_tensors(contract.states, STATE_OUT))
        self._written: set[str] = set()
        self._n_values = 0

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Prefixes the names of what is made inside."""
        self._scopes.append(name)
        yield
        self._scopes.pop()

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Appends a node with one output and returns the output's name."""
        return self.ops(kind, 1, *inputs, **attributes)[0]

    def ops(self, kind: str, n_outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """Appends a node with several outputs."""
        name = "/".join([*self._scopes, f"{kind}_{self._n_values}"])
        self._n_values += 1
        names = [name] if n_outputs == 1 else [f"{name}.{i}" for i in range(n_outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=name, **attributes))
        return names

    def prepend(self, kind: str, inputs: list[str], outputs: list[str], **attributes: Any) -> None:
        """A node before all others, for values that these use under the names of its outputs."""
        node = helper.make_node(kind, inputs, outputs, name=f"{kind}/{outputs[0]}", **attributes)
        self._nodes.insert(0, node)

    def choose(self, condition: str, then: Callable[[], str], otherwise: Callable[[], str]) -> str:
        """What `then` or `otherwise` gives, a float; only that one is computed."""
        branches = {}
        for key, build in (("then_branch", then), ("else_branch", otherwise)):
            outside, self._nodes = self._nodes, []
            value = helper.make_tensor_value_info(build(), _ONNX_TYPES[self.precision], None)
            name = f"{key}_{self._n_values}"
            branches[key] = helper.make_graph(self._nodes, name, [], [value])
            self._nodes = outside
        return self.op("If", condition, **branches)

    def input(self, name: str) -> str:
        """An input of the contract, in the inner precision if it is a float."""
        tensor = {t.name: t for t in self._inputs}[name]
        return name if tensor.type == "i64" else self.cast(name, self.precision, tensor.type)

    def output(self, name: str, value: str) -> None:
        """Gives `value` out under a name of the contract."""
        tensor = {t.name: t for t in self._outputs}[name]
        cast = tensor.type not in ("i64", self.precision)
        attributes: dict[str, Any] = {"to": _ONNX_TYPES[tensor.type]} if cast else {}
        kind = "Cast" if cast else "Identity"
        self._nodes.append(
            helper.make_node(kind, [value], [name], name=f"out/{name}", **attributes)
        )
        self._written.add(name)

    def cast(self, value: str, to: str, from_: str = "") -> str:
        return value if to == from_ else self.op("Cast", value, to=_ONNX_TYPES[to])

    def weight(
        self, name: str, source: Source, *, shared: bool = False, precision: str = ""
    ) -> str:
        """A weight, read when the graph is saved; of the inner precision if none is given.

        A shared one stands outside the scopes and is kept once under its name.
        """
        name = name if shared else "/".join([*self._scopes, name])
        stored = precision or self.stored
        if not (shared and any(weight.name == name for weight in self._weights)):
            read = source if callable(source) else lambda: source
            self._weights.append(_Weight(name, read, stored))
        return self.cast(name, precision or self.precision, stored)

    def ints(self, *values: int) -> str:
        """`[n]` int64 constant."""
        name = "ints_" + "_".join(str(v).replace("-", "m") for v in values)
        return self._constant(name, TensorProto.INT64, [len(values)], values)

    def index(self, value: int) -> str:
        """Scalar int64 constant."""
        return self._constant(f"index_{value}", TensorProto.INT64, [], [value])

    def scalar(self, value: float, precision: str = "") -> str:
        """Scalar float constant, of the inner precision if none is given."""
        precision = precision or self.precision
        return self._constant(f"{precision}_{value!r}", _ONNX_TYPES[precision], [], [value])

    def floats(self, name: str, values: Tensor) -> str:
        """Small constant that stays f32 whatever the precision."""
        return self._constant(name, TensorProto.FLOAT, list(values.shape), values.float().tolist())

    def _constant(self, name: str, kind: int, shape: list[int], values: Any) -> str:
        if name not in self._small:
            self._small[name] = helper.make_tensor(name, kind, shape, list(values))
        return name

    def linear(self, x: str, module: nn.Linear, name: str) -> str:
        """`[..., in]` -> `[..., out]`."""
        y = self.op("MatMul", x, self.weight(f"{name}.weight", lambda: module.weight.T))
        if module.bias is None:
            return y
        return self.op("Add", y, self.weight(f"{name}.bias", module.bias))

    def layer_norm(self, x: str, module: nn.LayerNorm, name: str) -> str:
        scale = self.weight(f"{name}.weight", module.weight)
        bias = self.weight(f"{name}.bias", module.bias)
        return self.op("LayerNormalization", x, scale, bias, axis=-1, epsilon=module.eps)

    def conv(self, x: str, kernel: Source, bias: Tensor | None, name: str, **kw: Any) -> str:
        """Convolution over `[B, C, T]`; attributes as ONNX names them."""
        if self.named == "bf16" and bias is not None and kw.keys() <= {"dilations", "pads"}:
            return self._conv_bf16(x, kernel, bias, name, **kw)
        weights = self._conv_weights(kernel, bias, name)
        return self.op("Conv", x, *weights, **kw)

    def _conv_bf16(
        self,
        x: str,
        kernel: Source,
        bias: Tensor,
        name: str,
        *,
        dilations: Sequence[int] = (1,),
        pads: Sequence[int] = (0, 0),
    ) -> str:
        if any(pads):
            x = self.op("Pad", x, self.ints(0, 0, pads[0], 0, 0, pads[1]))
        weight = self.weight(f"{name}.weight", kernel, precision="bf16")
        offset = self.weight(f"{name}.bias", bias)
        return self.op("Conv1d", x, weight, offset, domain=CUSTOM_DOMAIN, dilation=dilations[0])

    def conv_transpose(
        self, x: str, kernel: Source, bias: Tensor | None, name: str, **kw: Any
    ) -> str:
        """Transposed convolution over `[B, C, T]`; attributes as ONNX names them."""
        weights = self._conv_weights(kernel, bias, name)
        return self.op("ConvTranspose", x, *weights, **kw)

    def _conv_weights(self, kernel: Source, bias: Tensor | None, name: str) -> list[str]:
        weights = [self.weight(f"{name}.weight", kernel)]
        return weights if bias is None else [*weights, self.weight(f"{name}.bias", bias)]

    def transpose(self, x: str, *order: int) -> str:
        return self.op("Transpose", x, perm=order)

    def concat(self, axis: int, *parts: str) -> str:
        return self.op("Concat", *parts, axis=axis)

    def slice(self, x: str, axis: int, begin: int, end: int) -> str:
        return self.op("Slice", x, self.ints(begin), self.ints(end), self.ints(axis))

    def split_heads(self, x: str, heads: int) -> str:
        """`[B, T, D]` -> `[B, H, T, D/H]`."""
        return self.transpose(self.op("Reshape", x, self.ints(0, 0, heads, -1)), 0, 2, 1, 3)

    def merge_heads(self, x: str) -> str:
        """`[B, H, T, D/H]` -> `[B, T, D]`."""
        return self.op("Reshape", self.transpose(x, 0, 2, 1, 3), self.ints(0, 0, -1))

    def attend(
        self, q: str, keys: str, values: str, head_width: int, mask: str | None = None
    ) -> str:
        """Heads `[B, H, T, d]` over `[B, H, S, d]`; `mask` is added to the scores."""
        q = self.op("Mul", q, self.scalar(head_width**-0.5))
        scores = self.op("MatMul", q, self.transpose(keys, 0, 1, 3, 2))
        if mask is not None:
            scores = self.op("Add", scores, mask)
        return self.op("MatMul", self.op("Softmax", scores, axis=-1), values)

    def save(self, path: Path) -> GraphInfo:
        """Writes the graph and, beside it, `<file>.data` with the larger weights."""
        self._drop_states()
        missing = {t.name for t in self._outputs} - self._written
        if missing:
            raise KeyError(f"outputs of {self.contract.name} without a value: {sorted(missing)}")
        path = Path(path)
        data = path.with_name(path.name + ".data")
        initializers = list(self._small.values())
        with open(data, "wb") as file:
            initializers += [self._store(weight, file, data.name) for weight in self._weights]
            used = file.tell() > 0
        if not used:
            data.unlink()
        graph = helper.make_graph(
            self._nodes,
            self.contract.name,
            [self._value(t) for t in self._inputs],
            [self._value(t) for t in self._outputs],
            initializers,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        if self._custom_ops():
            opsets.append(helper.make_opsetid(CUSTOM_DOMAIN, CUSTOM_OPSET))
        model = helper.make_model(
            graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="parley"
        )
        path.write_bytes(model.SerializeToString())
        return self._info(path.name, [data.name] if used else [])

    def _drop_states(self) -> None:
        """Those that the graph has no use for, where its contract leaves that to it."""
        states = self.contract.states
        if self.contract.some_states:
            states = tuple(s for s in states if STATE_OUT + s.name in self._written)
        self._states = states
        self._inputs = (*self._tensors[0], *state_tensors(states, STATE_IN))
        self._outputs = (*self._tensors[1], *state_tensors(states, STATE_OUT))

    def _custom_ops(self) -> list[str]:
        """`domain.Name` of the operators that are not ONNX's own."""
        return sorted({f"{node.domain}.{node.op_type}" for node in self._nodes if node.domain})

    def _store(self, weight: _Weight, file: Any, location: str) -> onnx.TensorProto:
        with torch.no_grad():
            tensor = weight.read().detach().to(_TORCH_TYPES[weight.precision]).contiguous()
        # NumPy has no bfloat16: its bits pass as integers.
        array = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
        proto = TensorProto(
            name=weight.name, data_type=_ONNX_TYPES[weight.precision], dims=array.shape
        )
        if array.nbytes < INLINE_BYTES:
            proto.raw_data = array.tobytes()
            return proto
        file.seek(-(-file.tell() // ALIGNMENT) * ALIGNMENT)
        entries = {"location": location, "offset": file.tell(), "length": array.nbytes}
        proto.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            proto.external_data.add(key=key, value=str(value))
        file.write(memoryview(array).cast("B"))  # type: ignore[arg-type]
        return proto

    def _value(self, tensor: TensorContract) -> onnx.ValueInfoProto:
        shape = [d if isinstance(d, int) else self.sizes.get(d, d) for d in tensor.shape]
        return helper.make_tensor_value_info(tensor.name, _ONNX_TYPES[tensor.type], shape)

    def _info(self, file: str, external: list[str]) -> GraphInfo:
        info = GraphInfo(
            file=file,
            external=external,
            precision=self.named,
            opset=OPSET,
            inputs=[t.resolve(self.sizes) for t in self._tensors[0]],
            outputs=[t.resolve(self.sizes) for t in self._tensors[1]],
        )
        if self._custom_ops():
            info["custom_ops"] = self._custom_ops()
        if self._states:
            info["states"] = [
                {
                    **TensorContract(s.name, s.type, s.shape).resolve(self.sizes),
                    "initial": s.initial,
                }
                for s in self._states
            ]
        return info
