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

from parley_export.families.step_audio_2.configs import VocoderConfig

SLOPE, LAST_SLOPE = 0.1, 0.01  # of the leaky rectifiers: before each stage, before the end
VOICED_HZ = 10.0
SINE, VOICED_NOISE, UNVOICED_NOISE = 0.1, 0.003, 0.1 / 3  # amplitudes
MAX_MAGNITUDE, MAX_SAMPLE = 100.0, 0.99


def normed_conv(in_width: int, out_width: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """`[B, in, T]` -> `[B, out, T]`, zeros on both sides; weight norm over dimension 0."""
    pad = dilation * (kernel - 1) // 2
    return weight_norm(nn.Conv1d(in_width, out_width, kernel, padding=pad, dilation=dilation))


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

    def __init__(self, width: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(normed_conv(width, width, kernel, d) for d in dilations)
        self.convs2 = nn.ModuleList(normed_conv(width, width, kernel) for _ in dilations)
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

    def __init__(self, n_mels: int, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i in range(5):
            layers += [normed_conv(width if i else n_mels, width, 3), nn.ELU()]
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
        self.l_linear = nn.Linear(config.harmonics, 1)

    def cycles(self, pitch: Tensor) -> Tensor:
        """Pitch `[1, T]` to the cycles that each harmonic runs through in a frame, `[1, H, T]`."""
        order = torch.arange(1, self.l_linear.in_features + 1, device=pitch.device)
        per_sample = (pitch[:, None] * order[:, None] / self.rate).remainder(1.0)
        return per_sample * self.frame

    def mix(self, cycles: Tensor, voiced: Tensor, noise: Tensor) -> Tensor:
        """Phases in cycles `[1, H, n]`, voiced 0 or 1 and noise `[1, 1, n]` to `[1, 1, n]`.

        The harmonics' noises, independent and of one size, are mixed to one normal again, so one
        is drawn, of that size: `mix_noise` makes it from many.
        """
        sines = SINE * voiced * torch.sin(2 * math.pi * cycles)
        size = voiced * VOICED_NOISE + (1 - voiced) * UNVOICED_NOISE
        weight = self.l_linear.weight
        mixed = (weight[..., None] * sines).sum(1, keepdim=True) + size * weight.norm() * noise
        return torch.tanh(mixed + self.l_linear.bias)

    def mix_noise(self, noises: Tensor) -> Tensor:
        """One noise of each harmonic, `[n, H]`, to the one that `mix` takes, `[1, 1, n]`."""
        weight = self.l_linear.weight
        return (noises @ weight[0] / weight.norm())[None, None]

    def forward(self, pitch: Tensor, noise: Tensor | None = None) -> Tensor:
        """Pitch `[1, T]` to the source `[1, 1, n]`; the phases begin at 0.

        A frame's phase is that of its middle; between the middles it runs evenly, and beyond the
        first and the last it stands still.
        """
        steps = self.cycles(pitch)
        middles = steps.double().cumsum(-1)  # far along, single precision would be out of tune
        begin = (middles - steps)[..., 1:]  # the middle before each but the first
        ramp = (torch.arange(self.frame, device=pitch.device) + 0.5) / self.frame
        ramps = begin.remainder(1.0)[..., None].to(steps) + steps[..., 1:, None] * ramp
        half = self.frame // 2
        first, last = (
            middles[..., i, None].remainder(1.0).to(steps).expand(-1, -1, half) for i in (0, -1)
        )
        voiced = (pitch > VOICED_HZ).to(steps).repeat_interleave(self.frame, 1)[:, None]
        if noise is None:
            noise = torch.zeros_like(voiced)
        return self.mix(torch.cat([first, ramps.flatten(-2), last], -1), voiced, noise)


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
        self.f0_predictor = PitchPredictor(config.n_mels, config.pitch_width)
        self.m_source = HarmonicSource(config)
        self.spectrum = Spectrum(config.n_fft, config.hop)
        self.conv_pre = normed_conv(config.n_mels, config.width, 7)
        self.ups, self.source_downs = nn.ModuleList(), nn.ModuleList()
        self.source_resblocks, self.resblocks = nn.ModuleList(), nn.ModuleList()
        width, dilations = config.width, config.dilations
        for stage, (rate, kernel) in enumerate(zip(config.rates, config.kernels, strict=True)):
            half, pad = width // 2, (kernel - rate) // 2
            up = nn.ConvTranspose1d(width, half, kernel, stride=rate, padding=pad)
            self.ups.append(weight_norm(up))
            down = math.prod(config.rates[stage + 1 :])
            taps, pad = (1, 0) if down == 1 else (2 * down, down // 2)
            conv = nn.Conv1d(config.n_fft + 2, half, taps, stride=down, padding=pad)
            self.source_downs.append(conv)
            source_kernel = config.source_kernels[stage]
            self.source_resblocks.append(ResidualBlock(half, source_kernel, dilations))
            for block_kernel in config.block_kernels:
                self.resblocks.append(ResidualBlock(half, block_kernel, dilations))
            width = half
        self.conv_post = normed_conv(width, config.n_fft + 2, 7)

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
