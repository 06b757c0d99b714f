"""Managed turns on the real engine: a spoken recording against the tiny bundle, reports, errors."""

from __future__ import annotations

import importlib.resources
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
import tolerances
from parley.events import Floats

NANO = Path(__file__).resolve().parents[2] / "models" / "nano" / "bundle"
SHORT: dict[str, Any] = {"max_new_tokens": 24, "seed": 1}


@pytest.fixture(scope="module")
def opened(tiny_bundle: Path) -> Iterator[parley.Bundle]:
    with parley.open(tiny_bundle, threads=1) as bundle:
        yield bundle


@pytest.fixture(scope="module")
def spoken() -> tuple[Floats, int]:
    """The first command of the demo's recording, which is 24 kHz, and silence behind it."""
    path = importlib.resources.files("parley_apps") / "data" / "conversation.wav"
    samples, rate = parley.read_audio(str(path))
    return np.pad(samples[: 3 * rate], (0, 3 * rate)), rate


def hold(session: parley.Session, samples: Floats) -> tuple[Floats, list[parley.Event]]:
    steps = list(session.feed(samples))
    events = [event for step in steps for event in step.events]
    return np.concatenate([step.samples for step in steps]), events


def test_a_turn_ends_by_itself_and_is_reported(
    opened: parley.Bundle, spoken: tuple[Floats, int]
) -> None:
    with opened.session("managed", **SHORT) as session:
        assert session.mode == "managed"
        _, events = hold(session, spoken[0])
        turns = session.take_turns()
    assert [event.kind for event in events].count("turn_ended") >= 1
    first = turns[0]
    assert first.commit_s is not None and first.speech_end_s is not None
    assert first.commit_s - first.speech_end_s == pytest.approx(
        parley.TURN_TIMERS["commit_plain"] / 1000, abs=tolerances.VOICE_BLOCK_S
    )
    assert first.calls_started >= 1
    told = parley.summarize_turns(turns)
    assert told["turns"] == len(turns) and told["replied"] >= 1


def test_the_same_samples_give_the_same_conversation(
    opened: parley.Bundle, spoken: tuple[Floats, int]
) -> None:
    heard = []
    for cut in (spoken[0].size, 1111):
        with opened.session("managed", **SHORT) as session:
            steps = [
                step
                for at in range(0, spoken[0].size, cut)
                for step in session.feed(spoken[0][at : at + cut])
            ]
        heard.append(np.concatenate([step.samples for step in steps]))
    assert np.array_equal(*heard)


def test_timers_and_an_end_of_turn_model_decide(
    opened: parley.Bundle, spoken: tuple[Floats, int]
) -> None:
    asked: list[tuple[int, int]] = []

    def complete(turn: Floats, rate: int) -> float:
        asked.append((turn.size, rate))
        return 0.9

    waits = []
    for options in ({"timers": {"commit_plain": 1200}}, {"end_of_turn": complete}):
        with opened.session("managed", **SHORT, **options) as session:
            hold(session, spoken[0])
            turn = session.take_turns()[0]
        assert turn.commit_s is not None and turn.speech_end_s is not None
        waits.append(turn.commit_s - turn.speech_end_s)
    assert waits[0] == pytest.approx(1.2, abs=tolerances.VOICE_BLOCK_S)
    assert waits[1] < 0.7
    assert asked and asked[0][1] == opened.rate and asked[0][0] > opened.rate


def test_a_live_conversation_reports_its_turns(
    opened: parley.Bundle, spoken: tuple[Floats, int]
) -> None:
    samples = np.repeat(spoken[0], 2)
    turns = []
    with opened.live("managed", devices=False, start=False, cancel_echo=False, **SHORT) as live:
        for at in range(0, samples.size, 480):
            live.capture(samples[at : at + 480])
            live.render(480)
            while live.turn():
                pass
            while (event := live.wait(0)) is not None:
                turns += [event.turn] if event.turn is not None else []
    assert turns and turns[0].commit_s is not None


def test_a_model_that_decides_itself_is_observed(spoken: tuple[Floats, int]) -> None:
    if not NANO.is_dir():
        pytest.skip("no models/nano/bundle; make nano makes one")
    sound = []
    with parley.open(NANO, threads=1) as bundle:
        assert bundle.modes == ["duplex"]
        for observe in (False, True):
            with bundle.session(observe=observe) as session:
                samples, _ = hold(session, spoken[0])
                turns = session.take_turns()
            sound.append(samples)
            assert bool(turns) == observe
    assert np.array_equal(*sound)
    assert turns[0].latency_s is not None and 0 < turns[0].latency_s < 2


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"timers": {"patience": 5}}, "among onset, release"),
        ({"timers": {"pause": -1}}, "timer pause as a whole number"),
        ({"timers": {"pause": 70000}}, "timer pause from 0 to 60000"),
        ({"speech_threshold": 1.5}, "a threshold between 0 and 1"),
    ],
)
def test_options_that_cannot_be_are_refused(
    opened: parley.Bundle, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(parley.InputError, match=told):
        opened.session("managed", **options)


def test_timers_are_for_managed_turns(opened: parley.Bundle) -> None:
    with pytest.raises(parley.InputError, match="expected mode managed for timers"):
        opened.session("duplex", timers={"pause": 100})


def test_what_the_engine_does_itself_is_refused(opened: parley.Bundle) -> None:
    with opened.session("managed") as session:
        for ask in (session.end_turn, session.fork, lambda: session.send_text("hello")):
            with pytest.raises(parley.InputError, match="turns that the engine looks after"):
                ask()


def test_a_missing_model_of_voice_activity_is_told(
    opened: parley.Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLEY_VAD", "/nowhere.onnx")
    with pytest.raises(parley.LibraryError, match=r"no file /nowhere.onnx; set PARLEY_VAD"):
        opened.session("managed")
