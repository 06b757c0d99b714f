"""The vocoder: log-mel frames to samples; knows no code and no stream.

Architecture: HiFTNet (Li, Han and Mesgarani, 2023): a harmonic source drawn at the predicted pitch
(neural source filter, Wang et al., 2019) joins a stack of transposed convolutions, whose output is
a short-time spectrum.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from parley_export.harmonic_vocoder import VocoderConfig

SLOPE, LAST_SLOPE = 0.1, 0.01  # of the leaky rectifiers: before each stage, before the end
VOICED_HZ = 10.0
SINE, VOICED_NOISE, UNVOICED_NOISE = 0.1, 0.003, 0.1 / 3  # amplitudes
MAX_MAGNITUDE, MAX_SAMPLE = 100.0, 0.99


class Conv(nn.Conv1d):
    """`[B, in, T]` -> `[B, out, T]` over zeros on both sides; `ahead` of its taps look ahead."""

    def __init__(self, widths: tuple[int, int], kernel: int, *, ahead: int, dilation: int = 1):
        super().__init__(*widths, kernel, dilation=dilation)
        self.ahead, self.past = ahead, dilation * (kernel - 1) - ahead

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, (self.past, self.ahead)))


class RepeatConv(Conv):
    """`[B, in, T]` -> `[B, out, rate T]`: every sample `rate` times, then a causal convolution."""

    def __init__(self, widths: tuple[int, int], kernel: int, rate: int) -> None:
        super().__init__(widths, kernel, ahead=0)
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.repeat_interleave(self.rate, 2))


class DownConv(nn.Conv1d):
    """`[B, in, rate T + 1 or T]` -> `[B, out, T]`; `past` zeros on both sides."""

    def __init__(self, widths: tuple[int, int], rate: int, past: int) -> None:
        super().__init__(*widths, 1 if rate == 1 else 2 * rate, stride=rate)
        self.past = past

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(functional.pad(x, (self.past, self.past)))


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha, one alpha per channel (Ziyin et al., 2020)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        alpha = self.alpha[:, None]
        return x + torch.sin(alpha * x).square() / (alpha + 1e-9)


class ResidualBlock(nn.Module):
    """Pairs of a dilated and a plain convolution, `[B, C, T]` in and out."""

    def __init__(self, width: int, kernel: int, config: VocoderConfig) -> None:
        super().__init__()
        dilations, both = config.dilations, (width, width)

        def conv(dilation: int) -> nn.Module:
            ahead = config.ahead(kernel, dilation)
            return weight_norm(Conv(both, kernel, ahead=ahead, dilation=dilation))

        self.convs1 = nn.ModuleList(conv(d) for d in dilations)
        self.convs2 = nn.ModuleList(conv(1) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(width) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(width) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for first, dilated, second, plain in self.layers():
            x = x + plain(second(dilated(first(x))))
        return x

    def layers(self) -> zip:
        """(activation, dilated convolution, activation, convolution) of each pair."""
        return zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)


class PitchPredictor(nn.Module):
    """Log-mel `[B, n_mels, T]` to the pitch in Hz, `[B, T]`."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        width, seen = config.pitch_width, config.pitch_looks_ahead
        first = Conv((config.n_mels, width), max(3, seen + 1), ahead=seen)
        layers: list[nn.Module] = [weight_norm(first), nn.ELU()]
        for _ in range(4):
            layers += [weight_norm(Conv((width, width), 3, ahead=config.ahead(3))), nn.ELU()]
        self.condnet = nn.Sequential(*layers)
        self.classifier = nn.Linear(width, 1)

    def forward(self, mel: Tensor) -> Tensor:
        return self.pitch(self.condnet(mel))

    def pitch(self, x: Tensor) -> Tensor:
        """From the last layer's output `[B, width, T]`."""
        return self.classifier(x.transpose(1, 2)).squeeze(-1).abs()


class HarmonicSource(nn.Module):
    """Sines at the pitch and its overtones, mixed to one signal; noise where there is no voice."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.rate, self.frame = config.sample_rate, config.samples_per_frame
        self.is_held = self.is_even = config.causal
        self.l_linear = nn.Linear(config.harmonics, 1)

    def cycles(self, pitch: Tensor) -> Tensor:
        """Pitch `[1, T]` to the cycles that each harmonic runs through in a frame, `[1, H, T]`."""
        order = torch.arange(1, self.l_linear.in_features + 1, device=pitch.device)
        per_sample = (pitch[:, None] * order[:, None] / self.rate).remainder(1.0)
        return per_sample * self.frame

    def noise_mean_and_size(self) -> tuple[Tensor, Tensor]:
        """Of the harmonics' noises, each normal or even in 0..1, once they are mixed."""
        weight = self.l_linear.weight
        if not self.is_even:
            return weight.new_zeros(()), weight.norm()
        return weight.sum() / 2, weight.norm() / math.sqrt(12)

    def mix(self, cycles: Tensor, voiced: Tensor, noise: Tensor) -> Tensor:
        """Phases in cycles `[1, H, n]`, voiced 0 or 1 and noise `[1, 1, n]` to `[1, 1, n]`.

        The harmonics' noises, independent and of one size, are mixed to a normal one (nearly, where
        they are even), so one is drawn: `mix_noise` makes it from many.
        """
        sines = SINE * voiced * torch.sin(2 * math.pi * cycles)
        loud = voiced * VOICED_NOISE + (1 - voiced) * UNVOICED_NOISE
        mean, size = self.noise_mean_and_size()
        mixed = (self.l_linear.weight[..., None] * sines).sum(1, keepdim=True)
        return torch.tanh(mixed + loud * (mean + size * noise) + self.l_linear.bias)

    def mix_noise(self, noises: Tensor) -> Tensor:
        """One noise of each harmonic, `[n, H]`, to the one that `mix` takes, `[1, 1, n]`."""
        mean, size = self.noise_mean_and_size()
        return ((noises @ self.l_linear.weight[0] - mean) / size)[None, None]

    def forward(self, pitch: Tensor, noise: Tensor | None = None) -> Tensor:
        """Pitch `[1, T]` to the source `[1, 1, n]`; the phases begin at 0."""
        steps = self.cycles(pitch)
        voiced = (pitch > VOICED_HZ).to(steps).repeat_interleave(self.frame, 1)[:, None]
        if noise is None:
            noise = torch.zeros_like(voiced)
        phases = self.held(steps) if self.is_held else self.even(steps)
        return self.mix(phases, voiced, noise)

    def held(self, steps: Tensor) -> Tensor:
        """A frame's phase is that of its end, `[1, H, T]` -> `[1, H, n]`."""
        ends = steps.double().cumsum(-1).remainder(1.0).to(steps)
        return ends.repeat_interleave(self.frame, -1)

    def even(self, steps: Tensor) -> Tensor:
        """A frame's phase is that of its middle, `[1, H, T]` -> `[1, H, n]`.

        Between the middles it runs evenly, and beyond the first and the last it stands still.
        """
        middles = steps.double().cumsum(-1)  # far along, single precision would be out of tune
        begin = (middles - steps)[..., 1:]  # the middle before each but the first
        ramp = (torch.arange(self.frame, device=steps.device) + 0.5) / self.frame
        ramps = begin.remainder(1.0)[..., None].to(steps) + steps[..., 1:, None] * ramp
        half = self.frame // 2
        first, last = (
            middles[..., i, None].remainder(1.0).to(steps).expand(-1, -1, half) for i in (0, -1)
        )
        return torch.cat([first, ramps.flatten(-2), last], -1)


class Spectrum(nn.Module):
    """Short-time spectra as convolutions: a periodic Hann window, real parts before imaginary."""

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        window = torch.hann_window(n_fft, dtype=torch.float64)
        angles = 2 * math.pi * torch.outer(torch.arange(n_fft // 2 + 1), torch.arange(n_fft))
        angles = angles.double() / n_fft
        waves = torch.cat([angles.cos(), -angles.sin()]) * window
        # The inverse counts every bin but the first and the last twice.
        twice = torch.full((n_fft // 2 + 1, 1), 2.0, dtype=torch.float64)
        twice[0] = twice[-1] = 1.0
        self.register_buffer("analysis", waves[:, None].float(), persistent=False)
        back = waves * twice.repeat(2, 1) / n_fft
        self.register_buffer("synthesis", back[:, None].float(), persistent=False)
        self.register_buffer("envelope", window.square()[None, None].float(), persistent=False)

    def analyse(self, padded: Tensor) -> Tensor:
        """`[1, 1, n]` -> `[1, n_fft + 2, (n - n_fft) / hop + 1]`."""
        return functional.conv1d(padded, self.analysis, stride=self.hop)

    def overlap(self, frames: Tensor, real: Tensor) -> Tensor:
        """Spectra `[1, n_fft + 2, F]` to samples `[1, 1, (F - 1) hop + n_fft]`.

        Only frames whose `real` `[1, 1, F]` is 1 count; samples that none covers are 0.
        """
        summed = functional.conv_transpose1d(frames * real, self.synthesis, stride=self.hop)
        weight = functional.conv_transpose1d(real, self.envelope, stride=self.hop)
        return summed / weight.clamp(min=1e-8)


def polar_to_spectrum(x: Tensor) -> Tensor:
    """Log magnitudes and angles `[1, n_fft + 2, F]` to real and imaginary parts."""
    magnitude, angle = x.chunk(2, 1)
    magnitude, angle = magnitude.exp().clamp(max=MAX_MAGNITUDE), angle.sin()
    return torch.cat([magnitude * angle.cos(), magnitude * angle.sin()], 1)


class Vocoder(nn.Module):
    """Log-mel `[1, n_mels, T]` to samples `[1, 1, samples_per_frame * T]`."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        self.f0_predictor = PitchPredictor(config)
        self.m_source = HarmonicSource(config)
        self.spectrum = Spectrum(config.n_fft, config.hop)
        seen = config.looks_ahead
        kernel = seen + 1 if config.causal else 2 * seen + 1
        self.conv_pre = weight_norm(Conv((config.n_mels, config.width), kernel, ahead=seen))
        self.ups, self.source_downs = nn.ModuleList(), nn.ModuleList()
        self.source_resblocks, self.resblocks = nn.ModuleList(), nn.ModuleList()
        width = config.width
        for stage, (rate, kernel) in enumerate(zip(config.rates, config.kernels, strict=True)):
            half, down = width // 2, math.prod(config.rates[stage + 1 :])
            if config.causal:
                up: nn.Module = RepeatConv((width, half), kernel, rate)
            else:
                pad = (kernel - rate) // 2
                up = nn.ConvTranspose1d(width, half, kernel, stride=rate, padding=pad)
            self.ups.append(weight_norm(up))
            thin = DownConv((config.n_fft + 2, half), down, config.down_past(down))
            self.source_downs.append(thin)
            source_kernel = config.source_kernels[stage]
            self.source_resblocks.append(ResidualBlock(half, source_kernel, config))
            for block_kernel in config.block_kernels:
                self.resblocks.append(ResidualBlock(half, block_kernel, config))
            width = half
        post = Conv((width, config.n_fft + 2), 7, ahead=config.ahead(7))
        self.conv_post = weight_norm(post)

    def blocks(self, stage: int) -> nn.ModuleList:
        """The residual blocks whose mean a stage gives."""
        n = len(self.config.block_kernels)
        return self.resblocks[stage * n : (stage + 1) * n]

    def fold_weight_norm(self) -> None:
        """For export: one weight per convolution; the module no longer trains."""
        for module in list(self.modules()):
            if parametrize.is_parametrized(module, "weight"):
                parametrize.remove_parametrizations(module, "weight")

    def source(self, mel: Tensor, noise: Tensor | None = None) -> Tensor:
        """Log-mel to the harmonic source, `[1, 1, n]`."""
        return self.m_source(self.f0_predictor(mel), noise)

    def forward(self, mel: Tensor, noise: Tensor | None = None) -> Tensor:
        return self.decode(mel, self.source(mel, noise))

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        """Log-mel and the source `[1, 1, samples_per_frame * T]` to samples."""
        half = self.config.n_fft // 2
        spectra = self.spectrum.analyse(functional.pad(source, (half, half), mode="reflect"))
        x = self.conv_pre(mel)
        for stage, (up, down) in enumerate(zip(self.ups, self.source_downs, strict=True)):
            x = up(functional.leaky_relu(x, SLOPE))
            if stage == len(self.ups) - 1:
                x = functional.pad(x, (1, 0), mode="reflect")  # as many as there are spectra
            x = x + self.source_resblocks[stage](down(spectra))
            x = torch.stack([block(x) for block in self.blocks(stage)]).mean(0)
        x = polar_to_spectrum(self.conv_post(functional.leaky_relu(x, LAST_SLOPE)))
        wave = self.spectrum.overlap(x, torch.ones_like(x[:, :1]))[..., half:-half]
        return wave.clamp(-MAX_SAMPLE, MAX_SAMPLE)
