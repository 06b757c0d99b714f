"""Seeded random message sequences against a server, as a test and as a command.

`python tests/serve_fuzz.py 10000` sends as many, each over a connection of its own, and fails where
one ends the server, disturbs another conversation, or is answered by a fault of the server.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import json
import logging
import random
import sys
import time
from typing import Any

import aiohttp

from served import Running, ScriptedServed

SOUND = base64.b64encode(bytes(4800)).decode()
REALTIME: list[dict[str, Any]] = [
    {"type": "session.update", "session": {"type": "realtime", "instructions": "be brief"}},
    {"type": "session.update", "session": {"audio": {"input": {"turn_detection": None}}}},
    {
        "type": "session.update",
        "session": {
            "audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 0.3}}},
            "output_modalities": ["text"],
        },
    },
    {
        "type": "session.update",
        "session": {"audio": {"output": {"format": {"type": "audio/pcmu"}}}},
    },
    {"type": "input_audio_buffer.append", "audio": SOUND},
    {"type": "input_audio_buffer.append", "audio": SOUND},
    {"type": "input_audio_buffer.commit", "event_id": "e"},
    {"type": "input_audio_buffer.clear"},
    {
        "type": "conversation.item.create",
        "previous_item_id": "root",
        "item": {
            "type": "message",
            "id": "mine",
            "role": "user",
            "content": [{"type": "input_text", "text": "hello"}],
        },
    },
    {"type": "conversation.item.retrieve", "item_id": "mine"},
    {"type": "conversation.item.delete", "item_id": "mine"},
    {
        "type": "conversation.item.truncate",
        "item_id": "mine",
        "content_index": 0,
        "audio_end_ms": 10,
    },
    {"type": "response.create", "response": {"metadata": {"a": "b"}, "max_output_tokens": 3}},
    {"type": "response.cancel"},
    {"type": "output_audio_buffer.clear"},
    {"type": "playback.ack", "item_id": "mine", "played_ms": 5},
    {"type": "barge_in", "played_ms": 5},
    {"type": "session.heartbeat"},
]
LIVE: list[dict[str, Any]] = [
    {"type": "session.start", "session": {"model": "scripted", "audio": {"output": {}}}},
    {
        "type": "session.start",
        "session": {"model": "x", "audio": {"format": {"type": "audio/pcm", "rate": 16000}}},
    },
    {"type": "session.input_audio.append", "audio": SOUND},
    {"type": "session.input_audio.append", "audio": SOUND},
    {"type": "session.input_audio.mute"},
    {"type": "session.input_audio.unmute", "event_id": "e"},
    {"type": "session.commentary.append", "content": "x", "delegation_id": None},
    {"type": "session.close"},
]
JUNK: list[Any] = [None, True, -1, 0, 0.5, 1e308, 2**70, "", "x" * 3000, "\ud800", [], {}, [[[]]]]
JUNK += [{"type": {}}, {"": None}, [0] * 1000, "//8", "AAA", "!", SOUND[:-3], "inf", "root"]


def message(chance: random.Random, templates: list[dict[str, Any]]) -> str | bytes:
    """A frame: a good message, one with something wrong in it, or none at all."""
    kind = chance.random()
    if kind < 0.05:
        return chance.randbytes(chance.randrange(200))
    if kind < 0.1:
        wrong = ["", "{", "[]", "null", '{"type":1}', "[" * 5000, '{"a":' * 3000, "9" * 6000]
        wrong += ['{"type":"session.update","session":NaN}', '{"type":"x","n":1e999}']
        return chance.choice(wrong)
    good: dict[str, Any] = json.loads(json.dumps(chance.choice(templates)))
    for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
        spoil(chance, good)
    return json.dumps(good)


def spoil(chance: random.Random, value: Any) -> None:
    """Something within the value becomes something else."""
    while True:
        places = list(value) if isinstance(value, dict) else list(range(len(value)))
        if not places:
            return
        place = chance.choice(places)
        if isinstance(value[place], (dict, list)) and value[place] and chance.random() < 0.7:
            value = value[place]
            continue
        if chance.random() < 0.2:
            del value[place]
        else:
            value[place] = copy.deepcopy(chance.choice(JUNK))
        return


async def sequence(web: aiohttp.ClientSession, base: str, seed: int) -> int | None:
    """One connection; the code that the server closed it with, if it did."""
    chance = random.Random(seed)
    path, templates = chance.choice(
        [("/realtime", REALTIME), ("/realtime?duplex=1", REALTIME), ("/live/sessions", LIVE)]
    )
    try:
        async with web.ws_connect(base + path) as ws:
            reader = asyncio.create_task(read(ws))
            for _ in range(chance.randrange(1, 30)):
                frame = message(chance, templates)
                await (ws.send_str(frame) if isinstance(frame, str) else ws.send_bytes(frame))
                if chance.random() < 0.1:
                    await asyncio.sleep(chance.random() / 100)
            if chance.random() < 0.3:
                reader.cancel()  # and the socket is dropped without a word
                return None
            await asyncio.sleep(0.01)
            await asyncio.wait_for(ws.close(), 60)
            await reader
            return ws.close_code
    except (aiohttp.ClientError, ConnectionError):
        return None


async def read(ws: aiohttp.ClientWebSocketResponse) -> None:
    """Every answer is an event."""
    async for answer in ws:
        assert isinstance(json.loads(answer.data)["type"], str)


async def turn(web: aiohttp.ClientSession, base: str) -> str:
    """A whole turn of somebody else; what was said."""
    async with web.ws_connect(base + "/realtime") as ws:
        for given in (REALTIME[1], REALTIME[4], REALTIME[6], {"type": "response.create"}):
            await ws.send_json(given)
        while (event := await ws.receive_json(timeout=60))["type"] != "response.done":
            assert event["type"] != "error", event
        assert event["response"]["status"] == "completed", event
        return str(event["response"]["output"][0]["content"][0]["transcript"])


class Faults(logging.Handler):
    """Keeps what the server's log calls a fault."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))


async def attack(base: str, seeds: range, witness_every: int = 50) -> dict[Any, int]:
    """All of these sequences, 8 at a time, and somebody else's turn between; closes by code."""
    codes: dict[Any, int] = {}
    async with aiohttp.ClientSession() as web:
        for start in range(seeds.start, seeds.stop, 8):
            batch = [sequence(web, base, seed) for seed in range(start, min(start + 8, seeds.stop))]
            for code in await asyncio.gather(*batch):
                codes[code] = codes.get(code, 0) + 1
            if (start - seeds.start) % witness_every < 8:
                assert await turn(web, base) == "Hello world"
    return codes


def run(count: int, first: int = 0) -> dict[Any, int]:
    """Fails with an AssertionError where a sequence does harm."""
    faults = Faults()
    logging.getLogger("parley.serve").addHandler(faults)
    try:
        with Running({"scripted": ScriptedServed()}, sessions=64) as server:
            codes = asyncio.run(attack(server.ws, range(first, first + count)))
            ends = time.monotonic() + 60
            while server.manager.seats and time.monotonic() < ends:
                time.sleep(0.01)
            assert not server.manager.seats, "conversations are left"
    finally:
        logging.getLogger("parley.serve").removeHandler(faults)
    assert not faults.found, faults.found[0]
    assert 1011 not in codes, codes
    return codes


if __name__ == "__main__":
    began = time.monotonic()
    print(run(int(sys.argv[1])), f"{time.monotonic() - began:.0f} s")
