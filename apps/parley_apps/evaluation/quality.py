"""Distances and scores of speech that need no person; knows no bundle.

The score without reference is DNSMOS (Reddy et al., 2021), where the package speechmos is installed
(`pip install 'parley[mos]'`), which brings its models along.
"""

from __future__ import annotations

import importlib.util

import numpy as np

from parley.events import Floats
from parley_apps.evaluation.speech import resampled

WINDOW, HOP, BANDS = 1024, 256, 80
FLOOR_DB = -70.0  # below the loudest band
SPEECH_RMS = 0.003  # -50 dBFS
RATE = 16_000  # of DNSMOS


def log_mel_db(sound: Floats, reference: Floats, rate: int) -> float | None:
    """Root mean square over bands, mean over windows with speech, of the levels' difference in dB.

    Both [n], from the same codes; None where the reference is silent.
    """
    n = min(len(sound), len(reference))
    if n < WINDOW:
        return None
    levels = [_mel(part[:n], rate) for part in (sound, reference)]
    floor = levels[1].max() * 10 ** (FLOOR_DB / 10)
    if floor <= 0:
        return None
    frames = np.lib.stride_tricks.sliding_window_view(reference[:n], WINDOW)[::HOP]
    speech = np.sqrt(np.square(frames.astype(np.float64)).mean(1)) > SPEECH_RMS
    if not speech.any():
        return None
    a, b = (10 * np.log10(np.maximum(power, floor)) for power in levels)
    return float(np.sqrt(np.square(a - b).mean(1))[speech].mean())


def has_score() -> bool:
    return all(importlib.util.find_spec(name) for name in ("speechmos", "librosa"))


def score(sound: Floats, rate: int) -> float | None:
    """DNSMOS's overall opinion, 1 to 5; None without speech or without the package."""
    if not has_score() or not (np.abs(sound) > SPEECH_RMS).any():
        return None
    from speechmos import dnsmos

    heard = np.clip(resampled(sound, rate, RATE), -1, 1)
    return float(dnsmos.run(heard, RATE)["ovrl_mos"])


def _mel(samples: Floats, rate: int) -> np.ndarray:
    """Power in bands, [windows, BANDS]."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), WINDOW)[::HOP]
    power = np.square(np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)))
    edges = _hertz(np.linspace(_mels(20.0), _mels(rate / 2), BANDS + 2))
    bins = np.fft.rfftfreq(WINDOW, 1 / rate)
    rising = (bins[None] - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    falling = (edges[2:, None] - bins[None]) / (edges[2:] - edges[1:-1])[:, None]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    bands: np.ndarray = power @ weights.T
    return bands


def _mels(hertz: float) -> float:
    return float(2595.0 * np.log10(1.0 + hertz / 700.0))


def _hertz(mels: np.ndarray) -> np.ndarray:
    hertz: np.ndarray = 700.0 * (10 ** (mels / 2595.0) - 1.0)
    return hertz
