"""Parts of `parley serve`: sound on the wire, the voice, session objects, limits, the pump."""

from __future__ import annotations

import asyncio
import base64
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

pytest.importorskip("aiohttp", reason="no aiohttp; pip install 'parley[serve]'")

import scripted_core as scripted
from parley import InputError
from parley_apps.serve import guard, timeline, wire_audio
from parley_apps.serve.conversation import Conversation
from parley_apps.serve.dialects import realtime_config as config
from parley_apps.serve.dialects.fields import RefusedError, depth
from parley_apps.serve.dialects.realtime_items import Items, message
from parley_apps.serve.limits import Bucket
from parley_apps.serve.voice_gate import VoiceGate, level_db

# ITU-T G.711, tables 1a and 2a: ends and neighbours of zero, as 16 bit.
MU_LAW = {0x00: -32124, 0x80: 32124, 0x7F: 0, 0xFF: 0, 0xFE: 8, 0x7E: -8, 0xF0: 120}
A_LAW = {0xAA: 32256, 0x2A: -32256, 0xD5: 8, 0x55: -8, 0xD4: 24, 0xC5: 264}


@pytest.mark.parametrize("kind, known", [("audio/pcmu", MU_LAW), ("audio/pcma", A_LAW)])
def test_g711_is_the_standards(kind: str, known: dict[int, int]) -> None:
    codes = bytes(known)
    heard = wire_audio.decode(base64.b64encode(codes).decode(), kind)
    np.testing.assert_array_equal(heard * 32768, list(known.values()))
    every = wire_audio.decode(base64.b64encode(bytes(range(256))).decode(), kind)
    again = wire_audio.decode(wire_audio.encode(every, kind), kind)
    np.testing.assert_array_equal(again, every)


def test_pcm_is_clipped_and_kept() -> None:
    samples = np.array([0.0, 0.5, -0.5, 2.0, -2.0], dtype=np.float32)
    raw = base64.b64decode(wire_audio.encode(samples, "audio/pcm"))
    assert struct.unpack("<5h", raw) == (0, 16384, -16384, 32767, -32768)
    for wrong in ("AAA", "A A=", "AAAA!", "\ud800"):
        with pytest.raises(wire_audio.WireError):
            wire_audio.decode(wrong, "audio/pcm")
    with pytest.raises(wire_audio.WireError, match="whole samples"):
        wire_audio.decode(base64.b64encode(b"abc").decode(), "audio/pcm")


def test_the_gate_tells_where_a_voice_is() -> None:
    rate = 16000
    chance = np.random.default_rng(1)
    noise = chance.normal(0, 0.001, 4 * rate).astype(np.float32)
    noise[rate : 2 * rate] += 0.1 * np.sin(np.arange(rate) * 0.2, dtype=np.float32)
    for cut in (100, 2560, noise.size):
        gate = VoiceGate(rate, silence_s=0.5)
        found = []
        for start in range(0, noise.size, cut):
            found += gate.feed(noise[start : start + cut])
        assert found == [("started", rate), ("stopped", 2 * rate)]
    click = np.zeros(rate, dtype=np.float32)
    click[500:520] = 1.0
    assert VoiceGate(rate).feed(click) == []
    assert level_db(np.zeros(0, dtype=np.float32)) == -100.0


def session() -> dict[str, Any]:
    return config.default("sess_1", "nano", 0, "a", native=True)


def test_an_update_changes_what_it_names() -> None:
    detection = {"type": "server_vad", "silence_duration_ms": 700}
    first = config.merged(session(), {"audio": {"input": {"turn_detection": detection}}})
    other = {"audio": {"input": {"turn_detection": {"threshold": 0.7}}}, "instructions": "x"}
    both = config.checked(config.merged(first, other), ["a"])
    assert both["audio"]["input"]["turn_detection"] == {
        **config.DETECTION["server_vad"],
        "silence_duration_ms": 700,
        "threshold": 0.7,
    }
    assert both["audio"]["output"] == session()["audio"]["output"]
    back = config.merged(both, {"audio": {"input": {"turn_detection": {"type": "semantic_vad"}}}})
    assert back["audio"]["input"]["turn_detection"] == config.DETECTION["semantic_vad"]
    off = config.merged(back, {"audio": {"input": {"turn_detection": None}}})
    assert config.checked(off, ["a"])["audio"]["input"]["turn_detection"] is None


@pytest.mark.parametrize(
    "update, param",
    [
        ({"voice": "a"}, "session.voice"),
        ({"type": "transcription"}, "session.type"),
        ({"output_modalities": ["audio", "text"]}, "session.output_modalities"),
        ({"tools": [{"type": "function"}]}, "session.tools"),
        ({"max_output_tokens": 0}, "session.max_output_tokens"),
        ({"max_output_tokens": True}, "session.max_output_tokens"),
        (
            {"audio": {"input": {"format": {"type": "audio/pcm", "rate": 48000}}}},
            "session.audio.input.format.rate",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "none"}}}},
            "session.audio.input.turn_detection.type",
        ),
        ({"audio": {"output": {"speed": 1.5}}}, "session.audio.output.speed"),
        ({"audio": {"output": {"voice": 3}}}, "session.audio.output.voice"),
    ],
)
def test_what_no_session_can_have_is_named(update: dict[str, Any], param: str) -> None:
    with pytest.raises(RefusedError) as refused:
        config.checked(config.merged(session(), update), ["a"])
    assert refused.value.param == param


def test_items_keep_their_order_and_bound() -> None:
    items = Items(3)
    for name, after in (("a", None), ("b", None), ("c", "root"), ("d", "c")):
        before = items.put(message(name, "user", [], "completed"), after)
        assert before == {"a": None, "b": "a", "c": None, "d": "c"}[name]
    with pytest.raises(RefusedError, match="item of this conversation"):
        items.get("c")  # the first of four
    assert items.last() == "b" and items.get("d")["id"] == "d"


def test_json_is_counted_in_levels() -> None:
    assert depth({"a": [{"b": 1}]}, 3) and not depth({"a": [{"b": 1}]}, 2)


def test_a_bucket_fills_with_time() -> None:
    now = [0.0]
    bucket = Bucket(rate=2.0, burst=4.0, clock=lambda: now[0])
    assert bucket.take(4.0) and not bucket.take(1.0)
    now[0] = 0.5
    assert bucket.take(1.0) and not bucket.take(0.5)


def test_other_addresses_need_token_and_tls() -> None:
    given: dict[str, Any] = {"allowed": [], "exposed": False}
    for tls, token in ((False, ""), (True, ""), (False, "x" * 64)):
        with pytest.raises(InputError, match="--token-file and TLS for"):
            guard.guard_for("0.0.0.0", 1, tls=tls, token=token, **given)
    guard.guard_for("0.0.0.0", 1, tls=True, token="x" * 64, **given)
    guard.guard_for("0.0.0.0", 1, tls=False, token="", allowed=[], exposed=True)
    with pytest.raises(InputError, match="no path"):
        guard.guard_for("::1", 1, tls=False, token="", allowed=["https://a.b/c"], exposed=False)
    assert "[::1]:1" in guard.guard_for("::1", 1, tls=False, token="", **given).hosts


def test_a_server_for_all_addresses_answers_to_each() -> None:
    """A phone asks for a number; another site's page can only give this machine a name."""
    made = guard.guard_for("0.0.0.0", 8765, tls=True, token="x" * 64, allowed=[], exposed=False)
    key = {"Authorization": "Bearer " + "x" * 64}
    for host in ("192.168.1.5:8765", "[fe80::1]:8765", "localhost:8765"):
        assert made.refusal({"Host": host, "Origin": f"https://{host}", **key}) is None, host
    for host in ("evil.example:8765", "192.168.1.5", "192.168.1.5:80", "a@192.168.1.5:8765", ""):
        refused = made.refusal({"Host": host, **key})
        assert refused is not None and refused[0] == 421, host
    for origin in ("https://192.168.1.6:8765", "http://192.168.1.5:8765", "null"):
        refused = made.refusal({"Host": "192.168.1.5:8765", "Origin": origin, **key})
        assert refused is not None and refused[0] == 403, origin
    one = guard.guard_for("10.0.0.1", 8765, tls=True, token="x" * 64, allowed=[], exposed=False)
    assert one.refusal({"Host": "10.0.0.1:8765", **key}) is None
    assert one.refusal({"Host": "10.0.0.2:8765", **key}) is not None


def pump(core: scripted.ScriptedSession, act: Callable[[Conversation], Any]) -> list[Any]:
    """What happens in a conversation over a script until `act` is done."""

    async def go() -> list[Any]:
        told: list[Any] = []
        with ThreadPoolExecutor(1) as workers:
            conversation = Conversation(scripted.session(core), workers, told.append)
            conversation.streaming = False
            await act(conversation)
            for _ in range(2000):
                if any(isinstance(one, (timeline.ReplyEnded, timeline.Failed)) for one in told):
                    break
                await asyncio.sleep(0.001)
            await conversation.close()
        return told

    return asyncio.run(go())


def loud(chunks: int) -> np.ndarray:
    return np.full(chunks * scripted.CHUNK, 0.25, dtype=np.float32)


def test_a_reply_is_told_in_order_with_its_sound() -> None:
    core = scripted.ScriptedSession(
        scripted.reply(2, 3, [" Hello", " world"], reason="break"), mode="duplex"
    )

    async def act(conversation: Conversation) -> None:
        conversation.play(loud(5))

    told = [one for one in pump(core, act) if not isinstance(one, timeline.Chunk)]
    kinds = [type(one).__name__ for one in told if not type(one).__name__.startswith("Voice")]
    assert kinds == ["ReplyStarted", "Text", "Sound", "Text", "Sound", "Sound", "ReplyEnded"]
    sounds = [one for one in told if isinstance(one, timeline.Sound)]
    assert [one.at for one in sounds] == [2 * 3840, 3 * 3840, 4 * 3840]
    ended = told[-1]
    assert (ended.reason, ended.text_tokens, ended.audio_tokens) == ("break", 2, 12)
    assert ended.at == 5 * 3840


def test_an_interrupted_reply_says_no_more() -> None:
    core = scripted.ScriptedSession(
        scripted.reply(0, 50, [" a"] * 50, reason="interrupted"), mode="duplex"
    )

    async def act(conversation: Conversation) -> None:
        conversation.play(loud(1))
        while not conversation.replying:
            await asyncio.sleep(0.001)
        conversation.interrupt(100)
        conversation.play(loud(8))
        await asyncio.sleep(0.05)

    told = pump(core, act)
    end = next(i for i, one in enumerate(told) if isinstance(one, timeline.ReplyEnded))
    assert told[end].reason == "interrupted" and "interrupt" in core.calls
    later = [one for one in told[end + 1 :] if not isinstance(one, timeline.Chunk)]
    assert not [one for one in later if isinstance(one, (timeline.Text, timeline.Sound))]


def test_the_engines_error_ends_one_conversation() -> None:
    core = scripted.ScriptedSession(mode="duplex")
    core.step = lambda samples: 1 / 0  # type: ignore[assignment, return-value]

    async def act(conversation: Conversation) -> None:
        conversation.play(loud(1))

    (failed,) = pump(core, act)
    assert isinstance(failed, timeline.Failed) and isinstance(failed.error, ZeroDivisionError)


def test_a_burst_takes_no_more_than_its_share() -> None:
    """One thread for two conversations: 40 chunks at once do not keep another's one waiting."""

    async def go() -> list[str]:
        order: list[str] = []

        def listener(name: str) -> Callable[[Any], None]:
            return lambda one: order.append(name) if isinstance(one, timeline.Chunk) else None

        with ThreadPoolExecutor(1) as workers:
            made = [
                Conversation(
                    scripted.session(scripted.ScriptedSession(mode="duplex")),
                    workers,
                    listener(name),
                )
                for name in ("burst", "live")
            ]
            made[0].hear(loud(40))
            while not order:
                await asyncio.sleep(0)
            made[1].hear(loud(1))
            while order.count("burst") < 40:
                await asyncio.sleep(0.001)
            for one in made:
                await one.close()
        return order

    order = asyncio.run(go())
    assert order.index("live") <= 4, order


def test_a_turn_ends_with_its_recording() -> None:
    core = scripted.ScriptedSession(scripted.reply(3, 1, ["x"]), mode="turns")

    async def act(conversation: Conversation) -> None:
        conversation.play(loud(2)[:-100])

    pump(core, act)
    assert core.calls[:3] == ["step", "step", "end_turn"]
