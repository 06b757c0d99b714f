"""Samples to log-mel frames, whole signals only; the plain reference beside the engine's streams.

Three kinds: what the audio encoder hears, and what a voice's recording becomes for the two models
that describe it and as the flow decoder's prompt. Knows no model.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from parley_export.modules import sound

ENCODER_HZ, VOCODER_HZ = 16000, 24000
N_FFT, HOP, N_MELS = 400, 160, 128  # at ENCODER_HZ
MEL_MAX_HZ = 8000.0
TAIL_SAMPLES = 479  # of silence behind a piece: two frames more than it has
PIECE_SAMPLES = 25 * ENCODER_HZ
LOG_FLOOR, CLAMP_RANGE, OFFSET, SCALE = 1e-10, 8.0, 4.0, 4.0

PROMPT_N_FFT, PROMPT_HOP, PROMPT_MELS = 1920, 480, 80  # at VOCODER_HZ

SPEAKER_WINDOW, SPEAKER_HOP, SPEAKER_N_FFT, SPEAKER_MELS = 400, 160, 512, 80
PRE_EMPHASIS, SPEAKER_MIN_HZ = 0.97, 20.0


def count_mel_frames(n_samples: int) -> int:
    """Log-mel frames of a piece of n samples at ENCODER_HZ."""
    return (n_samples + TAIL_SAMPLES) // HOP


def piece_log_mel(samples: Tensor) -> Tensor:
    """What the encoder hears of one piece: `[n]` at ENCODER_HZ -> `[N_MELS, count_mel_frames]`."""
    return token_log_mel(functional.pad(samples, (0, TAIL_SAMPLES)))


def token_log_mel(samples: Tensor) -> Tensor:
    """The same without the silence behind: `[n]` -> `[N_MELS, n / HOP]`, the last frame dropped."""
    half = N_FFT // 2
    padded = functional.pad(samples[None], (half, half), mode="reflect")[0]
    power = sound.spectrum(padded, N_FFT, HOP)[:, :-1].square()
    filters = sound.mel_filters(ENCODER_HZ, N_FFT, N_MELS, MEL_MAX_HZ).to(power.dtype)
    decades = (filters @ power).clamp(min=LOG_FLOOR).log10()
    decades = decades.clamp(min=decades.max() - CLAMP_RANGE)
    return (decades + OFFSET) / SCALE


def prompt_mel(samples: Tensor) -> Tensor:
    """The flow decoder's frames of a recording: `[n]` at VOCODER_HZ -> `[PROMPT_MELS, n / HOP]`."""
    pad = (PROMPT_N_FFT - PROMPT_HOP) // 2
    padded = functional.pad(samples[None], (pad, pad), mode="reflect")[0]
    magnitude = (sound.spectrum(padded, PROMPT_N_FFT, PROMPT_HOP).square() + 1e-9).sqrt()
    filters = sound.mel_filters(VOCODER_HZ, PROMPT_N_FFT, PROMPT_MELS, MEL_MAX_HZ)
    return (filters.to(magnitude.dtype) @ magnitude).clamp(min=1e-5).log()


def speaker_filterbank(samples: Tensor) -> Tensor:
    """Kaldi's filterbank energies less their mean: `[n]` at ENCODER_HZ -> `[frames, 80]`.

    Whole frames only, Povey's window, no dither (Povey et al., "The Kaldi speech recognition
    toolkit", 2011).
    """
    frames = samples.unfold(0, SPEAKER_WINDOW, SPEAKER_HOP)
    frames = frames - frames.mean(1, keepdim=True)
    before = functional.pad(frames[None], (1, 0), mode="replicate")[0, :, :-1]
    frames = frames - PRE_EMPHASIS * before
    window = torch.hann_window(SPEAKER_WINDOW, periodic=False, dtype=samples.dtype) ** 0.85
    power = torch.fft.rfft(frames * window, n=SPEAKER_N_FFT).abs().square()
    energies = power[:, :-1] @ _kaldi_filters().to(power.dtype).T
    logs = energies.clamp(min=torch.finfo(torch.float32).eps).log()
    return logs - logs.mean(0)


def _kaldi_filters() -> Tensor:
    """`[80, n_fft / 2]`: triangles on the mel scale from 20 Hz to half the rate."""
    low, high = (1127.0 * math.log1p(hz / 700.0) for hz in (SPEAKER_MIN_HZ, ENCODER_HZ / 2))
    edges = torch.linspace(low, high, SPEAKER_MELS + 2, dtype=torch.float64)
    hz = torch.arange(SPEAKER_N_FFT // 2, dtype=torch.float64) * (ENCODER_HZ / SPEAKER_N_FFT)
    mel = 1127.0 * torch.log1p(hz / 700.0)
    rising = (mel - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - mel) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0)
