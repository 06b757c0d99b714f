"""Latents: 64-band log-mel of 24 kHz speech at 100 Hz; knows no code and no voice.

Raw latents are what the vocoder eats: 0 is silence (as its zero padding), speech reaches about 5.
"""

from __future__ import annotations

import functools

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

RATE, HOP, BANDS, N_FFT = 24000, 240, 64, 1024
FLOOR = 1e-5  # mel power; about -62 dBFS of white noise
NEPERS = 4.0  # of power per unit
FRAMES_PER_CODE = 4


def raw_latents(wave: Tensor) -> Tensor:
    """`wave` [B, 240 F] at 24 kHz, 1.0 full scale -> raw latents `[B, 64, F]`, differentiable.

    Frame i is centred on sample 240 i + 120; beyond the ends are zeros.
    """
    side = (N_FFT - HOP) // 2
    wave = functional.pad(wave, (side, side))
    spectrum = torch.stft(
        wave, N_FFT, HOP, window=torch.hann_window(N_FFT), center=False, return_complex=True
    )
    power = torch.view_as_real(spectrum).square().sum(-1)
    mel = mel_filters() @ power
    return (mel.clamp(min=FLOOR) / FLOOR).log() / NEPERS


def raw_latents_of(wave: np.ndarray) -> np.ndarray:
    """One recording, float or int16 [240 F], -> `[F, 64]` float32."""
    scale = 1 / 32768 if wave.dtype == np.int16 else 1.0
    samples = torch.from_numpy(np.asarray(wave, np.float32) * scale)
    with torch.no_grad():
        return raw_latents(samples[None])[0].T.contiguous().numpy()


@functools.cache
def mel_filters() -> Tensor:
    """Triangles of unit area on Slaney's scale, 0 to 12 kHz, `[64, 513]`."""
    edges = _hertz(np.linspace(0, _mel(RATE / 2), BANDS + 2))
    bins = np.linspace(0, RATE / 2, N_FFT // 2 + 1)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    triangles = np.maximum(0, np.minimum(rise, fall)) * (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(triangles.astype(np.float32))


# Slaney's scale: 3 mel per 200 Hz up to 1 kHz, then 27 mel per factor of 6.4.
def _mel(hertz: float) -> float:
    return 15 + np.log(hertz / 1000) * 27 / np.log(6.4) if hertz > 1000 else hertz * 3 / 200


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))
