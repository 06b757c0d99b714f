"""The Python session over a scripted engine: framing, text, whole recordings."""

from __future__ import annotations

import numpy as np
import pytest

import parley
from scripted_core import CHUNK, RATE, ScriptedSession, event, reply, session


def signal(n: int) -> np.ndarray:
    return np.random.default_rng(3).uniform(-1, 1, n).astype(np.float32)


def cut(samples: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    """Pieces of the given sizes, again and again."""
    pieces, at, k = [], 0, 0
    while at < samples.size:
        pieces.append(samples[at : at + sizes[k % len(sizes)]])
        at += sizes[k % len(sizes)]
        k += 1
    return pieces


@pytest.mark.parametrize(
    "sizes",
    [[1], [CHUNK], [CHUNK - 1], [CHUNK + 1], [7, 1000, 0, 3], [10 * CHUNK], [480], [2 * CHUNK, 5]],
    ids=str,
)
def test_any_cut_gives_the_same_steps(sizes: list[int]) -> None:
    samples = signal(5 * CHUNK + 1234 if sizes != [1] else CHUNK + 5)
    whole, pieces = ScriptedSession(), ScriptedSession()
    expected = session(whole)
    outputs = [step.samples for step in (*expected.feed(samples), *expected.flush())]
    cutting = session(pieces)
    steps = [step for piece in cut(samples, sizes) for step in cutting.feed(piece)]
    steps += list(cutting.flush())
    np.testing.assert_array_equal(
        np.concatenate([s.samples for s in steps]), np.concatenate(outputs)
    )
    np.testing.assert_array_equal(pieces.chunks, whole.chunks)
    assert [step.index for step in steps] == list(range(len(outputs)))


def test_flush_fills_with_silence_and_does_nothing_on_a_border() -> None:
    core = ScriptedSession()
    talking = session(core)
    assert len(list(talking.feed(np.ones(10, np.float32)))) == 0
    assert len(list(talking.flush())) == 1
    assert core.chunks[0][:10].all() and not core.chunks[0][10:].any()
    assert list(talking.flush()) == []


def test_fed_samples_may_be_overwritten_by_the_caller() -> None:
    core = ScriptedSession()
    talking, buffer = session(core), np.ones(CHUNK // 2, np.float32)
    list(talking.feed(buffer))
    buffer[:] = 0.25
    list(talking.feed(buffer))
    assert core.chunks[0][0] == 1.0 and core.chunks[0][-1] == 0.25


def test_a_failed_step_keeps_its_samples() -> None:
    core = ScriptedSession(fail_at=0)
    talking = session(core)
    with pytest.raises(parley.CancelledError):
        list(talking.feed(np.ones(CHUNK, np.float32)))
    assert len(list(talking.feed(np.zeros(0, np.float32)))) == 1
    assert core.chunks[0].all()


def test_step_after_half_a_chunk_is_an_error() -> None:
    talking = session(ScriptedSession())
    list(talking.feed(np.ones(10, np.float32)))
    with pytest.raises(parley.InputError, match=r"left over from feed\(\), got 10"):
        talking.step(np.zeros(CHUNK, np.float32))


def test_end_turn_waits_for_the_chunk_of_the_last_sample() -> None:
    core = ScriptedSession()
    talking = session(core)
    list(talking.feed(np.ones(CHUNK + 100, np.float32)))
    talking.end_turn()
    assert core.calls == ["step"]
    list(talking.feed(np.zeros(3 * CHUNK, np.float32)))
    assert core.calls == ["step", "step", "end_turn", "step", "step"]


def test_end_turn_on_a_chunk_border_is_at_once() -> None:
    core = ScriptedSession()
    talking = session(core)
    list(talking.feed(np.ones(CHUNK, np.float32)))
    talking.end_turn()
    assert core.calls == ["step", "end_turn"]


def test_reset_forgets_waiting_samples() -> None:
    core = ScriptedSession()
    talking = session(core)
    list(talking.feed(np.ones(100, np.float32)))
    talking.reset()
    assert list(talking.flush()) == []
    assert core.calls == ["reset"]


def test_context_manager_closes() -> None:
    core = ScriptedSession()
    with session(core) as talking:
        assert talking.floor == "listening"
    assert core.calls == ["close"] and talking.floor == "closed"


def test_events_are_values() -> None:
    raw = event("audio", 960, codes=[3, 4])
    core = ScriptedSession([("speaking", [raw])])
    (step,) = session(core).feed(np.zeros(CHUNK, np.float32))
    expected = parley.Event("audio", 960, 0.04, codes=(3, 4))
    assert step.events == [expected]
    with pytest.raises(AttributeError):
        step.events[0].kind = "text"  # type: ignore[misc]


def test_answer_plays_all_ends_the_turn_and_waits_for_the_reply() -> None:
    core = ScriptedSession(reply(4, 3, ["Hi", " you"]))
    recording = signal(2 * CHUNK + 5)
    answer = session(core).answer(recording, RATE)
    assert core.calls[:4] == ["step", "step", "step", "end_turn"]
    assert answer.text == "Hi you"
    assert answer.samples.size == CHUNK * len(core.chunks)
    assert len(core.chunks) == 8, "4 listening, 3 speaking, 1 in which it ended"
    np.testing.assert_array_equal(np.concatenate(core.chunks)[: recording.size], recording)


def test_answer_waits_until_the_delayed_sound_is_out() -> None:
    core = ScriptedSession(reply(1, 2, ["x"]), mode="duplex", delay_samples=CHUNK + 1)
    session(core).answer(signal(CHUNK), RATE)
    assert len(core.chunks) == 1 + 2 + 1 + 2


def test_no_silence_behind_an_answer_joins_the_next_turn() -> None:
    """In turns the floor comes back with the last sample."""
    core = ScriptedSession(reply(1, 2, ["x"]), delay_samples=CHUNK + 1)
    session(core).answer(signal(CHUNK), RATE)
    assert len(core.chunks) == 1 + 2 + 1


def test_duplex_never_ends_a_turn_itself() -> None:
    core = ScriptedSession(reply(3, 2, ["x"]), mode="duplex")
    session(core).answer(signal(CHUNK), RATE)
    assert set(core.calls) == {"step"}


def test_a_model_that_stays_silent_is_not_waited_for_half_a_minute() -> None:
    core = ScriptedSession(mode="duplex")
    session(core).answer(signal(CHUNK), RATE)
    assert len(core.chunks) < 5.0 / 0.16


def test_an_endless_reply_is_interrupted_after_half_a_minute_in_turns() -> None:
    core = ScriptedSession([("speaking", [])])
    answer = session(core).answer(signal(CHUNK), RATE)
    assert core.calls[-2:] == ["interrupt", "step"]
    assert 30.0 <= answer.samples.size / RATE <= 31.0


def test_several_answers_are_one_conversation() -> None:
    core = ScriptedSession([*reply(2, 1, ["one"])[:-1], *reply(2, 1, ["two"])])
    talking = session(core)
    first = talking.answer(signal(CHUNK), RATE)
    second = talking.answer(signal(CHUNK), RATE)
    assert (first.text, second.text) == ("one", "two")
    assert core.calls.count("end_turn") == 2 and "reset" not in core.calls


def test_other_rates_are_resampled() -> None:
    core = ScriptedSession(reply(3, 1, []))
    session(core).answer(np.ones(2 * 2 * CHUNK, np.float32), 2 * RATE)
    assert np.concatenate(core.chunks).sum() == 2 * CHUNK


def test_a_turn_that_is_too_long_fails_before_the_first_step() -> None:
    core = ScriptedSession()
    with pytest.raises(parley.ContextError, match=r"at most 600 s, got 2400\.0 s"):
        session(core, max_turn_s=600).play(np.zeros(2400 * 4000, np.float32), 4000)
    assert core.calls == []


def test_in_duplex_length_does_not_matter() -> None:
    core = ScriptedSession(mode="duplex")
    steps = session(core, max_turn_s=0.1).play(signal(5 * CHUNK), RATE)
    assert next(iter(steps)).index == 0


@pytest.mark.parametrize(
    ("recording", "what"),
    [
        ([], "no samples"),
        ([0.5], "one sample"),
        ([0.0] * 100, "with 100 samples"),
        (np.zeros((2, CHUNK)), "shape"),
        ([0.0] * CHUNK + [float("nan")], "nan at sample 3840"),
        ([float("-inf")] * CHUNK, "-inf at sample 0"),
        (["a"] * CHUNK, "expected float samples"),
    ],
    ids=["empty", "one sample", "4 ms", "stereo", "nan", "inf", "text"],
)
def test_bad_recordings_fail_before_the_first_step(recording: object, what: str) -> None:
    core = ScriptedSession()
    with pytest.raises(parley.InputError, match=what):
        session(core).play(recording, RATE)  # type: ignore[arg-type]
    assert core.calls == []


def test_a_caller_who_stops_reading_leaves_a_usable_session() -> None:
    core = ScriptedSession()
    talking = session(core)
    steps = talking.play(signal(10 * CHUNK), RATE)
    next(steps)
    steps.close()
    talking.step(np.zeros(CHUNK, np.float32))
    assert len(core.chunks) == 2


def test_text_turn() -> None:
    core = ScriptedSession(reply(1, 2, ["yes"]))
    answer = session(core).answer_text("Is it?")
    assert core.calls[0] == ("send_text", "Is it?")
    assert answer.text == "yes"
