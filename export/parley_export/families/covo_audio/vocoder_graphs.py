"""The vocoder's graph, one for streams and for whole replies; knows no checkpoint and no manifest.

Every layer gives out as many samples as it gets. A layer that looks ahead answers late by what it
looks ahead, and all that a layer must remember is the last samples of what went into it: they are
the state. So a run adds what its latent frames add and computes nothing twice; its samples belong
to frames that came `full_lookahead` frames before. The state takes in the first `kept` of its
frames; those behind them only show the layers what comes, where less look-ahead is wanted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from parley_export import contract
from parley_export.families.covo_audio.activation_graphs import alias_free_activation
from parley_export.families.covo_audio.configs import REACH
from parley_export.families.covo_audio.modules import Vocoder
from parley_export.families.covo_audio.modules.activation import AliasFreeActivation
from parley_export.families.covo_audio.modules.vocoder import AmpBlock, CausalConv1d
from parley_export.graph_builder import GraphBuilder, GraphInfo


@dataclass(frozen=True)
class _Signal:
    """A value `[1, width, rate * T]` that is `delay` of its samples late."""

    value: str
    width: int
    rate: int  # samples per latent frame
    delay: int


def export_vocoder(
    vocoder: Vocoder, path: Path, precision: str = "f32", *, fused: bool = True
) -> GraphInfo:
    """Latents to samples, weight norm folded on the way out; the module stays as it is.

    `fused`: with the engine's own operator for the activations, or in ONNX's nodes alone.
    """
    return _VocoderGraph(vocoder, precision, fused).export(path)


def _part(width: int, i: int) -> str:
    return f"history/{width}/{i}"


class _VocoderGraph:
    def __init__(self, vocoder: Vocoder, precision: str, fused: bool) -> None:
        self.vocoder, self.fused = vocoder, fused
        self.sizes = {"z": vocoder.config.z}
        # With arithmetic in half precision too, a stream would be only 63 dB from the whole run.
        self.g = GraphBuilder(contract.graph("vocoder"), self.sizes, precision, arithmetic="f32")
        # Width -> length and value of each history of signals so wide, in the state's order.
        self.lengths: dict[int, list[int]] = {}
        self.kept: dict[int, list[str]] = {}
        self.positions: dict[int, str] = {}
        self.ends: dict[int, str] = {}  # rate -> samples of the kept frames

    def export(self, path: Path) -> GraphInfo:
        g, vocoder, config = self.g, self.vocoder, self.vocoder.config
        pre, n_blocks = vocoder.conv_pre, len(config.block_kernels)
        x = _Signal(g.input("latents"), config.z, 1, 0)
        latents = self.remember(x, pre.taps - 1)
        y = g.conv(latents, pre.kernel, pre.bias, "conv_pre")
        x = _Signal(y, config.width, 1, pre.taps // 2)
        for stage, ((up,), width) in enumerate(zip(vocoder.ups, config.widths, strict=True)):
            x = self.real(x, 1.0 if stage == 0 else 1 / n_blocks)
            y = g.conv_transpose(
                self.remember(x, 1),
                up.kernel,
                up.bias,
                f"ups.{stage}",
                strides=[up.rate],
                pads=[up.rate, up.rate],
            )
            x = _Signal(y, width, up.rate * x.rate, up.rate * x.delay)
            outs = []
            for i in range(stage * n_blocks, (stage + 1) * n_blocks):
                with g.scope(f"resblocks.{i}"):
                    outs.append(self.amp_block(x, vocoder.resblocks[i]))
            x = self.total(outs)
        x = replace(x, value=g.op("Mul", x.value, g.scalar(1 / n_blocks)))
        y = self.activation(
            x, self.remember(x, 2 * REACH), vocoder.activation_post, "activation_post"
        )
        y = self.causal_conv(y, vocoder.conv_post, "conv_post")
        y = replace(y, value=g.op("Tanh", y.value))
        if y.delay != config.lookahead_samples:
            raise AssertionError(f"delay of {y.delay}, {config.lookahead_samples} by the config")
        g.output("wave", self.later(y, config.full_lookahead * y.rate).value)
        self.carry()
        return g.save(path)

    def remember(self, x: _Signal, length: int) -> str:
        """The last `length` samples of the runs before, then this run's."""
        g, lengths = self.g, self.lengths.setdefault(x.width, [])
        both = g.concat(2, _part(x.width, len(lengths)), x.value)
        lengths.append(length)
        if x.rate not in self.ends:
            self.ends[x.rate] = g.op("Mul", g.input("kept"), g.ints(x.rate))
        begin = self.ends[x.rate]
        end = g.op("Add", begin, g.ints(length))
        self.kept.setdefault(x.width, []).append(g.op("Slice", both, begin, end, g.ints(2)))
        return both

    def carry(self) -> None:
        """The state in, cut into histories before all else, and the state out."""
        g, sizes = self.g, {width: width * sum(own) for width, own in self.lengths.items()}
        for width, own in self.lengths.items():
            parts = [_part(width, i) for i in range(len(own))]
            g.prepend("Split", [f"history/{width}", g.ints(*own)], parts, axis=2)
            shape = g.ints(1, width, -1)
            g.prepend("Reshape", [f"history/{width}/flat", shape], [f"history/{width}"])
        flat = [f"history/{width}/flat" for width in sizes]
        g.prepend("Split", ["state_in.history", g.ints(*sizes.values())], flat, axis=0)
        after = [g.op("Reshape", g.concat(2, *rows), g.ints(-1)) for rows in self.kept.values()]
        g.output("state_out.history", g.concat(0, *after))
        self.sizes["history"] = sum(sizes.values())

    def later(self, x: _Signal, delay: int) -> _Signal:
        """The same signal, `delay` of its samples late in all."""
        by = delay - x.delay
        if by == 0:
            return x
        value = self.g.slice(self.remember(x, by), 2, 0, -by)
        return replace(x, value=value, delay=delay)

    def total(self, parts: list[_Signal]) -> _Signal:
        """The sum; the blocks of a stage may differ in what they look ahead."""
        delay = max(part.delay for part in parts)
        parts = [self.later(part, delay) for part in parts]
        return replace(parts[0], value=self.g.op("Sum", *(part.value for part in parts)))

    def span(self, rate: int, delay: int) -> str:
        """First real sample and the one after the last, as indices of a signal `[2]`."""
        g = self.g
        return g.op("Add", g.op("Mul", g.input("range"), g.ints(rate)), g.ints(delay))

    def real(self, x: _Signal, gain: float) -> _Signal:
        """Times `gain`, and zero before the reply begins, as convolutions want it."""
        g = self.g
        if x.rate not in self.positions:
            n = g.op("Mul", g.op("Shape", "latents", start=2, end=3), g.ints(x.rate))
            n = g.op("Squeeze", n, g.ints(0))
            self.positions[x.rate] = g.op("Range", g.index(0), n, g.index(1))
        first = g.slice(self.span(x.rate, x.delay), 0, 0, 1)
        outside = g.op("Less", self.positions[x.rate], first)
        mask = g.op("Where", outside, g.scalar(0.0), g.scalar(gain))
        return replace(x, value=g.op("Mul", x.value, mask))

    def activation(
        self, x: _Signal, padded: str, module: AliasFreeActivation, name: str
    ) -> _Signal:
        """`padded` is x behind 2 REACH samples of its past."""
        span, act = self.span(x.rate, x.delay + 2 * REACH), module.act
        with self.g.scope(name):
            y = alias_free_activation(
                self.g, padded, act.alpha, act.beta, span, left=REACH, right=REACH, fused=self.fused
            )
        return replace(x, value=y, delay=x.delay + REACH)

    def causal_conv(self, x: _Signal, conv: CausalConv1d, name: str) -> _Signal:
        padded = self.remember(x, conv.dilation * (conv.taps - 1))
        y = self.g.conv(padded, conv.kernel, conv.bias, name, dilations=[conv.dilation])
        return replace(x, value=y, width=len(conv.bias))

    def amp_block(self, x: _Signal, block: AmpBlock) -> _Signal:
        for i, (dilated, plain) in enumerate(zip(block.convs1, block.convs2, strict=True)):
            padded = self.remember(x, 2 * REACH)
            y = self.activation(x, padded, block.activations[2 * i], f"activations.{2 * i}")
            y = self.causal_conv(y, dilated, f"convs1.{i}")
            name = f"activations.{2 * i + 1}"
            late = self.remember(y, 2 * REACH)
            y = self.activation(y, late, block.activations[2 * i + 1], name)
            y = self.causal_conv(y, plain, f"convs2.{i}")
            # x's own past is what its way around the two activations must wait for.
            skip = self.g.slice(padded, 2, 0, -2 * REACH)
            x = replace(y, value=self.g.op("Add", skip, y.value))
        return x
