"""Samples to log-mel frames, whole signals only; the plain reference beside the engine's streams.

Knows no model.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional

from parley_export.modules import sound


@dataclass(frozen=True)
class FrontEndConfig:
    """Rates in Hz, lengths in samples; the published values."""

    input_hz: int = 24000
    encoder_hz: int = 16000
    n_fft: int = 400
    hop: int = 160
    n_mels: int = 128
    mel_max_hz: float = 8000.0
    log_floor: float = 1e-10  # of a power, segment form
    clamp_range: float = 8.0  # decades below the segment's maximum
    offset: float = 4.0
    scale: float = 4.0
    trim_samples: int = 240  # a turn is cut to a multiple of this
    pad_samples: int = 480  # then padded to a multiple of this
    segment_samples: int = 720000
    feature_halvings: int = 4
    positions_hz: int = 100
    resampler_zeros: int = 6
    resampler_rolloff: float = 0.99
    chunk_log_floor: float = 1e-6  # chunk form: fixed floor, no clamp
    chunk_frame_pad: int = 240  # chunk form: zeros before the first sample, at encoder_hz


def mel_filters(config: FrontEndConfig) -> Tensor:
    """`[n_mels, n_fft / 2 + 1]`, float64."""
    return sound.mel_filters(config.encoder_hz, config.n_fft, config.n_mels, config.mel_max_hz)


def mel_powers(padded: Tensor, config: FrontEndConfig) -> Tensor:
    """Frames at every hop of `[n]` samples, padding included: powers `[n_mels, frames]`."""
    power = sound.spectrum(padded, config.n_fft, config.hop).square()
    return mel_filters(config).to(power.dtype) @ power


def segment_log_mel(samples: Tensor, config: FrontEndConfig) -> Tensor:
    """Published form. `[n]` at encoder_hz, at most one segment -> `[n_mels, segment frames]`."""
    n = config.segment_samples * config.encoder_hz // config.input_hz
    half = config.n_fft // 2
    padded = functional.pad(samples, (0, n - len(samples)))
    padded = functional.pad(padded[None], (half, half), mode="reflect")[0]
    powers = mel_powers(padded, config)[:, : n // config.hop]
    decades = powers.clamp(min=config.log_floor).log10()
    decades = decades.clamp(min=decades.max() - config.clamp_range)
    return (decades + config.offset) / config.scale


def chunk_log_mel(samples: Tensor, config: FrontEndConfig) -> Tensor:
    """Duplex form: mel frame i ends at sample hop * (i + 1). `[n]` -> `[n_mels, n / hop]`."""
    powers = mel_powers(functional.pad(samples, (config.chunk_frame_pad, 0)), config)
    return (powers.clamp(min=config.chunk_log_floor).log10() + config.offset) / config.scale


def cut_turn(samples: Tensor, config: FrontEndConfig) -> list[Tensor]:
    """A turn `[n]` at input_hz as the published prompt builder cuts it into segments."""
    samples = samples[: len(samples) // config.trim_samples * config.trim_samples]
    samples = functional.pad(samples, (0, -len(samples) % config.pad_samples))
    return list(samples.split(config.segment_samples)) if len(samples) else []


def count_features(n_samples: int, config: FrontEndConfig) -> int:
    """Backbone positions of a turn of n samples at input_hz."""
    n = n_samples * config.positions_hz // config.input_hz
    for _ in range(config.feature_halvings):
        n = -(-n // 2)
    return n


def resample_input(samples: Tensor, config: FrontEndConfig) -> Tensor:
    """`[n]` at input_hz -> at encoder_hz."""
    zeros, rolloff = config.resampler_zeros, config.resampler_rolloff
    return sound.resample(samples, config.input_hz, config.encoder_hz, zeros, rolloff)
