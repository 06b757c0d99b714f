"""A server over nano in this process, on a free port, for tests of `parley serve`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import parley
from scripted_bundle import ScriptedBundle
from scripted_core import reply

ROOT = Path(__file__).resolve().parent.parent
NANO = ROOT / "models/nano/bundle"
DATA = ROOT / "apps/parley_apps/data"


class Running:
    """A server on a thread of its own; `call` runs a coroutine function's result there."""

    def __init__(self, bundles: dict[str, parley.Bundle], **given: Any) -> None:
        self._bundles, self._given = bundles, given
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)

    def call(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    def __enter__(self) -> Running:
        self._thread.start()
        self.port = self.call(self._start())
        self.base = f"http://127.0.0.1:{self.port}/v1"
        self.ws = f"ws://127.0.0.1:{self.port}/v1"
        return self

    async def _start(self) -> int:
        from parley_apps.serve.guard import guard_for
        from parley_apps.serve.manager import SessionManager
        from parley_apps.serve.metrics import Metrics
        from parley_apps.serve.server import Server

        def guard(port: int) -> Any:
            allowed = self._given.get("allowed", [])
            token = self._given.get("token", "")
            return guard_for(
                "127.0.0.1", port, tls=False, token=token, allowed=allowed, exposed=False
            )

        metrics = Metrics()
        self.manager = SessionManager(
            self._bundles,
            sessions=self._given.get("sessions", 4),
            observe=metrics.observe,
            record=self._given.get("record"),
        )
        self.server = Server(
            self.manager,
            guard(0),
            metrics,
            self._given.get("limits"),
            keeper=self._given.get("keeper"),
        )
        self.manager.ready = True
        port = await self.server.listen("127.0.0.1", 0)
        self.server.guarded_by(guard(port))
        return port

    def __exit__(self, *_: object) -> None:
        self.call(self.server.end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


@contextlib.contextmanager
def serving(**given: Any) -> Iterator[Running]:
    """nano served; given: sessions, token, allowed, limits, record."""
    with parley.open(NANO, threads=1) as bundle, Running({"nano": bundle}, **given) as running:
        yield running


class ScriptedServed(ScriptedBundle):
    """A bundle without models: every conversation's third chunk begins the same short reply."""

    voices = ("low", "high")

    def __init__(self, mode: str = "duplex") -> None:
        super().__init__(reply(2, 3, [" Hello", " world"], reason="break"), [mode])
        self.manifest = {"limits": {"context": 1024}, "prompts": {"system": "be brief"}}

    def session(self, mode: str | None = None, **options: Any) -> parley.Session:
        made = super().session(mode, **options)
        self.sessions.clear()  # a test may open thousands
        return made


def pcm(name: str = "question.wav") -> bytes:
    """A recording of this project as 24 kHz, 16 bit."""
    samples, rate = parley.read_audio(DATA / name)
    if rate != 24000:
        resampler = parley.Resampler(rate, 24000)
        samples = np.concatenate([resampler.push(samples), resampler.finish()])
    return np.round(np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
