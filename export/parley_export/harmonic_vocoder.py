"""The harmonic vocoder's sizes, and its tensors under one set of names; knows no family."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from parley_export.state_dict import read_state_dict
from parley_export.work import Work

# Of the tensors' names: a prefix that some files have, and torch's older words for weight norm.
PREFIX, OLD_NORM = "generator.", {"weight_g": 0, "weight_v": 1}


@dataclass(frozen=True)
class VocoderConfig:
    """Vocoder: log-mel to samples.

    `causal`: its convolutions look back only, but for the first one and the pitch's, and a signal
    is stretched by repeating it; the source holds its phase for a frame, and its noise is even.
    Otherwise they look to both sides, stretch by transposed convolution, the phase runs on evenly
    and the noise is normal. `looks_ahead`, `pitch_looks_ahead`: what those two see, in frames.
    """

    causal: bool = False
    width: int = 512
    pitch_width: int = 512
    n_mels: int = 80
    rates: tuple[int, ...] = (8, 5, 3)
    kernels: tuple[int, ...] = (16, 11, 7)
    n_fft: int = 16
    hop: int = 4
    block_kernels: tuple[int, ...] = (3, 7, 11)
    source_kernels: tuple[int, ...] = (7, 7, 11)
    dilations: tuple[int, ...] = (1, 3, 5)
    harmonics: int = 9  # the fundamental among them
    sample_rate: int = 24000
    looks_ahead: int = 3
    pitch_looks_ahead: int = 1

    @property
    def samples_per_frame(self) -> int:
        """Samples that one log-mel frame becomes."""
        return math.prod(self.rates) * self.hop

    def ahead(self, kernel: int, dilation: int = 1) -> int:
        """What an ordinary convolution sees ahead, in its own samples."""
        return 0 if self.causal else dilation * (kernel - 1) // 2

    def block_lookahead(self, kernel: int) -> int:
        """What a residual block of that kernel sees ahead, in its own samples."""
        return sum(self.ahead(kernel, d) + self.ahead(kernel) for d in self.dilations)

    def down_past(self, rate: int) -> int:
        """Zeros before the source's spectra, where they are thinned out to fit a stage."""
        return 0 if rate == 1 else rate - 1 if self.causal else rate // 2

    @property
    def source_lookahead(self) -> int:
        """What a sample of the source sees ahead: five layers, and maybe half a frame's pitch."""
        frames = self.pitch_looks_ahead + 4 * self.ahead(3)
        middle = 0 if self.causal else self.samples_per_frame // 2
        return frames * self.samples_per_frame + middle

    @property
    def lookahead_samples(self) -> int:
        """What a sample sees ahead, by the longer of its two ways."""
        spectra = (self.source_lookahead + self.n_fft // 2) // self.hop
        total, down = self.looks_ahead, math.prod(self.rates)
        for rate, kernel in zip(self.rates, self.source_kernels, strict=True):
            total, down = rate * (total if self.causal else total + 1), down // rate
            past = down if down > 1 else 0
            ahead = spectra + past - self.down_past(down)
            source = -(-ahead // down) + self.block_lookahead(kernel)
            total += down == 1  # the sample that the last stage puts before its first
            total = max(total, source) + max(self.block_lookahead(k) for k in self.block_kernels)
        return self.hop * (total + self.ahead(7)) + self.n_fft // 2

    @property
    def full_lookahead(self) -> int:
        """The same in whole log-mel frames."""
        return -(-self.lookahead_samples // self.samples_per_frame)


def work_of(sizes: VocoderConfig) -> Work:
    """A row is a log-mel frame."""
    weights = macs = 0

    def add(n: int, speed: float) -> None:
        nonlocal weights, macs
        weights += n
        macs += int(n * speed)

    width, speed, spectrum = sizes.width, 1, sizes.n_fft + 2
    add(sizes.n_mels * sizes.pitch_width * max(3, sizes.pitch_looks_ahead + 1), speed)
    add(4 * 3 * sizes.pitch_width**2, speed)
    taps = sizes.looks_ahead + 1 if sizes.causal else 2 * sizes.looks_ahead + 1
    add(sizes.n_mels * width * taps, speed)
    spectra = math.prod(sizes.rates)  # of a frame
    for rate, kernel, source_kernel in zip(
        sizes.rates, sizes.kernels, sizes.source_kernels, strict=True
    ):
        half = width // 2
        # Transposed, a convolution multiplies what comes in; behind a repetition, what goes out.
        add(width * half * kernel, speed * (rate if sizes.causal else 1))
        speed *= rate
        down = spectra // speed
        add(spectrum * half * (2 * down if down > 1 else 1), speed)
        for block in (source_kernel, *sizes.block_kernels):
            add(2 * len(sizes.dilations) * block * half**2, speed)
        width = half
    add(width * spectrum * 7, speed)
    return Work(weights, macs)


def read_vocoder(path: Path) -> dict[str, Any]:
    """A file's tensors under one set of names, whichever of the known ones it has."""
    tensors = {}
    for name, tensor in read_state_dict(path).items():
        module, _, leaf = name.removeprefix(PREFIX).rpartition(".")
        if leaf in OLD_NORM:
            leaf = f"parametrizations.weight.original{OLD_NORM[leaf]}"
        tensors[f"{module}.{leaf}"] = tensor
    return tensors


def vocoder_sizes(tensors: dict[str, Any], usual: VocoderConfig) -> VocoderConfig:
    """The widths that no config tells; the usual ones where the tensors are missing."""
    widths = {"width": "conv_pre.bias", "pitch_width": "f0_predictor.condnet.0.bias"}
    found: dict[str, Any] = {
        key: len(tensors[name]) for key, name in widths.items() if name in tensors
    }
    return replace(usual, **found)
