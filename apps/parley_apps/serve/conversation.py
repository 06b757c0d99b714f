"""One conversation of a server: sound in at any time, steps on worker threads, happenings out.

It knows sessions and the timeline, no protocol and no socket. All methods are called on the event
loop's thread. A step takes a chunk as soon as one is there. Where the client sends none, silence
stands in: at the pace of the clock while something is going on (`streaming`), at once while a
recording is being answered (`play`), never else, so that an idle conversation costs nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

import parley
from parley.events import Floats
from parley.session import PATIENCE_S
from parley_apps.serve.reply import Reply
from parley_apps.serve.timeline import (
    Chunk,
    Failed,
    Forgotten,
    Happening,
    NoReply,
    ReplyStarted,
    Text,
    VoiceStarted,
    VoiceStopped,
)
from parley_apps.serve.voice_gate import VoiceGate, level_db

GRACE_S = 0.3  # how late a client's sound may come before silence stands in for it
LISTEN_ON_S = 6.0  # silence that is fed after the last sound, for a model that thinks


@dataclass(frozen=True, slots=True)
class Options:
    """What a session is opened with; None is the bundle's own."""

    mode: Literal["duplex", "managed", "turns"] | None = None
    voice: str | None = None
    system: str | None = None
    max_new_tokens: int | None = None
    seed: int = 0


@dataclass
class _Input:
    """Samples at the session's rate that wait for a step, and when the last of them came."""

    pieces: deque[tuple[Floats, float]] = field(default_factory=deque)
    waiting: int = 0
    came: float = 0.0

    def put(self, samples: Floats) -> None:
        self.came = time.monotonic()
        self.pieces.append((samples, self.came))
        self.waiting += samples.size

    def take(self, n: int) -> tuple[Floats, float]:
        """The next n samples, silence where fewer wait, and when the last of them came."""
        taken: list[Floats] = []
        missing, came = n, time.monotonic()
        while missing and self.pieces:
            piece, came = self.pieces.popleft()
            taken.append(piece[:missing])
            if piece.size > missing:
                self.pieces.appendleft((piece[missing:], came))
            missing -= taken[-1].size
        self.waiting -= n - missing
        return np.concatenate([*taken, np.zeros(missing, dtype=np.float32)]), came

    def clear(self) -> None:
        self.pieces.clear()
        self.waiting = 0


class Conversation:
    """A session that is stepped; `listener` is told all that happens, in order.

    room: whether the reader keeps up; what is not bound to the clock waits while it does not. keep:
    told each chunk [n] of input and its step. chunks: that a resumed session has behind it.
    """

    def __init__(
        self,
        session: parley.Session,
        workers: Executor,
        listener: Callable[[Happening], None],
        *,
        room: Callable[[], bool] = lambda: True,
        keep: Callable[[Floats, parley.Step], None] = lambda heard, step: None,
        chunks: int = 0,
    ) -> None:
        self._session = session
        self._workers = workers
        self._tell = listener
        self._room = room
        self._keep = keep
        self.chunk_samples, self.rate = session.chunk_samples, session.rate
        self.out_chunk, self.out_rate = session.out_chunk_samples, session.out_rate
        self.chunk_s = self.chunk_samples / self.rate
        self.turns = session.mode == "turns"
        self.gate = VoiceGate(self.rate, position=chunks * self.chunk_samples)
        self.streaming = True
        self._input = _Input()
        self._due = 0.0  # when what came would have ended, had it come as it was spoken
        self._step_index = chunks
        self._reply: Reply | None = None
        self._skip = False  # of a reply that was interrupted: until its end is told
        self._patience: int | None = None  # chunks until NoReply, while one is asked for
        self._end_turn: Literal["", "now", "drained"] = ""  # "drained": once all input is taken
        self._wake = asyncio.Event()
        self._stepping = asyncio.Lock()
        self._closed = False
        self._task = asyncio.get_running_loop().create_task(self._run())

    @property
    def at(self) -> int:
        """The place up to which the conversation has come."""
        return self._step_index * self.out_chunk

    @property
    def replying(self) -> bool:
        return self._reply is not None

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that wait for steps."""
        return self._input.waiting / self.rate

    @property
    def position(self) -> int:
        """Positions of the context that are taken."""
        return self._session.position

    def hear(self, samples: Floats) -> None:
        """Samples [n] at `rate`."""
        now = time.monotonic()
        self._input.put(samples)
        self._due = max(self._due, now) + samples.size / self.rate
        self._wake.set()

    def play(self, samples: Floats) -> None:
        """A whole recording [n] at `rate`, to be answered; the turn ends with it."""
        self._input.put(samples)
        self._end_turn = "drained" if self.turns else ""
        self.ask()

    def ask(self) -> None:
        """A reply is wanted: silence is fed until it comes, or NoReply after two seconds."""
        if self._reply is None:
            self._patience = self._input.waiting // self.chunk_samples
            self._patience += round(PATIENCE_S / self.chunk_s)
        self._wake.set()

    async def say(self, text: str) -> None:
        """A typed turn; raises InputError where the bundle takes none."""
        if self.turns and self._skip:  # a reply was interrupted, which takes effect with a step
            await self._one()
        async with self._stepping:
            self._session.send_text(text)
        self.ask()

    def end_turn(self) -> None:
        """The user's turn is over, where the model does not hear that itself."""
        self._end_turn = "now" if self.turns else ""
        self._wake.set()

    def drop_input(self) -> None:
        """What no step has taken is forgotten."""
        self._input.clear()
        self._due = 0.0

    def interrupt(self, heard_until: int | None = None) -> None:
        """Ends the reply at once; `heard_until`: the place that the user's loudspeaker reached."""
        self._session.interrupt(heard_until)
        self._patience = None
        if self._reply is not None:
            reply, self._reply = self._reply, None
            self._skip = not reply.drawn
            self._tell(reply.ended("interrupted", overlapped=False))
        self._wake.set()

    async def save(self, path: Path) -> int:
        """Writes the conversation as `Session.save` does; returns the steps it has come through."""
        async with self._stepping:
            await self._on_worker(self._session.save, path)
            return self._step_index

    async def close(self) -> None:
        """Ends it; twice does no harm."""
        self._closed = True
        self._wake.set()
        self._session.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._on_worker(self._session.close)

    async def _on_worker(self, call: Callable[..., object], *given: object) -> object:
        return await asyncio.get_running_loop().run_in_executor(self._workers, call, *given)

    async def _run(self) -> None:
        try:
            while not self._closed:
                self._wake.clear()
                if (wait_s := self._not_yet()) is not None:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._wake.wait(), wait_s)
                    continue
                await self._one()
        except parley.CancelledError:
            pass  # by close()
        except Exception as error:  # the engine's, or a fault of ours: this conversation ends
            if not self._closed:
                self._closed = True
                self._tell(Failed(self.at, error))

    def _not_yet(self) -> float | None:
        """None where a step is due; else the seconds until one may be, unless input comes."""
        paced = self.streaming and self._patience is None
        if not paced and not self._room():
            return 0.02
        if self._input.waiting >= self.chunk_samples:
            return None
        busy = self._reply is not None or self._patience is not None
        if not self.streaming:
            return None if busy or self._end_turn else 3600.0
        now = time.monotonic()
        active = busy or self._end_turn or now - self._input.came < LISTEN_ON_S
        if not active:
            return 3600.0
        late = now - (self._due + GRACE_S)
        return None if late >= 0 else -late

    async def _one(self) -> None:
        chunk, came = self._input.take(self.chunk_samples)
        if self.streaming:
            missing = max(0.0, time.monotonic() - GRACE_S - self._due)
            self._due += self.chunk_s if missing else 0.0
        async with self._stepping:
            step = await self._on_worker(self._session.step, chunk)
            assert isinstance(step, parley.Step)
            if self._end_turn == "now" or (self._end_turn and not self._input.waiting):
                self._end_turn = ""
                if self._session.floor == "listening":
                    await self._on_worker(self._session.end_turn)
        self._step_index += 1
        self._keep(chunk, step)
        self._heard(chunk)
        self._said(step)
        self._tell(self._account(step, chunk, time.monotonic() - came))

    def _heard(self, chunk: Floats) -> None:
        for moment, position in self.gate.feed(chunk):
            at = self._place(position)
            self._tell(VoiceStarted(at) if moment == "started" else VoiceStopped(at))

    def _said(self, step: parley.Step) -> None:
        """The reply's part of a step, as happenings."""
        start = step.index * self.out_chunk
        for event in step.events:
            if event.kind == "reply_started":
                self._begin(start)
            elif event.kind == "window":
                self._tell(Forgotten(event.sample, event.count))
            elif self._reply is not None:
                self._reply.count(event)
                if event.kind == "text" and event.text:
                    self._tell(Text(event.sample, event.text))
            elif event.kind == "reply_ended":
                self._skip = False
        if (reply := self._reply) is not None:
            if sound := reply.sound(start, step.samples):
                self._tell(sound)
            if reply.over(step, self._session.delay_samples, self.out_chunk):
                self._reply = None
                # Who interrupts from outside has told of the end; this was the engine's own doing.
                cut = reply.reason == "interrupted"
                reason = "break" if cut else reply.reason
                self._tell(reply.ended(reason, overlapped=cut or self.gate.active))
        elif self._patience is not None and not self._skip and step.floor == "listening":
            self._patience -= 1
            if self._patience <= 0:
                self._patience = None
                self._tell(NoReply(self.at))

    def _begin(self, start: int) -> None:
        self._skip, self._patience = False, None
        if self.gate.active:  # the model was sooner; a voice that goes on begins anew
            self.gate.rest()
            self._tell(VoiceStopped(self._place(self.gate.last_loud)))
        if self._reply is not None:  # its last sound was still coming
            self._tell(self._reply.ended(self._reply.reason or "model", overlapped=False))
        self._reply = Reply(start)
        self._tell(ReplyStarted(start))

    def _place(self, position: int) -> int:
        """A position in the input on the timeline."""
        return round(position * self.out_rate / self.rate)

    def _account(self, step: parley.Step, chunk: Floats, lag_s: float) -> Chunk:
        kinds = {event.kind for event in step.events}
        said = "speak" if {"text", "audio"} & kinds else "think"
        decision = next((kind for kind in ("shift", "break") if kind in kinds), said)
        return Chunk(
            at=step.index * self.out_chunk,
            index=step.index,
            floor=step.floor,
            decision=decision,
            timing_ms=step.timing_ms,
            bottleneck=step.bottleneck,
            lag_ms=1000 * lag_s,
            heard_db=level_db(chunk),
            said_db=level_db(step.samples),
            voice=self.gate.active,
            said=step.samples,
        )
