"""Graph nodes of a flow field whose frames stand as columns; knows no family's field."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from parley_export.graph_builder import GraphBuilder


class Columns:
    """Frames of both branches as columns `[D, B T]`, the form in which most of the field computes.

    A product of weights `[N, D]` and few columns reads the weights once, as they lie; with frames
    as rows a matrix product packs them or misses the cache (measured on weights that lie in
    memory, 32 frames of width 1024: 200 against 133 GFLOPS, one thread).
    """

    def __init__(self, g: GraphBuilder, hidden: int) -> None:
        self.g = g
        self.frames = g.op("Shape", "inputs", start=0, end=2)  # [B, T]
        modulation = g.input("modulation")
        self.vectors = g.op("Reshape", modulation, g.ints(-1, hidden))
        self.upright_vectors = g.op("Reshape", modulation, g.ints(-1, hidden, 1))

    def linear(self, x: str, module: nn.Linear, name: str, order: Tensor | None = None) -> str:
        """Columns `[in, B T]` -> `[out, B T]`; `order` of the outputs, None for the module's."""
        g, rows = self.g, slice(None) if order is None else order
        y = g.op("MatMul", g.weight(f"{name}.weight", lambda: module.weight[rows]), x)
        if module.bias is None:
            return y
        bias = module.bias
        return g.op("Add", y, g.weight(f"{name}.bias", lambda: bias[rows][:, None]))

    def turn(self, x: str) -> str:
        """Rows to columns, or columns to rows."""
        return self.g.transpose(x, 1, 0)

    def shaped(self, x: str, *sizes: int) -> str:
        """Columns to `[*sizes, B, T]`."""
        return self.g.op("Reshape", x, self.g.concat(0, self.g.ints(*sizes), self.frames))

    def flat(self, x: str, width: int) -> str:
        """Back from any shape that ends in B, T."""
        return self.g.op("Reshape", x, self.g.ints(width, -1))

    def rows_of(self, x: str, width: int) -> str:
        """Columns to `[B, T, width]`."""
        return self.g.transpose(self.shaped(x, width), 1, 2, 0)

    def vector(self, i: int) -> str:
        """Modulation vector `[D]`."""
        return self.g.op("Gather", self.vectors, self.g.index(i), axis=0)

    def gate(self, x: str, i: int) -> str:
        """Columns times modulation vector `i`."""
        gate = self.g.op("Gather", self.upright_vectors, self.g.index(i), axis=0)
        return self.g.op("Mul", x, gate)


class Sight:
    """What all blocks' attention shares: the mask, and whether there is anything to recall."""

    def __init__(self, g: GraphBuilder) -> None:
        self.g = g
        self.mask = g.op("Unsqueeze", g.input("mask"), g.ints(1))
        counts = (g.op("Shape", f"{name}_keys.0", start=2, end=3) for name in ("prompt", "past"))
        self.alone = g.op("Squeeze", g.op("Equal", g.op("Add", *counts), g.ints(0)), g.ints(0))

    def attend(self, layer: int, queries: Callable[[], list[str]], own: tuple[str, str]) -> str:
        """Over the `own` keys and values, which go out, and over what is recalled.

        `queries` gives those for the past and own keys, then those for the prompt's, all upright
        `[B, H, d, T]`, as is the result.
        """
        g = self.g
        for name, value in zip(("keys", "values"), own, strict=True):
            g.output(f"{name}.{layer}", value)
        return g.choose(
            self.alone,
            lambda: attend(g, queries()[0], *own),
            lambda: attend_all(g, queries(), own, self.mask, layer),
        )


class RotarySight(Sight):
    """The same with rotary positions, halves of a head turned against each other.

    `rates` `[d]`; the heads from `heads` on are not turned, all are where it is 0.
    """

    def __init__(self, g: GraphBuilder, rates: Tensor, heads: int = 0) -> None:
        super().__init__(g)
        self.heads = heads
        self.angles, self.prompt_angles = (
            self.turns(rates[:, None], name) for name in ("positions", "prompt_positions")
        )

    def turns(self, rates: Tensor, name: str) -> list[str]:
        """Cosines and sines of the positions, upright `[d, T]`."""
        g = self.g
        angles = g.op("Mul", g.floats("rates", rates), g.cast(g.input(name), "f32"))
        return [g.cast(g.op(f, angles), g.precision, "f32") for f in ("Cos", "Sin")]

    def turned(self, x: str, prompt: bool = False) -> list[str]:
        """Upright `x` `[B, H, d, T]` at its positions, and maybe at those beside the prompt."""
        g, rest = self.g, []
        if self.heads:
            x, rest = g.slice(x, 1, 0, self.heads), [g.slice(x, 1, self.heads, 1 << 30)]
        low, high = g.ops("Split", 2, x, axis=2, num_outputs=2)
        across = g.concat(2, g.op("Neg", high), low)
        both = [self.angles, self.prompt_angles] if prompt else [self.angles]
        parts = [g.op("Add", g.op("Mul", x, cos), g.op("Mul", across, sin)) for cos, sin in both]
        return [g.concat(1, part, *rest) if rest else part for part in parts]


def attend(g: GraphBuilder, q: str, k: str, v: str) -> str:
    """Queries are upright `[B, H, d, T]`, and so is the result."""
    scores = g.op("MatMul", g.transpose(q, 0, 1, 3, 2), g.transpose(k, 0, 1, 3, 2))
    return g.transpose(g.op("MatMul", g.op("Softmax", scores, axis=-1), v), 0, 1, 3, 2)


def attend_all(
    g: GraphBuilder, queries: list[str], own: tuple[str, str], mask: str, layer: int
) -> str:
    """Over the prompt where it lies, and over the past and the `own` keys and values.

    `queries` are those for the past and own keys, then those for the prompt's.

    Scores stand upright, `[keys, T]`: so a matrix product packs the few queries and not the many
    keys, which halves its time. The softmax is written out, since its two parts stay apart.
    """
    k, v = (
        g.concat(2, g.input(f"past_{name}.{layer}"), part)
        for name, part in zip(("keys", "values"), own, strict=True)
    )
    far = g.op("MatMul", g.input(f"prompt_keys.{layer}"), queries[1])
    near = g.op("Add", g.op("MatMul", k, queries[0]), mask)
    axis = g.ints(2)
    top = g.op("Max", g.op("ReduceMax", far, axis), g.op("ReduceMax", near, axis))
    far, near = (g.op("Exp", g.op("Sub", part, top)) for part in (far, near))
    total = g.op("Add", g.op("ReduceSum", far, axis), g.op("ReduceSum", near, axis))
    far = g.op("MatMul", g.input(f"prompt_values.{layer}"), far)
    near = g.op("MatMul", g.transpose(v, 0, 1, 3, 2), near)
    return g.op("Div", g.op("Add", far, near), total)


def modulate(g: GraphBuilder, x: str, first: int, columns: Columns) -> str:
    """Normalised, shifted by modulation vector `first` and scaled by the next.

    They stand in for the norm's own affine: one pass instead of three.
    """
    scale = g.op("Add", columns.vector(first + 1), g.scalar(1.0))
    rows = columns.turn(x)
    rows = g.op("LayerNormalization", rows, scale, columns.vector(first), axis=-1, epsilon=1e-6)
    return columns.turn(rows)


def silu(g: GraphBuilder, x: str) -> str:
    return g.op("Mul", x, g.op("Sigmoid", x))
