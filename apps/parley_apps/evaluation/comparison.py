"""Several evaluations of the same scenarios side by side; knows no bundle and no engine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from parley_apps.evaluation.table import percent

KINDS = ("turn", "pause", "backchannel", "interruption")
LEVEL = 0.05  # below it a difference is no chance


def compare(results: Mapping[str, Mapping[str, Any]], sizes: Mapping[str, int]) -> dict[str, Any]:
    """Rows of a table from results of `evaluate` by name; the first one is the reference.

    A row: name, megabytes (10^6 bytes), behaviour {kind: {n, k, rate, low, high}}, exact (the
    same), word_error_rate, and against the reference on the same scenarios "decisions" and
    "replies": {worse, better, p}. p is the chance of a split so uneven if neither were better
    (exact sign test on the pairs that differ; McNemar, 1947).
    "broken": for "decisions" and "replies" the names whose losses are no chance.
    """
    reference = next(iter(results.values()))
    rows = [_row(name, result, reference, sizes[name]) for name, result in results.items()]
    broken = {
        what: [row["name"] for row in rows if _is_broken(row[what])]
        for what in ("decisions", "replies")
    }
    return {"reference": next(iter(results)), "rows": rows, "broken": broken}


def sign_test(worse: int, better: int) -> float:
    """Two-sided p of `worse` against `better`, exact.

    >>> sign_test(5, 5), round(sign_test(9, 1), 4)
    (1.0, 0.0215)
    """
    n, few = worse + better, min(worse, better)
    tail = sum(math.comb(n, k) for k in range(few + 1)) / 2**n
    return min(1.0, 2.0 * float(tail))


def lines(table: Mapping[str, Any]) -> Iterator[str]:
    """The comparison as a Markdown table with a sentence about what breaks first."""
    head = ["type", "MB", *KINDS, "exact reply", "WER %", "decisions", "replies"]
    yield _cells(head)
    yield _cells(["---"] * len(head))
    for row in table["rows"]:
        yield _cells(
            [
                row["name"],
                f"{row['megabytes']:.1f}",
                *(_share(row["behaviour"].get(kind)) for kind in KINDS),
                _share(row["exact"]),
                "-" if row["word_error_rate"] is None else f"{100 * row['word_error_rate']:.1f}",
                *(_change(row[what]) for what in ("decisions", "replies")),
            ]
        )
    yield ""
    yield (
        f"Decisions and replies: worse / better than {table['reference']} on the same scenarios, "
        "and the chance of so uneven a split."
    )
    for what in ("decisions", "replies"):
        names = ", ".join(table["broken"][what]) or "none"
        yield f"Worse {what} than chance explains (p < {LEVEL}): {names}."


def _row(
    name: str, result: Mapping[str, Any], reference: Mapping[str, Any], n_bytes: int
) -> dict[str, Any]:
    groups = {g["kind"]: g for g in result["summary"]["groups"] if g["split"] is None}
    # Without a group of both, the interruptions are of one kind.
    alone = next((g for kind, g in groups.items() if kind.startswith("interruption")), None)
    behaviour = {kind: groups[kind]["success"] for kind in KINDS if kind in groups}
    if alone is not None:
        behaviour.setdefault("interruption", alone["success"])
    turn = groups.get("turn", {})
    return {
        "name": name,
        "megabytes": n_bytes / 1e6,
        "behaviour": behaviour,
        "exact": turn.get("exact"),
        "word_error_rate": turn.get("word_error_rate"),
        "decisions": _changes(_values(reference, "success"), _values(result, "success")),
        "replies": _changes(_values(reference, "exact"), _values(result, "exact")),
    }


def _values(result: Mapping[str, Any], what: str) -> dict[tuple[str, str, float], bool]:
    """What every judged row of every scenario came to, by its place."""
    return {
        (scenario["name"], row["item"], row["start_s"]): row[what]
        for scenario in result["scenarios"]
        for row in scenario["rows"]
        if row[what] is not None
    }


def _changes(before: Mapping[Any, bool], after: Mapping[Any, bool]) -> dict[str, Any]:
    both = before.keys() & after.keys()
    worse = sum(before[key] and not after[key] for key in both)
    better = sum(after[key] and not before[key] for key in both)
    return {"n": len(both), "worse": worse, "better": better, "p": sign_test(worse, better)}


def _is_broken(change: Mapping[str, Any]) -> bool:
    return bool(change["worse"] > change["better"] and change["p"] < LEVEL)


def _share(share: Mapping[str, Any] | None) -> str:
    return "-" if share is None else f"{percent(share)} ({share['n']})"


def _change(change: Mapping[str, Any]) -> str:
    counts = f"-{change['worse']} / +{change['better']}"
    return counts if change["p"] >= LEVEL else f"{counts}, p {change['p']:.2g}"


def _cells(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"
