"""What a live conversation shows: lines of what was said and happened, and one line of now."""

from __future__ import annotations

import json
import math
import shutil
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from parley import summarize_turns
from parley.metrics import percentiles
from parley.turns import turns_line
from parley_apps.conversation import Reply

if TYPE_CHECKING:
    from parley import LiveEvent, Turn

TOLD = {
    "late": "a step took longer than a chunk; most of it: {stage}",
    "missing": "{count} samples of silence in place of sound that came too late",
    "dropped": "{count} samples of the microphone were lost",
    "skipped": "{count} samples of sound were left out to be on time",
    "silent_microphone": "the microphone gives only zeros: is it muted, or is there no permission?",
    "echo_found": "echo found, {lag:.0f} ms behind the loudspeaker; it is taken out",
    "device_lost": "{text} went away; silence stands in for it",
    "device_found": "{text} is there",
    "failed": "it is over: {text}",
}
FLOORS = {"listening": "user ", "preparing": "     ", "speaking": "model"}
METER = 10  # characters
EVERY_S = 0.1


class Screen:
    """On a terminal the last line renews itself and fits its width; elsewhere all are lines."""

    def __init__(self, chunk_ms: float, quiet: bool = False) -> None:
        self._chunk_ms = chunk_ms
        self._quiet = quiet
        self._terminal = not quiet and sys.stdout is not None and sys.stdout.isatty()
        self._shown_at = 0.0
        self._floor = "listening"
        self._lag_s = 0.0
        self._reply = ""
        self._replied_at = 0.0
        self.steps_ms: list[float] = []
        self.lags_s: list[float] = []
        self.turns: list[Turn] = []

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            print(("\r\x1b[K" if self._terminal else "") + text, flush=True)

    def show(self, event: LiveEvent) -> None:
        """Tells what is worth a line, remembers the rest."""
        if event.kind == "step":
            self._floor = event.floor
            self._lag_s = event.lag_s
            self.lags_s.append(event.lag_s)
            self.steps_ms.append(event.timing_ms["total"])
        elif event.turn is not None:
            self.turns.append(event.turn)
        elif event.kind == "reply_started":
            self._reply, self._replied_at = "", event.time_s
        elif event.kind == "text":
            self._reply += event.text
        elif event.kind == "reply_ended":
            reason = event.event.reason if event.event else ""
            self.say(str(Reply(self._replied_at, event.time_s, self._reply, reason)))
        elif event.kind in TOLD:
            told = TOLD[event.kind].format(
                stage=event.stage, count=event.count, text=event.text, lag=1000 * event.lag_s
            )
            self.say(f"{event.time_s:7.2f} s  {told}")

    def status(self, statistics: Callable[[], dict[str, Any]], muted: bool) -> None:
        """The line of now; on a terminal only."""
        now = time.monotonic()
        if not self._terminal or now - self._shown_at < EVERY_S:
            return
        self._shown_at = now
        known = statistics()
        step = self.steps_ms[-1] if self.steps_ms else 0.0
        parts = [
            f"you {meter(known['capture_level'])}{' muted' if muted else ''}",
            f"model {meter(known['render_level'])}",
            f"floor: {FLOORS.get(self._floor, self._floor)}",
            f"{step:4.0f}/{self._chunk_ms:.0f} ms",
            f"lag {1000 * self._lag_s:3.0f} ms",
            f"echo -{known['erle_db']:.0f} dB" if known["echo_found"] else "no echo",
            f"missed {known['late']}",
        ]
        width = shutil.get_terminal_size().columns
        print("\r\x1b[K" + "  ".join(parts)[: max(0, width - 1)], end="", flush=True)

    def end(self, known: dict[str, Any], as_json: bool) -> None:
        """The conversation's figures: how long steps took, how late sound was, what was lost."""
        step, lag = percentiles(self.steps_ms), percentiles(1000 * lag for lag in self.lags_s)
        summary = {
            "steps": known["steps"],
            "step_p50_ms": step["p50_ms"],
            "step_p95_ms": step["p95_ms"],
            "lag_p50_ms": lag["p50_ms"],
            "lag_p95_ms": lag["p95_ms"],
            **{name: known[name] for name in ("late", "missing", "dropped", "skipped")},
            "erle_db": known["erle_db"] if known["echo_found"] else None,
            "echo_delay_s": known["echo_delay_s"] if known["echo_found"] else None,
            "clock_drift_ppm": known["clock_drift_ppm"],
        }
        turns = summarize_turns(self.turns) if self.turns else None
        if as_json:
            print(json.dumps(summary | ({"turns": turns} if turns else {})))
            return
        self.say(
            f"{known['steps']} steps of {self._chunk_ms:.0f} ms took {summary['step_p50_ms']:.1f} "
            f"ms (median), {summary['step_p95_ms']:.1f} ms (95 %); sound came "
            f"{summary['lag_p50_ms']:.0f} ms (median), {summary['lag_p95_ms']:.0f} ms (95 %) after "
            f"its chunk; {known['late']} late, {known['missing']} samples missing"
        )
        if turns:
            self.say(turns_line(turns))


def meter(level: float) -> str:
    """A bar for a root mean square: empty at -60 dB, full at 0 dB."""
    decibels = 20 * math.log10(max(level, 1e-6))
    full = round(METER * min(1.0, max(0.0, 1 + decibels / 60)))
    return "[" + "#" * full + " " * (METER - full) + "]"
