"""A test signal from a formula, so that no recording is needed; knows no model."""

import numpy as np


def synthetic_signal(n_samples: int, rate_hz: int = 24000) -> np.ndarray:
    """`[n_samples]` float32: three gliding tones under an envelope, and faint noise."""
    t = np.arange(n_samples) / rate_hz
    tones = sum(
        level * np.sin(2 * np.pi * (begin * t + 0.5 * glide * t * t))
        for level, begin, glide in ((0.3, 140, 60), (0.15, 900, -250), (0.05, 3100, 1700))
    )
    envelope = 0.5 - 0.5 * np.cos(2 * np.pi * 3.1 * t)
    noise = np.random.default_rng(11).standard_normal(n_samples)
    return (envelope * tones + 0.003 * noise).astype(np.float32)
