"""Writes the small graphs and token models of tests/cpp/data; knows no stage and no checkpoint.

`python tests/cpp/make_synthetic.py` remakes them (packages: onnx, gguf, numpy). Each graph follows
a formula that its test computes again; each token model is a one-layer decoder of width 64.
"""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

DATA = Path(__file__).parent / "data"
F32, I64, F16 = TensorProto.FLOAT, TensorProto.INT64, TensorProto.FLOAT16

WIDTH, HEADS, KV_HEADS, HEAD, FFN = 64, 2, 1, 32, 32
# Plain pieces, then merges' results, then names. "\u0120" and "\u010a" are a space and a line end.
LETTERS = [*"abcdefghijklmnopqrstuvwxyz", *"<>|_.,?'", "\u0120", "\u010a", "\u00c3", "\u00a9"]
MERGES = [("t", "h"), ("th", "e"), ("\u0120", "the"), ("o", "n")]
CONTROL = ["<|end|>", "<|think|>", "<|audio|>"]
USER_DEFINED = ["<|a_0|>", "<|a_1|>"]


def info(name: str, kind: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    """A graph input or output; a string is a free dimension."""
    return helper.make_tensor_value_info(name, kind, shape)


def save(name: str, nodes, inputs, outputs, initializers=(), *, custom=False) -> None:
    """Checks and writes one graph; `custom`: with an operator of our own."""
    graph = helper.make_graph(list(nodes), name, inputs, outputs, list(initializers))
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("parley", 1)]
    model = helper.make_model(graph, opset_imports=opsets[: 1 + custom], ir_version=10)
    onnx.checker.check_model(model)
    (DATA / f"{name}.onnx").write_bytes(model.SerializeToString())


def constant(name: str, values, kind=np.float32) -> onnx.TensorProto:
    """A weight that lies in the graph's file."""
    return numpy_helper.from_array(np.asarray(values, kind), name)


def affine() -> None:
    """x [1, T], n i64 [1] -> y = 2 x + n, total = sum(x) [1], echo i64 = n + 1."""
    nodes = [
        helper.make_node("Mul", ["x", "two"], ["twice"]),
        helper.make_node("Cast", ["n"], ["n_real"], to=F32),
        helper.make_node("Add", ["twice", "n_real"], ["y"]),
        helper.make_node("ReduceSum", ["x", "axis"], ["total"], keepdims=0),
        helper.make_node("Add", ["n", "one"], ["echo"]),
    ]
    weights = [
        constant("two", 2.0),
        constant("axis", [1], np.int64),
        constant("one", [1], np.int64),
    ]
    outputs = [info("y", F32, [1, "T"]), info("total", F32, [1]), info("echo", I64, [1])]
    save("affine", nodes, [info("x", F32, [1, "T"]), info("n", I64, [1])], outputs, weights)


def stream() -> None:
    """y[t] = x[t] + x[t-3] / 2 over chunks of 4, the past and a counter carried as states."""
    nodes = [
        helper.make_node("Concat", ["state_in.tail", "x"], ["all"], axis=1),
        helper.make_node("Slice", ["all", "zero", "four", "axis"], ["past"]),
        helper.make_node("Mul", ["past", "half"], ["echo"]),
        helper.make_node("Add", ["x", "echo"], ["y"]),
        helper.make_node("Slice", ["all", "four", "seven", "axis"], ["state_out.tail"]),
        helper.make_node("Add", ["state_in.count", "four"], ["state_out.count"]),
    ]
    weights = [constant("half", 0.5)]
    numbers = {"zero": 0, "four": 4, "seven": 7, "axis": 1}
    weights += [constant(name, [value], np.int64) for name, value in numbers.items()]
    inputs = [
        info("x", F32, [1, 4]),
        info("state_in.tail", F32, [1, 3]),
        info("state_in.count", I64, [1]),
    ]
    outputs = [
        info("y", F32, [1, 4]),
        info("state_out.tail", F32, [1, 3]),
        info("state_out.count", I64, [1]),
    ]
    save("stream", nodes, inputs, outputs, weights)


def pair() -> None:
    """a [N] + b [M]: the graph runs only where both free dimensions agree or one is 1."""
    nodes = [helper.make_node("Add", ["a", "b"], ["sum"])]
    inputs = [info("a", F32, ["N"]), info("b", F32, ["M"])]
    save("pair", nodes, inputs, [info("sum", F32, ["K"])])


def snakebeta() -> None:
    """The activation of a window, with the reach of 5 cut off on both sides."""
    names, attributes = ["x", "alpha", "beta", "range"], {"left": 5, "right": 5}
    node = helper.make_node("SnakeBeta", names, ["y"], domain="parley", **attributes)
    inputs = [info("x", F32, ["B", "C", "T"]), info("range", I64, [2])]
    inputs += [info(name, F32, ["C"]) for name in ("alpha", "beta")]
    save("snakebeta", [node], inputs, [info("y", F32, ["B", "C", "N"])], custom=True)


def half() -> None:
    """y = x, from f16."""
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=F32)]
    save("half", nodes, [info("x", F16, [1])], [info("y", F32, [1])])


def double() -> None:
    """A graph with an f64 input, which no runner takes."""
    nodes = [helper.make_node("Cast", ["x"], ["y"], to=F32)]
    save("double", nodes, [info("x", TensorProto.DOUBLE, [1])], [info("y", F32, [1])])


def external() -> None:
    """y = x W, W [4, 4] = 0..15 in a file beside the graph."""
    weight = constant("W", np.arange(16).reshape(4, 4))
    raw = weight.raw_data
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entries = {"location": "external.onnx.data", "offset": "0", "length": str(len(raw))}
    for key, value in entries.items():
        weight.external_data.add(key=key, value=value)
    (DATA / "external.onnx.data").write_bytes(raw)
    node = helper.make_node("MatMul", ["x", "W"], ["y"])
    graph = helper.make_graph(
        [node], "external", [info("x", F32, [1, 4])], [info("y", F32, [1, 4])], [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    (DATA / "external.onnx").write_bytes(model.SerializeToString())


def tokens() -> tuple[list[str], list[int]]:
    """The vocabulary and llama.cpp's type of each entry, filled up to 64."""
    names = LETTERS + ["".join(pair) for pair in MERGES] + CONTROL + USER_DEFINED
    kinds = [gguf.TokenType.NORMAL] * (len(LETTERS) + len(MERGES))
    kinds += [gguf.TokenType.CONTROL] * len(CONTROL)
    kinds += [gguf.TokenType.USER_DEFINED] * len(USER_DEFINED)
    while len(names) < 64:
        names.append(f"<|unused_{len(names)}|>")
        kinds.append(gguf.TokenType.CONTROL)
    return names, [int(kind) for kind in kinds]


def weights(rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Every tensor of the decoder in float32, rows first as NumPy has them."""

    def matrix(rows: int, columns: int) -> np.ndarray:
        return (rng.standard_normal((rows, columns)) / np.sqrt(columns)).astype(np.float32)

    out = {
        # A formula: the test reads rows of the f32 file and compares them exactly.
        "token_embd.weight": ((np.arange(64 * WIDTH) * 37 % 256 - 128) / 128.0)
        .reshape(64, WIDTH)
        .astype(np.float32),
        "output_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.attn_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.ffn_norm.weight": np.ones(WIDTH, np.float32),
        "blk.0.attn_q.weight": matrix(HEADS * HEAD, WIDTH),
        "blk.0.attn_k.weight": matrix(KV_HEADS * HEAD, WIDTH),
        "blk.0.attn_v.weight": matrix(KV_HEADS * HEAD, WIDTH),
        "blk.0.attn_output.weight": matrix(WIDTH, HEADS * HEAD),
        "blk.0.ffn_gate.weight": matrix(FFN, WIDTH),
        "blk.0.ffn_up.weight": matrix(FFN, WIDTH),
        "blk.0.ffn_down.weight": matrix(WIDTH, FFN),
    }
    for part, rows in (("q", HEADS), ("k", KV_HEADS), ("v", KV_HEADS)):
        out[f"blk.0.attn_{part}.bias"] = np.full(rows * HEAD, 0.01, np.float32)
    return out


def token_model(name: str, embedding: gguf.GGMLQuantizationType) -> None:
    """A qwen2 decoder with tied head. Beside f32 rows the matrices are f32 too: with packed ones
    llama.cpp rounds the activations to 8 bits, which hides small errors."""
    plain = embedding == gguf.GGMLQuantizationType.F32
    matrix = embedding if plain else gguf.GGMLQuantizationType.Q4_0
    writer = gguf.GGUFWriter(DATA / f"{name}.gguf", "qwen2")
    writer.add_block_count(1)
    writer.add_context_length(4096)
    writer.add_embedding_length(WIDTH)
    writer.add_feed_forward_length(FFN)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(1e-6)
    names, kinds = tokens()
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(names)
    writer.add_token_types(kinds)
    writer.add_token_merges([" ".join(pair) for pair in MERGES])
    writer.add_eos_token_id(names.index("<|end|>"))
    writer.add_add_bos_token(False)
    for key, value in weights(np.random.default_rng(7)).items():
        kind = embedding if key == "token_embd.weight" else matrix
        if value.ndim == 1 or plain:
            writer.add_tensor(key, value)
        else:
            packed = gguf.quants.quantize(value, kind)
            writer.add_tensor(key, packed, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    """Writes every file."""
    DATA.mkdir(exist_ok=True)
    for make in (affine, stream, pair, snakebeta, half, double, external):
        make()
    token_model("decoder_f32", gguf.GGMLQuantizationType.F32)
    token_model("decoder_f16", gguf.GGMLQuantizationType.F16)
    token_model("decoder_q8_0", gguf.GGMLQuantizationType.Q8_0)


if __name__ == "__main__":
    main()
