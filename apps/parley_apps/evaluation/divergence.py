"""How far two bundles' draws are apart, for text, audio and decisions; knows no engine.

llama.cpp's numbers (`llama-perplexity --kl-divergence`): Kullback-Leibler divergence of the other
from the reference, whether both think the same id likeliest, and by how much the probability of the
id that the reference took changes. A draw that may give control ids (THINK, SHIFT, BREAK) counts
twice: as a decision among these and "none of them", and as a draw of text among the rest.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from parley.events import Floats
from parley_apps.evaluation.forced import Draws

KINDS = ("text", "audio", "decision")
CONTROLS = ("think", "shift", "break")
FIRST_S, TENTH_S, LONG_REPLY_S = (0.0, 60.0), (540.0, 600.0), 20.0
SPANS = ("first minute", "tenth minute", "over 20 s")


@dataclass
class Losses:
    """Of one kind of draw: [n] each."""

    kl: list[float] = field(default_factory=list)
    same: list[bool] = field(default_factory=list)
    change: list[float] = field(default_factory=list)  # of the taken id's probability
    time_s: list[float] = field(default_factory=list)
    reply_s: list[float] = field(default_factory=list)
    group: list[int] = field(default_factory=list)  # number of the recording

    def add(self, p: Floats, q: Floats, taken: int, place: tuple[float, float, int]) -> None:
        """Log-probabilities of the reference and of the other."""
        wide_p, wide_q = p.astype(np.float64), q.astype(np.float64)
        chances = np.exp(wide_p)
        self.kl.append(max(0.0, float((chances * (wide_p - wide_q))[chances > 0].sum())))
        self.same.append(bool(p.argmax() == q.argmax()))
        self.change.append(float(np.exp(wide_q[taken]) - chances[taken]))
        self.time_s.append(place[0])
        self.reply_s.append(place[1])
        self.group.append(place[2])


def control_ids(manifest: Mapping[str, Any]) -> frozenset[int]:
    """Ids that decide who has the floor."""
    duplex = manifest["duplex"] or {}
    return frozenset(duplex[name] for name in CONTROLS if name in duplex)


def audio_ids(manifest: Mapping[str, Any]) -> range:
    words = manifest["vocabulary"]
    return range(words["audio_begin"], words["audio_begin"] + words["audio_codes"])


def gather(
    losses: dict[str, Losses],
    pair: tuple[Draws, Draws],
    group: int,
    ids: tuple[frozenset[int], range],
) -> None:
    """Adds the draws of a recording, the reference's first, to those of each kind."""
    first, other = pair
    control, audio = ids
    for i, taken in enumerate(first.ids):
        allowed = np.concatenate([np.arange(a, b) for a, b in first.slots[first.slot[i]]])
        place = (first.times[i], first.reply_s[i], group)
        for kind, p, q, at in _parts(
            allowed, (first.rows[i], other.rows[i]), taken, (control, audio)
        ):
            losses[kind].add(p, q, at, place)


def _parts(
    allowed: np.ndarray,
    rows: tuple[Floats, Floats],
    taken: int,
    ids: tuple[frozenset[int], range],
) -> Iterator[tuple[str, Floats, Floats, int]]:
    control, audio = ids
    deciding = np.isin(allowed, list(control))
    at = int(np.flatnonzero(allowed == taken)[0])
    if deciding.any():
        both = [_with_rest(row, deciding) for row in rows]
        where = np.flatnonzero(deciding)
        place = int(np.flatnonzero(where == at)[0]) if deciding[at] else len(both[0]) - 1
        yield "decision", both[0], both[1], place
    if deciding[at]:
        return
    rest = ~deciding
    p, q = (_normal(row[rest]) for row in rows)
    yield "audio" if taken in audio else "text", p, q, int(rest[:at].sum())


def _with_rest(row: Floats, deciding: np.ndarray) -> Floats:
    """Log-probabilities of the control ids, and of all else together where there is any."""
    if deciding.all():
        return row
    rest = np.logaddexp.reduce(row[~deciding].astype(np.float64))
    return np.append(row[deciding], np.float32(rest))


def _normal(row: Floats) -> Floats:
    found: Floats = (row - np.logaddexp.reduce(row.astype(np.float64))).astype(np.float32)
    return found


def summary(losses: Losses) -> dict[str, Any] | None:
    """What a table tells of one kind; None where there was no draw. Shares are 0 to 1.

    Each mean has a standard error over recordings, whose draws belong together.
    """
    if not losses.kl:
        return None
    change = np.array(losses.change)
    groups = np.array(losses.group)
    kl = np.array(losses.kl)
    return {
        "n": len(kl),
        "kl": _mean(kl, groups),
        "kl_99": float(np.quantile(kl, 0.99)),
        "kl_max": float(kl.max()),
        "same_top": _mean(np.array(losses.same, np.float64), groups),
        "change": _mean(change, groups),
        "change_rms": math.sqrt(float(np.square(change).mean())),
        "by_length": dict(_by_length(losses, kl, groups)),
    }


def _by_length(
    losses: Losses, kl: np.ndarray, groups: np.ndarray
) -> Iterator[tuple[str, dict[str, float] | None]]:
    time_s, reply_s = np.array(losses.time_s), np.array(losses.reply_s)
    for name, chosen in zip(
        SPANS,
        (
            (time_s >= FIRST_S[0]) & (time_s < FIRST_S[1]),
            (time_s >= TENTH_S[0]) & (time_s < TENTH_S[1]),
            reply_s > LONG_REPLY_S,
        ),
        strict=True,
    ):
        yield name, _mean(kl[chosen], groups[chosen]) if chosen.any() else None


def _mean(values: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """{"mean", "error"}: the error is that of a ratio over clusters; 0 for a single one."""
    names = np.unique(groups)
    mean = float(values.mean())
    if len(names) < 2:
        return {"mean": mean, "error": 0.0}
    off = np.array([(values[groups == name] - mean).sum() for name in names])
    spread = float(np.square(off).sum()) * len(names) / (len(names) - 1)
    return {"mean": mean, "error": math.sqrt(spread) / len(values)}
