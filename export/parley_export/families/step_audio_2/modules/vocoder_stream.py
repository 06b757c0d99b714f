"""The vocoder a few frames at a time, nothing computed twice; the same sums as the whole.

Every layer gives out as many samples as it gets. A layer that looks ahead answers late by what it
looks ahead, and all it must remember is the last samples of what went into it: they are the state.
So a step's samples belong to frames that came `full_lookahead` frames before. The state takes in
the first `kept` of a step's frames; those behind them only show the layers what comes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from parley_export.families.step_audio_2.modules.vocoder import (
    LAST_SLOPE,
    MAX_SAMPLE,
    SLOPE,
    VOICED_HZ,
    ResidualBlock,
    Vocoder,
    polar_to_spectrum,
)

FAR = 1 << 40  # frames; a reply whose end is not known yet ends there


@dataclass(frozen=True)
class Signal:
    """`[1, C, rate * T]`, `delay` of its samples late; of a whole reply it has `extra` more."""

    value: Tensor
    rate: int  # samples per log-mel frame
    delay: int
    extra: int = 0


class Memory:
    """Hands each layer what it remembers of the steps before, in order, and keeps the new.

    state: all of it, `[n]`; None gives zeros and counts.
    span: the reply's first frame and the one after its last, counted from the first of this step.
    """

    def __init__(self, state: Tensor | None, span: Tensor, kept: Tensor) -> None:
        self.state, self.span, self.kept = state, span, kept
        self.position = 0
        self.after: list[Tensor] = []
        self.masks: dict[tuple[int, int, int], Tensor] = {}

    def take(self, *shape: int) -> Tensor:
        """The next part of the state, `shape` with a leading 1."""
        size = torch.Size(shape).numel()
        begin, self.position = self.position, self.position + size
        if self.state is None:
            return torch.zeros(1, *shape)
        return self.state[begin : self.position].view(1, *shape)

    def remember(self, x: Signal, length: int) -> Tensor:
        """The last `length` samples of the steps before, then this step's."""
        if length == 0:
            return x.value
        both = torch.cat([self.take(x.value.shape[1], length), x.value], 2)
        self.keep(both, x.rate, length)
        return both

    def keep(self, both: Tensor, rate: int, length: int) -> None:
        """The next part of the new state, from `length` old samples and this step's."""
        kept = self.kept * rate + torch.arange(length, device=both.device)
        self.after.append(both.index_select(2, kept).flatten())

    def later(self, x: Signal, delay: int) -> Signal:
        """The same signal, `delay` of its samples late in all."""
        by = delay - x.delay
        if by == 0:
            return x
        return replace(x, value=self.remember(x, by)[..., :-by], delay=delay)

    def ends(self, x: Signal) -> tuple[Tensor, Tensor]:
        """The reply's first sample and the one after its last, as indices of the signal."""
        first, last = (self.span * x.rate + x.delay).split(1)
        return first, last + x.extra

    def real(self, x: Signal) -> Signal:
        """Zero where the reply has no sample, as convolutions want it."""
        key = (x.rate, x.delay, x.extra)
        if key not in self.masks:
            first, last = self.ends(x)
            index = torch.arange(x.value.shape[2], device=first.device)
            self.masks[key] = ((index >= first) & (index < last)).to(x.value.dtype)
        return replace(x, value=x.value * self.masks[key])


class VocoderStream(nn.Module):
    """Steps of a `Vocoder`: its weights, and what is remembered as one tensor."""

    def __init__(self, vocoder: Vocoder) -> None:
        super().__init__()
        self.vocoder = vocoder
        mel = torch.zeros(1, vocoder.config.n_mels, 1)
        memory = Memory(None, torch.tensor([0, FAR]), torch.tensor([1]))
        noise = mel.new_zeros(1, 1, vocoder.config.samples_per_frame)
        late = self._run(mel, noise, memory)
        self.state_size = memory.position
        self.full_lookahead = late.delay // late.rate

    def create_state(self) -> Tensor:
        """Before a reply, `[n]`."""
        return torch.zeros(self.state_size)

    def forward(
        self, mel: Tensor, noise: Tensor, span: Tensor, kept: Tensor, state: Tensor
    ) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            mel: `[1, n_mels, T]`, zeros where the reply has no frame.
            noise: `[1, 1, samples_per_frame * T]`, one per sample of the source.
            span: int64 `[2]`, the reply's first frame and the one after its last, counted from the
                first of this step.
            kept: int64 `[1]`, how many of the frames the state takes in.
        Returns:
            samples `[1, 1, samples_per_frame * T]`, full_lookahead frames late, and the new state.
        """
        memory = Memory(state, span, kept)
        return self._run(mel, noise, memory).value, torch.cat(memory.after)

    def _run(self, mel: Tensor, noise: Tensor, memory: Memory) -> Signal:
        frames, vocoder = Signal(mel, 1, 0), self.vocoder
        spectra = self._spectra(memory, self._source(memory, frames, noise))
        x = self._conv(memory, frames, vocoder.conv_pre)
        last = len(vocoder.ups) - 1
        for stage, up in enumerate(vocoder.ups):
            x = self._up(memory, replace(x, value=functional.leaky_relu(x.value, SLOPE)), up)
            if stage == last:
                x = self._reflect_first(memory, x)
            down = self._down(memory, spectra, vocoder.source_downs[stage])
            source = self._block(memory, down, vocoder.source_resblocks[stage])
            x = self._sum(memory, [x, source])
            outs = [self._block(memory, x, block) for block in vocoder.blocks(stage)]
            x = self._sum(memory, outs)
            x = replace(x, value=x.value / len(outs))
        x = replace(x, value=functional.leaky_relu(x.value, LAST_SLOPE))
        wave = self._wave(memory, self._conv(memory, x, vocoder.conv_post))
        return memory.later(wave, -(-wave.delay // wave.rate) * wave.rate)

    def _conv(self, memory: Memory, x: Signal, conv: nn.Conv1d) -> Signal:
        """A convolution with zeros on both sides of the reply."""
        (pad,) = conv.padding
        y = functional.conv1d(
            memory.remember(x, 2 * pad), conv.weight, conv.bias, dilation=conv.dilation
        )
        return memory.real(replace(x, value=y, delay=x.delay + pad))

    def _up(self, memory: Memory, x: Signal, up: nn.ConvTranspose1d) -> Signal:
        """A sample sees one input before its own and one behind."""
        (rate,), (pad,) = up.stride, up.padding
        y = functional.conv_transpose1d(memory.remember(x, 2), up.weight, up.bias, stride=rate)
        first = rate + pad
        y = y[..., first : y.shape[2] - up.kernel_size[0] + pad]
        return memory.real(Signal(y, x.rate * rate, rate * (x.delay + 1)))

    def _down(self, memory: Memory, x: Signal, conv: nn.Conv1d) -> Signal:
        """A convolution that takes every `stride`-th sample of the reply, from its first on."""
        (stride,), (pad,), (taps,) = conv.stride, conv.padding, conv.kernel_size
        past = taps - stride
        x = memory.later(x, x.delay + (pad - past - x.delay) % stride)
        y = functional.conv1d(memory.remember(x, past), conv.weight, conv.bias, stride=stride)
        extra = x.extra if stride == 1 else 0
        return memory.real(Signal(y, x.rate // stride, (past + x.delay - pad) // stride, extra))

    def _block(self, memory: Memory, x: Signal, block: ResidualBlock) -> Signal:
        for first, dilated, second, plain in block.layers():
            y = self._conv(memory, replace(x, value=first(x.value)), dilated)
            y = self._conv(memory, replace(y, value=second(y.value)), plain)
            x = self._sum(memory, [x, y])
        return x

    def _sum(self, memory: Memory, parts: list[Signal]) -> Signal:
        delay = max(part.delay for part in parts)
        total, *others = (memory.later(part, delay) for part in parts)
        for part in others:
            total = replace(total, value=total.value + part.value)
        return total

    def _reflect_first(self, memory: Memory, x: Signal) -> Signal:
        """One sample more, put before the first and equal to the second."""
        both = memory.remember(x, 2)
        y = Signal(both[..., :-2], x.rate, x.delay + 1, 1)
        first, _ = memory.ends(y)
        index = torch.arange(y.value.shape[2], device=first.device)
        return replace(y, value=torch.where(index == first, both[..., 2:], y.value))

    def _source(self, memory: Memory, mel: Signal, noise: Tensor) -> Signal:
        """The harmonic source, in pieces from the middle of one frame to that of the next."""
        predictor, source = self.vocoder.f0_predictor, self.vocoder.m_source
        x = mel
        for conv, activation in zip(predictor.condnet[::2], predictor.condnet[1::2], strict=True):
            x = self._conv(memory, x, conv)
            x = replace(x, value=activation(x.value))
        pitch = memory.real(replace(x, value=predictor.pitch(x.value)[:, None]))
        steps = source.cycles(pitch.value[:, 0])
        begins = self._begins(memory, replace(pitch, value=steps))
        # Before its first middle the phase stands still at what it is there.
        first, _ = memory.ends(pitch)
        at_first = torch.arange(steps.shape[2], device=first.device) == first
        begins = torch.where(at_first, steps, begins)
        slopes = torch.where(at_first, torch.zeros_like(steps), steps)
        half, frame = source.frame // 2, source.frame
        ramp = (torch.arange(frame, device=first.device) + 0.5) / frame
        phases = (begins[..., None] + slopes[..., None] * ramp).flatten(-2)
        voiced = (memory.remember(pitch, 1) > VOICED_HZ).to(steps)
        halves = torch.stack([voiced[..., :-1], voiced[..., 1:]], -1)
        sides = halves.flatten(-2).repeat_interleave(half, -1)
        value = source.mix(phases, sides, noise)
        return Signal(value, frame, frame * pitch.delay + half)

    def _begins(self, memory: Memory, steps: Signal) -> Tensor:
        """Each harmonic's phase where the pieces begin, in cycles; carried on from step to step."""
        past = memory.take(steps.value.shape[1], 1)
        phases = torch.cat([past, past + steps.value.remainder(1.0).cumsum(2)], 2).remainder(1.0)
        memory.keep(phases, steps.rate, 1)
        return phases[..., :-1]

    def _spectra(self, memory: Memory, source: Signal) -> Signal:
        """Short-time spectra; the source is mirrored at its first and its last sample."""
        spectrum = self.vocoder.spectrum
        n_fft, hop = spectrum.n_fft, spectrum.hop
        both = memory.remember(source, n_fft)
        first, last = (end + n_fft for end in memory.ends(source))
        index = torch.arange(both.shape[2], device=first.device)
        index = torch.where(index < first, 2 * first - index, index)
        index = torch.where(index >= last, 2 * (last - 1) - index, index)
        both = both.index_select(2, index.clamp(min=0).minimum(torch.tensor(both.shape[2] - 1)))
        value = spectrum.analyse(both[..., :-hop])
        delay = (source.delay + n_fft // 2) // hop
        return memory.real(Signal(value, source.rate // hop, delay, 1))

    def _wave(self, memory: Memory, x: Signal) -> Signal:
        """Samples of the polar spectra."""
        spectrum = self.vocoder.spectrum
        past = spectrum.n_fft // spectrum.hop - 1
        frames = memory.remember(replace(x, value=polar_to_spectrum(x.value)), past)
        first, last = (end + past for end in memory.ends(x))
        index = torch.arange(frames.shape[2], device=first.device)
        real = ((index >= first) & (index < last)).to(frames.dtype)[None, None]
        begin = past * spectrum.hop
        wave = spectrum.overlap(frames, real)[..., begin : -(spectrum.n_fft - spectrum.hop)]
        wave = wave.clamp(-MAX_SAMPLE, MAX_SAMPLE)
        return Signal(wave, x.rate * spectrum.hop, x.delay * spectrum.hop + spectrum.n_fft // 2)
