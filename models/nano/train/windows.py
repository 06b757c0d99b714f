"""Windows of dense speech, clean for a teacher and as microphones hear it; knows no model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from train.acoustics import SPEECH_LEVEL, USER_HZ, Acoustics
from train.bank import BankError, read_users

Wave = npt.NDArray[np.float32]
# How often a window's next utterance is of which synthesizer, where the bank has it.
SHARES = {"kokoro": 0.7, "espeak": 0.25, "flite": 0.05}
SPEED = 0.13  # faster or slower, at most
BABBLE, BAND, ECHO = 0.25, 0.15, 0.5  # how often
BABBLE_DB = (6.0, 25.0)  # below the speech
BAND_HZ = (250.0, 3500.0)  # about a telephone's
# Gaps between utterances, in seconds, and how often: a stream is also silent for long.
GAPS = (((0.05, 0.5), 0.9), ((1.0, 3.0), 0.08), ((3.0, 15.0), 0.02))


class SpeechPool:
    """Utterances of training from folders of the bank's shards; `refresh` reads new ones."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = folders
        self._read: set[Path] = set()
        self.waves: dict[str, list[npt.NDArray[np.int16]]] = {}
        self.refresh()
        if not self.waves:
            raise BankError(
                f"[windows.open] expected users_*.npz in {', '.join(map(str, folders))}, got none; "
                "run `python -m train bank`"
            )

    def refresh(self) -> None:
        """Takes up what was made since."""
        for folder in self.folders:
            for path in sorted(folder.glob("users_*.npz")):
                if path not in self._read:
                    self._read.add(path)
                    for user in read_users(path):
                        if user.voices == "train":
                            self.waves.setdefault(user.synthesizer, []).append(user.wave)

    def seconds(self) -> dict[str, float]:
        """How much there is of each synthesizer."""
        return {name: sum(map(len, waves)) / USER_HZ for name, waves in self.waves.items()}

    def draw(self, rng: np.random.Generator) -> Wave:
        """An utterance of random speed and so of random pitch and formants (Ko et al., 2015)."""
        names = [name for name in SHARES if name in self.waves]
        shares = np.array([SHARES[name] for name in names])
        waves = self.waves[names[rng.choice(len(names), p=shares / shares.sum())]]
        wave = waves[rng.integers(len(waves))]
        factor = rng.uniform(1 - SPEED, 1 + SPEED)
        times = np.arange(int(len(wave) / factor)) * factor
        gain = 10 ** (rng.uniform(-4, 4) / 20) / 32768
        return (np.interp(times, np.arange(len(wave)), wave) * gain).astype(np.float32)


class Windows:
    """Endless windows of `samples` samples; the same seed and pool give the same ones."""

    def __init__(self, pool: SpeechPool, samples: int, seed: int) -> None:
        self.pool, self.samples = pool, samples
        self.rng = np.random.default_rng(seed)
        self.acoustics = Acoustics(np.random.default_rng(29))

    def hear(self, clean: Wave) -> Wave:
        """`clean` as a microphone in a room hears it [samples]."""
        rng, heard = self.rng, clean
        if rng.random() < BABBLE:
            crowd = sum(self.dense() for _ in range(rng.integers(1, 4)))
            level = 10 ** (-rng.uniform(*BABBLE_DB) / 20) * SPEECH_LEVEL
            heard = heard + crowd * np.float32(level / np.sqrt(np.mean(crowd**2)))
        heard = self.acoustics.mix(
            rng, heard, None, echo=bool(rng.random() < ECHO), noisy=bool(rng.random() < 0.8),
            lowest_gain=-20.0, least_snr=5.0,
        )  # fmt: skip
        return band(heard, *BAND_HZ) if rng.random() < BAND else heard

    def dense(self) -> Wave:
        """Speech with gaps, most of them short."""
        wave = np.zeros(self.samples, np.float32)
        at = int(self.rng.uniform(0, 0.5) * USER_HZ)
        while at < self.samples:
            said = self.pool.draw(self.rng)[: self.samples - at]
            wave[at : at + len(said)] = said
            gap, _ = GAPS[self.rng.choice(len(GAPS), p=[share for _, share in GAPS])]
            at += len(said) + int(self.rng.uniform(*gap) * USER_HZ)
        return wave


def band(wave: Wave, low: float, high: float) -> Wave:
    """`wave` without what lies below and above, with edges of 100 Hz."""
    spectrum = np.fft.rfft(wave)
    hertz = np.fft.rfftfreq(len(wave), 1 / USER_HZ)
    kept = np.clip((hertz - low) / 100 + 1, 0, 1) * np.clip((high - hertz) / 100 + 1, 0, 1)
    return np.fft.irfft(spectrum * kept, len(wave)).astype(np.float32)
