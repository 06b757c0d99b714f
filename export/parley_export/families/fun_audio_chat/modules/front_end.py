"""Samples to log-mel frames, whole turns only; the plain reference beside the engine's streams.

Knows no model.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from parley_export.modules import sound

ENCODER_HZ, N_FFT, HOP = 16000, 400, 160
MEL_MAX_HZ = 8000.0
LOG_FLOOR, CLAMP_RANGE, OFFSET, SCALE = 1e-10, 8.0, 4.0, 4.0
ROWS_HZ = 25  # that the encoder's pooled rows are counted at
# Of silence behind a turn: as many frames as its samples begin, and none of them mirrors sound.
TAIL_SAMPLES = HOP - 1


def log_mel(samples: Tensor, n_mels: int, clip_samples: int) -> Tensor:
    """`[n]` at ENCODER_HZ -> `[n_mels, ceil(n / HOP)]` of the first `clip_samples`.

    Silence fills a turn up to that length before its loudest bin is looked for.
    """
    kept = samples[:clip_samples]
    n_frames = -(-len(kept) // HOP)
    clip = functional.pad(kept, (0, clip_samples - len(kept)))
    half = N_FFT // 2
    padded = functional.pad(clip[None], (half, half), mode="reflect")[0]
    power = sound.spectrum(padded, N_FFT, HOP)[:, :-1].square()
    filters = sound.mel_filters(ENCODER_HZ, N_FFT, n_mels, MEL_MAX_HZ).to(power.dtype)
    decades = (filters @ power).clamp(min=LOG_FLOOR).log10()
    decades = decades.clamp(min=decades.max() - CLAMP_RANGE)
    return ((decades + OFFSET) / SCALE)[:, :n_frames]


def count_features(n_samples: int, group: int) -> int:
    """Features of a turn of n samples at ENCODER_HZ.

    In double precision and cut off, as published: a few lengths come out one short.
    """
    return -(-int(n_samples / ENCODER_HZ * ROWS_HZ) // group)


def place(features: Tensor, n: int) -> Tensor:
    """A turn's features `[m, D]` cut or filled up with zeros to the counted `[n, D]`."""
    missing = torch.zeros(max(0, n - len(features)), features.shape[1]).to(features)
    return torch.cat([features[:n], missing])
