"""A stand-in for an opened bundle over scripted sessions; for tests of the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import parley
from scripted_core import CHUNK, RATE, ScriptedSession, event, session

Script = Sequence[tuple[str, Sequence[Any]]]


def two_replies() -> Script:
    """Two turns, each with a spoken reply of a few chunks; the text holds no plain ASCII only."""
    from scripted_core import reply

    first = reply(4, 5, [" Hello", " w", "\N{LATIN SMALL LETTER O WITH DIAERESIS}"])
    second = [
        (state, [event(e.kind, e.sample + len(first) * CHUNK, **_rest(e)) for e in events])
        for state, events in reply(4, 3, [" Bye"], reason="max_tokens")
    ]
    return [*first, *second]


def _rest(e: Any) -> dict[str, Any]:
    return {key: value for key, value in vars(e).items() if key not in ("kind", "sample", "time_s")}


class ScriptedBundle:
    """Has what commands use of parley.Bundle; `sessions` keeps the scripted ones it made."""

    name = "scripted"
    notice = "for tests only"
    rate = out_rate = RATE
    chunk_samples = out_chunk_samples = CHUNK

    def __init__(self, script: Script, modes: Sequence[str] = ("turns",)) -> None:
        self.script, self.modes = script, list(modes)
        self.sessions: list[ScriptedSession] = []
        self.options: list[dict[str, Any]] = []

    def session(self, mode: str | None = None, **options: Any) -> parley.Session:
        core = ScriptedSession(self.script, mode=mode or self.modes[0])
        self.sessions.append(core)
        self.options.append(options)
        return session(core, max_turn_s=600.0)

    def resample(self, samples: np.ndarray, rate: int) -> np.ndarray:
        n = -(-samples.size * RATE // rate)
        return samples[np.arange(n) * rate // RATE]

    def __enter__(self) -> ScriptedBundle:
        return self

    def __exit__(self, *_: object) -> None:
        pass


def opener(bundle: ScriptedBundle, opened: list[dict[str, Any]]) -> Callable[..., ScriptedBundle]:
    """Stands for parley.open; `opened` keeps what it was asked for."""

    def open_bundle(path: str, **options: Any) -> ScriptedBundle:
        opened.append({"path": path, **options})
        return bundle

    return open_bundle
