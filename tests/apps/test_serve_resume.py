"""A conversation whose connection was lost is taken up again, by another server too; with nano."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

import parley
from parley_apps.serve.keeper import Keeper
from served import NANO, Running, pcm

pytestmark = [
    pytest.mark.nano,
    pytest.mark.skipif(not NANO.is_dir(), reason="no models/nano/bundle; make nano makes one"),
]
PIECE = 9600  # bytes: 0.2 s
PATIENCE_S = 120


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


@pytest.fixture
def servers(folder: Path) -> Iterator[list[Running]]:
    """Two that share a folder, as two machines would."""
    with ExitStack() as stack:
        bundle = stack.enter_context(parley.open(NANO, threads=1))
        running = [Running({"nano": bundle}, keeper=Keeper(folder)) for _ in range(2)]
        yield [stack.enter_context(server) for server in running]


class Client:
    """A socket of the duplex dialect."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            event: dict[str, Any] = await self.socket.receive_json(timeout=PATIENCE_S)
            if event["type"] == kind:
                return event

    async def say(self, sound: bytes) -> None:
        for start in range(0, len(sound), PIECE):
            audio = base64.b64encode(sound[start : start + PIECE]).decode()
            await self.socket.send_json({"type": "input_audio_buffer.append", "audio": audio})

    async def resume(self, created: dict[str, Any], token: str | None = None) -> None:
        asked = {"session_id": created["session"]["id"]}
        asked["resume_token"] = token or created["resume_token"]
        await self.socket.send_json({"type": "session.resume", **asked})

    def vanish(self) -> None:
        """As a client that loses its network."""
        connection = self.socket._response.connection
        assert connection is not None and connection.transport is not None
        connection.transport.abort()


def talk(work: Any) -> Any:
    async def whole() -> Any:
        async with aiohttp.ClientSession() as http:

            async def connect(server: Running) -> Client:
                return Client(await http.ws_connect(f"{server.ws}/realtime?duplex=1"))

            return await work(connect)

    return asyncio.run(asyncio.wait_for(whole(), PATIENCE_S))


async def wait_for_left(server: Running) -> None:
    while server.manager.seats:
        await asyncio.sleep(0.02)


async def wait_for_kept(folder: Path) -> dict[str, Any]:
    while not (found := list(folder.glob("*.json"))):
        await asyncio.sleep(0.02)
    about: dict[str, Any] = json.loads(found[0].read_text())
    return about


def test_another_server_goes_on_where_the_connection_was_lost(
    servers: list[Running], folder: Path
) -> None:
    async def work(connect: Any) -> None:
        first = await connect(servers[0])
        created = await first.until("session.created")
        assert created["session"]["capabilities"]["supports_session_resume"]
        await first.say(pcm())
        await first.until("response.done")
        first.vanish()
        await wait_for_left(servers[0])
        chunks = (await wait_for_kept(folder))["chunks"]

        second = await connect(servers[1])
        await second.until("session.created")
        await second.resume(created)
        resumed = await second.until("session.resumed")
        assert resumed["session_id"] == created["session"]["id"]
        assert resumed["at_ms"] >= 160 * chunks > 0
        await second.say(bytes(3 * PIECE))
        chunk = await second.until("duplex.chunk")
        assert chunk["at_ms"] == resumed["at_ms"] and chunk["index"] * 160 == chunk["at_ms"]
        assert not list(folder.glob("*.json"))  # taken up: nothing of it is left to others
        assert len(list(folder.glob("*.state"))) <= 1  # the new one's

        third = await connect(servers[0])
        await third.resume(created)
        assert (await third.until("error"))["error"]["code"] == "session_not_found"
        await third.say(pcm())  # and the new conversation works
        await third.until("response.done")

    talk(work)


def test_a_wrong_token_gets_nothing_and_takes_nothing(servers: list[Running], folder: Path) -> None:
    async def work(connect: Any) -> None:
        first = await connect(servers[0])
        created = await first.until("session.created")
        await first.say(bytes(3 * PIECE))
        await first.until("duplex.chunk")
        first.vanish()
        await wait_for_kept(folder)
        second = await connect(servers[0])
        for token in ("wrong", "\u00e4", "../x"):
            await second.resume(created, token)
            assert (await second.until("error"))["error"]["code"] == "session_not_found"
        await second.resume(created | {"session": {"id": "../" + created["session"]["id"]}})
        assert (await second.until("error"))["error"]["code"] == "session_not_found"
        await second.resume(created)
        await second.until("session.resumed")

    talk(work)


def test_who_comes_back_before_the_server_sees_him_go_has_the_only_one(
    servers: list[Running], folder: Path
) -> None:
    async def work(connect: Any) -> None:
        first = await connect(servers[0])
        created = await first.until("session.created")
        await first.say(bytes(40 * PIECE))
        await wait_for_kept(folder)
        second = await connect(servers[1])
        await second.resume(created)
        await second.until("session.resumed")
        first.vanish()
        await wait_for_left(servers[0])
        third = await connect(servers[0])
        await third.resume(created)
        assert (await third.until("error"))["error"]["code"] == "session_not_found"

    talk(work)


def test_what_was_ended_is_not_kept(servers: list[Running], folder: Path) -> None:
    async def work(connect: Any) -> None:
        client = await connect(servers[0])
        await client.say(bytes(40 * PIECE))
        await wait_for_kept(folder)  # while it went on
        await client.socket.close(code=1000)
        while list(folder.iterdir()):
            await asyncio.sleep(0.02)

    talk(work)


def test_a_conversation_that_has_begun_takes_up_no_other(servers: list[Running]) -> None:
    async def work(connect: Any) -> None:
        client = await connect(servers[0])
        created = await client.until("session.created")
        await client.say(bytes(3 * PIECE))
        await client.until("duplex.chunk")
        await client.resume(created)
        assert (await client.until("error"))["error"]["code"] == "session_already_begun"

    talk(work)
