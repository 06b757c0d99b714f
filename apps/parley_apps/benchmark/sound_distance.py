"""How far streamed samples are from the whole run's; knows no model."""

from __future__ import annotations

import numpy as np

WINDOW, HOP = 512, 128
FLOOR_DB = -80.0  # below the loudest bin: what lies deeper counts as silence
AROUND_S = 0.01
SPEECH_RMS = 0.003  # -50 dBFS


def compare(
    got: np.ndarray, whole: np.ndarray, borders: np.ndarray, *, rate: int
) -> dict[str, float]:
    """All distances of `got` from `whole`, samples of one length; borders of chunks in samples."""
    return {
        "snr_db": snr_db(got, whole),
        "log_spectral_db": log_spectral_db(got, whole),
        "click": click(got, borders, rate),
        "whole_click": click(whole, borders, rate),
    }


def snr_db(got: np.ndarray, whole: np.ndarray) -> float:
    """Signal-to-noise ratio, at most 200."""
    noise = np.square(got.astype(np.float64) - whole).sum()
    signal = np.square(whole.astype(np.float64)).sum()
    return float(10 * np.log10(signal / max(noise, 1e-20 * signal, 1e-300)))


def log_spectral_db(got: np.ndarray, whole: np.ndarray) -> float:
    """Root mean square over bins, mean over windows, of the difference of levels in dB."""
    levels = [_power(samples) for samples in (got, whole)]
    floor = levels[1].max() * 10 ** (FLOOR_DB / 10)
    a, b = (10 * np.log10(np.maximum(power, floor)) for power in levels)
    return float(np.sqrt(np.square(a - b).mean(1)).mean())


def _power(samples: np.ndarray) -> np.ndarray:
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), WINDOW)[::HOP]
    return np.square(np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)))


def click(samples: np.ndarray, borders: np.ndarray, rate: int) -> float:
    """The largest second difference over a border in relation to those around it.

    Root mean square over the borders in speech; 0 where there is none.
    """
    bend = np.abs(np.diff(samples.astype(np.float64), 2))
    around = int(AROUND_S * rate)
    ratios = []
    for border in borders:
        near = slice(max(0, border - around), border + around)
        if border < 2 or np.sqrt(np.square(samples[near]).mean()) < SPEECH_RMS:
            continue
        # bend[k] is about samples k to k + 2: these two are over the border.
        over = bend[border - 2 : border].max(initial=0.0)
        ratios.append(over / np.sqrt(np.square(bend[near]).mean()))
    return float(np.sqrt(np.square(ratios).mean())) if ratios else 0.0
