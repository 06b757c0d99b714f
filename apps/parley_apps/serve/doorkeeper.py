"""Stands before the HTTP server: a connection must say what it wants in time; knows no protocol.

aiohttp bounds the size of a request's head, but not the time it may take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from parley_apps.serve.limits import Limits

END = b"\r\n\r\n"
HURRY_S = 0.25


class Doorkeeper(asyncio.Protocol):
    """Passes everything on to `inner`; closes where no whole head came in time.

    pending: connections that are still to say what they want, the oldest first; of all doorkeepers.
    """

    def __init__(
        self, inner: asyncio.Protocol, pending: dict[Doorkeeper, None], limits: Limits
    ) -> None:
        self._inner, self._pending, self._limits = inner, pending, limits
        self._tail: bytes | None = b""  # of the head so far; None once it was whole

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._inner.connection_made(transport)
        if len(self._pending) >= self._limits.pending_handshakes:
            next(iter(self._pending)).hurry()
        self._pending[self] = None
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._limits.handshake_s, self.turn_away)

    def hurry(self) -> None:
        """Others wait: the head must come soon. Not at once, or many honest clients that come in
        the same moment would lose theirs unread."""
        self._pending.pop(self, None)
        self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(HURRY_S, self.turn_away)

    def turn_away(self) -> None:
        """Closes a connection that has not said what it wants."""
        self._pending.pop(self, None)
        if self._tail is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._tail is not None:
            self._tail = self._tail[-3:] + data
            if END in self._tail:
                self._tail = None
                self._timer.cancel()
                self._pending.pop(self, None)
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        self._pending.pop(self, None)
        self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


def door(server: Callable[[], asyncio.Protocol], limits: Limits) -> Callable[[], Doorkeeper]:
    """A factory for `loop.create_server` before that of `server`."""
    pending: dict[Doorkeeper, None] = {}
    return lambda: Doorkeeper(server(), pending, limits)
