"""Full-Duplex-Bench v1's measures (Lin et al., 2025), from their definitions; knows no engine.

Words and their times are the model's own, not a recogniser's: its text, and where its sound begins
and ends. So numbers are beside the published ones, and the same every time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from parley_apps.evaluation.scenarios import Scenario
from parley_apps.evaluation.take import Reply, Take

SHORT_S, SHORT_WORDS = 1.0, 3  # less, and no more words, is no takeover
LONG_S = 3.0  # of a segment: never a backchannel
BACKCHANNEL_WORDS = 2

# Rows of PersonaPlex's paper, for orientation; their recordings are other ones.
PUBLISHED = (
    "PersonaPlex pause 0.584, turn 0.992 / 0.070 s, interruption 1.0 / 0.400 s",
    "Moshi pause 0.985, turn 0.941 / 0.265 s, interruption 1.0 / 0.257 s",
    "Freeze-Omni pause 0.642, turn 0.336 / 0.953 s, interruption 0.867 / 1.409 s",
)


def takes_over(replies: Iterable[Reply], begin_s: float, end_s: float) -> bool:
    """Whether what is heard between the times is more than a short sound of few words."""
    duration, words = 0.0, 0
    for reply in replies:
        part = _overlap(reply, begin_s, end_s)
        if part > 0:
            duration += part
            words += len(reply.text.split())
    return bool(words) and not (duration < SHORT_S and words <= SHORT_WORDS)


def measure(scenarios: Sequence[Scenario], takes: Sequence[Take]) -> dict[str, Any]:
    """{"pause": {tor, n}, "turn": {tor, latency_s, n}, "interruption": the same, "backchannel":
    {tor, per_s, n}}: takeover rates 0 to 1; latencies over those that took over, at least 0."""
    pairs = list(zip(scenarios, takes, strict=True))
    return {
        "pause": _pauses(pairs),
        "turn": _answers((s, t, s.turns[0].end_s) for s, t in pairs if s.kind == "turn"),
        "interruption": _answers(
            (s, t, s.interruptions[0].end_s) for s, t in pairs if s.kind == "interruption_command"
        ),
        "backchannel": _backchannels(pairs),
    }


def _pauses(pairs: Iterable[tuple[Scenario, Take]]) -> dict[str, Any]:
    """While the user has not finished, the floor is the user's."""
    taken = [
        takes_over(take.replies, scenario.turns[0].start_s, scenario.turns[0].end_s)
        for scenario, take in pairs
        if scenario.kind == "pause"
    ]
    return {"tor": _share(taken), "n": len(taken)}


def _answers(cases: Iterable[tuple[Scenario, Take, float]]) -> dict[str, Any]:
    taken, latencies = [], []
    for _, take, end_s in cases:
        after = [r for r in take.replies if r.first_sound_s is not None and _end(r) > end_s]
        # What was begun before an interruption is no answer to it.
        answers = [r for r in after if (r.first_sound_s or 0.0) >= end_s - SHORT_S]
        over = takes_over(answers, end_s, float("inf"))
        taken.append(over)
        if over:
            latencies.append(max(0.0, (answers[0].first_sound_s or 0.0) - end_s))
    mean = sum(latencies) / len(latencies) if latencies else None
    return {"tor": _share(taken), "latency_s": mean, "n": len(taken)}


def _backchannels(pairs: Iterable[tuple[Scenario, Take]]) -> dict[str, Any]:
    """Short sounds over a user's turn; how they differ from people's takes people's recordings."""
    taken, count, seconds = [], 0, 0.0
    for scenario, take in pairs:
        if scenario.kind not in ("turn", "pause"):
            continue
        turn = scenario.turns[0]
        over = False
        for reply in take.replies:
            part = _overlap(reply, turn.start_s, turn.end_s)
            words = len(reply.text.split())
            if part <= 0:
                continue
            if part < SHORT_S and words <= BACKCHANNEL_WORDS:
                count += 1
            elif part > LONG_S or words > SHORT_WORDS or part >= SHORT_S:
                over = True
        taken.append(over)
        seconds += turn.end_s - turn.start_s
    return {"tor": _share(taken), "per_s": count / seconds if seconds else None, "n": len(taken)}


def _overlap(reply: Reply, begin_s: float, end_s: float) -> float:
    if reply.first_sound_s is None:
        return 0.0
    return min(_end(reply), end_s) - max(reply.first_sound_s, begin_s)


def _end(reply: Reply) -> float:
    return reply.last_sound_s if reply.last_sound_s is not None else reply.first_sound_s or 0.0


def _share(values: Sequence[bool]) -> float | None:
    return sum(values) / len(values) if values else None


def line(found: Mapping[str, Any]) -> dict[str, str]:
    """Cells for a table."""

    def cell(part: Mapping[str, Any]) -> str:
        if part["tor"] is None:
            return "-"
        told = f"{part['tor']:.3f}"
        return told if part.get("latency_s") is None else f"{told} / {part['latency_s']:.2f} s"

    return {kind: cell(part) for kind, part in found.items()}
