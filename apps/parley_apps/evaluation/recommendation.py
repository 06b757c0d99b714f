"""Picks a mix of types for a budget from what single stages cost when they were measured."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from parley_apps.evaluation import mixes

# One number of a loss: nats of KL divergence per draw and dB of log-mel, each by what is hardly
# noticed.
NATS, DECIBELS = 0.05, 1.0


def loss(row: Mapping[str, Any]) -> float:
    """Mean KL divergence over the kinds of draws by NATS, and log-mel distance by DECIBELS."""
    found = [draws["kl"]["mean"] for draws in row["draws"].values() if draws]
    sound = row["log_mel_db"]["mean"] if row["log_mel_db"] else 0.0
    return (sum(found) / len(found) if found else 0.0) / NATS + float(sound) / DECIBELS


def size(row: Mapping[str, Any], of: str) -> float:
    """What a budget is for: bytes, or milliseconds of a step (95th percentile)."""
    return float(row["bytes"] if of == "bytes" else row["speed"]["step_ms"]["p95_ms"])


def choose(rows: Sequence[Mapping[str, Any]], budget: tuple[str, float]) -> str:
    """The mix that should lose least within the budget, if stages add up.

    rows: the reference's first, then those of single stages. Raises InputError where no mix of what
    was measured is within it.
    """
    of, amount = budget
    base, base_loss = size(rows[0], of), loss(rows[0])
    choices: dict[str, list[tuple[str, float, float]]] = {}
    for row in rows[1:]:
        types = mixes.parts(row["mix"])
        if len(types) == 1:
            stage, kind = next(iter(types.items()))
            saved, cost = base - size(row, of), max(0.0, loss(row) - base_loss)
            choices.setdefault(stage, [("", 0.0, 0.0)]).append((kind, saved, cost))
    best: tuple[float, float, str] | None = None
    for picked in itertools.product(*choices.values()):
        left = base - sum(saved for _, saved, _ in picked)
        types = {stage: kind for stage, (kind, _, _) in zip(choices, picked, strict=True) if kind}
        candidate = (sum(cost for _, _, cost in picked), left, mixes.named(types))
        if left <= amount and (best is None or candidate < best):
            best = candidate
    if best is None:
        from parley import InputError

        least = base - sum(max(saved for _, saved, _ in some) for some in choices.values())
        unit = f"{least / 1e6:.1f}MB" if of == "bytes" else f"{least:.1f}ms"
        raise InputError(
            "[quantization.recommend] expected a budget that some mix meets, got less than "
            f"{unit}; raise it, or add --mixes with smaller types"
        )
    return best[2]
