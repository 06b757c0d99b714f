"""Scenarios on disk: a recording of the user and what happens in it; knows no model."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = (
    "turn",
    "pause",
    "backchannel",
    "interruption_stop",
    "interruption_command",
    "noise",
    "long",
)

FORMAT = """\
scenarios: a folder with two files per scenario (subfolders are not read):
  NAME.wav   what the user's microphone hears: any WAV or FLAC that parley reads (NAME.flac too)
  NAME.json  what happens in it. Times are seconds from the start of the recording:
    {"kind": "turn",                    one of turn, pause, backchannel, interruption_stop,
                                        interruption_command, noise, long
     "turns": [{"start_s": 0.8, "end_s": 2.1,     first and last sound of what the user says
                "text": "lock the car",           optional, for people
                "reply": "the doors are locked",  expected reply; null: any
                "reply_s": 1.76}],                optional, its length in seconds
     "pauses": [{"start_s": 1.2, "end_s": 1.9}],  silence inside a turn (kind pause needs one)
     "backchannels": [{"start_s": 3.0, "end_s": 3.3, "text": "uh huh"}],
     "interruptions": [{"start_s": 3.0, "end_s": 3.6, "text": "stop",
                        "reply": null}],          null: silence; a text: the answer to a command
     "tags": {"split": "held_voice"}}   results are told by "split" too, or by --by
  Only "kind" and what the kind needs must be there; an unknown key is an error. noise: nobody
  speaks to the model. long: a conversation of many turns, told by the minute.
  replies/NAME.wav with replies/NAME.txt (the words) may hold reference renderings of replies: the
  speech check tells how well the recogniser hears these, beside what it hears from the model.
  A backchannel or an interruption has a fixed time, so the scene counts only where the model was
  speaking then; the others are told as dropped. Give "reply_s": it tells a reply that was stopped
  near its end from a whole one.
  Texts are compared without case and punctuation."""

_KEYS = {"kind", "turns", "pauses", "backchannels", "interruptions", "tags"}
_SPAN = {"start_s", "end_s", "text"}
_ASK = _SPAN | {"reply", "reply_s"}
_AUDIO = (".wav", ".flac")


@dataclass(frozen=True, slots=True)
class Span:
    """Something in the recording, seconds; `reply` and its length only where one is expected."""

    start_s: float
    end_s: float
    text: str = ""
    reply: str | None = None
    reply_s: float | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One scenario; all lists are sorted by time."""

    name: str
    audio: Path
    kind: str
    turns: tuple[Span, ...] = ()
    pauses: tuple[Span, ...] = ()
    backchannels: tuple[Span, ...] = ()
    interruptions: tuple[Span, ...] = ()
    tags: Mapping[str, Any] = field(default_factory=dict)

    @property
    def asks(self) -> list[Span]:
        """What wants an answer: turns and interrupting commands, by time."""
        commands = [span for span in self.interruptions if span.reply is not None]
        return sorted([*self.turns, *commands], key=lambda span: span.start_s)


@dataclass(frozen=True, slots=True)
class Rendering:
    """A reference recording of a reply."""

    text: str
    audio: Path


def load_scenarios(folder: str | Path) -> list[Scenario]:
    """All scenarios of a folder, by name.

    Raises InputError that names the file or the folder and what is wrong with it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        from parley import InputError

        got = "a file" if folder.exists() else "no such folder"
        raise InputError(
            f"[evaluation.read] expected a folder of scenarios at {folder}, got {got}; "
            "check the path"
        )
    files = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    if not files:
        raise _error(folder, "scenarios (NAME.wav with NAME.json)", "none", "see --help")
    return [_read(path) for path in files]


def load_renderings(folder: str | Path) -> list[Rendering]:
    """The reference renderings of a scenario folder, by name; none where it holds none.

    Raises InputError for one without its text.
    """
    found = []
    for path in sorted((Path(folder) / "replies").glob("*")):
        if path.suffix in _AUDIO:
            words = path.with_suffix(".txt")
            if not words.is_file():
                raise _error(path, f"its words in {words.name}", "none", "write them")
            found.append(Rendering(words.read_text(encoding="utf-8").strip(), path))
    return found


def _read(path: Path) -> Scenario:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSON and UTF-8
        raise _error(path, "JSON", str(error), "mend the file") from error
    audio = next((p for s in _AUDIO if (p := path.with_suffix(s)).is_file()), None)
    if audio is None:
        raise _error(path, f"a recording {path.stem}.wav beside it", "none", "put it there")
    _check_keys(path, "the file", raw, _KEYS)
    if raw.get("kind") not in KINDS:
        raise _error(path, f"a kind of {', '.join(KINDS)}", repr(raw.get("kind")), "choose one")
    tags = raw.get("tags", {})
    if not isinstance(tags, dict):
        raise _error(path, "tags as an object", repr(tags), 'write {"name": value}')
    scenario = Scenario(
        path.stem,
        audio,
        raw["kind"],
        _spans(path, raw, "turns", _ASK),
        _spans(path, raw, "pauses", _SPAN),
        _spans(path, raw, "backchannels", _SPAN),
        _spans(path, raw, "interruptions", _ASK),
        tags,
    )
    _check(path, scenario)
    return scenario


def _spans(path: Path, raw: Mapping[str, Any], name: str, keys: set[str]) -> tuple[Span, ...]:
    entries = raw.get(name, [])
    if not isinstance(entries, list):
        raise _error(path, f"{name} as a list", repr(entries), "write [] around it")
    return tuple(sorted((_span(path, name, e, keys) for e in entries), key=lambda s: s.start_s))


def _span(path: Path, name: str, entry: Any, keys: set[str]) -> Span:
    _check_keys(path, name, entry, keys)
    start, end = (_number(path, name, entry, key) for key in ("start_s", "end_s"))
    if not 0 <= start < end:
        what = f"0 <= start_s < end_s in {name}"
        raise _error(path, what, f"{start:g} and {end:g}", "give seconds in the recording")
    for key in ("text", "reply"):
        if not isinstance(entry.get(key, ""), str | None):
            raise _error(path, f"a text as {key} in {name}", repr(entry[key]), "quote it")
    length = None if entry.get("reply_s") is None else _number(path, name, entry, "reply_s")
    return Span(start, end, entry.get("text") or "", entry.get("reply"), length)


def _number(path: Path, name: str, entry: Mapping[str, Any], key: str) -> float:
    value = entry.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise _error(path, f"{key} as a number in {name}", repr(value), "give seconds")
    return float(value)


def _check_keys(path: Path, where: str, entry: Any, known: set[str]) -> None:
    if not isinstance(entry, dict):
        raise _error(path, f"an object in {where}", repr(entry), "see --help")
    if unknown := sorted(set(entry) - known):
        what = f"only {', '.join(sorted(known))} in {where}"
        raise _error(path, what, ", ".join(unknown), "correct or remove them")


def _check(path: Path, scenario: Scenario) -> None:
    """What the kind needs, and that everything lies inside the recording."""
    needs = {
        "turn": ["turns"],
        "pause": ["turns", "pauses"],
        "backchannel": ["turns", "backchannels"],
        "interruption_stop": ["turns", "interruptions"],
        "interruption_command": ["turns", "interruptions"],
        "noise": [],
        "long": ["turns"],
    }[scenario.kind]
    for name in needs:
        if not getattr(scenario, name):
            raise _error(path, f"{name} in kind {scenario.kind}", "none", "add them")
    if scenario.kind == "noise" and scenario.asks:
        raise _error(path, "no turn and no command in kind noise", "some", "choose another kind")
    if scenario.kind == "interruption_command" and len(scenario.asks) == len(scenario.turns):
        raise _error(path, "a reply to the interrupting command", "null", "add it")
    for pause in scenario.pauses:
        if not any(t.start_s < pause.start_s and pause.end_s < t.end_s for t in scenario.turns):
            got = f"one at {pause.start_s:g} s"
            raise _error(path, "pauses inside a turn", got, "make the turn span its pauses")
    length = duration_s(scenario.audio)
    for span in (*scenario.asks, *scenario.backchannels, *scenario.interruptions):
        if length is not None and span.end_s > length + 0.01:
            raise _error(
                path,
                f"all times inside the recording of {length:.2f} s",
                f"end_s {span.end_s:g}",
                "correct it",
            )


def duration_s(audio: Path) -> float | None:
    """Seconds that a recording's head tells; None where reading it has to tell what is wrong."""
    try:
        import soundfile

        return float(soundfile.info(str(audio)).duration)
    except (ImportError, OSError, RuntimeError):
        return None


def _error(path: Path, expected: str, got: str, do: str) -> Exception:
    from parley import InputError

    return InputError(f"[evaluation.read] expected {expected}, got {got} in {path}; {do}")
