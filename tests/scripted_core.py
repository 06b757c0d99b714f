"""A stand-in for the engine's session that follows a script; for tests of what lies above it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

import parley

CHUNK, RATE = 3840, 24_000


def event(kind: str, sample: int = 0, **more: Any) -> SimpleNamespace:
    """An event as the engine's module gives it."""
    values = {"token": -1, "text": "", "codes": [], "reason": "", "count": 0, **more}
    return SimpleNamespace(kind=kind, sample=sample, time_s=sample / RATE, **values)


@dataclass
class ScriptedSession:
    """Each step takes the next (floor, events) of the script; the last entry repeats.

    What a step gives follows from what it got: half its samples. `calls` keeps what was asked.
    """

    script: Sequence[tuple[str, Sequence[Any]]] = (("listening", ()),)
    mode: str = "turns"
    delay_samples: int = 0
    input_delay_samples: int = 0
    calls: list[Any] = field(default_factory=list)
    chunks: list[np.ndarray] = field(default_factory=list)
    floor: str = "listening"
    fail_at: int | None = None
    refuses_end_turn: bool = False
    fed: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    end_in: int | None = None

    @property
    def waiting(self) -> int:
        return self.fed.size

    def feed(self, samples: np.ndarray, hz: int = 0) -> None:
        assert hz in (0, RATE)
        self.fed = np.concatenate([self.fed, samples])

    def next(self) -> SimpleNamespace | None:
        if self.end_in is not None and self.end_in <= 0:
            self.end_in = None
            self._end_turn()
        if self.fed.size < CHUNK:
            return None
        step = self.step(self.fed[:CHUNK])
        self.fed = self.fed[CHUNK:]
        if self.end_in is not None:
            self.end_in -= CHUNK
        return step

    def flush(self) -> None:
        self.fed = np.pad(self.fed, (0, -self.fed.size % CHUNK))

    @property
    def position(self) -> int:
        return 3 * len(self.chunks)

    def step(self, samples: np.ndarray) -> SimpleNamespace:
        assert samples.dtype == np.float32 and samples.flags.c_contiguous
        if samples.shape != (CHUNK,):
            raise parley.InputError(f"[session.step] expected {CHUNK} samples, got {samples.shape}")
        index = len(self.chunks)
        if self.fail_at == index:
            self.fail_at = None
            raise parley.CancelledError("[session.step] expected to finish, got cancel()")
        self.calls.append("step")
        self.chunks.append(samples.copy())
        self.floor, events = self.script[min(index, len(self.script) - 1)]
        timing = {"encoder": 2.0, "backbone": 5.0, "engine": 0.5, "total": 7.5}
        return SimpleNamespace(
            samples=0.5 * samples,
            events=list(events),
            floor=self.floor,
            index=index,
            timing_ms=timing,
            bottleneck=max(timing, key=timing.__getitem__),
        )

    def end_turn(self) -> None:
        if self.fed.size and self.mode == "turns":
            self.end_in = self.fed.size
        else:
            self._end_turn()

    def _end_turn(self) -> None:
        if self.refuses_end_turn:
            raise parley.InputError("[session.end_turn] expected to listen, got a reply under way")
        self.calls.append("end_turn")

    def send_text(self, text: str) -> None:
        self.calls.append(("send_text", text))

    def send_result(self, name: str, content: str) -> None:
        self.calls.append(("send_result", name, content))

    @staticmethod
    def silence() -> np.ndarray:
        return np.zeros(CHUNK, np.float32)

    def interrupt(self, heard_until: int | None = None) -> None:
        self.calls.append("interrupt")
        self.floor = "listening"

    def cancel(self) -> None:
        self.calls.append("cancel")

    def reset(self) -> None:
        self.calls.append("reset")
        self.fed, self.end_in = self.fed[:0], None

    def close(self) -> None:
        self.calls.append("close")
        self.floor = "closed"


def session(
    core: ScriptedSession,
    max_turn_s: float | None = None,
    tools: Sequence[parley.Tool] = (),
) -> parley.Session:
    """A parley.Session over a script; resampling to its rate repeats or drops samples."""

    def resample(samples: np.ndarray, rate: int) -> np.ndarray:
        n = -(-samples.size * RATE // rate)
        return samples[np.arange(n) * rate // RATE]

    return parley.Session(
        core,  # type: ignore[arg-type]
        chunk_samples=CHUNK,
        rate=RATE,
        out_chunk_samples=CHUNK,
        out_rate=RATE,
        resample=resample,
        max_turn_s=max_turn_s,
        tools=tools,
    )


def reply(first: int, n: int, pieces: Sequence[str], reason: str = "model") -> list[Any]:
    """A script: `first` chunks of listening, `n` of speaking, then listening."""
    script: list[Any] = [("listening", [event("think", k * CHUNK, token=1)]) for k in range(first)]
    for k in range(n):
        at = (first + k) * CHUNK
        events = [event("audio", at, codes=[1, 2, 3, 4])]
        if k < len(pieces):
            events.insert(0, event("text", at, token=10 + k, text=pieces[k]))
        if k == 0:
            events[:0] = [event("shift", at, token=2), event("reply_started", at)]
        script.append(("speaking", events))
    end = (first + n) * CHUNK
    ended = [event("break", end, token=3), event("reply_ended", end, reason=reason)]
    return [*script, ("listening", ended), ("listening", [])]
