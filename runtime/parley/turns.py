"""Managed turns: their timers, what each turn came to, medians of that; knows no engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from parley import _core, arguments
from parley.errors import InputError
from parley.events import Floats
from parley.metrics import percentiles

MODEL = "silero_vad/silero_vad.onnx"  # which says whether somebody speaks
TURN_TIMERS: Mapping[str, int] = _core.TURN_TIMERS
EndOfTurn = Callable[[Floats, int], float]


@dataclass(frozen=True, slots=True)
class Turn:
    """What a user's turn and its reply came to.

    Times are seconds on the session's timeline, on which what step n returns is heard in chunk
    n + 1; None where a thing did not happen. `speech_end_s`: the user's last sound; `pause_s`:
    when that was long enough to think of a reply; `commit_s`: when the reply was decided;
    `audio_ready_s`, `audio_out_s`: its first sound was made, and heard; `interrupted_s`: where the
    speech began that ended it. Calls are replies that were begun; `speculative`: that which was
    heard was begun before the turn was over; `wasted_tokens`, `wasted_ms`: of cancelled ones.
    `false_interruptions`: the reply paused and went on, `resume_gap_s` later in all.
    `false_endpoint`: the user went on within 0.5 s of the reply's begin; `missed_endpoint`: decided
    more than 3 s after the last sound.
    """

    number: int
    speech_start_s: float | None = None
    speech_end_s: float | None = None
    pause_s: float | None = None
    commit_s: float | None = None
    audio_ready_s: float | None = None
    audio_out_s: float | None = None
    reply_end_s: float | None = None
    interrupted_s: float | None = None
    calls_started: int = 0
    calls_cancelled: int = 0
    calls_failed: int = 0
    speculative: bool = False
    wasted_tokens: int = 0
    wasted_ms: float = 0.0
    false_interruptions: int = 0
    resume_gap_s: float = 0.0
    false_endpoint: bool = False
    missed_endpoint: bool = False
    failed: bool = False

    @property
    def latency_s(self) -> float | None:
        """From the user's last sound to the reply's first."""
        return _between(self.speech_end_s, self.audio_out_s)

    @property
    def interruption_latency_s(self) -> float | None:
        """From the speech that interrupted the reply to its last sound."""
        return _between(self.interrupted_s, self.reply_end_s)


def _between(earlier: float | None, later: float | None) -> float | None:
    return None if earlier is None or later is None else later - earlier


def summarize_turns(turns: Iterable[Turn]) -> dict[str, Any]:
    """Medians, 95th percentiles and sums of turns, as plain data.

    >>> summarize_turns([Turn(1, speech_end_s=1.0, audio_out_s=1.75)])["latency"]["p50_ms"]
    750.0
    """
    all_turns = list(turns)
    started = sum(turn.calls_started for turn in all_turns)
    committed = sum(turn.speculative for turn in all_turns)
    replied = sum(turn.commit_s is not None for turn in all_turns)
    cuts = [t for turn in all_turns if (t := turn.interruption_latency_s) is not None]
    return {
        "turns": len(all_turns),
        "replied": replied,
        "latency": percentiles(1000 * t for turn in all_turns if (t := turn.latency_s) is not None),
        "interruptions": len(cuts),
        "interruption_latency": percentiles(1000 * t for t in cuts),
        "calls_started": started,
        "calls_cancelled": sum(turn.calls_cancelled for turn in all_turns),
        "speculative_per_call": committed / started if started else 0.0,
        "speculative_per_turn": committed / replied if replied else 0.0,
        "wasted_tokens": sum(turn.wasted_tokens for turn in all_turns),
        "wasted_ms": sum(turn.wasted_ms for turn in all_turns),
        "false_interruptions": sum(turn.false_interruptions for turn in all_turns),
        "false_endpoints": sum(turn.false_endpoint for turn in all_turns),
        "missed_endpoints": sum(turn.missed_endpoint for turn in all_turns),
        "failed": sum(turn.failed for turn in all_turns),
    }


def turns_line(summary: Mapping[str, Any]) -> str:
    """A summary as one line for people."""
    latency, cut = summary["latency"], summary["interruption_latency"]
    line = (
        f"{summary['turns']} turns, {summary['replied']} answered "
        f"{latency['p50_ms']:.0f} ms (median), {latency['p95_ms']:.0f} ms (95 %) after the user; "
        f"{summary['calls_started']} replies begun, {summary['calls_cancelled']} dropped"
    )
    if summary["interruptions"]:
        line += (
            f"; silent {cut['p50_ms']:.0f} ms (median), {cut['p95_ms']:.0f} ms (95 %) after the "
            f"onset of {summary['interruptions']} interruptions"
        )
    return line


def manage(
    bundle: _core.Bundle,
    session: _core.Session,
    *,
    timers: Mapping[str, int] | None = None,
    speech_threshold: float = 0.5,
    end_of_turn: EndOfTurn | None = None,
) -> _core.Managed:
    """Managed turns over a session of the engine, which they take over; see `Bundle.session`."""
    where = "bundle.session"
    asked = {} if timers is None else dict(timers)
    for name, value in asked.items():
        if name not in TURN_TIMERS:
            raise InputError(
                f"[{where}] expected timers among {', '.join(TURN_TIMERS)}, got {name!r}; "
                "choose one of them"
            )
        arguments.whole_number(where, f"timer {name}", value, 0, arguments.LARGEST_INT)
    return _core.Managed(
        bundle,
        session,
        timers=asked,
        threshold=arguments.number(where, "speech_threshold", speech_threshold),
        vad=os.fspath(_model()),
        end_of_turn=end_of_turn,
    )


def _model() -> Path | str:
    """The model of voice activity: installed, or in a checkout; else the engine looks itself."""
    here = Path(__file__).resolve()
    for path in (here.parent / MODEL, here.parents[2] / "third_party" / MODEL):
        if path.is_file() and "PARLEY_VAD" not in os.environ:
            return path
    return ""
