"""Bundles and their conversations: who may start one, on which threads it is stepped; no protocol.

A bundle's weights are shared. Steps of all conversations go through one pool with a thread for each
core, first come, first served, and a conversation has one step at a time in it: so none gets more
than its share. A new one is admitted while the steps of all, at what they were measured to cost,
fit into the time that a chunk lasts.
"""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np

import parley
from parley.events import Floats
from parley_apps import machine
from parley_apps.serve.conversation import Conversation, Options
from parley_apps.serve.keeper import Kept
from parley_apps.serve.recorder import Recorder
from parley_apps.serve.timeline import Chunk, Happening

HEADROOM = 0.75  # of a core's time that steps may be expected to take
MEASURED = 512  # steps over which the cost is taken
WARM_UP_STEPS = 48


class BusyError(Exception):
    """No conversation can start now; `why` says what there is too little of."""

    def __init__(self, why: str) -> None:
        super().__init__(f"[serve.admit] expected room for one more conversation, got {why}")
        self.why = why


class UnknownModelError(Exception):
    """No bundle has the name that a client asked for."""


class Served:
    """A bundle, and what its steps have cost lately."""

    def __init__(self, name: str, bundle: parley.Bundle) -> None:
        self.name, self.bundle = name, bundle
        self.chunk_ms = 1000.0 * bundle.chunk_samples / bundle.rate
        self.mode = next(m for m in ("duplex", "managed", "turns") if m in bundle.modes)
        self._costs: deque[float] = deque(maxlen=MEASURED)

    def cost_ms(self) -> float:
        """Mean of the last steps, the costliest fifth alone: what a speaking conversation takes."""
        if not self._costs:
            return 0.0
        costs = np.sort(np.fromiter(self._costs, dtype=np.float64))
        return float(np.mean(costs[-max(1, costs.size // 5) :]))

    def account(self, total_ms: float) -> None:
        self._costs.append(total_ms)

    def session(self, options: Options) -> parley.Session:
        given = {k: v for k, v in asdict(options).items() if v is not None}
        return self.bundle.session(**{"mode": self.mode, **given})

    def warm_up(self, sound: Floats, rate: int) -> None:
        """A first conversation, so that its cost is known before the first client's."""
        with self.session(Options()) as session:
            for step in itertools.islice(session.play(sound, rate), WARM_UP_STEPS):
                self.account(step.timing_ms["total"])


class Seat:
    """A place for one conversation, taken before there is a session and given back by `leave`."""

    def __init__(self, manager: SessionManager, served: Served) -> None:
        self.id = "sess_" + secrets.token_hex(12)
        self.served = served
        self._manager = manager
        self._conversation: Conversation | None = None
        self._recorder: Recorder | None = None

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that wait for steps."""
        return self._conversation.waiting_s if self._conversation else 0.0

    async def open(
        self,
        options: Options,
        listener: Callable[[Happening], None],
        *,
        room: Callable[[], bool] = lambda: True,
        kept: Kept | None = None,
    ) -> Conversation:
        """Starts the conversation, or takes up one that was kept.

        Raises parley.InputError for options that the bundle has not.
        """
        workers = self._manager.workers

        def start(options: Options) -> parley.Session:
            return self.served.bundle.resume(kept.state) if kept else self.served.session(options)

        session = await asyncio.get_running_loop().run_in_executor(workers, start, options)

        def told(happening: Happening) -> None:
            if isinstance(happening, Chunk):
                self.served.account(happening.timing_ms["total"])
            self._manager.observe(self, happening)
            listener(happening)

        if (folder := self._manager.record) is not None:
            self._recorder = Recorder(folder / self.id, self.served.bundle, asdict(options))
        keep = self._recorder.step if self._recorder else lambda heard, step: None
        chunks = kept.chunks if kept else 0
        self._conversation = Conversation(
            session, workers, told, room=room, keep=keep, chunks=chunks
        )
        return self._conversation

    async def leave(self) -> None:
        """Ends the conversation; twice does no harm."""
        self._manager.seats.discard(self)
        if self._conversation is not None:
            conversation, self._conversation = self._conversation, None
            await conversation.close()
        if self._recorder is not None:
            self._recorder.close()


class SessionManager:
    """Conversations over bundles by name; the first is that of clients that name none.

    sessions: the most at once, 0 for what the machine carries by measurement. observe: told each
    happening of each conversation. record: a folder for a folder of each of them.
    """

    def __init__(
        self,
        bundles: Mapping[str, parley.Bundle],
        *,
        sessions: int = 0,
        observe: Callable[[Seat, Happening], None] = lambda seat, happening: None,
        record: Path | None = None,
    ) -> None:
        self.served = {name: Served(name, bundle) for name, bundle in bundles.items()}
        self.observe = observe
        self.record = record
        self.seats: set[Seat] = set()
        self.draining = False
        self.ready = False
        self._sessions = sessions
        self._cores = machine.usable_cores()
        self.workers = ThreadPoolExecutor(self._cores, thread_name_prefix="step")

    def warm_up(self, sound: Floats, rate: int) -> None:
        """Measures what a step of each bundle costs, on speech; conversations may start then."""
        for served in self.served.values():
            served.warm_up(sound, rate)
        self.ready = True

    def find(self, model: str | None) -> Served:
        """The bundle of that name; the only or first one for a name that stock clients send.

        Raises UnknownModelError.
        """
        first = next(iter(self.served.values()))
        if model is None or model == "" or model.startswith("gpt-"):
            return first
        if model not in self.served:
            raise UnknownModelError(
                f"[serve.model] expected one of {', '.join(self.served)}, got {model[:100]!r}; "
                "name one of them, or none for the first"
            )
        return self.served[model]

    def load(self) -> float:
        """The part of the machine's time that the conversations are expected to take."""
        needs = sum(seat.served.cost_ms() / seat.served.chunk_ms for seat in self.seats)
        return needs / (self._cores * HEADROOM)

    def room(self, served: Served) -> int:
        """How many more conversations with that bundle could start now."""
        if self.draining or not self.ready:
            return 0
        if self._sessions:
            return max(0, self._sessions - len(self.seats))
        one = served.cost_ms() / served.chunk_ms / (self._cores * HEADROOM)
        return max(0, int((1.0 - self.load()) / one)) if one > 0 else 1

    def admit(self, model: str | None) -> Seat:
        """A seat. Raises UnknownModelError, and BusyError where there is none."""
        served = self.find(model)
        if self.draining:
            raise BusyError("a server that is shutting down")
        if not self.ready:
            raise BusyError("a server that is starting")
        if self.room(served) < 1:
            raise BusyError(f"{len(self.seats)} of them, which is all that this machine carries")
        seat = Seat(self, served)
        self.seats.add(seat)
        return seat

    async def close(self) -> None:
        """Ends all conversations and the threads; the bundles stay open."""
        self.draining = True
        await asyncio.gather(*(seat.leave() for seat in list(self.seats)))
        self.workers.shutdown(wait=True)
