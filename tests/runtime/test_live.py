"""Live conversations with nano, without devices: the caller's own samples, threads, recordings."""

import asyncio
import importlib.resources
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import parley
import tolerances

NANO = Path(__file__).resolve().parents[2] / "models" / "nano" / "bundle"
BLOCK = 480  # 10 ms at 48 kHz


@pytest.fixture(scope="module")
def nano():
    if not NANO.is_dir():
        pytest.skip("no models/nano/bundle; make nano makes one")
    with parley.open(NANO, threads=1) as bundle:
        yield bundle


@pytest.fixture(scope="module")
def question():
    recording = importlib.resources.files("parley_apps") / "data" / "conversation.wav"
    samples, rate = parley.read_audio(str(recording))
    return np.repeat(samples[: 6 * rate], 48000 // rate)


def hold(live, samples):
    """Everything that a conversation gave, its loudspeaker's samples, at 48 kHz."""
    out, events = [], []
    for at in range(0, samples.size - BLOCK + 1, BLOCK):
        live.capture(samples[at : at + BLOCK])
        out.append(live.render(BLOCK))
        while live.turn():
            pass
        while (event := live.wait(0)) is not None:
            events.append(event)
    return np.concatenate(out), events


def said(events):
    return "".join(event.text for event in events if event.kind == "text").strip()


def test_a_question_by_blocks_is_answered_in_sound(nano, question):
    with nano.live(devices=False, start=False, cancel_echo=False) as live:
        out, events = hold(live, question)
    assert said(events).startswith("hello how can i help")
    steps = [event for event in events if event.kind == "step"]
    assert len(steps) == int(5.99 / 0.16)
    assert np.abs(out).max() > 0.05
    assert live.statistics()["missing"] == 0


def test_what_was_recorded_gives_the_same_again(nano, question):
    with nano.live(devices=False, start=False, record=True) as live:
        hold(live, question)
        sounds = live.recorded()
    assert sounds["heard"].size == sounds["said"].size > 0
    with nano.session() as session:
        again = [step.samples for step in session.feed(sounds["heard"])]
    np.testing.assert_array_equal(np.concatenate(again), sounds["said"])


def test_a_thread_steps_while_callbacks_come_from_another(nano, question):
    with nano.live(devices=False, cancel_echo=False) as live:

        def callbacks():
            for at in range(0, 3 * 48000, BLOCK):
                live.capture(question[at : at + BLOCK])
                live.render(BLOCK)
                time.sleep(0.002)

        thread = threading.Thread(target=callbacks)
        thread.start()
        kinds = set()
        for event in live:
            kinds.add(event.kind)
            if live.statistics()["steps"] >= 17:
                break
        thread.join()
    assert "step" in kinds
    assert not live.running
    assert live.statistics()["dropped"] == 0


def test_events_come_by_asyncio_too(nano, question):
    async def first_step():
        with nano.live(devices=False) as live:
            live.capture(question[:24000])
            async for event in live:
                if event.kind == "step":
                    return event

    event = asyncio.run(first_step())
    assert event.timing_ms["total"] > 0


def test_an_interruption_is_silence_and_the_model_stops(nano, question):
    with nano.live(devices=False, start=False, cancel_echo=False) as live:
        spoken, _ = hold(live, question[: 3 * 48000])  # the reply to the greeting is under way
        live.interrupt()
        out, events = hold(live, np.zeros(48000, np.float32))
    assert np.abs(spoken[-4800:]).max() > 0.05
    assert np.abs(out[BLOCK + 240 :]).max() < tolerances.QUIET_SAMPLE
    (ended,) = [event for event in events if event.kind == "reply_ended"]
    assert ended.event.reason == "interrupted"


def test_muted_is_silence_for_the_model(nano, question):
    with nano.live(devices=False, start=False, record=True) as live:
        live.mute()
        _, events = hold(live, question)
        assert not live.recorded()["heard"].any()
    assert said(events) == ""


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"capture_rate": 11025}, "multiples of 100"),
        ({"render_rate": 4}, "render_rate"),
        ({"lead_s": 3.0}, "lead_s"),
        ({"mode": "turns"}, "mode"),
        ({"cancel_echo": 1}, "cancel_echo"),
    ],
)
def test_options_that_cannot_be_are_refused(nano, options, told):
    with pytest.raises(parley.InputError, match=told):
        nano.live(devices=False, start=False, **options)


def test_a_name_that_is_no_option_is_told_as_in_any_call(nano):
    with pytest.raises(TypeError, match="unexpected keyword argument 'nonsense'"):
        nano.live(devices=False, nonsense=3)


@pytest.mark.parametrize("option", ["input", "output", "library"])
def test_a_device_is_a_text(nano, option):
    with pytest.raises(parley.InputError, match=f"{option} as a string, got 3"):
        nano.live(**{option: 3})


@pytest.mark.parametrize(
    ("block", "told"),
    [
        (np.zeros((480, 2), np.float32), "expected mono samples"),
        (np.full(480, 30_000, np.int16), "divide by 32768"),
        (np.full(480, np.nan, np.float32), "finite"),
    ],
    ids=["two channels", "integers", "no numbers"],
)
def test_blocks_that_are_no_sound_are_refused(nano, block, told):
    with (
        nano.live(devices=False, start=False) as live,
        pytest.raises(parley.InputError, match=told),
    ):
        live.capture(block)


def test_without_portaudio_the_error_says_how_to_get_it(nano):
    with pytest.raises(parley.LibraryError, match="libportaudio2"):
        nano.live(library="/nowhere/libportaudio.so.2")


def test_a_closed_bundle_ends_its_conversations(nano):
    with parley.open(NANO, threads=1) as bundle:
        live = bundle.live(devices=False)
        assert live.running
    assert not live.running
    live.stop()
    assert live.wait(0) is None
