"""An evaluation as lines of text; knows the summary's shape alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

NAMES = {
    "turn": "turn-taking",
    "pause": "pause in a turn",
    "backchannel": "backchannel",
    "interruption": "interruption",
    "interruption_stop": "  by a stop word",
    "interruption_command": "  by a command",
    "noise": "noise",
    "long": "long conversation",
}
WIDTH = 30  # of the first column


def lines(result: Mapping[str, Any]) -> Iterator[str]:
    """The result of `evaluate` as a table and what goes with it."""
    summary = result["summary"]
    yield (
        f"{'':{WIDTH}s} {'n':>5s} {'success %':>10s} {'95 % interval':>14s} {'exact %':>8s} "
        f"{'WER %':>6s}  delays in ms, p50 / p95"
    )
    for group in summary["groups"]:
        yield _row(group)
    yield ""
    yield from _notes(summary)
    if result["speech"]:
        yield from _speech(result["speech"])


def name_of(group: Mapping[str, Any]) -> str:
    """A group's name for people."""
    if group["split"] is None:
        return NAMES[group["kind"]]
    return f"  {group['split'].replace('_', ' ')}"


def percent(share: Mapping[str, Any], digits: int = 1) -> str:
    """A share in percent; a dash where there was nothing to count."""
    return "-" if share["rate"] is None else f"{100 * share['rate']:.{digits}f}"


def _row(group: Mapping[str, Any]) -> str:
    success, exact = group["success"], group["exact"]
    between = f"{100 * success['low']:.1f}..{100 * success['high']:.1f}" if group["n"] else "-"
    errors = group["word_error_rate"]
    delays = [
        f"{label} {group[key]['p50']:.0f} / {group[key]['p95']:.0f}"
        for key, label in (("shift_ms", "SHIFT"), ("sound_ms", "sound"), ("stop_ms", "silence"))
        if group[key]["n"]
    ]
    told = (
        f"{name_of(group):{WIDTH}.{WIDTH}s} {group['n']:5d} {percent(success):>10s} "
        f"{between:>14s} {percent(exact):>8s} "
        f"{'-' if errors is None else f'{100 * errors:.1f}':>6s}  {', '.join(delays)}"
    )
    return told.rstrip()


def _notes(summary: Mapping[str, Any]) -> Iterator[str]:
    for group in summary["groups"]:
        if group["split"] is not None or group["kind"] == "interruption":
            continue
        why = {**group["why"], **{f"dropped, {k}": n for k, n in group["dropped_why"].items()}}
        if why:
            counts = ", ".join(f"{reason} {n}" for reason, n in sorted(why.items()))
            yield f"{NAMES[group['kind']].strip()}: {counts}"
    starts = summary["false_starts"]
    for label, found in (("in all", starts), ("in noise alone", starts["in_noise"])):
        if found["per_minute"] is not None:
            yield (
                f"false starts {label}: {found['count']} in {found['minutes']:.1f} minutes unasked "
                f"({found['per_minute']:.2f} per minute)"
            )
    long = summary["long"]
    if long and long["first_minute"]["success"]["n"]:
        first, last = long["first_minute"], long["last_minute"]
        yield (
            f"long conversations: first minute {percent(first['success'])} % in time, "
            f"{percent(first['exact'])} % exact (n {first['success']['n']}); last minute "
            f"{percent(last['success'])} %, {percent(last['exact'])} % (n {last['success']['n']})"
        )


def _speech(speech: Mapping[str, Any]) -> Iterator[str]:
    left_out = f" ({speech['left_out']} left out: words it lacks)" if speech["left_out"] else ""
    yield (
        f"recogniser: hears the expected reply in {percent(speech['expected'])} % of "
        f"{speech['n']} replies{left_out}, what was said in {percent(speech['said'])} % of "
        f"{speech['said']['n']}"
    )
    if speech["reference"]["n"]:
        yield (
            f"of {speech['reference']['n']} of these with a reference rendering it hears "
            f"{percent(speech['model_said'])} % from the model, {percent(speech['reference'])} % "
            "from the reference"
        )
