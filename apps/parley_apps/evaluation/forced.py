"""Conversations that one bundle holds and others are made to hold word for word; judges nothing.

The reference plays a recording as ever, and its draws are kept: which ids were allowed, their
probabilities, what was taken. Another bundle plays the same recording and is made to take the same
ids, so that each of its draws stands behind the same history (a teacher forces it), and its sound
is made from the same codes.
"""

from __future__ import annotations

import io
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parley.metrics import step_total

if TYPE_CHECKING:
    import parley
    from parley.events import Floats

Ranges = tuple[tuple[int, int], ...]


@dataclass
class Draws:
    """Draws in order: ids that were taken, seconds since the start, log-probabilities over what
    was allowed, [n] each, and the allowed ranges by `slots[slot[i]]`."""

    ids: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    reply_s: list[float] = field(default_factory=list)  # since the reply began; 0 while listening
    slot: list[int] = field(default_factory=list)
    slots: list[Ranges] = field(default_factory=list)
    rows: list[Floats] = field(default_factory=list)

    def add(self, logits: Floats, allowed: Ranges, taken: int, when: tuple[float, float]) -> None:
        if allowed not in self.slots:
            self.slots.append(allowed)
        self.ids.append(taken)
        self.times.append(when[0])
        self.reply_s.append(when[1])
        self.slot.append(self.slots.index(allowed))
        self.rows.append(log_softmax(np.concatenate([logits[a:b] for a, b in allowed])))


@dataclass
class Played:
    """A recording as it was played: its draws, its sound and what it cost."""

    draws: Draws
    sound: Floats
    codes: list[int]
    text: str
    step_ms: list[float]
    audio_s: float


class DivergedError(Exception):
    """The other bundle was asked for a draw that the reference did not make."""


def log_softmax(logits: Floats) -> Floats:
    """[n] logits to log-probabilities, summed in float64."""
    wide = logits.astype(np.float64)
    top = float(wide.max())
    found: Floats = (wide - top - np.log(np.exp(wide - top).sum())).astype(np.float32)
    return found


def play(
    bundle: parley.Bundle,
    samples: Floats,
    *,
    seed: int,
    like: Draws | None = None,
    mode: Any = None,
) -> Played:
    """Plays a recording [n] at the bundle's rate; with `like`, taking its ids.

    Raises DivergedError where that cannot be.
    """
    draws = Draws()
    clock = [0.0, 0.0]  # seconds since the start, and since the reply began

    def see(logits: Floats, allowed: list[tuple[int, int]], picked: int) -> int:
        n, ranges = len(draws.ids), tuple(allowed)
        if like is not None:
            if n >= len(like.ids) or like.slots[like.slot[n]] != ranges:
                raise DivergedError(
                    f"[evaluation.force] expected the reference's draw {n}, got another"
                )
            picked = like.ids[n]
        draws.add(logits, ranges, picked, (clock[0], clock[1]))
        return picked

    played = Played(draws, np.zeros(0, np.float32), [], "", [], 0.0)
    pieces: list[Floats] = []
    with bundle.forced(see, mode, seed=seed) as session:
        chunk_s = session.chunk_samples / session.rate
        for step in session.play(samples):
            pieces.append(step.samples)
            played.step_ms.append(step_total(step.timing_ms))
            played.codes += [code for event in step.events for code in event.codes]
            played.text += "".join(event.text for event in step.events if event.kind == "text")
            played.text += "".join("\n" for event in step.events if event.kind == "reply_ended")
            clock[0] += chunk_s
            clock[1] = clock[1] + chunk_s if step.floor == "speaking" else 0.0
    played.sound = np.concatenate(pieces) if pieces else played.sound
    played.audio_s = len(pieces) * chunk_s
    return played


def keep(played: Played, path: Path) -> None:
    """Writes what the reference said, so that another run can force it."""
    from parley.files import write_atomically

    draws, buffer = played.draws, io.BytesIO()
    np.savez(
        buffer,
        ids=np.array(draws.ids, np.int64),
        times=np.array(draws.times, np.float64),
        reply_s=np.array(draws.reply_s, np.float64),
        slot=np.array(draws.slot, np.int64),
        rows=np.concatenate(draws.rows) if draws.rows else np.zeros(0, np.float32),
        sound=played.sound,
        codes=np.array(played.codes, np.int64),
        step_ms=np.array(played.step_ms),
        told=np.array(json.dumps([draws.slots, played.text, played.audio_s])),
    )
    write_atomically({path: buffer.getvalue()})


def kept(path: Path) -> Played:
    """What keep() wrote."""
    with np.load(path) as file:
        slots, text, audio_s = json.loads(str(file["told"]))
        draws = Draws(file["ids"].tolist(), file["times"].tolist(), file["reply_s"].tolist())
        draws.slot = file["slot"].tolist()
        draws.slots = [tuple((a, b) for a, b in ranges) for ranges in slots]
        sizes = [sum(b - a for a, b in ranges) for ranges in draws.slots]
        ends = np.cumsum([sizes[s] for s in draws.slot])
        draws.rows = np.split(file["rows"], ends[:-1]) if len(ends) else []
        return Played(
            draws, file["sound"], file["codes"].tolist(), text, file["step_ms"].tolist(), audio_s
        )
