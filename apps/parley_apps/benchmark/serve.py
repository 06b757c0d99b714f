"""`parley bench serve`: how many conversations a server carries in real time, and what it adds."""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parley_apps import errors, machine, options
from parley_apps.progress import Progress

if TYPE_CHECKING:
    import aiohttp

    from parley.events import Floats

RECORDING = Path(__file__).parents[1] / "data" / "conversation.wav"
BLOCK_S = 0.04  # as a browser's microphone gives them
RATE = 24000

EXAMPLES = """\
Starts `parley serve BUNDLE` and lets clients talk with it over loopback WebSockets, each at the
pace of a microphone with a recorded user, beginning at different places of it. Told for each
number of clients: a step's milliseconds, the lag from the arrival of a chunk's last sample to its
answer, how many steps took or came later than a chunk lasts, and the server's own work per chunk
and conversation: the processor time of the thread that does all but steps. The clients run on the
same machine, and what else runs on it counts too: see the load before. At the end one client more
than --sessions allow tries to come in.

examples:
  parley bench serve nano
  parley bench serve my.bundle --sessions 1 2 4 8 --seconds 60 --json

JSON: runs [{sessions, chunks, step, lag {p50_ms, p95_ms, p99_ms}, late_steps, late_answers,
server_ms, replies, cores_busy}]; refused {status, retry_after}; load_before, chunk_ms, bundle;
machine, versions, command.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description, parser.epilog = EXAMPLES, errors.EXIT_CODES_HELP
    options.add_bundle(parser, default="nano")
    parser.add_argument(
        "--sessions",
        type=options.count,
        nargs="+",
        default=[1, 2, 4, 8],
        metavar="N",
        help="clients at once (default: 1 2 4 8)",
    )
    parser.add_argument(
        "--seconds",
        type=options.positive,
        default=30.0,
        metavar="S",
        help="of each number of clients (default: 30)",
    )
    options.add_json(parser, "the result")


def run(args: argparse.Namespace) -> int:
    progress = Progress()
    load_before = os.getloadavg()[0]
    progress.say(f"starting parley serve {args.bundle}")
    with Server(args.bundle, max(args.sessions)) as server:
        runs = []
        for n in args.sessions:
            progress.say(f"{n} clients, {args.seconds:g} s")
            runs.append(asyncio.run(measure(server, n, args.seconds)))
        refused = asyncio.run(_one_more(server, max(args.sessions)))
    result: dict[str, Any] = {
        "runs": runs,
        "refused": refused,
        "load_before": round(load_before, 1),
        "chunk_ms": runs[0]["chunk_ms"],
        "bundle": server.model,
        **machine.circumstances(),
    }
    print(json.dumps(result) if args.json else "\n".join(lines(result)))
    return 0


class Server:
    """`parley serve` as a process of its own, on a free port."""

    def __init__(self, bundle: str, sessions: int) -> None:
        command = [sys.executable, "-m", "parley_apps", "serve", bundle, "--port", "0"]
        self._process = subprocess.Popen(
            [*command, "--sessions", str(sessions)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Server:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            from parley import Error

            raise Error(
                "[bench.serve] expected the server to start, got its end; "
                "run `parley serve` with the same bundle to see why"
            )
        self.base, _, rest = line.partition("  ")
        self.model = rest.partition(";")[0]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(30)

    def cpu_s(self) -> tuple[float, float]:
        """Processor time of the event loop's thread, and of the whole process."""
        pid, ticks = self._process.pid, os.sysconf("SC_CLK_TCK")
        spent = []
        for path in (f"/proc/{pid}/task/{pid}/stat", f"/proc/{pid}/stat"):
            fields = Path(path).read_text().rpartition(")")[2].split()
            spent.append((int(fields[11]) + int(fields[12])) / ticks)
        return spent[0], spent[1]


@dataclass
class Told:
    """What one client was told of its chunks."""

    cost_ms: list[float] = field(default_factory=list)
    lag_ms: list[float] = field(default_factory=list)
    chunk_ms: float = 0.0
    replies: int = 0


async def measure(server: Server, n: int, seconds: float) -> dict[str, Any]:
    """n clients for so long."""
    import aiohttp

    import parley
    from parley.metrics import percentiles

    samples, rate = parley.read_audio(RECORDING)
    resampler = parley.Resampler(rate, RATE)
    sound = resampler.push(samples)
    told = [Told() for _ in range(n)]
    async with aiohttp.ClientSession() as web:
        began, before = time.monotonic(), server.cpu_s()
        talks = [
            _talk(web, server, told[i], sound[i * sound.size // n :], seconds) for i in range(n)
        ]
        await asyncio.gather(*talks)
        took, after = time.monotonic() - began, server.cpu_s()
    costs = [cost for one in told for cost in one.cost_ms]
    lags = [lag for one in told for lag in one.lag_ms]
    chunk_ms = told[0].chunk_ms
    return {
        "sessions": n,
        "chunks": len(costs),
        "chunk_ms": chunk_ms,
        "step": percentiles(costs),
        "lag": percentiles(lags),
        "late_steps": sum(cost > chunk_ms for cost in costs),
        "late_answers": sum(lag > chunk_ms for lag in lags),
        "server_ms": 1000 * (after[0] - before[0]) / max(1, len(costs)),
        "cores_busy": (after[1] - before[1]) / took,
        "replies": sum(one.replies for one in told),
    }


async def _talk(
    web: aiohttp.ClientSession, server: Server, told: Told, sound: Floats, seconds: float
) -> None:
    """A recorded user at the pace of a microphone, from the beginning again at the end."""
    import numpy as np

    block = round(BLOCK_S * RATE)
    async with web.ws_connect(server.base + "/realtime?duplex=1") as ws:
        reader = asyncio.create_task(_listen(ws, told))
        began = time.monotonic()
        for i in range(round(seconds / BLOCK_S)):
            at = i * block % (sound.size - block)
            pcm = np.round(np.clip(sound[at : at + block], -1, 1) * 32767).astype("<i2").tobytes()
            audio = base64.b64encode(pcm).decode()
            await ws.send_json({"type": "input_audio_buffer.append", "audio": audio})
            await asyncio.sleep(max(0.0, began + (i + 1) * BLOCK_S - time.monotonic()))
        await asyncio.sleep(0.2)
        await ws.close()
        await reader


async def _listen(ws: aiohttp.ClientWebSocketResponse, told: Told) -> None:
    async for message in ws:
        event = json.loads(message.data)
        if event["type"] == "duplex.chunk":
            told.cost_ms.append(event["cost_ms"])
            told.lag_ms.append(event["lag_ms"])
            told.chunk_ms = event["budget_ms"]
        elif event["type"] == "response.done":
            told.replies += 1


async def _one_more(server: Server, n: int) -> dict[str, Any]:
    """What a client more than there may be is answered."""
    import aiohttp

    async with aiohttp.ClientSession() as web:
        url = server.base + "/realtime"
        sockets = [await web.ws_connect(url) for _ in range(n)]
        async with web.get(url) as answer:
            refused = {
                "status": answer.status,
                "retry_after": answer.headers.get("Retry-After", ""),
            }
        for ws in sockets:
            await ws.close()
    return refused


def lines(result: dict[str, Any]) -> Iterator[str]:
    """The table for people."""
    what, budget = result["machine"], result["chunk_ms"]
    yield f"{result['bundle']} behind parley serve; a chunk lasts {budget:.0f} ms"
    yield (
        f"{what['cpu']}, {what['cores']} cores, {what['memory_gb']} GiB; "
        f"load before: {result['load_before']:g}"
    )
    yield "          step, ms               lag, ms               later than a chunk   server, ms"
    yield "clients   median   95 %   99 %  median   95 %   99 %  steps  answers  of  a chunk  cores"
    for one in result["runs"]:
        step, lag = (
            " ".join(f"{one[name][key]:6.1f}" for key in ("p50_ms", "p95_ms", "p99_ms"))
            for name in ("step", "lag")
        )
        yield (
            f"{one['sessions']:7d}   {step}  {lag}  {one['late_steps']:5d}  "
            f"{one['late_answers']:7d}  {one['chunks']:5d} {one['server_ms']:6.2f}  "
            f"{one['cores_busy']:5.2f}"
        )
    refused = result["refused"]
    yield (f"one client more: HTTP {refused['status']}, Retry-After {refused['retry_after']} s")
