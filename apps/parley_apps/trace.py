"""A conversation in Chrome's trace format, which Perfetto reads too; knows events, no audio.

Two processes: "conversation" lies on the session's timeline (who has the floor, what was said,
the model's tokens), "engine" shows what the steps really cost, each beginning when its chunk has
arrived and the step before it is done, as a live conversation would run them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from parley import Event, Step
from parley.metrics import step_total
from parley_apps.conversation import Conversation

CONVERSATION, ENGINE = 1, 2  # processes
# threads: (process, number in it)
USER, FLOOR, REPLY, TOKENS = ((CONVERSATION, n) for n in (1, 2, 3, 4))
STEPS = (ENGINE, 1)

_THREADS = {
    USER: "user",
    FLOOR: "floor",
    REPLY: "reply",
    TOKENS: "tokens and events",
    STEPS: "steps",
}

TraceEvent = dict[str, object]
Thread = tuple[int, int]


def trace_events(conversation: Conversation) -> list[TraceEvent]:
    """All events, times in microseconds; each "B" has its "E" in the same thread."""
    found = list(_names())
    for said in conversation.said:
        name = said.name or "text"
        found += _span(USER, name, said.start_s, said.end_s, {"text": said.text})
    found += _floor(conversation)
    for reply in conversation.replies():
        args: dict[str, object] = {"text": reply.text, "reason": reply.reason}
        found += _span(REPLY, "reply", reply.start_s, reply.end_s, args)
    found += [_instant(event) for event in conversation.events]
    found += _engine(conversation)
    return found


def to_bytes(conversation: Conversation, about: dict[str, object]) -> bytes:
    """The trace as a .json file; `about` stands in its `otherData`."""
    document = {
        "displayTimeUnit": "ms",
        "otherData": about,
        "traceEvents": trace_events(conversation),
    }
    return json.dumps(document, ensure_ascii=False, allow_nan=False).encode(
        errors="backslashreplace"
    )


def _names() -> Iterator[TraceEvent]:
    processes = {CONVERSATION: "conversation (session timeline)", ENGINE: "engine (real cost)"}
    for pid, name in processes.items():
        yield {"ph": "M", "pid": pid, "tid": 0, "name": "process_name", "args": {"name": name}}
    for (pid, tid), name in _THREADS.items():
        yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_name", "args": {"name": name}}
        args = {"sort_index": tid}
        yield {"ph": "M", "pid": pid, "tid": tid, "name": "thread_sort_index", "args": args}


def _floor(conversation: Conversation) -> Iterator[TraceEvent]:
    for start_s, end_s, state in conversation.floor():
        chunks = round((end_s - start_s) / conversation.chunk_s)
        yield from _span(FLOOR, state, start_s, end_s, {"chunks": chunks})


def _engine(conversation: Conversation) -> Iterator[TraceEvent]:
    free_s = 0.0  # when the engine has finished the step before
    for n, step in enumerate(conversation.steps):
        arrived_s = (n + 1) * conversation.chunk_s
        start_s = max(arrived_s, free_s)
        free_s = start_s + step_total(step.timing_ms) / 1000.0
        yield from _step(n, step, start_s, free_s)
        late_ms = 1000.0 * max(0.0, free_s - arrived_s - conversation.chunk_s)
        yield _counter(ENGINE, "cost", start_s, {"ms": step_total(step.timing_ms)})
        yield _counter(ENGINE, "late", start_s, {"ms": late_ms})
        position = float(conversation.positions[n])
        yield _counter(CONVERSATION, "backbone positions", arrived_s, {"positions": position})


def _step(n: int, step: Step, start_s: float, end_s: float) -> Iterator[TraceEvent]:
    """A step's span with its stages inside, one after the other."""
    args: dict[str, object] = {"chunk": n, "floor": step.floor, "text": step.text}
    begin, end = _span(STEPS, f"step {n}", start_s, end_s, args)
    yield begin
    at_s = start_s
    for stage, ms in step.timing_ms.items():
        if stage != "total" and ms > 0.0:
            until_s = min(end_s, at_s + ms / 1000.0)
            yield from _span(STEPS, stage, at_s, until_s, {"ms": ms})
            at_s = until_s
    yield end


def _instant(event: Event) -> TraceEvent:
    args: dict[str, object] = {"sample": event.sample}
    for name in ("token", "text", "codes", "reason", "count"):
        value = getattr(event, name)
        if value not in ("", (), 0, -1):
            args[name] = list(value) if isinstance(value, tuple) else value
    name = f"{event.kind} {event.text!r}" if event.kind == "text" else event.kind
    return {
        "ph": "i",
        "s": "t",
        "pid": TOKENS[0],
        "tid": TOKENS[1],
        "ts": _us(event.time_s),
        "name": name,
        "args": args,
    }


def _counter(pid: int, name: str, at_s: float, values: dict[str, float]) -> TraceEvent:
    return {"ph": "C", "pid": pid, "tid": 0, "ts": _us(at_s), "name": name, "args": values}


def _span(
    thread: Thread, name: str, start_s: float, end_s: float, args: dict[str, object]
) -> tuple[TraceEvent, TraceEvent]:
    place = {"pid": thread[0], "tid": thread[1], "name": name}
    begin: TraceEvent = {"ph": "B", **place, "ts": _us(start_s), "args": args}
    return begin, {"ph": "E", **place, "ts": _us(max(start_s, end_s))}


def _us(seconds: float) -> float:
    return round(seconds * 1e6, 3)
