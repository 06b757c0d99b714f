"""Times a speech head of the published sizes as an ONNX graph and as GGUF files, random weights.

    python tests/export/measure_head_forms.py FOLDER   (export, runtime and tests on PYTHONPATH)

Prints milliseconds of the processor for a prompt's slots and for the five slots of a step behind
it, on one thread, all forms in turn and the best of several rounds each.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from parley import backbone
from parley_export import backbone_gguf
from parley_export.contract import GraphContract, TensorContract
from parley_export.families.fun_audio_chat import published
from parley_export.families.fun_audio_chat.settings import Settings
from parley_export.graph_builder import GraphBuilder
from parley_export.graph_session import GraphSession
from parley_export.modules.rotary import rotary_rates
from parley_export.quantize import quantize
from parley_export.qwen import BackboneConfig

PROMPT, STEP, ROUNDS = 20, 5, 2
KINDS = ("f32", "q8_0", "q4_k_m")
MASKED = -1e9


class Weights(torch.nn.Module):
    """A linear layer as GraphBuilder takes it."""

    def __init__(self, weight: torch.Tensor) -> None:
        super().__init__()
        self.weight, self.bias = weight, None


class OnnxHead:
    """The layers with their caches as inputs and outputs, in ONNX's own operators."""

    def __init__(self, config: BackboneConfig, read: Callable[[str], torch.Tensor]) -> None:
        self.config, self.read = config, read
        sizes = {"width": config.width, "layers": config.layers, "table": config.vocab_size}
        self.g = GraphBuilder(contract_of(config), sizes, "f32")

    def export(self, path: Path) -> None:
        g, root = self.g, "audio_invert_tower.crq_transformer."
        x, past = g.input("rows"), g.op("Shape", "keys_in.0", start=2, end=3)
        both = g.op("Add", past, g.op("Shape", x, start=1, end=2))
        begin, end = (g.op("Squeeze", count, g.ints(0)) for count in (past, both))
        queries = g.op("Range", begin, end, g.index(1))
        upright = g.op("Unsqueeze", queries, g.ints(1))
        later = g.op("Less", upright, g.op("Range", g.index(0), end, g.index(1)))
        self.mask = g.op("Mul", g.cast(later, "f32"), g.scalar(MASKED))
        rates = rotary_rates(self.config.head_width, self.config.rope_theta).repeat(2)
        turns = g.op("Mul", g.cast(upright, "f32"), g.floats("rates", rates))
        self.angles = g.op("Cos", turns), g.op("Sin", turns)
        for i in range(self.config.layers):
            x = self.layer(x, i, f"{root}layers.{i}.")
        last = self.norm(g.slice(x, 1, -1, 1 << 30), f"{root}norm.weight")
        g.output("logits", self.linear(last, "folded/lm_head"))
        g.save(path)

    def norm(self, x: str, name: str) -> str:
        g = self.g
        size = g.op("ReduceMean", g.op("Mul", x, x), g.ints(-1))
        size = g.op("Sqrt", g.op("Add", size, g.scalar(self.config.rms_eps)))
        return g.op("Mul", g.op("Div", x, size), g.weight(name, lambda: self.read(name)))

    def linear(self, x: str, name: str) -> str:
        return self.g.linear(x, Weights(self.read(f"{name}.weight")), name)

    def turned(self, x: str) -> str:
        g = self.g
        low, high = g.ops("Split", 2, x, axis=3, num_outputs=2)
        across = g.concat(3, g.op("Neg", high), low)
        return g.op("Add", g.op("Mul", x, self.angles[0]), g.op("Mul", across, self.angles[1]))

    def layer(self, x: str, i: int, p: str) -> str:
        g = self.g
        mixed = self.attend(self.norm(x, p + "input_layernorm.weight"), i, p + "self_attn.")
        x = g.op("Add", x, self.linear(mixed, f"{p}self_attn.o_proj"))
        y = self.norm(x, p + "post_attention_layernorm.weight")
        gate, up = (self.linear(y, f"{p}mlp.{name}_proj") for name in ("gate", "up"))
        inner = g.op("Mul", g.op("Mul", gate, g.op("Sigmoid", gate)), up)
        return g.op("Add", x, self.linear(inner, f"{p}mlp.down_proj"))

    def attend(self, y: str, i: int, p: str) -> str:
        """Queries that share keys lie one behind the other."""
        g, kv, width = self.g, self.config.kv_heads, self.config.head_width
        shape = g.ints(0, 0, -1, width)
        q, k, v = (g.op("Reshape", self.linear(y, f"{p}{x}_proj"), shape) for x in "qkv")
        q, k = self.norm(q, p + "q_norm.weight"), self.norm(k, p + "k_norm.weight")
        q, k, v = (g.transpose(part, 0, 2, 1, 3) for part in (q, k, v))
        k = g.concat(2, f"keys_in.{i}", self.turned(k))
        v = g.concat(2, f"values_in.{i}", v)
        g.output(f"keys.{i}", k)
        g.output(f"values.{i}", v)
        q = g.op("Reshape", self.turned(q), g.ints(1, kv, self.config.heads // kv, -1, width))
        scores = g.op("MatMul", q, g.transpose(g.op("Unsqueeze", k, g.ints(2)), 0, 1, 2, 4, 3))
        scores = g.op("Add", g.op("Mul", scores, g.scalar(width**-0.5)), self.mask)
        mixed = g.op("MatMul", g.op("Softmax", scores, axis=-1), g.op("Unsqueeze", v, g.ints(2)))
        return g.merge_heads(g.op("Reshape", mixed, g.ints(1, self.config.heads, -1, width)))


def contract_of(config: BackboneConfig) -> GraphContract:
    """Rows to the last one's logits, keys and values of each layer in and out."""

    def cache(name: str, rows: str) -> TensorContract:
        return TensorContract(name, "f32", (1, config.kv_heads, rows, config.head_width))

    rows = TensorContract("rows", "f32", (1, "T", "width"))
    logits = TensorContract("logits", "f32", (1, 1, "table"))
    return GraphContract(
        "head_layers",
        (rows, cache("keys_in.", "PAST"), cache("values_in.", "PAST")),
        (logits, cache("keys.", "ALL"), cache("values.", "ALL")),
    )


class OnnxForm:
    """Feeds rows and keeps the caches."""

    def __init__(self, file: Path, config: BackboneConfig) -> None:
        self.session, self.layers = GraphSession(file), config.layers
        self.none = np.zeros((1, config.kv_heads, 0, config.head_width), np.float32)
        self.reset()

    def reset(self) -> None:
        names = [f"{name}_in.{i}" for name in ("keys", "values") for i in range(self.layers)]
        self.cache = dict.fromkeys(names, self.none)

    def read(self, rows: np.ndarray) -> np.ndarray:
        found = self.session.run({"rows": rows[None], **self.cache})
        self.cache = {name: found[name.replace("_in", "")] for name in self.cache}
        return found["logits"][0, 0]


def main(folder: Path, stage: str = "head") -> None:
    read, draw = published.random_checkpoint(stage, Settings()), np.random.default_rng(0)
    model = read.configs.head_model()
    config = model.config
    OnnxHead(config, read.read).export(folder / "head.onnx")
    backbone_gguf.write_gguf(folder / "f32.gguf", model, read.read, precision="f32", name="head")
    for kind in KINDS[1:]:
        quantize(folder / "f32.gguf", folder / f"{kind}.gguf", kind)
    rows = draw.standard_normal((PROMPT + STEP, config.width)).astype(np.float32)
    best: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        forms: dict[str, Any] = {"onnx f32": OnnxForm(folder / "head.onnx", config)}
        for kind in KINDS:
            file = folder / f"{kind}.gguf"
            forms[f"gguf {kind}"] = backbone.open_bench(file, kv="f16", n_cells=1024)
        logits = {name: timed(name, form, rows, best) for name, form in forms.items()}
    usual = logits["onnx f32"]
    for name, (prompt, step) in best.items():
        far = np.linalg.norm(logits[name] - usual) / np.linalg.norm(usual)
        print(f"{name:12s} {1e3 * prompt:8.0f} ms {1e3 * step:8.1f} ms  {far:.1e} from ONNX's")


def timed(name: str, form: Any, rows: np.ndarray, best: dict[str, list[float]]) -> np.ndarray:
    """Feeds a prompt and a step, keeps the best seconds of both; the last logits."""
    times = []
    for part in (rows[:PROMPT], *rows[PROMPT:, None]):
        begin = time.process_time()
        logits = form.read(part)
        times.append(time.process_time() - begin)
    now = [times[0], sum(times[1:])]
    best[name] = [min(pair) for pair in zip(best.get(name, now), now, strict=True)]
    return np.array(logits)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
