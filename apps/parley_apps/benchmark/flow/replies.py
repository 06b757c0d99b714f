"""What a sweep of the flow decoder's settings decodes: replies' codes; knows no setting."""

from __future__ import annotations

import importlib.resources
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import parley

Reply = dict[str, Any]  # {"text": str, "codes": list[int]}
FORM = 'a list of {"text": "...", "codes": [...]}'
RECORDINGS = ("conversation.wav", "question.wav", "follow_up.wav")


def read_replies(path: Path, n_codes: int, shortest: int) -> list[Reply]:
    """Replies of a file, checked: codes below `n_codes`, `shortest` of them at least.

    Raises InputError where they cannot be used, OSError where the file cannot be read.
    """
    try:
        data = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _error(path, FORM, f"no JSON ({error})", "correct it") from error
    if not isinstance(data, list) or not data:
        got = "an empty list" if data == [] else f"{type(data).__name__} {_short(data)}"
        raise _error(path, FORM, got, "give one reply at least")
    for n, reply in enumerate(data, 1):
        wrong = _wrong(reply, n_codes)
        if wrong is not None:
            do = f"text is a string, codes are whole numbers from 0 to {n_codes - 1}"
            raise _error(path, FORM, f"{wrong} in reply {n}", do)
        if len(reply["codes"]) < shortest:
            expected, got = f"replies of {shortest} codes or more", f"{len(reply['codes'])}"
            raise _error(path, expected, f"{got} in reply {n}", "leave out what has no full chunk")
    return data


def _wrong(reply: Any, n_codes: int) -> str | None:
    """What is wrong with a reply's form, None where nothing is."""
    if not isinstance(reply, dict):
        return f"{type(reply).__name__} {_short(reply)}"
    for key, kind in (("text", str), ("codes", list)):
        if key not in reply:
            return f"no {key}"
        if not isinstance(reply[key], kind):
            return f"{key} {_short(reply[key])}"
    for code in reply["codes"]:
        if isinstance(code, bool) or not isinstance(code, int) or not 0 <= code < n_codes:
            return f"the code {_short(code)}"
    return None


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def _error(path: Path, expected: str, got: str, do: str) -> Exception:
    from parley import InputError

    return InputError(f"[bench.flow] expected {expected} in {path}, got {got}; {do}")


def answers(
    bundle: parley.Bundle, recordings: Sequence[Path] | None, *, seed: int, shortest: int
) -> list[Reply]:
    """What the model says to recordings, but for replies of fewer than `shortest` codes.

    Raises InputError where it says nothing that is long enough.
    """
    import parley

    files = recordings
    if not files:
        data = importlib.resources.files("parley_apps") / "data"
        files = [Path(str(data / name)) for name in RECORDINGS]
    replies = [
        reply
        for file in files
        for reply in _answers(bundle, file, seed)
        if len(reply["codes"]) >= shortest
    ]
    if not replies:
        raise parley.InputError(
            f"[bench.flow] expected {bundle.name} to answer the recordings, got no reply of "
            f"{shortest} codes or more; give recordings that it answers (--in), or replies "
            "(--replies)"
        )
    return replies


def _answers(bundle: parley.Bundle, file: Path, seed: int) -> Iterator[Reply]:
    import parley

    with bundle.session(seed=seed) as session:
        text, codes = "", []
        for event in session.answer(*parley.read_audio(file)).events:
            if event.kind == "text":
                text += event.text
            elif event.kind == "audio":
                codes += list(event.codes)
            elif event.kind == "reply_ended":
                if codes:
                    yield {"text": text, "codes": codes}
                text, codes = "", []
