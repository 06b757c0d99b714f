"""A conversation as JSON lines; knows events, no audio."""

from __future__ import annotations

import json

from parley import Event
from parley_apps.conversation import Conversation

HELP = """\
transcript (--text): one JSON object per line, in the order of time, each with the keys
  t      seconds on the session's timeline (counted in samples, not measured)
  who    "user" or "model"
  event  user:  speech_started, speech_ended (text: the file's name), text (a typed turn),
                turn_ended (the engine took the turn as over)
         model: reply_started, text (a piece as it was drawn), reply_ended (text: the whole
                reply; reason: model, break, interrupted, max_tokens, context, cut),
                shift, break (control tokens), window, underrun, muted (with a count)
  text   words, or an empty string"""

_LEFT_OUT = {"audio", "think"}  # every chunk has one; the trace holds them


def lines(conversation: Conversation) -> list[dict[str, object]]:
    """The transcript's lines, sorted by time."""
    found: list[dict[str, object]] = []
    for said in conversation.said:
        if said.name:
            found.append(_line(said.start_s, "user", "speech_started", said.name))
            found.append(_line(said.end_s, "user", "speech_ended", said.name))
        else:
            found.append(_line(said.start_s, "user", "text", said.text))
    replies = iter(conversation.replies())
    for event in conversation.events:
        if event.kind == "reply_ended":
            reply = next(replies)
            found.append(
                _line(event.time_s, "model", "reply_ended", reply.text) | {"reason": reply.reason}
            )
        elif event.kind not in _LEFT_OUT and (event.text or event.kind != "text"):
            found.append(_event_line(event))
    for reply in replies:  # still speaking at the end
        found.append(
            _line(reply.end_s, "model", "reply_ended", reply.text) | {"reason": reply.reason}
        )
    return sorted(found, key=_time)


def to_bytes(conversation: Conversation) -> bytes:
    """The transcript as a .jsonl file."""
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines(conversation))
    return text.encode(errors="backslashreplace")  # a name of bytes that are no UTF-8: \udcXX


def _event_line(event: Event) -> dict[str, object]:
    who = "user" if event.kind == "turn_ended" else "model"
    line = _line(event.time_s, who, event.kind, event.text)
    return line | {"count": event.count} if event.count else line


def _line(t: float, who: str, event: str, text: str) -> dict[str, object]:
    return {"t": round(t, 6), "who": who, "event": event, "text": text}


def _time(line: dict[str, object]) -> float:
    t = line["t"]
    assert isinstance(t, float)
    return t
