"""Transcript and trace of one conversation: well-formed, on its timeline, agreeing."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import numpy as np
import pytest

from parley_apps import trace, transcript
from parley_apps.conversation import Conversation
from scripted_bundle import ScriptedBundle, two_replies
from scripted_core import CHUNK, RATE

CHUNK_S = CHUNK / RATE


@pytest.fixture(scope="module")
def conversation() -> Conversation:
    """Two recordings, two replies."""
    with ScriptedBundle(two_replies()).session("turns") as session:
        made = Conversation("turns", RATE, CHUNK, RATE)
        recording = np.full(2 * CHUNK + 100, 0.5, np.float32)
        for name in ("a.wav", "b.wav"):
            for _ in made.play(session, recording, name):
                pass
    return made


def test_both_sides_lie_on_one_timeline(conversation: Conversation) -> None:
    user, model = conversation.user(), conversation.model()
    assert user.size == model.size == CHUNK * len(conversation.steps)
    np.testing.assert_array_equal(model, 0.5 * user, "the scripted engine halves what it hears")
    second = round(conversation.said[1].start_s * RATE)
    assert user[second - 1] == 0.0 and user[second] == 0.5


def test_transcript_lines(conversation: Conversation) -> None:
    data = transcript.to_bytes(conversation)
    lines = [json.loads(line) for line in data.decode().splitlines()]
    assert data.endswith(b"\n") and len(lines) == data.count(b"\n")
    assert [line["t"] for line in lines] == sorted(line["t"] for line in lines)
    assert {line["who"] for line in lines} == {"user", "model"}
    ended = [line for line in lines if line["event"] == "reply_ended"]
    assert [line["text"] for line in ended] == [
        " Hello w\N{LATIN SMALL LETTER O WITH DIAERESIS}",
        " Bye",
    ]
    assert [line["reason"] for line in ended] == ["model", "max_tokens"]
    pieces = "".join(line["text"] for line in lines if line["event"] == "text")
    assert pieces == "".join(line["text"] for line in ended)
    started = [line for line in lines if line["event"] == "speech_started"]
    assert [line["text"] for line in started] == ["a.wav", "b.wav"]
    assert not [line for line in lines if line["event"] in ("audio", "think")]


def test_typed_turns_are_lines_too() -> None:
    made = Conversation("turns", RATE, CHUNK, RATE)
    with ScriptedBundle(two_replies()).session("turns") as session:
        for _ in made.say(session, "Why?"):
            pass
    first = transcript.lines(made)[0]
    assert first == {"t": 0.0, "who": "user", "event": "text", "text": "Why?"}


def test_a_reply_that_is_cut_by_the_end_is_told() -> None:
    made = Conversation("duplex", RATE, CHUNK, RATE)
    with ScriptedBundle(two_replies()[:6]).session("duplex") as session:
        for step in session.feed(np.zeros(6 * CHUNK, np.float32)):
            made.steps.append(step)
            made.positions.append(0)
    (line,) = [line for line in transcript.lines(made) if line["event"] == "reply_ended"]
    assert line["reason"] == "cut" and line["text"] == " Hello w"


def load(conversation: Conversation) -> list[dict[str, Any]]:
    document = json.loads(trace.to_bytes(conversation, {"seed": 0}))
    events = document["traceEvents"]
    assert isinstance(events, list)
    return events


def test_trace_spans_are_balanced_and_nested(conversation: Conversation) -> None:
    stacks: dict[tuple[int, int], list[dict[str, Any]]] = defaultdict(list)
    last: dict[tuple[int, int], float] = defaultdict(float)
    begun = 0
    for item in load(conversation):
        if item["ph"] not in "BE":
            continue
        thread = (item["pid"], item["tid"])
        assert item["ts"] >= last[thread], "in the order of time"
        last[thread] = item["ts"]
        if item["ph"] == "B":
            begun += 1
            stacks[thread].append(item)
        else:
            assert stacks[thread].pop()["name"] == item["name"]
    assert begun and not any(stacks.values())


def test_trace_has_what_the_viewers_want(conversation: Conversation) -> None:
    events = load(conversation)
    for item in events:
        assert {"ph", "pid", "name"} <= set(item)
        assert item["ph"] == "M" or isinstance(item["ts"], float | int)
    assert {item["ph"] for item in events} == {"M", "B", "E", "i", "C"}


def test_trace_shows_the_real_cost_of_every_stage(conversation: Conversation) -> None:
    spans: dict[str, list[float]] = defaultdict(list)
    open_: list[dict[str, Any]] = []
    for item in load(conversation):
        if item["pid"] != trace.ENGINE or item["ph"] not in "BE":
            continue
        if item["ph"] == "B":
            open_.append(item)
        else:
            spans[item["name"]].append((item["ts"] - open_.pop()["ts"]) / 1000.0)
    steps = [name for name in spans if name.startswith("step ")]
    assert len(steps) == len(conversation.steps)
    for stage, ms in (("encoder", 2.0), ("backbone", 5.0), ("engine", 0.5)):
        assert spans[stage] == pytest.approx([ms] * len(steps))
    assert [spans[name][0] for name in steps] == pytest.approx([7.5] * len(steps))


def test_floor_covers_the_whole_conversation(conversation: Conversation) -> None:
    floor = [e for e in load(conversation) if (e["pid"], e.get("tid")) == trace.FLOOR]
    begins = [e for e in floor if e["ph"] == "B"]
    ends = [e for e in floor if e["ph"] == "E"]
    assert [e["name"] for e in begins] == ["listening", "speaking"] * 2 + ["listening"]
    assert begins[0]["ts"] == 0.0
    assert [e["ts"] for e in begins[1:]] == [e["ts"] for e in ends[:-1]]
    assert ends[-1]["ts"] == pytest.approx(conversation.duration_s * 1e6)


def test_transcript_and_trace_agree(conversation: Conversation) -> None:
    instants = [e for e in load(conversation) if e["ph"] == "i"]
    for kind in ("reply_started", "reply_ended", "shift", "break", "text"):
        in_trace = [e["ts"] / 1e6 for e in instants if e["name"].split(" ")[0] == kind]
        lines = [line["t"] for line in transcript.lines(conversation) if line["event"] == kind]
        assert in_trace == pytest.approx(lines), kind
        assert lines, kind


def test_a_late_step_delays_the_next(conversation: Conversation) -> None:
    slow = Conversation("turns", RATE, CHUNK, RATE)
    for step in conversation.steps[:3]:
        slow.steps.append(type(step)(step.samples, [], "listening", 0, {"flow": 300.0}))
        slow.positions.append(0)
    begins = [e["ts"] / 1e6 for e in load(slow) if e["ph"] == "B" and e["name"].startswith("step ")]
    assert begins == pytest.approx([0.16, 0.46, 0.76])
    late = [e["args"]["ms"] for e in load(slow) if e["ph"] == "C" and e["name"] == "late"]
    assert late == pytest.approx([140.0, 280.0, 420.0])
