"""The vocoder's graph, one for streams and for whole replies; knows no checkpoint and no manifest.

Every layer gives out as many samples as it gets. A layer that looks ahead answers late by what it
looks ahead, and all that a layer must remember is the last samples of what went into it: they are
the state. So a run computes nothing twice, and its samples belong to frames that came
`full_lookahead` frames before. The state takes in the first `kept` of its frames; those behind them
only show the layers what comes. The source's phases are carried on, so nothing clicks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from parley_export import contract
from parley_export.graph_builder import GraphBuilder, GraphInfo
from parley_export.modules.harmonic_vocoder import (
    LAST_SLOPE,
    MAX_MAGNITUDE,
    MAX_SAMPLE,
    SINE,
    SLOPE,
    UNVOICED_NOISE,
    VOICED_HZ,
    VOICED_NOISE,
    Conv,
    DownConv,
    RepeatConv,
    ResidualBlock,
    Snake,
    Vocoder,
)


@dataclass(frozen=True)
class _Signal:
    """`[1, width, rate * T]`, `delay` of its samples late; of a whole reply it has `extra` more."""

    value: str
    width: int
    rate: int
    delay: int
    extra: int = 0


def export_vocoder(vocoder: Vocoder, path: Path, precision: str = "f32") -> GraphInfo:
    """Log-mel to samples, weight norm folded on the way out; the module stays as it is."""
    return _VocoderGraph(vocoder, precision).export(path)


class _VocoderGraph:
    def __init__(self, vocoder: Vocoder, precision: str) -> None:
        self.vocoder, self.sizes = vocoder, {"z": vocoder.config.n_mels}
        self.g = GraphBuilder(
            contract.graph("vocoder_with_noise"), self.sizes, precision, arithmetic="f32"
        )
        self.lengths: dict[int, list[int]] = {}  # width -> those of its histories
        self.kept: dict[int, list[str]] = {}
        self.shared: dict[tuple[object, ...], str] = {}

    def export(self, path: Path) -> GraphInfo:
        g, vocoder, config = self.g, self.vocoder, self.vocoder.config
        mel = _Signal(g.input("latents"), config.n_mels, 1, 0)
        with g.scope("source"):
            spectra = self.spectra(self.source(mel))
        x = self.conv(mel, vocoder.conv_pre, "conv_pre")
        for stage, up in enumerate(vocoder.ups):
            x = self.up(self.leaky(x, SLOPE), up, f"ups.{stage}")
            if stage == len(vocoder.ups) - 1:
                x = self.reflect_first(x)
            down = self.down(spectra, vocoder.source_downs[stage], f"source_downs.{stage}")
            with g.scope(f"source_resblocks.{stage}"):
                source = self.block(down, vocoder.source_resblocks[stage])
            x = self.total([x, source])
            outs = []
            for i, block in enumerate(vocoder.blocks(stage)):
                with g.scope(f"resblocks.{stage}.{i}"):
                    outs.append(self.block(x, block))
            x = self.total(outs)
            x = replace(x, value=g.op("Mul", x.value, g.scalar(1 / len(outs))))
        x = self.conv(self.leaky(x, LAST_SLOPE), vocoder.conv_post, "conv_post")
        wave = self.wave(x)
        if wave.delay != config.lookahead_samples:
            raise AssertionError(f"delay of {wave.delay}, {config.lookahead_samples} by the config")
        g.output("wave", self.later(wave, config.full_lookahead * wave.rate).value)
        self.carry()
        return g.save(path)

    # ------------------------------------------------ what is remembered

    def once(self, key: tuple[object, ...], make: Callable[[], str]) -> str:
        if key not in self.shared:
            self.shared[key] = make()
        return self.shared[key]

    def remember(self, x: _Signal, length: int) -> str:
        """The last `length` samples of the runs before, then this run's."""
        if length == 0:
            return x.value
        both = self.g.concat(2, self.past(x.width, length), x.value)
        self.keep(both, x, length)
        return both

    def past(self, width: int, length: int) -> str:
        lengths = self.lengths.setdefault(width, [])
        lengths.append(length)
        return f"history/{width}/{len(lengths) - 1}"

    def keep(self, both: str, x: _Signal, length: int) -> None:
        g = self.g
        begin = self.once(("kept", x.rate), lambda: g.op("Mul", g.input("kept"), g.ints(x.rate)))
        end = g.op("Add", begin, g.ints(length))
        self.kept.setdefault(x.width, []).append(g.op("Slice", both, begin, end, g.ints(2)))

    def carry(self) -> None:
        """The state in, cut into histories before all else, and the state out."""
        g, sizes = self.g, {width: width * sum(own) for width, own in self.lengths.items()}
        for width, own in self.lengths.items():
            parts = [f"history/{width}/{i}" for i in range(len(own))]
            g.prepend("Split", [f"history/{width}", g.ints(*own)], parts, axis=2)
            shape = g.ints(1, width, -1)
            g.prepend("Reshape", [f"history/{width}/flat", shape], [f"history/{width}"])
        flat = [f"history/{width}/flat" for width in sizes]
        g.prepend("Split", ["state_in.history", g.ints(*sizes.values())], flat, axis=0)
        after = [g.op("Reshape", g.concat(2, *rows), g.ints(-1)) for rows in self.kept.values()]
        g.output("state_out.history", g.concat(0, *after))
        self.sizes["history"] = sum(sizes.values())

    def later(self, x: _Signal, delay: int) -> _Signal:
        by = delay - x.delay
        if by == 0:
            return x
        return replace(x, value=self.g.slice(self.remember(x, by), 2, 0, -by), delay=delay)

    def ends(self, x: _Signal, shift: int = 0) -> tuple[str, str]:
        g = self.g
        span = self.once(("span", x.rate), lambda: g.op("Mul", g.input("range"), g.ints(x.rate)))
        delay = x.delay + shift
        both = g.op("Add", span, g.ints(delay, delay + x.extra))
        return g.slice(both, 0, 0, 1), g.slice(both, 0, 1, 2)

    def positions(self, value: str) -> str:
        """Indices along a signal."""
        g = self.g
        n = g.op("Squeeze", g.op("Shape", value, start=2, end=3), g.ints(0))
        return g.op("Range", g.index(0), n, g.index(1))

    def inside(self, value: str, ends: tuple[str, str]) -> str:
        g = self.g
        index = self.positions(value)
        inside = g.op("And", g.op("GreaterOrEqual", index, ends[0]), g.op("Less", index, ends[1]))
        return g.cast(inside, "f32")

    def real(self, x: _Signal) -> _Signal:
        key = ("real", x.rate, x.delay, x.extra)
        mask = self.once(key, lambda: self.inside(x.value, self.ends(x)))
        return replace(x, value=self.g.op("Mul", x.value, mask))

    # ------------------------------------------------ layers

    def leaky(self, x: _Signal, slope: float) -> _Signal:
        return replace(x, value=self.g.op("LeakyRelu", x.value, alpha=slope))

    def conv(self, x: _Signal, conv: Conv, name: str) -> _Signal:
        past, dilations = self.remember(x, conv.past + conv.ahead), list(conv.dilation)
        y = self.g.conv(past, lambda: conv.weight, conv.bias, name, dilations=dilations)
        return self.real(replace(x, value=y, width=conv.out_channels, delay=x.delay + conv.ahead))

    def up(self, x: _Signal, up: RepeatConv | nn.ConvTranspose1d, name: str) -> _Signal:
        if isinstance(up, RepeatConv):
            return self.conv(self.repeat(x, up.rate), up, name)
        (rate,), (pad,), (taps,) = up.stride, up.padding, up.kernel_size
        cut = [rate + pad, taps - pad]
        y = self.g.conv_transpose(
            self.remember(x, 2), lambda: up.weight, up.bias, name, strides=[rate], pads=cut
        )
        return self.real(_Signal(y, up.out_channels, x.rate * rate, rate * (x.delay + 1)))

    def repeat(self, x: _Signal, rate: int) -> _Signal:
        """Every sample `rate` times."""
        g = self.g
        rows = g.op("Unsqueeze", x.value, g.ints(3))
        many = g.op("Expand", rows, g.ints(1, 1, 1, rate))
        value = g.op("Reshape", many, g.ints(1, x.width, -1))
        return replace(x, value=value, rate=rate * x.rate, delay=rate * x.delay)

    def down(self, x: _Signal, conv: DownConv, name: str) -> _Signal:
        (stride,), (taps,), pad = conv.stride, conv.kernel_size, conv.past
        past = taps - stride
        x = self.later(x, x.delay + (pad - past - x.delay) % stride)
        y = self.g.conv(self.remember(x, past), conv.weight, conv.bias, name, strides=[stride])
        delay = (past + x.delay - pad) // stride
        extra = x.extra if stride == 1 else 0
        return self.real(_Signal(y, conv.out_channels, x.rate // stride, delay, extra))

    def snake(self, x: _Signal, module: Snake, name: str) -> _Signal:
        g, alpha = self.g, module.alpha
        scale = g.weight(f"{name}.alpha", lambda: alpha[:, None])
        inverse = g.weight(f"{name}.inverse", lambda: 1 / (alpha[:, None] + 1e-9))
        sine = g.op("Sin", g.op("Mul", x.value, scale))
        bent = g.op("Mul", g.op("Mul", sine, sine), inverse)
        return replace(x, value=g.op("Add", x.value, bent))

    def block(self, x: _Signal, block: ResidualBlock) -> _Signal:
        for i, (first, dilated, second, plain) in enumerate(block.layers()):
            y = self.conv(self.snake(x, first, f"activations1.{i}"), dilated, f"convs1.{i}")
            y = self.conv(self.snake(y, second, f"activations2.{i}"), plain, f"convs2.{i}")
            x = self.total([x, y])
        return x

    def total(self, parts: list[_Signal]) -> _Signal:
        delay = max(part.delay for part in parts)
        parts = [self.later(part, delay) for part in parts]
        return replace(
            parts[0],
            value=self.g.op("Sum", *(part.value for part in parts)),
            extra=max(part.extra for part in parts),
        )

    def reflect_first(self, x: _Signal) -> _Signal:
        g = self.g
        both = self.remember(x, 2)
        y = replace(x, value=g.slice(both, 2, 0, -2), delay=x.delay + 1, extra=1)
        first = g.op("Equal", self.positions(y.value), self.ends(y)[0])
        return replace(y, value=g.op("Where", first, g.slice(both, 2, 2, 1 << 30), y.value))

    # ------------------------------------------------ source and spectra

    def source(self, mel: _Signal) -> _Signal:
        g, source = self.g, self.vocoder.m_source
        pitch = self.pitch(mel)
        order = torch.arange(1, source.l_linear.in_features + 1)[:, None] / source.rate
        per_sample = g.op("Mul", pitch.value, g.floats("harmonics", order))
        per_sample = g.op("Mod", per_sample, g.scalar(1.0), fmod=1)
        steps = replace(
            pitch,
            value=g.op("Mul", per_sample, g.scalar(float(source.frame))),
            width=source.l_linear.in_features,
        )
        cycles, voiced, late = (self.held if source.is_held else self.even)(pitch, steps)
        return replace(
            pitch,
            value=self.mix(cycles, voiced),
            rate=source.frame,
            delay=source.frame * pitch.delay + late,
        )

    def pitch(self, mel: _Signal) -> _Signal:
        """In Hz, one a frame."""
        g, predictor, x = self.g, self.vocoder.f0_predictor, mel
        for i, conv in enumerate(predictor.condnet[::2]):
            x = self.conv(x, conv, f"condnet.{i}")
            x = replace(x, value=g.op("Elu", x.value))
        rows = g.linear(g.transpose(x.value, 0, 2, 1), predictor.classifier, "classifier")
        pitch = replace(x, value=g.transpose(g.op("Abs", rows), 0, 2, 1), width=1)
        return self.real(pitch)

    def voiced(self, pitch: str) -> str:
        return self.g.cast(self.g.op("Greater", pitch, self.g.scalar(VOICED_HZ)), "f32")

    def held(self, pitch: _Signal, steps: _Signal) -> tuple[str, str, int]:
        """`[1, H, T, 1]` and `[1, 1, T, frame]`: a frame's phase is that of its end."""
        g, frame = self.g, self.vocoder.m_source.frame
        ends = g.op("Add", self.begins(steps), steps.value)
        voiced = g.op("Unsqueeze", self.voiced(pitch.value), g.ints(3))
        voiced = g.op("Expand", voiced, g.ints(1, 1, 1, frame))
        return g.op("Unsqueeze", ends, g.ints(3)), voiced, 0

    def even(self, pitch: _Signal, steps: _Signal) -> tuple[str, str, int]:
        """Both `[1, H or 1, T, frame]`: the phase runs evenly from a frame's middle to the next.

        So it comes half a frame late.
        """
        g, frame = self.g, self.vocoder.m_source.frame
        at_first = g.op("Equal", self.positions(steps.value), self.ends(pitch)[0])
        begins = g.op("Where", at_first, steps.value, self.begins(steps))
        slopes = g.op("Where", at_first, g.scalar(0.0), steps.value)
        ramp = g.weight("ramp", (torch.arange(frame) + 0.5) / frame)
        rise = g.op("Mul", g.op("Unsqueeze", slopes, g.ints(3)), ramp)
        cycles = g.op("Add", g.op("Unsqueeze", begins, g.ints(3)), rise)
        voiced = self.voiced(self.remember(pitch, 1))
        sides = [g.slice(voiced, 2, 0, -1), g.slice(voiced, 2, 1, 1 << 30)]
        sides = [g.op("Unsqueeze", side, g.ints(3)) for side in sides]
        first = g.weight("first_half", (torch.arange(frame) < frame // 2).float())
        last = g.weight("last_half", (torch.arange(frame) >= frame // 2).float())
        voiced = g.op("Add", g.op("Mul", sides[0], first), g.op("Mul", sides[1], last))
        return cycles, voiced, frame // 2

    def begins(self, steps: _Signal) -> str:
        g, past = self.g, self.past(steps.width, 1)
        whole = g.op("CumSum", g.op("Mod", steps.value, g.scalar(1.0), fmod=1), g.index(2))
        phases = g.concat(2, past, g.op("Add", past, whole))
        phases = g.op("Mod", phases, g.scalar(1.0), fmod=1)
        self.keep(phases, steps, 1)
        return g.slice(phases, 2, 0, -1)

    def mix(self, cycles: str, voiced: str) -> str:
        """`[1, H, T, frame or 1]` and `[1, 1, T, frame]` to `[1, 1, n]`."""
        g, source = self.g, self.vocoder.m_source
        linear = source.l_linear
        sines = g.op("Sin", g.op("Mul", cycles, g.scalar(2 * math.pi)))
        weight = g.weight("l_linear", lambda: SINE * linear.weight[0][:, None, None])
        mixed = g.op("ReduceSum", g.op("Mul", sines, weight), g.ints(1))
        flat = g.ints(1, 1, -1)
        mixed = g.op("Reshape", g.op("Mul", mixed, voiced), flat)
        mean, size = map(float, source.noise_mean_and_size())
        slope = g.scalar(VOICED_NOISE - UNVOICED_NOISE)
        loud = g.op("Add", g.op("Mul", voiced, slope), g.scalar(UNVOICED_NOISE))
        noise = g.op("Mul", g.input("noise"), g.scalar(size))
        if mean:
            noise = g.op("Add", noise, g.scalar(mean))
        noise = g.op("Mul", g.op("Reshape", loud, flat), noise)
        mixed = g.op("Add", g.op("Add", mixed, noise), g.weight("offset", linear.bias))
        return g.op("Tanh", mixed)

    def spectra(self, source: _Signal) -> _Signal:
        g, spectrum = self.g, self.vocoder.spectrum
        n_fft, hop = spectrum.n_fft, spectrum.hop
        both = self.remember(source, n_fft)
        first, last = self.ends(source, n_fft)
        index = self.positions(both)
        mirrored = g.op("Sub", g.op("Mul", first, g.ints(2)), index)
        index = g.op("Where", g.op("Less", index, first), mirrored, index)
        mirrored = g.op("Sub", g.op("Sub", g.op("Mul", last, g.ints(2)), g.ints(2)), index)
        index = g.op("Where", g.op("Less", index, last), index, mirrored)
        top = g.op("Sub", g.op("Shape", both, start=2, end=3), g.ints(1))
        index = g.op("Min", g.op("Max", index, g.ints(0)), top)
        both = g.slice(g.op("Gather", both, index, axis=2), 2, 0, -hop)
        value = g.conv(both, spectrum.analysis, None, "analysis", strides=[hop])
        delay = (source.delay + n_fft // 2) // hop
        return self.real(_Signal(value, n_fft + 2, source.rate // hop, delay, 1))

    def wave(self, x: _Signal) -> _Signal:
        g, spectrum = self.g, self.vocoder.spectrum
        n_fft, hop = spectrum.n_fft, spectrum.hop
        past = n_fft // hop - 1
        size, angle = g.ops("Split", 2, x.value, axis=1, num_outputs=2)
        size = g.op("Min", g.op("Exp", size), g.scalar(MAX_MAGNITUDE))
        angle = g.op("Sin", angle)
        parts = [g.op("Mul", size, g.op(f, angle)) for f in ("Cos", "Sin")]
        frames = self.remember(replace(x, value=g.concat(1, *parts)), past)
        real = self.inside(frames, self.ends(x, past))
        real = g.op("Unsqueeze", real, g.ints(0, 1))
        cut = {"strides": [hop], "pads": [past * hop, n_fft - hop]}
        frames = g.op("Mul", frames, real)
        total = g.conv_transpose(frames, spectrum.synthesis, None, "synthesis", **cut)
        weight = g.conv_transpose(real, spectrum.envelope, None, "envelope", **cut)
        wave = g.op("Div", total, g.op("Max", weight, g.scalar(1e-8)))
        wave = g.op("Clip", wave, g.scalar(-MAX_SAMPLE), g.scalar(MAX_SAMPLE))
        return _Signal(wave, 1, x.rate * hop, x.delay * hop + n_fft // 2)
