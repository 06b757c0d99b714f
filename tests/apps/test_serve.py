"""`parley serve` without models: who is let in, what is bounded, how it ends."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gc
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

import serve_fuzz
from served import Running, ScriptedServed

aiohttp = pytest.importorskip("aiohttp", reason="no aiohttp; pip install 'parley[serve]'")

from parley_apps.serve.limits import Limits  # noqa: E402

SOUND = base64.b64encode(bytes(9600)).decode()  # 0.2 s
TOKEN = "0123456789abcdef" * 4
QUICK = Limits(handshake_s=0.2, slow_s=0.3, idle_s=0.3, goodbye_s=0.5)


def run(work: Any) -> Any:
    return asyncio.run(asyncio.wait_for(work, 120))


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with Running({"scripted": ScriptedServed()}, sessions=8) as running:
        yield running


def within(seconds: float, done: Callable[[], bool]) -> bool:
    """Whether it is so before so long."""
    ends = time.monotonic() + seconds
    while not done() and time.monotonic() < ends:
        time.sleep(0.005)
    return done()


def answer(server: Running, path: str, **headers: str) -> tuple[int, dict[str, Any], Any]:
    async def ask() -> Any:
        async with (
            aiohttp.ClientSession() as web,
            web.get(server.base.removesuffix("/v1") + path, headers=headers) as got,
        ):
            text = await got.text()
            body = json.loads(text) if got.content_type == "application/json" else text
            return got.status, dict(got.headers), body

    return run(ask())


@pytest.mark.parametrize(
    "headers, status",
    [
        ({}, 200),
        ({"Host": "evil.example"}, 421),
        ({"Host": "127.0.0.1"}, 421),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
    ],
)
def test_another_host_or_origin_gets_nothing(
    server: Running, headers: dict[str, str], status: int
) -> None:
    for path in ("/v1/models", "/health", "/", "/metrics", "/v1/realtime"):
        got, given, body = answer(server, path, **headers)
        assert got == status or (status == 200 and path == "/v1/realtime"), path
        assert "Access-Control-Allow-Origin" not in given
        assert status == 200 or "scripted" not in json.dumps(body)


def test_its_own_page_and_allowed_ones_connect() -> None:
    allowed = ["https://my.page"]

    async def connect(server: Running) -> None:
        async with aiohttp.ClientSession() as web:
            for origin in (f"http://localhost:{server.port}", *allowed):
                async with web.ws_connect(
                    server.ws + "/realtime", origin=origin, protocols=["realtime", "x"]
                ) as ws:
                    assert ws.protocol == "realtime"
                    assert (await ws.receive_json())["type"] == "session.created"

    with Running({"scripted": ScriptedServed()}, allowed=allowed) as server:
        run(connect(server))


def test_a_token_is_asked_for() -> None:
    with Running({"scripted": ScriptedServed()}, token=TOKEN) as server:
        for path in ("/v1/models", "/v1/realtime", "/v1/live/sessions", "/metrics"):
            assert answer(server, path)[0] == 401
            assert answer(server, path, Authorization=f"Bearer {TOKEN[:-1]}")[0] == 401
        assert answer(server, "/health")[0] == 200
        assert answer(server, "/v1/models", Authorization=f"Bearer {TOKEN}")[0] == 200
        key = f"realtime, openai-insecure-api-key.{TOKEN}"
        got = answer(server, "/v1/realtime", **{"Sec-WebSocket-Protocol": key})
        assert got[0] == 400  # it is let in, and no WebSocket


def test_models_health_and_metrics(server: Running) -> None:
    assert answer(server, "/v1/models")[2]["data"][0]["id"] == "scripted"
    assert answer(server, "/v1/models/other")[0] == 404
    assert answer(server, "/v1/realtime?model=other")[2]["error"]["code"] == "model_not_found"
    assert answer(server, "/health")[2] == {"status": "ready", "sessions": 0, "room": 8}
    run(one_turn(server))
    text = answer(server, "/metrics")[2]
    for name in ("parley_step_seconds_bucket", "parley_sent_bytes_total", "parley_load_ratio"):
        assert name in text
    steps = float(text.split('parley_step_seconds_count{model="scripted"} ')[1].split("\n")[0])
    assert steps >= 5


async def one_turn(server: Running) -> None:
    async with aiohttp.ClientSession() as web:
        assert await serve_fuzz.turn(web, server.ws) == "Hello world"


@pytest.mark.parametrize("kind", ["audio/pcmu", "audio/pcma"])
def test_telephones_are_heard_and_answered(server: Running, kind: str) -> None:
    """8 kHz of G.711 in and out: as many bytes as milliseconds, times 8."""

    async def talk() -> list[dict[str, Any]]:
        telephone = {"format": {"type": kind}}
        audio = {"input": {**telephone, "turn_detection": None}, "output": telephone}
        quiet = base64.b64encode(bytes([0xFF if kind == "audio/pcmu" else 0xD5]) * 4800).decode()
        events: list[dict[str, Any]] = []
        async with aiohttp.ClientSession() as web, web.ws_connect(server.ws + "/realtime") as ws:
            await ws.send_json({"type": "session.update", "session": {"audio": audio}})
            await ws.send_json({"type": "input_audio_buffer.append", "audio": quiet})
            await ws.send_json({"type": "input_audio_buffer.commit"})
            await ws.send_json({"type": "response.create"})
            while not events or events[-1]["type"] != "response.done":
                events.append(await ws.receive_json())
        return events

    deltas = [e["delta"] for e in run(talk()) if e["type"] == "response.output_audio.delta"]
    sound = b"".join(base64.b64decode(delta) for delta in deltas)
    assert abs(len(sound) - 3 * 160 * 8) < 160  # three chunks but for the resampler's delay
    assert len(set(sound[400:2000])) > 1 or set(sound) <= {0xFF, 0x7F, 0xD5, 0x55}


def test_the_next_client_is_told_when_to_come_again() -> None:
    async def fill(server: Running) -> Any:
        async with aiohttp.ClientSession() as web:
            first = await web.ws_connect(server.ws + "/realtime")
            await first.receive_json()
            async with web.get(server.base + "/realtime") as got:
                busy = got.status, got.headers["Retry-After"], (await got.json())["error"]
            live = await web.ws_connect(server.ws + "/live/sessions")
            await live.send_json({"type": "session.start", "session": {"model": "scripted"}})
            refused = await live.receive_json()
            await live.receive()
            await first.close()
            return busy, refused["error"]["code"], live.close_code

    with Running({"scripted": ScriptedServed()}, sessions=1) as server:
        (status, again, error), code, close = run(fill(server))
        assert (status, again, error["code"]) == (503, "5", "server_busy")
        assert (code, close) == ("server_busy", 1013)
        assert within(60, lambda: not server.manager.seats)
        run(one_turn(server))


def ended_with(server: Running, give: Callable[[Any], Any]) -> int:
    """The code that a connection is closed with after what `give` sends."""

    async def talk() -> int:
        async with aiohttp.ClientSession() as web, web.ws_connect(server.ws + "/realtime") as ws:
            reader = asyncio.create_task(serve_fuzz.read(ws))
            await give(ws)
            await asyncio.wait_for(reader, 60)
            return int(ws.close_code)

    return int(run(talk()))


def test_floods_are_closed(server: Running) -> None:
    async def sound(ws: Any) -> None:
        for _ in range(200):  # 40 s at once
            await ws.send_json({"type": "input_audio_buffer.append", "audio": SOUND})

    async def messages(ws: Any) -> None:
        for _ in range(5000):
            await ws.send_json({"type": "input_audio_buffer.clear"})

    async def nonsense(ws: Any) -> None:
        for _ in range(300):
            await ws.send_str("{")

    async def much(ws: Any) -> None:
        await ws.send_json({"type": "x", "audio": "A" * 1_100_000})

    for give, code in ((sound, 1008), (messages, 1008), (nonsense, 1008), (much, 1009)):
        assert ended_with(server, give) == code
    assert within(60, lambda: not server.manager.seats)
    run(one_turn(server))


def test_a_head_must_come_in_time() -> None:
    with Running({"scripted": ScriptedServed()}, limits=QUICK) as server:
        slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(12)]
        slow[-1].sendall(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1")
        run(one_turn(server))  # others are not kept out
        for one in slow:
            one.settimeout(60)
            with contextlib.suppress(ConnectionResetError):
                assert one.recv(10) == b""
            one.close()


def test_many_honest_clients_come_at_once(server: Running) -> None:
    async def ask() -> list[int]:
        url = server.base + "/models"

        async def one(web: Any) -> int:
            async with web.get(url) as got:
                return int(got.status)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as web:
            return await asyncio.gather(*[one(web) for _ in range(60)])

    assert run(ask()) == [200] * 60


def test_who_says_nothing_or_reads_nothing_is_closed() -> None:
    async def nothing(ws: Any) -> None:
        pass

    with Running({"scripted": ScriptedServed()}, limits=QUICK) as server:
        assert ended_with(server, nothing) == 1000
        limits = replace(QUICK, idle_s=30.0)
        server.server.limits = limits
        one = socket.create_connection(("127.0.0.1", server.port))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        key = base64.b64encode(os.urandom(16)).decode()
        one.sendall(
            f"GET /v1/realtime HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert within(60, lambda: len(server.manager.seats) == 1)
        words = {"type": "input_text", "text": "x" * 50_000}
        item = {"type": "message", "role": "user", "content": [words]}
        frame = masked(json.dumps({"type": "conversation.item.create", "item": item}))
        one.settimeout(1)
        with contextlib.suppress(OSError):
            for _ in range(200):  # each is answered; nothing is read
                one.sendall(frame)
        assert within(60, lambda: not server.manager.seats)
        one.close()
        run(one_turn(server))


def masked(text: str) -> bytes:
    """A text frame of a client."""
    data = text.encode()
    head = bytes([0x81, 0x80 | 127]) + len(data).to_bytes(8, "big") + bytes(4)
    return head + data


def test_connects_and_disconnects_leak_nothing(server: Running) -> None:
    """`PARLEY_CONNECTS=1000` tries more of them."""
    count = int(os.environ.get("PARLEY_CONNECTS", "120"))

    async def connects(first: int, n: int) -> None:
        async with aiohttp.ClientSession() as web:
            for seed in range(first, first + n, 4):
                given = [serve_fuzz.sequence(web, server.ws, s) for s in range(seed, seed + 4)]
                await asyncio.gather(*given)

    def held() -> tuple[int, int]:
        assert within(60, lambda: not server.manager.seats)
        gc.collect()
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    run(connects(50_000, 40))
    before = held()
    kinds = count_of_ours()
    run(connects(60_000, count))
    assert within(60, lambda: held() <= before), (held(), before)
    assert within(60, lambda: gc.collect() >= 0 and count_of_ours() <= kinds), count_of_ours()


def count_of_ours() -> int:
    """Living objects of the server's own classes."""
    modules = [getattr(type(thing), "__module__", "") for thing in gc.get_objects()]
    return sum(str(name).startswith("parley_apps.serve") for name in modules)


def test_random_sequences_do_no_harm() -> None:
    assert serve_fuzz.run(160)


async def kinds_until_close(ws: Any) -> list[str]:
    return [message.json()["type"] async for message in ws]


def test_everyone_is_told_when_the_server_ends() -> None:
    async def talk(server: Running) -> Any:
        async with aiohttp.ClientSession() as web:
            plain = await web.ws_connect(server.ws + "/realtime")
            duplex = await web.ws_connect(server.ws + "/realtime?duplex=1")
            live = await web.ws_connect(server.ws + "/live/sessions")
            await live.send_json({"type": "session.start", "session": {"model": "scripted"}})
            for ws in (plain, duplex, live):
                await ws.receive_json()
            await plain.send_json({"type": "input_audio_buffer.append", "audio": SOUND})
            sockets = (plain, duplex, live)
            ending = asyncio.to_thread(server.__exit__)
            *told, _ = await asyncio.gather(*[kinds_until_close(ws) for ws in sockets], ending)
            return told, [ws.close_code for ws in sockets]

    server = Running({"scripted": ScriptedServed()})
    server.__enter__()
    (plain, duplex, live), codes = run(talk(server))
    assert plain[-1] == "error" and duplex[-1] == "session.closed"
    assert live[-2:] == ["info", "session.closed"]
    assert codes == [1001, 1001, 1001]
