"""`parley cluster`: two servers behind HAProxy; one is killed, one is drained."""

from __future__ import annotations

import asyncio
import base64
import doctest
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest

from parley import InputError
from parley_apps.cluster import haproxy, replicas
from parley_apps.main import main
from served import NANO, pcm

PIECE = 9600  # bytes: 0.2 s
PATIENCE_S = 180
needs_haproxy = pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="no haproxy; apt-get install haproxy"
)


def front(folder: Path, **other: Any) -> haproxy.Front:
    given: dict[str, Any] = {"host": "127.0.0.1", "port": 8765, "host_header": "127.0.0.1:8765"}
    given |= {"pem": None, "socket": folder / "admin.sock", "drain_s": 0}
    return haproxy.Front(**given | other)


def test_cores_are_shared_out() -> None:
    assert doctest.testmod(replicas).failed == 0
    assert replicas.share(list(range(8)), 8) == [{core} for core in range(8)]


@needs_haproxy
def test_haproxy_takes_the_configuration(tmp_path: Path) -> None:
    file = tmp_path / "haproxy.cfg"
    file.write_text(haproxy.config(front(tmp_path), {"node1": "gpu1:1", "node2": "127.0.0.1:2"}))
    file.write_text(file.read_text().replace("gpu1", "127.0.0.1"))
    checked = subprocess.run(
        ["haproxy", "-c", "-f", str(file)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr + checked.stdout
    assert "WARNING" not in checked.stderr


def test_a_path_that_haproxy_would_read_otherwise_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="without spaces"):
        haproxy.config(front(tmp_path, pem=tmp_path / "my key.pem"), {})


def test_another_address_needs_token_and_tls(capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("haproxy") is None:
        assert main(["cluster", "nano"]) == 5
    else:
        assert main(["cluster", "nano", "--host", "0.0.0.0"]) == 3
        assert "--token-file" in capsys.readouterr().err


def ask_admin(path: Path, command: str) -> str:
    with socket.socket(socket.AF_UNIX) as admin:
        admin.connect(str(path))
        admin.sendall(f"{command}\n".encode())
        return admin.makefile().read()


def children(pid: int) -> list[int]:
    """The servers that a cluster's process has started."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                parent = int((process / "stat").read_text().rpartition(")")[2].split()[1])
                command = (process / "cmdline").read_bytes()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if parent == pid and b"\0serve\0" in command:
                found.append(int(process.name))
    return found


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[SimpleNamespace]:
    """Two servers with room for two conversations each."""
    port, admin = replicas.free_port(), tmp_path / "admin.sock"
    options = ["--replicas", "2", "--sessions", "2", "--keep", str(tmp_path / "kept")]
    options += ["--port", str(port), "--admin", str(admin)]
    command = [sys.executable, "-m", "parley_apps", "cluster", str(NANO), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        yield SimpleNamespace(
            pid=process.pid, port=port, admin=admin, url=f"http://127.0.0.1:{port}"
        )
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        for pid in children(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.kill()
        process.communicate()


class Talk:
    """A client; `server` is the name of the one that it has come to."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.created: dict[str, Any] = {}

    async def until(self, kind: str) -> dict[str, Any]:
        while True:
            event: dict[str, Any] = await self.socket.receive_json(timeout=PATIENCE_S)
            if event["type"] == kind:
                return event

    async def closed(self) -> Talk:
        """Returns once the server, or what stands for it, has closed."""
        while (await self.socket.receive()).type is aiohttp.WSMsgType.TEXT:
            pass
        return self

    async def say(self, sound: bytes) -> None:
        for start in range(0, len(sound), PIECE):
            audio = base64.b64encode(sound[start : start + PIECE]).decode()
            await self.socket.send_json({"type": "input_audio_buffer.append", "audio": audio})


def connections(admin: Path) -> dict[str, int]:
    """Server -> its conversations now."""
    rows = [line.split(",") for line in ask_admin(admin, "show stat").splitlines()]
    return {row[1]: int(row[4]) for row in rows if row[0] == "servers" and row[1] != "BACKEND"}


async def connect(http: aiohttp.ClientSession, cluster: SimpleNamespace) -> Talk:
    """A conversation, as soon as there is room for one."""
    while True:
        try:
            talk = Talk(await http.ws_connect(f"{cluster.url}/v1/realtime?duplex=1"))
        except (aiohttp.ClientConnectorError, aiohttp.WSServerHandshakeError) as error:
            assert getattr(error, "status", 503) == 503
            await asyncio.sleep(0.1)
            continue
        talk.created = await talk.until("session.created")
        return talk


def run(work: Any, cluster: SimpleNamespace) -> None:
    async def whole() -> None:
        async with aiohttp.ClientSession() as http:
            await work(http)

    asyncio.run(asyncio.wait_for(whole(), PATIENCE_S))


async def both_ready(cluster: SimpleNamespace) -> None:
    while True:
        try:
            told = ask_admin(cluster.admin, "show stat")
        except (FileNotFoundError, ConnectionRefusedError):
            told = ""
        if sum(",UP," in line and "replica" in line for line in told.splitlines()) == 2:
            return
        await asyncio.sleep(0.1)


@pytest.mark.nano
@needs_haproxy
def test_a_killed_server_is_told_and_its_conversation_goes_on(
    cluster: SimpleNamespace, tmp_path: Path
) -> None:
    async def work(http: aiohttp.ClientSession) -> None:
        await both_ready(cluster)
        talks = [await connect(http, cluster)]
        (own,) = [name for name, n in connections(cluster.admin).items() if n]
        talks += [await connect(http, cluster) for _ in range(3)]
        assert connections(cluster.admin) == {"replica1": 2, "replica2": 2}
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await http.ws_connect(f"{cluster.url}/v1/realtime?duplex=1")
        assert refused.value.status == 503 and refused.value.headers["Retry-After"]

        await talks[0].say(pcm())
        await talks[0].until("response.done")
        name = talks[0].created["session"]["id"]
        while not (tmp_path / "kept" / f"{name}.json").exists():
            await asyncio.sleep(0.05)
        chunks = json.loads((tmp_path / "kept" / f"{name}.json").read_text())["chunks"]
        victim = sorted(children(cluster.pid))[int(own.removeprefix("replica")) - 1]
        os.kill(victim, signal.SIGKILL)
        told = [asyncio.create_task(talk.closed()) for talk in talks]
        over: set[Talk] = set()
        while len(over) < 2:
            done, _ = await asyncio.wait(told, return_when=asyncio.FIRST_COMPLETED)
            over |= {task.result() for task in done}
            told = [task for task in told if not task.done()]
        assert talks[0] in over and len(told) == 2  # the two that it had, and nobody else

        back = await connect(http, cluster)  # once the server is started anew
        token = talks[0].created["resume_token"]
        asked = {"type": "session.resume", "session_id": name, "resume_token": token}
        await back.socket.send_json(asked)
        assert (await back.until("session.resumed"))["at_ms"] >= 160 * chunks > 0
        await back.say(bytes(3 * PIECE))
        await back.until("duplex.chunk")
        assert len(children(cluster.pid)) == 2 and victim not in children(cluster.pid)
        for task in told:
            task.cancel()

    run(work, cluster)


@pytest.mark.nano
@needs_haproxy
def test_a_drained_server_keeps_its_conversations_and_gets_no_other(
    cluster: SimpleNamespace,
) -> None:
    async def work(http: aiohttp.ClientSession) -> None:
        await both_ready(cluster)
        first = await connect(http, cluster)
        (own,) = [name for name, n in connections(cluster.admin).items() if n]
        ask_admin(cluster.admin, f"set server servers/{own} state drain")
        others = [await connect(http, cluster) for _ in range(2)]
        assert connections(cluster.admin)[own] == 1 and len(others) == 2
        await first.say(bytes(3 * PIECE))
        await first.until("duplex.chunk")

    run(work, cluster)
