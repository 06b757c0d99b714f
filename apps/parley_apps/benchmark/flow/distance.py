"""How far streamed latents are from those of the whole utterance; chooses no setting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from parley_apps.benchmark.flow import settings as flow_settings
from parley_apps.evaluation import speech
from parley_apps.evaluation.judge import normal

if TYPE_CHECKING:
    import parley
    from parley.events import Floats

SEED = 1
N_FFT, N_MELS = 1024, 80
FLOOR = 1e-6  # of mel power: 60 dB below a tone of amplitude one, so silence does not count


class Distance:
    """Of replies [{"text", "codes"}], on the same noise, from the reference: the whole utterance
    at once with a fine solver."""

    def __init__(self, bundle: parley.Bundle, replies: Sequence[dict[str, Any]]) -> None:
        flow = bundle.manifest["flow"]
        self._bundle, self._bench, self._rate = bundle, bundle.workbench(), bundle.out_rate
        self._deviation = np.sqrt(np.array(flow["latent_var"], np.float32))
        self._frames = 4 * flow["frames_per_code"]
        self._replies = replies
        self._texts = [normal(reply["text"]) for reply in replies]
        self._wholes: dict[str, list[Floats]] = {}
        self.settings = flow_settings.reference(flow)
        self.reference = self.whole(self.settings)
        self._mels = [log_mel(wave, self._rate) for wave in map(self._bench.vocode, self.reference)]
        known = sorted({text for text in self._texts if text})
        self._recogniser = speech.Recogniser(known) if speech.is_installed() and known else None

    def whole(self, settings: dict[str, Any]) -> list[Floats]:
        """Latents of every reply at once, with the solver of `settings`; made once per solver."""
        name = flow_settings.solver_name(settings)
        if name not in self._wholes:
            exact = flow_settings.solver(settings) | {"mode": "exact"}
            bench = self._bundle.workbench(flow=exact)
            self._wholes[name] = [
                bench.flow_decode(reply["codes"], seed=SEED)[0] for reply in self._replies
            ]
        return self._wholes[name]

    def of(self, latents: Sequence[Floats], settings: dict[str, Any]) -> dict[str, float | None]:
        """latent, by_solver, by_stream, mel_db, seam, and heard (None without a recogniser) of one
        array per reply, which `settings` made."""
        whole = self.whole(settings)
        waves = [self._bench.vocode(rows) for rows in latents]
        mels = zip(waves, self._mels, strict=True)
        return {
            "latent": self._latent(latents, self.reference),
            "by_solver": self._latent(whole, self.reference),
            "by_stream": self._latent(latents, whole),
            "mel_db": _rms(log_mel(wave, self._rate) - mel for wave, mel in mels),
            "seam": self._seam(latents),
            "heard": self._heard(waves),
        }

    def _latent(self, some: Sequence[Floats], others: Sequence[Floats]) -> float:
        """In standard deviations of a latent."""
        return _rms((a - b) / self._deviation for a, b in zip(some, others, strict=True))

    def _seam(self, latents: Sequence[Floats]) -> float:
        """Latent frames under the voice prompt are not heard, so borders count from the end of the
        first chunk."""
        borders: list[float] = []
        others: list[float] = []
        for rows in latents:
            jumps = np.abs(np.diff(rows / self._deviation, axis=0)).mean(1)
            n = len(rows)
            lost = -n % 4  # of the first chunk's frames
            at = {i for i in range(self._frames - lost - 1, n - 1, self._frames)}
            for i, jump in enumerate(jumps):
                (borders if i in at else others).append(jump)
        return float(np.mean(borders) / np.mean(others)) if borders else 1.0

    def _heard(self, waves: Sequence[Floats]) -> float | None:
        if self._recogniser is None:
            return None
        told = [
            self._recogniser.hear(wave, self._rate) == text
            for wave, text in zip(waves, self._texts, strict=True)
            if text in self._recogniser.known
        ]
        return float(np.mean(told)) if told else None


def _rms(parts: Any) -> float:
    return float(np.sqrt(np.mean(np.concatenate([np.square(p).ravel() for p in parts]))))


def log_mel(wave: Floats, rate: int) -> Floats:
    """10 log10 of mel power [frames, N_MELS], every 10 ms, in dB."""
    hop = rate // 100
    padded = np.pad(wave, N_FFT // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::hop]
    power = np.square(np.abs(np.fft.rfft(windows * np.hanning(N_FFT), axis=1))) / N_FFT
    return (10 * np.log10(power @ _triangles(rate).T + FLOOR)).astype(np.float32)


def _triangles(rate: int) -> Floats:
    """Mel filters [N_MELS, N_FFT // 2 + 1] up to half the rate (HTK's mel scale)."""
    top = 2595 * np.log10(1 + rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, N_MELS + 2) / 2595) - 1)
    hz = np.arange(N_FFT // 2 + 1) * rate / N_FFT
    up = (hz - edges[:-2, None]) / np.diff(edges)[:-1, None]
    down = (edges[2:, None] - hz) / np.diff(edges)[1:, None]
    return np.clip(np.minimum(up, down), 0, None).astype(np.float32)
