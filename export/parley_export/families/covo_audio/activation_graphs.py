"""The vocoder's activation in ONNX, fused or in ONNX's own nodes; knows no layer around it.

Fused, it is the engine's operator `parley.SnakeBeta` (kernels/snakebeta), float32 whatever the
graph's precision. In plain nodes any runtime computes the same, several times slower.
"""

from __future__ import annotations

from torch import Tensor

from parley_export.contract import CUSTOM_DOMAIN
from parley_export.families.covo_audio.modules.activation import (
    lowpass_filter,
    phase_filters,
    phase_gain,
    phase_rate,
)
from parley_export.graph_builder import GraphBuilder

EDGE = 3  # the same of one of the two filters
ENDLESS = 1 << 62


def alias_free_activation(
    g: GraphBuilder,
    x: str,
    alpha: Tensor,
    beta: Tensor,
    range_: str | None = None,
    *,
    left: int = 0,
    right: int = 0,
    fused: bool = True,
) -> str:
    """`AliasFreeActivation` of `x` [1, C, T], or of the window of a longer signal that x is.

    `range_` names an int64 [2]: the positions in x of the signal's first sample and of the one
    after its last; either may lie outside x. None: x is the whole signal, from 0 to T. The output
    [1, C, T - left - right] holds positions left to T - right - 1, zero where there is no signal.
    Each needs REACH samples on either side; what x lacks of them within the signal is taken to
    repeat x's own edge.
    """
    if fused:
        logs = [g.weight(n, w, precision="f32") for n, w in (("alpha", alpha), ("beta", beta))]
        if range_ is None:
            range_ = g.concat(0, g.ints(0), _length(g, x, 2))
        x = g.cast(x, "f32", g.precision)
        attributes = {"domain": CUSTOM_DOMAIN, "left": left, "right": right}
        y = g.op("SnakeBeta", x, *logs, range_, **attributes)
        return g.cast(y, g.precision, "f32")
    width = len(alpha)
    up, down = _filters(g, width)
    if range_ is None:
        u = _snake(g, g.op("Pad", x, g.ints(0, 0, EDGE, 0, 0, EDGE), mode="edge"), alpha, beta, up)
        y = g.op("Conv", _repeated_edges(g, u, width), down, group=width)
        return y if left == right == 0 else g.slice(y, 2, left, -right or ENDLESS)
    window = _Window(g, x, range_, left, right)
    u = _snake(g, window.inputs(x), alpha, beta, up)
    y = g.op("Conv", window.doubled(u, width), down, group=width)
    return g.op("Where", window.inside(), y, g.scalar(0.0))


def _length(g: GraphBuilder, x: str, axis: int) -> str:
    return g.op("Shape", x, start=axis, end=axis + 1)


def _filters(g: GraphBuilder, width: int) -> tuple[str, str]:
    up, down = (
        g.weight(f"filters/{leaf}_{width}", kernel.repeat(width, 1, 1), shared=True)
        for leaf, kernel in zip(("up", "down"), phase_filters(lowpass_filter()), strict=True)
    )
    return up, down


def _snake(g: GraphBuilder, x: str, alpha: Tensor, beta: Tensor, up: str) -> str:
    """The doubled signal as two phases `[1, 2 C, T - 6]`, through the snake."""
    rate = g.weight("rate", lambda: phase_rate(alpha))
    gain = g.weight("gain", lambda: phase_gain(beta))
    u = g.op("Conv", x, up, group=len(alpha))
    wave = g.op("Sin", g.op("Mul", u, rate))
    return g.op("Add", u, g.op("Mul", g.op("Mul", wave, wave), gain))


def _repeated_edges(g: GraphBuilder, u: str, width: int) -> str:
    """A whole doubled signal with EDGE places before and after it."""
    phases = g.op("Reshape", u, g.ints(0, width, 2, -1))
    axes, block = g.ints(2, 3), g.ints(1, 1, 2, EDGE)
    first = g.op("Slice", phases, g.ints(0, 0), g.ints(1, 1), axes)
    last = g.op("Slice", phases, g.ints(1, -1), g.ints(2, ENDLESS), axes)
    edged = g.concat(3, g.op("Expand", first, block), phases, g.op("Expand", last, block))
    return g.op("Reshape", edged, g.ints(0, 2 * width, -1))


class _Window:
    """Positions of a window's outputs, and where the signal's edges lie among them."""

    def __init__(self, g: GraphBuilder, x: str, range_: str, left: int, right: int) -> None:
        self.g, self.left = g, left
        self.first, self.end = g.ops("Split", 2, range_, axis=0, num_outputs=2)
        self.samples = _length(g, x, 2)
        self.after = g.op("Sub", self.samples, g.ints(right))

    def _positions(self, spare: int) -> str:
        """Of the outputs and `spare` places before and after them."""
        g = self.g
        after = g.op("Squeeze", g.op("Add", self.after, g.ints(spare)), g.ints(0))
        return g.op("Range", g.index(self.left - spare), after, g.index(1))

    def inputs(self, x: str) -> str:
        g = self.g
        first = g.op("Max", self.first, g.ints(0))
        last = g.op("Sub", g.op("Min", self.end, self.samples), g.ints(1))
        return g.op("Gather", x, self._clipped(self._positions(2 * EDGE), first, last), axis=2)

    def doubled(self, u: str, width: int) -> str:
        """u `[1, 2 C, places]` with the edges repeated at the signal's ends."""
        g, places = self.g, _length(self.g, u, 2)
        positions = self._positions(EDGE)
        begin = g.ints(self.left - EDGE)
        even = g.op("Sub", positions, begin)
        odd = g.op("Add", even, places)
        first = g.op("Sub", self.first, begin)
        last = g.op("Add", g.op("Sub", g.op("Sub", self.end, begin), g.ints(1)), places)
        before, behind = g.op("Less", positions, self.first), self._not_before(positions, self.end)
        index = [
            g.op("Where", before, first, g.op("Where", behind, last, phase))
            for phase in (even, odd)
        ]
        limit = g.op("Sub", g.op("Add", places, places), g.ints(1))
        all_ = self._clipped(g.concat(0, *index), g.ints(0), limit)
        rows = g.op("Reshape", u, g.ints(0, width, -1))
        return g.op("Reshape", g.op("Gather", rows, all_, axis=2), g.ints(0, 2 * width, -1))

    def inside(self) -> str:
        g, positions = self.g, self._positions(0)
        after = g.op("Less", positions, self.end)
        return g.op("And", self._not_before(positions, self.first), after)

    def _not_before(self, positions: str, bound: str) -> str:
        return self.g.op("Not", self.g.op("Less", positions, bound))

    def _clipped(self, values: str, low: str, high: str) -> str:
        return self.g.op("Min", self.g.op("Max", values, low), high)
