"""Stock clients hold spoken turns with nano through `parley serve`, over a real socket."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import parley
from served import NANO, Running, pcm, serving

openai = pytest.importorskip("openai", reason="no openai; pip install 'parley[test]'")
pytestmark = [
    pytest.mark.nano,
    pytest.mark.skipif(not NANO.is_dir(), reason="no models/nano/bundle; make nano makes one"),
]
ANSWER = "reminder to buy flowers on friday"
PIECE = 9600  # bytes: 0.2 s
PATIENCE_S = 60


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture(scope="module")
def alone() -> np.ndarray:
    """What nano says to the question without a server."""
    with parley.open(NANO, threads=1) as bundle, bundle.session() as session:
        answer = session.answer(*parley.read_audio(pcm_path()))
    return answer.samples


def pcm_path() -> Any:
    from served import DATA

    return DATA / "question.wav"


def client(server: Running) -> Any:
    return openai.AsyncOpenAI(base_url=server.base, api_key="any")


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, PATIENCE_S))


async def say(connection: Any, sound: bytes) -> None:
    for start in range(0, len(sound), PIECE):
        piece = base64.b64encode(sound[start : start + PIECE]).decode()
        await connection.input_audio_buffer.append(audio=piece)


async def until(connection: Any, kind: str) -> list[Any]:
    """Events up to the next of that kind."""
    found = []
    while True:
        found.append(await connection.recv())
        if found[-1].type == kind:
            return found


def sound_of(events: list[Any]) -> np.ndarray:
    deltas = [e.delta for e in events if e.type == "response.output_audio.delta"]
    return np.frombuffer(b"".join(base64.b64decode(d) for d in deltas), "<i2") / 32768.0


def test_a_spoken_turn_in_push_to_talk(server: Running, alone: np.ndarray) -> None:
    """The transcript is nano's, and the sound is that of a session without any server."""

    async def turn() -> list[Any]:
        async with client(server).realtime.connect(model="nano") as connection:
            session = {"type": "realtime", "audio": {"input": {"turn_detection": None}}}
            await connection.session.update(session=session)
            await until(connection, "session.updated")
            await say(connection, pcm())
            await connection.input_audio_buffer.commit()
            await connection.response.create(response={"metadata": {"client_event_id": "7"}})
            return await until(connection, "response.done")

    events = run(turn())
    kinds = list(dict.fromkeys(event.type for event in events))
    assert kinds == [
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_audio_transcript.delta",
        "response.output_audio.delta",
        "response.output_audio.done",
        "response.output_audio_transcript.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.done",
    ]
    created = next(event for event in events if event.type == "response.created")
    assert created.response.metadata == {"client_event_id": "7"}
    response = events[-1].response
    assert response.status == "completed" and response.status_details is None
    assert response.output[0].content[0].transcript == ANSWER
    usage = response.usage
    assert usage.output_token_details.audio_tokens > usage.output_token_details.text_tokens > 0
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    sound = sound_of(events)
    start = 28 * 3840  # the step in which nano takes the floor
    expected = np.round(np.clip(alone[start : start + sound.size], -1, 1) * 32768) / 32768
    assert sound.size > 24000
    np.testing.assert_array_equal(sound, np.clip(expected, -1, 32767 / 32768))


def part(start_s: float, end_s: float) -> bytes:
    """A part of the demo's conversation."""
    return pcm("conversation.wav")[int(start_s * 24000) * 2 : int(end_s * 24000) * 2]


def test_the_model_gives_way_and_answers_the_new_question(server: Running) -> None:
    """semantic_vad: the model itself hears the interruption and ends its reply."""

    async def talk() -> list[Any]:
        async with client(server).realtime.connect(model="nano") as connection:
            await say(connection, part(11, 19))
            first = await until(connection, "response.done")
            return [*first, *await until(connection, "response.done")]

    events = run(talk())
    cut, whole = [event.response for event in events if event.type == "response.done"]
    assert cut.status == "cancelled" and cut.status_details.reason == "turn_detected"
    assert cut.output[0].status == "incomplete"
    assert cut.output[0].content[0].transcript == "route to the station along"
    assert whole.status == "completed"
    assert whole.output[0].content[0].transcript == "the next bakery is one mile away"
    voices = [event for event in events if event.type == "input_audio_buffer.speech_started"]
    over = events.index(voices[1])
    assert len(voices) == 2 and events[over + 1].type == "response.output_audio.done"


def test_a_backchannel_does_not_stop_a_clients_loudspeaker(server: Running) -> None:
    async def talk() -> list[Any]:
        async with client(server).realtime.connect(model="nano") as connection:
            await say(connection, part(4.4, 11))
            return await until(connection, "response.done")

    events = run(talk())
    assert events[-1].response.status == "completed"
    assert events[-1].response.output[0].content[0].transcript == (
        "reminder to water the plants on friday"
    )
    kinds = [event.type for event in events]
    assert kinds.count("input_audio_buffer.speech_started") == 1


def test_volume_interrupts_where_a_client_asks_for_server_vad(server: Running) -> None:
    async def talk() -> list[Any]:
        async with client(server).realtime.connect(model="nano") as connection:
            turns = {"type": "server_vad", "threshold": 0.4}
            session = {"type": "realtime", "audio": {"input": {"turn_detection": turns}}}
            await connection.session.update(session=session)
            updated = (await until(connection, "session.updated"))[-1].session
            assert updated.audio.input.turn_detection.silence_duration_ms == 500
            await say(connection, part(4.4, 11))
            return await until(connection, "response.done")

    done = run(talk())[-1].response
    assert (done.status, done.status_details.reason) == ("cancelled", "turn_detected")


def test_cancel_truncate_and_what_is_not_there(server: Running) -> None:
    async def talk() -> None:
        async with client(server).realtime.connect(model="nano") as connection:
            await until(connection, "session.created")
            await connection.response.cancel(event_id="mine")
            error = (await connection.recv()).error
            assert error.code == "response_cancel_not_active" and error.event_id == "mine"
            assert error.message.startswith("Cancellation failed: no active response found")
            await connection.input_audio_buffer.commit()
            assert (await connection.recv()).error.code == "input_audio_buffer_commit_empty"
            await say(connection, pcm())
            begun = await until(connection, "response.output_audio.delta")
            await connection.response.create()
            await connection.response.cancel()
            rest = await until(connection, "response.done")
            codes = [event.error.code for event in rest if event.type == "error"]
            assert codes == ["conversation_already_has_active_response"]
            assert rest[-1].response.status_details.reason == "client_cancelled"
            item = begun[-1].item_id
            await connection.conversation.item.truncate(
                item_id=item, content_index=0, audio_end_ms=60_000
            )
            assert (await until(connection, "error"))[-1].error.param == "audio_end_ms"
            await connection.conversation.item.truncate(
                item_id=item, content_index=0, audio_end_ms=100
            )
            assert (await connection.recv()).audio_end_ms == 100
            await connection.conversation.item.retrieve(item_id=item)
            assert (await connection.recv()).item.content[0].transcript == ""

    run(talk())


def test_a_client_connects_again(server: Running) -> None:
    """After a close without a word the next conversation is a new one, and its seat is free."""

    async def talk() -> None:
        for _ in range(6):  # more than there are seats
            connection = await client(server).realtime.connect(model="nano").enter()
            await until(connection, "session.created")
            await say(connection, part(11, 13))
            await connection.close()
            while server.manager.seats:
                await asyncio.sleep(0.01)

    run(talk())


def test_a_spoken_turn_over_live(server: Running, alone: np.ndarray) -> None:
    async def talk() -> list[Any]:
        async with client(server).live.connect() as connection:
            await connection.send({"type": "session.start", "session": {"model": "nano"}})
            started = await connection.recv()
            assert started.type == "session.started" and started.session.status == "active"
            sound = pcm() + bytes(2 * 24000 * 2)
            for start in range(0, len(sound), PIECE):
                audio = base64.b64encode(sound[start : start + PIECE]).decode()
                await connection.send({"type": "session.input_audio.append", "audio": audio})
            events, words = [], ""
            while words.split() != ANSWER.split():
                events.append(await connection.recv())
                if events[-1].type == "session.output_transcript.delta":
                    words += events[-1].delta
            await connection.send({"type": "session.close", "event_id": "bye"})
            while events[-1].type != "session.closed":
                events.append(await connection.recv())
            return events

    events = run(talk())
    closed = events[-1]
    assert closed.reason == "close_requested" and closed.client_event_id == "bye"
    assert closed.usage.seconds > 4
    deltas = [e.delta for e in events if e.type == "session.output_audio.delta"]
    heard = np.frombuffer(b"".join(base64.b64decode(d) for d in deltas), "<i2") / 32768.0
    expected = np.round(np.clip(alone[: heard.size], -1, 1) * 32768) / 32768
    assert heard.size > 28 * 3840 and heard.size % 3840 == 0  # without a gap, silence too
    np.testing.assert_array_equal(heard[: alone.size], np.clip(expected, -1, 32767 / 32768))


async def many_realtime_events(server: Running) -> list[Any]:
    """Of every type that a conversation with nano can have."""
    import aiohttp

    found = []
    async with aiohttp.ClientSession() as web, web.ws_connect(server.ws + "/realtime") as ws:
        transcribed = {"transcription": {"model": "whisper-1"}}
        update = {"type": "realtime", "audio": {"input": transcribed}}
        await ws.send_json({"type": "session.update", "session": update})
        await ws.send_json({"type": "response.cancel"})
        audio = base64.b64encode(part(11, 19)).decode()
        await ws.send_json({"type": "input_audio_buffer.append", "audio": audio})
        while sum(event["type"] == "response.done" for event in found) < 2:
            found.append(await ws.receive_json())
        item = found[-1]["response"]["output"][0]["id"]
        for given in (
            {"type": "conversation.item.retrieve", "item_id": item},
            {
                "type": "conversation.item.truncate",
                "item_id": item,
                "content_index": 0,
                "audio_end_ms": 200,
            },
            {"type": "conversation.item.delete", "item_id": item},
            {"type": "input_audio_buffer.clear"},
        ):
            await ws.send_json(given)
        while found[-1]["type"] != "input_audio_buffer.cleared":
            found.append(await ws.receive_json())
        modes = {"output_modalities": ["text"], "audio": {"input": {"turn_detection": None}}}
        await ws.send_json({"type": "session.update", "session": modes})
        await ws.send_json({"type": "input_audio_buffer.append", "audio": audio[:320_000]})
        await ws.send_json({"type": "input_audio_buffer.commit"})
        await ws.send_json({"type": "response.create"})
        while found[-1]["type"] != "response.done":
            found.append(await ws.receive_json())
    return found


async def many_live_events(server: Running) -> list[Any]:
    """Likewise."""
    import aiohttp

    found = []
    url = server.ws + "/live/sessions"
    async with aiohttp.ClientSession() as web, web.ws_connect(url) as ws:
        audio = base64.b64encode(pcm() + bytes(7 * 48000)).decode()
        message = {"role": "user", "content": [{"text": "hello"}]}
        for given in (
            {"type": "session.commentary.append", "content": "x", "delegation_id": None},
            {"type": "session.start", "session": {"model": "nano", "input": [message]}},
            {"type": "session.input_audio.mute"},
            {"type": "session.input_audio.unmute"},
            {"type": "session.update", "session": {"delegation": {"type": "client"}}},
            {"type": "session.input_audio.append", "audio": audio},
        ):
            await ws.send_json(given)
        while not found or found[-1]["type"] != "session.usage.updated":
            found.append(await ws.receive_json())
        await ws.send_json({"type": "session.close"})
        while found[-1]["type"] != "session.closed":
            found.append(await ws.receive_json())
    return found


def test_every_event_has_what_the_clients_types_ask_for(server: Running) -> None:
    """Strictly: the client itself takes whatever comes."""
    from openai.types.live.server_event import ServerEvent
    from openai.types.realtime.realtime_server_event import RealtimeServerEvent
    from pydantic import TypeAdapter, ValidationError

    events = run(many_realtime_events(server))
    kinds = {event["type"] for event in events}
    assert len(kinds) == 25, sorted(kinds)
    checker: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
    for event in events:
        checker.validate_python(event)
        assert isinstance(event["event_id"], str)
    with pytest.raises(ValidationError):
        checker.validate_python({**events[-1], "response": None})
    assert len({event["event_id"] for event in events}) == len(events)

    events = run(many_live_events(server))
    kinds = {event["type"] for event in events}
    assert len(kinds) == 10, sorted(kinds)
    checker = TypeAdapter(ServerEvent)
    for event in events:
        checker.validate_python(event)


def test_an_agent_is_interrupted_and_answers_again(server: Running) -> None:
    """OpenAI's Agents SDK: its session keeps history and stops its loudspeaker by itself."""
    agents = pytest.importorskip("agents.realtime", reason="no openai-agents")

    async def talk() -> tuple[list[str], Any]:
        agent = agents.RealtimeAgent(name="friend", instructions="You help with a day.")
        where = {"url": server.ws + "/realtime?model=nano", "api_key": "any"}
        session = await agents.RealtimeRunner(agent).run(model_config=where)
        kinds: list[str] = []
        async with session:
            sound = part(11, 19)
            for start in range(0, len(sound), PIECE):
                await session.send_audio(sound[start : start + PIECE])
            async for event in session:
                kinds.append(event.type)
                if event.type == "history_updated":
                    history = event.history
                    said = [item for item in history if item.role == "assistant"]
                    if len(said) == 2 and said[1].status == "completed":
                        return kinds, said
        raise AssertionError(kinds)

    kinds, said = run(talk())
    assert "error" not in kinds and "audio_interrupted" in kinds
    assert [item.content[0].transcript for item in said][1] == "the next bakery is one mile away"
