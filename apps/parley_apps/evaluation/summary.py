"""Rows to numbers: success with intervals, text, delays, false starts; knows no engine."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from parley_apps.evaluation.judge import FalseStarts, Row
from parley_apps.evaluation.scenarios import Scenario
from parley_apps.evaluation.take import Take

# Success in percent that the report of Covo-Audio's full-duplex model gives (arXiv 2602.09823).
PUBLISHED = {"turn": 99.7, "pause": 97.6, "backchannel": 93.89, "interruption": 96.81}
ORDER = (
    "turn",
    "pause",
    "backchannel",
    "interruption",
    "interruption_stop",
    "interruption_command",
    "noise",
    "long",
)
LONG_S = 120.0  # conversations from here on are told by first and last minute


def summarize(
    scenarios: Sequence[Scenario],
    takes: Sequence[Take],
    rows: Sequence[Sequence[Row]],
    starts: Sequence[FalseStarts],
    *,
    by: str = "split",
) -> dict[str, Any]:
    """The numbers of an evaluation as plain data; all lists have one entry per scenario.

    "groups": per kind, and per kind and value of the tag `by` where there are several: n, dropped,
    success and exact {n, k, rate, low, high}, word_error_rate, delays {shift_ms, sound_ms,
    stop_ms: {n, p50, p95}}, why {reason: count}, dropped_why. "interruption": both kinds together.
    "false_starts": count, minutes, per_minute, in all and "in_noise". "long": by minute.
    """
    flat = [row for some in rows for row in some]
    noise = [f for s, f in zip(scenarios, starts, strict=True) if s.kind == "noise"]
    return {
        "scenarios": len(scenarios),
        "groups": _groups(flat, by),
        "false_starts": {**_starts(starts), "in_noise": _starts(noise)},
        "long": _long(scenarios, takes, rows),
    }


def wilson(k: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share k of n (E. B. Wilson, 1927); (0, 1) where n is 0.

    >>> [round(x, 3) for x in wilson(98, 100)]
    [0.93, 0.994]
    """
    if n == 0:
        return 0.0, 1.0
    z = 1.959963984540054
    share = k / n
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - half) / scale), min(1.0, (middle + half) / scale)


def share(values: Iterable[bool]) -> dict[str, Any]:
    """{n, k, rate, low, high}; the rate is None where n is 0."""
    found = list(values)
    n, k = len(found), sum(found)
    low, high = wilson(k, n)
    return {"n": n, "k": k, "rate": k / n if n else None, "low": low, "high": high}


def delays(values: Iterable[float | None]) -> dict[str, Any]:
    """{n, p50, p95} of the values there are; None where there is none."""
    found = [value for value in values if value is not None]
    if not found:
        return {"n": 0, "p50": None, "p95": None}
    p50, p95 = np.percentile(found, (50, 95))
    return {"n": len(found), "p50": float(p50), "p95": float(p95)}


def _groups(rows: Sequence[Row], by: str) -> list[dict[str, Any]]:
    groups = []
    for kind in ORDER:
        own = [row for row in rows if row.kind == kind or kind == _family(row.kind)]
        if not own or (kind == "interruption" and len({row.kind for row in own}) == 1):
            continue
        groups.append(_group(kind, None, own))
        splits = sorted({str(row.tags[by]) for row in own if by in row.tags})
        if len(splits) > 1 and kind != "interruption":
            for split in splits:
                some = [row for row in own if str(row.tags.get(by)) == split]
                groups.append(_group(kind, split, some))
    return groups


def _family(kind: str) -> str:
    return kind.split("_")[0]


def _group(kind: str, split: str | None, rows: Sequence[Row]) -> dict[str, Any]:
    counted = [row for row in rows if row.success is not None]
    texts = [row for row in counted if row.exact is not None]
    words = sum(row.words for row in texts)
    return {
        "kind": kind,
        "split": split,
        "n": len(counted),
        "dropped": len(rows) - len(counted),
        "success": share(bool(row.success) for row in counted),
        "exact": share(bool(row.exact) for row in texts),
        "word_error_rate": sum(r.word_errors for r in texts) / words if words else None,
        "shift_ms": delays(row.shift_ms for row in counted),
        "sound_ms": delays(row.sound_ms for row in counted),
        "stop_ms": delays(row.stop_ms for row in counted),
        "why": dict(Counter(row.why for row in counted if not row.success)),
        "dropped_why": dict(Counter(row.why for row in rows if row.success is None)),
        "published": PUBLISHED.get(kind) if split is None else None,
    }


def _starts(starts: Iterable[FalseStarts]) -> dict[str, Any]:
    found = list(starts)
    count, minutes = sum(f.count for f in found), sum(f.seconds for f in found) / 60.0
    per_minute = count / minutes if minutes else None
    return {"count": count, "minutes": minutes, "per_minute": per_minute}


def _long(
    scenarios: Sequence[Scenario], takes: Sequence[Take], rows: Sequence[Sequence[Row]]
) -> dict[str, Any] | None:
    """Turns of long conversations by minute; the last minute ends with each conversation."""
    minutes: dict[int, list[Row]] = {}
    first: list[Row] = []
    last: list[Row] = []
    conversations = 0
    for scenario, took, some in zip(scenarios, takes, rows, strict=True):
        if scenario.kind != "long":
            continue
        conversations += 1
        seconds = took.steps * took.chunk_s
        for row in (row for row in some if row.item == "turn"):
            minutes.setdefault(int(row.end_s // 60.0), []).append(row)
            if seconds >= LONG_S and row.end_s < 60.0:
                first.append(row)
            if seconds >= LONG_S and row.end_s >= seconds - 60.0:
                last.append(row)
    if not conversations:
        return None
    return {
        "conversations": conversations,
        "by_minute": [{"minute": m + 1, **_turns(minutes[m])} for m in sorted(minutes)],
        "first_minute": _turns(first),
        "last_minute": _turns(last),
    }


def _turns(rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "success": share(bool(row.success) for row in rows if row.success is not None),
        "exact": share(bool(row.exact) for row in rows if row.exact is not None),
    }
