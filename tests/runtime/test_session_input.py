"""What a session takes for samples, and samples that were fed and not read; scripted engine."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import parley
from scripted_core import CHUNK, RATE, ScriptedSession, session

SIGNAL = np.random.default_rng(3).uniform(-1, 1, CHUNK).astype(np.float32)
WRONG = {
    "int16": (SIGNAL * 32767).astype(np.int16),
    "int32": np.zeros(CHUNK, np.int32),
    "uint8": np.full(CHUNK, 128, np.uint8),
    "int64": [0] * CHUNK,
    "complex128": np.zeros(CHUNK, np.complex128),
    "bool": np.zeros(CHUNK, bool),
    "got NoneType": None,
    "text": "question.wav",
    "objects such as str": np.array(["a", 1.0] * CHUNK, object),
    "list: ": [[0.5], [0.5, 0.5]],
    "shape ()": 0.5,
    "shape (1920, 2)": np.zeros((CHUNK // 2, 2)),
    "shape (1, 3840)": np.zeros((1, CHUNK)),
    "shape (3840, 1, 1)": np.zeros((CHUNK, 1, 1)),
    "nan at sample 7": np.where(np.arange(CHUNK) == 7, np.nan, 0.5),
    "-inf at sample 0": np.full(CHUNK, -np.inf, np.float32),
    "inf at sample 1": np.array([0.0, 1e39]),
}


@pytest.mark.parametrize("verb", ["step", "feed", "answer", "play"])
@pytest.mark.parametrize("got", WRONG)
def test_only_finite_floats_of_one_channel_are_samples(verb: str, got: str) -> None:
    """Regression: integers were heard as noise, stereo as a chunk, and NaN blocked the session."""
    core = ScriptedSession()
    talking = session(core)
    with pytest.raises(parley.InputError, match=rf"^\[\w+\.\w+\] expected .*{re.escape(got)}"):
        getattr(talking, verb)(WRONG[got])
    assert core.calls == []
    assert len(list(talking.feed(SIGNAL))) == 1, "nothing of it is left in the session"


@pytest.mark.parametrize(
    ("kind", "do"),
    [
        ("int16", "divide by 32768"),
        ("int32", "divide by 2147483648"),
        ("uint8", "subtract 128 and divide by 128"),
    ],
)
def test_integers_are_told_their_factor(kind: str, do: str) -> None:
    with pytest.raises(parley.InputError) as caught:
        session(ScriptedSession()).feed(WRONG[kind])  # type: ignore[arg-type]
    told = f"[session.feed] expected float samples in -1..1, got {kind}; {do}"
    assert str(caught.value) == told


SCALED = {
    "16 bit": (SIGNAL * 32767, "divide by 32768, if they were 16-bit"),
    "24 bit": (SIGNAL * 2.0**23, "divide by 8388608, if they were 24-bit"),
    "32 bit": (SIGNAL * 2.0**31, "divide by 2147483648, if they were 32-bit"),
    "8 bit": (np.round(SIGNAL * 127), "divide by their full scale"),
    "8 bit without sign": (np.round(SIGNAL * 127) + 128, "subtract 128 and divide by 128"),
    "quiet 16 bit": (np.round(SIGNAL * 3), "divide by their full scale, which is 32768"),
    "half floats": ((SIGNAL * 32767).astype(np.float16), "divide by 32768"),
}


@pytest.mark.parametrize("verb", ["step", "feed", "answer", "play"])
@pytest.mark.parametrize("kind", SCALED)
def test_floats_of_another_scale_are_told(kind: str, verb: str) -> None:
    """Regression: they were heard as noise."""
    core = ScriptedSession()
    samples, do = SCALED[kind]
    with pytest.raises(parley.InputError, match=re.escape(do)):
        getattr(session(core), verb)(samples)
    assert core.calls == []


@pytest.mark.parametrize("loud", [1.0, 1.2, 3.9])
def test_a_little_over_full_scale_is_fine(loud: float) -> None:
    core = ScriptedSession()
    session(core).step(SIGNAL * loud)
    assert core.calls == ["step"]


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4"])
def test_any_float_and_a_column_are_samples(kind: str) -> None:
    core = ScriptedSession()
    talking = session(core)
    column = np.full((CHUNK, 1), 0.5, kind)
    talking.step(column)
    list(talking.feed(column))
    talking.step([0.5] * CHUNK)
    assert len(core.chunks) == 3 and (np.stack(core.chunks) == 0.5).all()


@pytest.mark.parametrize("rate", ["24000", 24_000.5, True, 0, -24_000, 10**9])
def test_a_rate_is_a_whole_number(rate: Any) -> None:
    with pytest.raises(parley.InputError, match=r"^\[audio\.check\] expected a rate as a whole"):
        session(ScriptedSession()).answer(SIGNAL, rate)


def test_a_text_is_a_string() -> None:
    with pytest.raises(parley.InputError, match=r"^\[session\.send_text\] expected text as a str"):
        session(ScriptedSession()).answer_text(None)  # type: ignore[arg-type]


def test_feed_again_without_reading_the_steps_is_an_error() -> None:
    """Regression: nothing was done, nothing was said, and a later play() began with the rest."""
    core = ScriptedSession()
    talking = session(core)
    steps = talking.feed(SIGNAL)
    assert core.chunks == []
    with pytest.raises(parley.InputError, match=r"`for step in session\.feed\(samples\)`"):
        talking.feed(SIGNAL)
    for refusing in (talking.step, talking.play):
        with pytest.raises(parley.InputError, match=r"left over from feed\(\), got 3840"):
            refusing(SIGNAL)
    with pytest.raises(parley.InputError, match=r"left over from feed\(\)"):
        talking.play_text("Is it?")
    assert len(list(steps)) == 1 and core.calls == ["step"]
    assert len(list(talking.feed(SIGNAL))) == 1


def test_pieces_below_a_chunk_need_no_reading() -> None:
    talking = session(ScriptedSession())
    for _ in range(4):
        steps = talking.feed(SIGNAL[: CHUNK // 4])
    assert len(list(steps)) == 1


def test_who_stops_reading_may_feed_on() -> None:
    talking = session(ScriptedSession())
    for step in talking.feed(np.tile(SIGNAL, 3)):
        assert step.index == 0
        break
    assert [step.index for step in talking.feed(SIGNAL)] == [1, 2, 3]


def test_flush_begins_with_what_was_not_read() -> None:
    talking = session(ScriptedSession())
    talking.feed(np.tile(SIGNAL, 2)[: CHUNK + 1])
    assert len(list(talking.flush())) == 2


def test_reset_forgets_what_was_not_read() -> None:
    talking = session(ScriptedSession())
    talking.feed(SIGNAL)
    talking.reset()
    assert len(list(talking.feed(SIGNAL))) == 1


def test_samples_fed_between_play_and_its_first_step_are_an_error() -> None:
    core = ScriptedSession()
    talking = session(core)
    steps = talking.play(SIGNAL, RATE)
    talking.feed(SIGNAL[:10])
    with pytest.raises(parley.InputError, match=r"left over from feed\(\), got 10"):
        next(steps)
    assert core.calls == []


def test_a_turn_that_cannot_end_loses_no_step() -> None:
    """The step of the turn's last chunk has happened when end_turn() fails behind it."""
    talking = session(ScriptedSession(refuses_end_turn=True))
    list(talking.feed(SIGNAL[:100]))
    talking.end_turn()
    steps = talking.feed(np.tile(SIGNAL, 2)[100:])
    assert next(steps).index == 0
    with pytest.raises(parley.InputError, match="got a reply under way"):
        next(steps)
    assert [step.index for step in talking.feed([])] == [1], "and the session goes on"


def test_end_turn_in_duplex_fails_at_once() -> None:
    talking = session(ScriptedSession(mode="duplex", refuses_end_turn=True))
    list(talking.feed(SIGNAL[:100]))
    with pytest.raises(parley.InputError):
        talking.end_turn()
