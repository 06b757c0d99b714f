"""A bundle that answers whole turns behind Realtime: recordings, typed text, turns by volume."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
from served import DATA, Running
from synthetic_signal import synthetic_signal

aiohttp = pytest.importorskip("aiohttp", reason="no aiohttp; pip install 'parley[serve]'")

RATE = 24000
PUSH_TO_TALK = {"audio": {"input": {"turn_detection": None}}}

BY_VOLUME = {"audio": {"input": {"turn_detection": {"type": "server_vad"}}}}


@pytest.fixture(scope="module")
def server(tiny_bundle: Path) -> Iterator[Running]:
    with parley.open(tiny_bundle, threads=1) as bundle, Running({"tiny": bundle}) as running:
        running.manager.served["tiny"].mode = "managed"  # though the bundle has duplex too
        yield running


def append(samples: np.ndarray) -> dict[str, str]:
    pcm = np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    return {"type": "input_audio_buffer.append", "audio": base64.b64encode(pcm).decode()}


def talk(server: Running, *steps: tuple[list[dict[str, Any]], str]) -> list[list[dict[str, Any]]]:
    """Sends each list of messages and reads up to the event of that kind."""

    async def go() -> list[list[dict[str, Any]]]:
        told = []
        async with aiohttp.ClientSession() as web, web.ws_connect(server.ws + "/realtime") as ws:
            for messages, kind in steps:
                for message in messages:
                    await ws.send_json(message)
                events: list[dict[str, Any]] = []
                while not events or events[-1]["type"] != kind:
                    events.append(await ws.receive_json(timeout=30))
                told.append(events)
        return told

    return asyncio.run(go())


def heard(events: list[dict[str, Any]]) -> int:
    """Bytes of sound."""
    deltas = [e["delta"] for e in events if e["type"] == "response.output_audio.delta"]
    return sum(len(base64.b64decode(delta)) for delta in deltas)


def test_recordings_and_typed_turns_are_answered(server: Running) -> None:
    few = {"type": "response.create", "response": {"max_output_tokens": 3}}
    words = {"type": "input_text", "text": "good morning"}
    typed = {"type": "message", "role": "user", "content": [words]}
    sound = synthetic_signal(RATE, RATE)
    first, second = talk(
        server,
        (
            [
                {"type": "session.update", "session": PUSH_TO_TALK},
                append(sound),
                {"type": "input_audio_buffer.commit"},
                few,
            ],
            "response.done",
        ),
        ([{"type": "conversation.item.create", "item": typed}, few], "response.done"),
    )
    for events in (first, second):
        response = events[-1]["response"]
        assert response["status"] == "incomplete"
        assert response["status_details"]["reason"] == "max_output_tokens"
        assert response["usage"]["output_token_details"]["text_tokens"] == 3
    with parley.open(server.manager.served["tiny"].bundle.folder, threads=1) as bundle:
        session = bundle.session("turns")
        pieces = [e.text for s in session.play(sound, RATE) for e in s.events if e.kind == "text"]
    said = first[-1]["response"]["output"][0]["content"][0]["transcript"]
    assert said == "".join(pieces[:3]).lstrip()


def test_volume_ends_a_turn_and_ends_a_reply(server: Running) -> None:
    """server_vad; the user's second sentence cuts the reply off."""
    voice, quiet = synthetic_signal(RATE, RATE), np.zeros(RATE, dtype=np.float32)
    _, answered, cut = talk(
        server,
        ([{"type": "session.update", "session": BY_VOLUME}], "session.updated"),
        (
            [append(np.concatenate([quiet[: RATE // 2], voice, quiet]))],
            "response.output_audio.delta",
        ),
        ([append(voice)], "response.done"),
    )
    kinds = [event["type"] for event in answered]
    assert kinds.index("input_audio_buffer.speech_stopped") < kinds.index("response.created")
    details = cut[-1]["response"]["status_details"]
    assert details == {"type": "cancelled", "reason": "turn_detected"}
    assert heard(answered) > 0


def test_the_engine_decides_by_default(server: Running) -> None:
    """semantic_vad over managed turns: it hears when the user's turn is over, and answers."""
    samples, rate = parley.read_audio(DATA / "conversation.wav")
    resampler = parley.Resampler(rate, RATE)
    spoken = resampler.push(samples[: 3 * rate])
    few = {"type": "session.update", "session": {"max_output_tokens": 3}}
    (events,) = talk(
        server, ([few, append(spoken), append(np.zeros(3 * RATE, np.float32))], "response.done")
    )
    detection = events[0]["session"]["audio"]["input"]["turn_detection"]
    assert detection["type"] == "semantic_vad"
    kinds = [event["type"] for event in events]
    order = ["speech_started", "speech_stopped", "committed"]
    places = [kinds.index(f"input_audio_buffer.{kind}") for kind in order]
    assert places == sorted(places) and places[-1] < kinds.index("response.created")
    assert events[-1]["response"]["status_details"]["reason"] == "max_output_tokens"
    assert heard(events) > 0
