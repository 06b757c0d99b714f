"""What each stage of a bundle loses against another's on the same inputs; judges nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parley_apps.benchmark.sound_distance import snr_db

if TYPE_CHECKING:
    import parley
    from parley.events import Floats

STAGES = ("encoder", "flow", "vocoder")
MOST_CODES = 250  # of a reply, 10 s


class Outputs:
    """What a bundle's stages give for a recording and codes, by the engine's streaming forms."""

    def __init__(self, bundle: parley.Bundle) -> None:
        self._bench, self._bundle = bundle.workbench(), bundle

    def features(self, samples: Floats) -> Floats:
        """[n] samples at the bundle's rate -> [chunks, width], or a turn's features."""
        if "duplex" not in self._bundle.modes:
            return self._bench.turn_features(samples)
        chunk = self._bundle.chunk_samples
        whole = samples[: len(samples) // chunk * chunk]
        return self._bench.chunk_features(whole)

    def latents(self, codes: list[int]) -> Floats:
        """[n] codes -> [frames, z]."""
        return self._bench.flow_stream(codes[:MOST_CODES], 0, 4)

    def wave(self, latents: Floats) -> Floats:
        return self._bench.vocode_stream(latents, 16)


def losses(
    reference: Outputs, other: Outputs, samples: Floats, codes: list[int]
) -> dict[str, float]:
    """Signal-to-noise ratio by stage in dB, each on the reference's own input to it."""
    found = {"encoder": snr_db(other.features(samples), reference.features(samples))}
    if codes:
        latents = reference.latents(codes)
        found["flow"] = snr_db(other.latents(codes), latents)
        found["vocoder"] = snr_db(other.wave(latents), reference.wave(latents))
    return found


def mean_db(values: list[float]) -> float | None:
    """Of ratios in dB: that of mean noise, so that the worst counts most."""
    if not values:
        return None
    return float(-10 * np.log10(np.mean(10 ** (-np.array(values) / 10))))
