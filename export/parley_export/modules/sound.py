"""Samples to frequencies and rates to other rates; whole signals, no model.

The resampler is a windowed sinc (Smith, "Digital audio resampling"), the filterbank Slaney's
(Auditory Toolbox, 1998).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def resample(samples: Tensor, from_hz: int, to_hz: int, zeros: int, rolloff: float) -> Tensor:
    """`[n]` -> `[ceil(n * to / from)]`, zeros beyond both ends; Hann window, polyphase."""
    if from_hz == to_hz:
        return samples
    divisor = math.gcd(from_hz, to_hz)
    old, new = from_hz // divisor, to_hz // divisor
    cutoff = min(old, new) * rolloff
    width = math.ceil(zeros * old / cutoff)
    taps = torch.arange(-width, width + old, dtype=torch.float64) / old
    phases = torch.arange(new, dtype=torch.float64)[:, None] / new
    time = ((taps - phases) * cutoff).clamp(-zeros, zeros)
    window = (time * math.pi / zeros / 2).cos().square()
    kernel = (torch.sinc(time) * window * (cutoff / old)).to(samples.dtype)
    n_out = -(-len(samples) * new // old)
    padded = functional.pad(samples[None, None], (width, width + old))
    return functional.conv1d(padded, kernel[:, None], stride=old)[0].T.reshape(-1)[:n_out]


def mel_filters(rate_hz: int, n_fft: int, n_mels: int, max_hz: float) -> Tensor:
    """`[n_mels, n_fft / 2 + 1]`, float64: triangles on Slaney's scale, each of unit area."""
    bins = torch.linspace(0, rate_hz / 2, n_fft // 2 + 1, dtype=torch.float64)
    edges = _mel_to_hz(torch.linspace(0, _hz_to_mel(max_hz), n_mels + 2, dtype=torch.float64))
    rising = (bins - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins) / (edges[2:] - edges[1:-1])[:, None]
    return torch.minimum(rising, falling).clamp(min=0) * (2 / (edges[2:] - edges[:-2]))[:, None]


# Slaney's scale: linear below 1 kHz (15 mels), logarithmic above (27 mels per factor of 6.4).
_LINEAR_HZ, _KNEE_HZ, _LOG_STEP = 200 / 3, 1000.0, math.log(6.4) / 27


def _hz_to_mel(hz: float) -> float:
    if hz < _KNEE_HZ:
        return hz / _LINEAR_HZ
    return _KNEE_HZ / _LINEAR_HZ + math.log(hz / _KNEE_HZ) / _LOG_STEP


def _mel_to_hz(mel: Tensor) -> Tensor:
    knee = _KNEE_HZ / _LINEAR_HZ
    return torch.where(
        mel < knee, mel * _LINEAR_HZ, _KNEE_HZ * ((mel - knee) * _LOG_STEP).clamp(min=0).exp()
    )


def spectrum(padded: Tensor, n_fft: int, hop: int) -> Tensor:
    """Magnitudes `[n_fft / 2 + 1, frames]` of frames at every hop of `[n]`, padding included."""
    window = torch.hann_window(n_fft, dtype=padded.dtype)
    return torch.fft.rfft(padded.unfold(0, n_fft, hop) * window).abs().T
