"""What a take is worth: rules of the evaluation over hand-made conversations; no engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from parley_apps.evaluation.judge import (
    FalseStarts,
    Row,
    false_starts,
    judge,
    known_replies,
    normal,
    word_errors,
)
from parley_apps.evaluation.scenarios import Scenario, Span
from parley_apps.evaluation.summary import delays, share, summarize, wilson
from parley_apps.evaluation.take import Reply, Take

CHUNK_S = 0.16
DOORS, TIMER = "the doors are locked", "timer set for two minutes"
# The user speaks in chunks 2 to 9 (the last sample is in chunk 9); DOORS is 10 chunks long.
ASK = Span(0.35, 1.58, "lock the car", DOORS, 1.6)
LAST = 9


def scenario(kind: str, **spans: Any) -> Scenario:
    return Scenario("s", Path("s.wav"), kind, spans.pop("turns", (ASK,)), **spans)


def reply(start: int, end: int | None, text: str = DOORS) -> Reply:
    """A reply that is heard from a tenth of a second after its first sample on."""
    last = None if end is None else (end + 1) * CHUNK_S + 0.02
    return Reply(start, end, text, "break", (start + 1) * CHUNK_S + 0.1, last)


def take(*replies: Reply, steps: int = 60) -> Take:
    return Take(CHUNK_S, steps, list(replies))


def judged(what: Scenario, took: Take) -> list[Row]:
    return judge(what, took, known_replies([what]))


@pytest.mark.parametrize(
    ("shift", "success", "why"),
    [
        (LAST - 1, False, "early"),
        (LAST, True, ""),
        (LAST + 2, True, ""),
        (LAST + 6, True, ""),
        (LAST + 7, False, "late"),
    ],
)
def test_a_turn_is_taken_in_time(shift: int, success: bool, why: str) -> None:
    (row,) = judged(scenario("turn"), take(reply(shift, shift + 10)))
    assert (row.success, row.why, row.exact, row.words) == (success, why, True, 4)
    assert (row.shift_ms is not None) == success


def test_delays_are_on_the_timeline_of_what_is_heard() -> None:
    (row,) = judged(scenario("turn"), take(reply(LAST + 2, LAST + 12)))
    assert row.shift_ms == pytest.approx(1000 * ((LAST + 3) * CHUNK_S - ASK.end_s))
    assert row.sound_ms == pytest.approx(row.shift_ms + 100.0)


def test_an_unanswered_turn_costs_all_its_words() -> None:
    (row,) = judged(scenario("turn"), take())
    assert (row.success, row.why, row.exact, row.word_errors) == (False, "no answer", False, 4)


def test_a_reply_before_the_turn_is_not_its_answer() -> None:
    (row,) = judged(scenario("turn"), take(reply(0, 1, ""), reply(LAST + 2, 21)))
    assert row.success is True


def test_text_is_compared_without_case_and_punctuation() -> None:
    (row,) = judged(scenario("turn"), take(reply(11, 21, " The doors are, LOCKED.")))
    assert row.exact is True
    (row,) = judged(scenario("turn"), take(reply(11, 21, "the doors were locked")))
    assert (row.exact, row.word_errors, row.success) == (False, 1, True)
    assert normal("I don't  know!") == "i don't know"
    assert word_errors("a b c", "a c d d") == 3
    assert word_errors("", "a") == 1


@pytest.mark.parametrize(
    ("shift", "success", "why"),
    [(5, False, "in the pause"), (3, False, "early"), (11, True, "")],
)
def test_no_answer_in_a_pause(shift: int, success: bool, why: str) -> None:
    paused = scenario("pause", pauses=(Span(0.7, 0.9),))
    (row,) = judged(paused, take(reply(shift, shift + 10)))
    assert (row.success, row.why) == (success, why)


def test_an_early_start_that_was_corrected_still_fails() -> None:
    paused = scenario("pause", pauses=(Span(0.7, 0.9),))
    (row,) = judged(paused, take(reply(5, 7, TIMER), reply(11, 21)))
    assert (row.success, row.why, row.exact) == (False, "in the pause", True)


WORD = Span(2.1, 2.4, "uh huh")  # its onset is in chunk 13


@pytest.mark.parametrize(
    ("reply_", "success", "why"),
    [
        (reply(11, 21), True, ""),
        (reply(11, 20), True, ""),  # one chunk of slack
        (reply(11, 19), False, "stopped"),  # whole text, but cut before its sound was out
        (reply(11, 15, "the doors"), False, "stopped"),
        (reply(13, 23), None, "not speaking"),  # not yet heard at the onset
        (reply(2, 12), None, "not speaking"),
        (reply(11, None), False, "stopped"),  # never ends: reason is missing
    ],
)
def test_a_backchannel_does_not_stop_a_reply(reply_: Reply, success: bool | None, why: str) -> None:
    if reply_.end is None:
        reply_.reason = ""
    (row,) = judged(scenario("backchannel", backchannels=(WORD,)), take(reply_))
    assert (row.success, row.why) == (success, why)


STOP = Span(2.1, 2.4, "stop")
NEXT = Span(2.1, 3.5, "two minutes", TIMER)  # its last sample is in chunk 21


@pytest.mark.parametrize(
    ("replies", "success", "why"),
    [
        ([reply(11, 17, "the doors")], True, ""),
        ([reply(11, 21, "the doors")], True, ""),  # 8 chunks after the onset's
        ([reply(11, 22, "the doors")], False, "late"),
        ([reply(11, None, "the doors")], False, "late"),
        ([reply(11, 22)], False, "not stopped"),
        ([reply(11, 21)], None, "reply was over"),
        ([reply(11, 17, "the doors"), reply(30, 40)], False, "spoke again"),
        ([], None, "not speaking"),
    ],
)
def test_a_stop_word_stops(replies: list[Reply], success: bool | None, why: str) -> None:
    (row,) = judged(scenario("interruption_stop", interruptions=(STOP,)), take(*replies))
    assert (row.success, row.why) == (success, why)
    assert row.exact is None


def test_the_next_turn_ends_the_silence_after_a_stop_word() -> None:
    again = Span(4.0, 5.0, "and now", TIMER)
    what = scenario("interruption_stop", turns=(ASK, again), interruptions=(STOP,))
    (row,) = judged(what, take(reply(11, 17, "the doors"), reply(33, 45, TIMER)))
    assert row.success is True


def test_stop_delay_runs_from_the_onset_to_the_last_sound() -> None:
    what = scenario("interruption_stop", interruptions=(STOP,))
    (row,) = judged(what, take(reply(11, 17, "the doors")))
    assert row.stop_ms == pytest.approx(1000 * (18 * CHUNK_S + 0.02 - STOP.start_s))


@pytest.mark.parametrize(
    ("answer", "success", "exact", "answered"),
    [
        (reply(23, 35, TIMER), True, True, True),
        (reply(23, 35, DOORS), True, False, True),
        (reply(40, 50, TIMER), True, True, False),  # stopped in time, answered late
        (reply(19, 30, TIMER), False, True, False),  # spoke into the command
    ],
)
def test_a_command_stops_and_is_answered(
    answer: Reply, success: bool, exact: bool, answered: bool
) -> None:
    what = scenario("interruption_command", interruptions=(NEXT,))
    (row,) = judged(what, take(reply(11, 17, "the doors"), answer))
    assert (row.success, row.exact, row.shift_ms is not None) == (success, exact, answered)


def test_noise_wants_silence() -> None:
    quiet = Scenario("n", Path("n.wav"), "noise")
    assert judged(quiet, take())[0].success is True
    assert judged(quiet, take(reply(5, 9)))[0].success is False
    assert false_starts(quiet, take(reply(5, 9))).count == 1
    # 60 chunks, of which the model speaks in 4; the one of the SHIFT is one where it listened.
    assert false_starts(quiet, take(reply(5, 9))).seconds == pytest.approx(57 * CHUNK_S)


@pytest.mark.parametrize(
    ("replies", "count"),
    [
        ([reply(11, 21)], 0),
        ([reply(3, 5), reply(11, 21)], 0),  # early: the turn's failure
        ([reply(19, 29)], 0),  # late: the turn's failure
        ([reply(11, 21), reply(40, 50)], 1),
        ([reply(0, 1), reply(11, 21)], 1),
    ],
)
def test_false_starts_are_those_of_no_turn(replies: list[Reply], count: int) -> None:
    assert false_starts(scenario("turn"), take(*replies)).count == count


def test_long_conversations_are_told_by_the_minute() -> None:
    late = Span(70.0, 71.0, "", DOORS)
    what = Scenario("l", Path("l.wav"), "long", (ASK, late), interruptions=(STOP,))
    steps = round(130 / CHUNK_S)
    took = take(reply(11, 17, "the doors"), reply(445, 455), steps=steps)
    rows = judged(what, took)
    assert [(r.item, r.success, r.exact) for r in rows] == [
        ("turn", True, None),  # cut by the interruption: its text is no measure
        ("turn", True, True),
        ("interruption", True, None),
    ]
    told = summarize([what], [took], [rows], [false_starts(what, took)])["long"]
    assert [entry["minute"] for entry in told["by_minute"]] == [1, 2]
    assert told["first_minute"]["success"]["n"] == told["last_minute"]["success"]["n"] == 1
    assert told["last_minute"]["exact"]["k"] == 1


def test_summary_counts_what_was_not_dropped() -> None:
    rows = [
        Row("a", "turn", "turn", 0, 1, {"split": "x"}, True, exact=True, words=4),
        Row("b", "turn", "turn", 0, 1, {"split": "y"}, False, "late", exact=False, words=4,
            word_errors=2),
        Row("c", "interruption_stop", "interruption", 0, 1, {}, True, stop_ms=700.0),
        Row("d", "interruption_command", "interruption", 0, 1, {}, None, "not speaking"),
    ]  # fmt: skip
    groups = summarize([scenario("turn")], [take()], [rows], [FalseStarts(0, 60.0)])["groups"]
    told = {(g["kind"], g["split"]): g for g in groups}
    assert list(told) == [
        ("turn", None), ("turn", "x"), ("turn", "y"), ("interruption", None),
        ("interruption_stop", None), ("interruption_command", None),
    ]  # fmt: skip
    turns = told["turn", None]
    assert (turns["n"], turns["success"]["k"], turns["exact"]["rate"]) == (2, 1, 0.5)
    assert turns["word_error_rate"] == 0.25 and turns["why"] == {"late": 1}
    both = told["interruption", None]
    assert (both["n"], both["dropped"], both["dropped_why"]) == (1, 1, {"not speaking": 1})
    assert both["stop_ms"] == {"n": 1, "p50": 700.0, "p95": 700.0}


def test_intervals() -> None:
    # E. B. Wilson's interval; nine of ten, worked by hand.
    assert [round(x, 4) for x in wilson(9, 10)] == [0.5958, 0.9821]
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(300, 300)
    assert 0.987 < low < 0.988 and high == pytest.approx(1.0)
    assert share([])["rate"] is None
    assert delays([None, 1.0, 3.0])["p50"] == 2.0
