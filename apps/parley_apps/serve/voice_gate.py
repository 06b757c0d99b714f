"""Where the user's voice begins and ends, by its volume against the noise; knows no model.

Protocols ask for these two moments, which a model that decides by itself does not tell.
"""

from __future__ import annotations

import math

import numpy as np

from parley.events import Floats

FRAME_S = 0.01
ONSET_FRAMES = 6  # loud ones among the last 10: a click is shorter
WINDOW_FRAMES = 10
QUIETEST_DB = -55.0  # below it nothing is a voice
FLOOR_RISES_DB = 0.03  # per frame: 3 dB a second, so that a voice does not lift it


def level_db(samples: Floats) -> float:
    """Root mean square in dB of full scale, -100 at least."""
    if samples.size == 0:
        return -100.0
    power = float(np.mean(np.square(samples, dtype=np.float64)))
    return max(-100.0, 10.0 * math.log10(power + 1e-12))


class VoiceGate:
    """Fed chunk by chunk; positions are samples at `rate` since the beginning.

    threshold: 0 to 1 as protocols have it, 0.5 is 12 dB above the noise. silence_s: how long it
    must be quiet until the voice has ended.
    """

    def __init__(
        self, rate: int, threshold: float = 0.5, silence_s: float = 0.5, position: int = 0
    ) -> None:
        self._frame = round(rate * FRAME_S)
        self._floor_db = -60.0
        self._recent: list[bool] = []
        self._rest = np.zeros(0, dtype=np.float32)
        self._position = position  # of the next frame
        self.last_loud = -(10**9)  # end of the last loud frame
        self.active = False
        self.set(threshold, silence_s)

    def set(self, threshold: float, silence_s: float) -> None:
        """Other settings from now on."""
        self._margin_db = 4.0 + 16.0 * threshold
        self._silence = round(silence_s / FRAME_S) * self._frame

    def rest(self) -> None:
        """The voice counts as ended; more of it begins anew."""
        self.active = False
        self._recent = []

    def feed(self, samples: Floats) -> list[tuple[str, int]]:
        """[n] -> ("started" or "stopped", position) in order."""
        found: list[tuple[str, int]] = []
        data = np.concatenate([self._rest, samples])
        n = data.size // self._frame
        self._rest = data[n * self._frame :]
        frames = data[: n * self._frame].reshape(n, self._frame)
        power = np.mean(np.square(frames, dtype=np.float64), axis=1)
        for db in 10.0 * np.log10(power + 1e-12):
            if moment := self._take(float(db)):
                found.append(moment)
        return found

    def _take(self, db: float) -> tuple[str, int] | None:
        loud = db > max(self._floor_db + self._margin_db, QUIETEST_DB)
        self._floor_db = max(-90.0, min(db, self._floor_db + FLOOR_RISES_DB))
        self._position += self._frame
        self._recent = [*self._recent[1 - WINDOW_FRAMES :], loud]
        if loud:
            self.last_loud = self._position
        if not self.active and sum(self._recent) >= ONSET_FRAMES:
            self.active = True
            first = self._recent.index(True)
            return "started", self._position - (len(self._recent) - first) * self._frame
        if self.active and self._position - self.last_loud >= self._silence:
            self.rest()
            return "stopped", self.last_loud
        return None
