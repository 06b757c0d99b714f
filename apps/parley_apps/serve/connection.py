"""A client's WebSocket: what comes is bounded and read as JSON, what goes waits in a bounded queue.

It knows sizes and times, and no protocol: that is the dialect's, which it hands messages to.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from typing import Any, NoReturn, Protocol

from aiohttp import WSCloseCode, WSMsgType, web

from parley_apps.serve.dialects.fields import Message, RefusedError, depth
from parley_apps.serve.limits import Bucket, Limits
from parley_apps.serve.metrics import Metrics

log = logging.getLogger("parley.serve")


class Dialect(Protocol):
    """A protocol over one conversation."""

    async def start(self) -> None:
        """The socket is open."""

    async def receive(self, message: Message) -> None:
        """A client's message. Raises RefusedError."""

    def refuse(self, refusal: RefusedError, event_id: str | None) -> None:
        """Tells the client that a message was not done."""

    def goodbye(self) -> None:
        """The server ends the conversation."""


class Outbox:
    """What waits to be sent. Of sound, the oldest goes where more than `queue_s` of it waits."""

    def __init__(self, ws: web.WebSocketResponse, limits: Limits, metrics: Metrics) -> None:
        self._ws, self._limits, self._metrics = ws, limits, metrics
        self._waiting: deque[tuple[str, float]] = deque()
        self._audio_s = 0.0
        self._bytes = 0
        self._some = asyncio.Event()
        self.ended = False
        self.overflowed = False

    @property
    def room(self) -> bool:
        """Whether the reader keeps up."""
        return self._audio_s < self._limits.queue_s / 2

    @property
    def audio_s(self) -> float:
        return self._audio_s

    def put(self, event: Message, audio_s: float = 0.0) -> None:
        """Takes an event; audio_s: seconds of sound in it."""
        text = json.dumps(event, separators=(",", ":"))
        self._waiting.append((text, audio_s))
        self._audio_s += audio_s
        self._bytes += len(text)
        while audio_s and self._audio_s > self._limits.queue_s:
            self._drop_oldest_sound()
        limits = self._limits
        if len(self._waiting) > limits.queue_events or self._bytes > limits.queue_bytes:
            self.overflowed = self.ended = True
        self._some.set()

    def _drop_oldest_sound(self) -> None:
        index = next(i for i, (_, seconds) in enumerate(self._waiting) if seconds)
        self._audio_s -= self._waiting[index][1]
        self._bytes -= len(self._waiting[index][0])
        del self._waiting[index]
        self._metrics.dropped.inc()

    async def run(self) -> None:
        """Sends until the queue is ended and empty; TimeoutError where nobody reads."""
        while True:
            while self._waiting:
                text, seconds = self._waiting.popleft()
                self._bytes -= len(text)
                async with asyncio.timeout(self._limits.slow_s):
                    await self._ws.send_str(text)
                self._audio_s -= seconds
                self._metrics.sent.inc(len(text))
            if self.ended:
                return
            self._some.clear()
            await self._some.wait()

    def end(self) -> None:
        self.ended = True
        self._some.set()


class Connection:
    """One client from handshake to close."""

    def __init__(
        self,
        ws: web.WebSocketResponse,
        transport: asyncio.BaseTransport | None,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self.ws, self._transport, self.limits = ws, transport, limits
        self._metrics = metrics
        self.outbox = Outbox(ws, limits, metrics)
        self._messages = Bucket(limits.messages_per_s, limits.message_burst)
        self._sound = Bucket(limits.audio_rate, limits.audio_burst_s)
        self._wrong = 0
        self._reader: asyncio.Task[None] | None = None
        self._code, self._why = int(WSCloseCode.OK), ""

    def take_sound(self, seconds: float) -> None:
        """Sound came in; the connection ends where it is more than the limits allow."""
        if not self._sound.take(seconds):
            self.end(WSCloseCode.POLICY_VIOLATION, "sound comes faster than twice real time")

    def end(self, code: int, why: str) -> None:
        """Closes the socket once what waits is sent."""
        if not self.outbox.ended:
            self._code, self._why = int(code), why
            self.outbox.end()

    async def serve(self, dialect: Dialect) -> tuple[int, str]:
        """Runs until either side ends it; returns the code of the close and why."""
        await dialect.start()
        self._reader = asyncio.create_task(self._read(dialect))
        writer = asyncio.create_task(self.outbox.run())
        try:
            await asyncio.wait({self._reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            if self._reader.done() and not writer.done():
                self.outbox.end()
                await asyncio.wait({writer}, timeout=self.limits.goodbye_s)
        finally:
            for task in (self._reader, writer):
                task.cancel()
            results = await asyncio.gather(self._reader, writer, return_exceptions=True)
        for error in results:
            self._explain(TimeoutError() if self.outbox.overflowed else error)
        await self._close()
        return self._code, self._why

    def _explain(self, error: object) -> None:
        if isinstance(error, TimeoutError):
            self._code, self._why = int(WSCloseCode.POLICY_VIOLATION), "the client does not read"
        elif isinstance(error, (ConnectionError, asyncio.CancelledError)) or error is None:
            pass
        elif isinstance(error, Exception):
            log.error("a fault", exc_info=error)
            self._code, self._why = int(WSCloseCode.INTERNAL_ERROR), "a fault of the server"

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(self.limits.goodbye_s):
                await self.ws.close(code=self._code, message=self._why.encode()[:120])
        except (TimeoutError, ConnectionError, RuntimeError):  # nobody reads it
            if isinstance(self._transport, asyncio.Transport):
                self._transport.abort()

    async def _read(self, dialect: Dialect) -> None:
        ends = time.monotonic() + self.limits.longest_s
        while True:
            try:
                got = await self.ws.receive(timeout=self.limits.idle_s)
            except TimeoutError:
                return self.end(WSCloseCode.OK, "nothing was said for a while")
            if got.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return
            if not self._messages.take(1):
                return self.end(WSCloseCode.POLICY_VIOLATION, "too many messages")
            if time.monotonic() > ends:
                return self.end(WSCloseCode.OK, "the session was as long as it may be")
            await self._take(got.type, got.data, dialect)
            await asyncio.sleep(0)  # what is there already is no reason to keep others waiting
            if self.outbox.ended:
                return

    async def _take(self, kind: WSMsgType, data: Any, dialect: Dialect) -> None:
        message: Message = {}
        try:
            self._metrics.received.inc(len(data))
            message = read(kind, data, self.limits)
            await dialect.receive(message)
        except RefusedError as refusal:
            self._wrong += 1
            event_id = message.get("event_id")
            dialect.refuse(refusal, event_id if isinstance(event_id, str) else None)
            if self._wrong >= self.limits.wrong_messages:
                self.end(WSCloseCode.POLICY_VIOLATION, "too many wrong messages")


def read(kind: WSMsgType, data: Any, limits: Limits) -> Message:
    """A message as JSON. Raises RefusedError for what is no object, or a deep or long one."""
    if kind is not WSMsgType.TEXT:
        raise _bad("a text message", "a binary one")
    try:
        message = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise _bad("JSON", f"{type(error).__name__}") from error
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise _bad("an object with a type", type(message).__name__)
    if len(data) > limits.control_bytes and not isinstance(message.get("audio"), str):
        raise _bad(f"at most {limits.control_bytes} bytes without sound", f"{len(data)}")
    if not depth(message, limits.depth):
        raise _bad(f"at most {limits.depth} levels of JSON", "more")
    return message


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _bad(expected: str, got: str) -> RefusedError:
    return RefusedError(
        "invalid_json", f"[serve.read] expected {expected}, got {got}; send an event"
    )
