"""The HTTP server: routes, who is let in, start and graceful end; the protocols are `dialects/`.

On aiohttp, which serves HTTP, WebSockets and files by itself: 12 MB with all that it needs, wheels
for every platform, and no opinion on what else lies in the environment (openai's clients pin
`websockets` below 16).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import web

import parley
from parley_apps.serve.connection import Connection, Dialect
from parley_apps.serve.dialects.duplex import Duplex
from parley_apps.serve.dialects.live import Live
from parley_apps.serve.dialects.realtime import Realtime
from parley_apps.serve.doorkeeper import door
from parley_apps.serve.guard import Guard
from parley_apps.serve.keeper import Keeper
from parley_apps.serve.limits import Limits
from parley_apps.serve.manager import BusyError, Seat, Served, SessionManager, UnknownModelError
from parley_apps.serve.metrics import Metrics

log = logging.getLogger("parley.serve")

PAGE = Path(__file__).parent / "page"
OPEN_TO_ALL = ("/health",)  # and the page's files
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; connect-src 'self'; frame-ancestors 'none'",
    "Permissions-Policy": "microphone=(self)",
    "Cache-Control": "no-cache",  # the page's modules belong together
}


def error_body(code: str, message: str, kind: str = "invalid_request_error") -> web.Response:
    """An error of the HTTP API, as stock clients read it."""
    return web.json_response({"error": {"type": kind, "code": code, "message": message}})


class Server:
    """One server over one manager."""

    def __init__(
        self,
        manager: SessionManager,
        guard: Guard,
        metrics: Metrics,
        limits: Limits | None = None,
        *,
        keeper: Keeper | None = None,
    ) -> None:
        self._keeper = keeper
        self.manager, self._guard, self._metrics = manager, guard, metrics
        self.limits = limits or Limits()
        self._open: dict[Connection, Dialect] = {}
        app = web.Application(middlewares=[self._let_in], client_max_size=4096)
        app.router.add_get("/v1/realtime", self._realtime)
        app.router.add_get("/v1/live/sessions", self._live)
        app.router.add_get("/v1/models", self._models)
        app.router.add_get("/v1/models/{name}", self._model)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._text_metrics)
        app.router.add_get("/", self._page)
        app.router.add_static("/", PAGE)
        self._runner = web.AppRunner(app, handle_signals=False, access_log=None)
        self._listener: asyncio.Server | None = None

    async def listen(self, host: str, port: int, tls: ssl.SSLContext | None = None) -> int:
        """Begins to serve; returns the port, which the system chooses where it is 0."""
        await self._runner.setup()
        assert self._runner.server is not None
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            door(self._runner.server, self.limits),
            host,
            port,
            ssl=tls,
            ssl_handshake_timeout=self.limits.handshake_s if tls else None,
            reuse_address=True,
        )
        bound: int = self._listener.sockets[0].getsockname()[1]
        return bound

    def guarded_by(self, guard: Guard) -> None:
        """Another guard, once the port is known."""
        self._guard = guard

    async def end(self) -> None:
        """Graceful: nobody new, everybody is told, sessions and recordings are closed."""
        self.manager.draining = True
        if self._listener is not None:
            self._listener.close()
        for connection, dialect in list(self._open.items()):
            dialect.goodbye()
            connection.end(1001, "the server shuts down")
        until = time.monotonic() + 2 * self.limits.goodbye_s
        while self._open and time.monotonic() < until:
            await asyncio.sleep(0.02)
        await self.manager.close()
        await self._runner.cleanup()

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        of_page = not request.path.startswith("/v1/") and request.path != "/metrics"
        open_to_all = request.path in OPEN_TO_ALL or of_page
        if refusal := self._guard.refusal(request.headers, open_to_all=open_to_all):
            status, code, why = refusal
            self._metrics.refused.labels(code).inc()
            log.warning("refused", extra={"code": code, "path": request.path[:100]})
            answer: web.StreamResponse = error_body(code, why)
            answer.set_status(status)
            return answer
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            answer = error_body(error.reason.lower().replace(" ", "_"), error.reason)
            answer.set_status(error.status)
        if not answer.prepared:
            answer.headers.update(SAFE)
        return answer

    async def _realtime(self, request: web.Request) -> web.StreamResponse:
        try:
            seat = self.manager.admit(request.query.get("model"))
        except (BusyError, UnknownModelError) as error:
            return self._send_away(error)
        if request.query.get("duplex") == "1":
            return await self._serve(request, seat, lambda c: Duplex(c, seat, self._keeper))
        return await self._serve(request, seat, lambda c: Realtime(c, seat))

    async def _live(self, request: web.Request) -> web.StreamResponse:
        if self.manager.draining or not self.manager.ready:
            return self._send_away(BusyError("a server that is starting or shutting down"))
        return await self._serve(request, None, lambda c: Live(c, self.manager))

    def _send_away(self, error: Exception) -> web.Response:
        busy = isinstance(error, BusyError)
        code = "server_busy" if busy else "model_not_found"
        self._metrics.refused.labels(code).inc()
        answer = error_body(code, str(error), "server_error" if busy else "invalid_request_error")
        answer.set_status(503 if busy else 404)
        if busy:
            answer.headers["Retry-After"] = str(self.limits.busy_s)
        return answer

    async def _serve(
        self, request: web.Request, seat: Seat | None, make: Callable[[Connection], Dialect]
    ) -> web.StreamResponse:
        ws = web.WebSocketResponse(
            protocols=("realtime",),
            compress=False,
            max_msg_size=self.limits.message_bytes,
            heartbeat=self.limits.ping_s,
            timeout=self.limits.goodbye_s,
        )
        dialect: Dialect | None = None
        began = time.monotonic()
        try:
            await ws.prepare(request)
            connection = Connection(ws, request.transport, self.limits, self._metrics)
            dialect = self._open[connection] = make(connection)
            log.info("connected", extra=_about(dialect, seat))
            try:
                code, why = await connection.serve(dialect)
            finally:
                del self._open[connection]
            lasted = {"code": code, "why": why, "seconds": round(time.monotonic() - began, 3)}
            log.info("closed", extra=_about(dialect, seat) | lasted)
            if isinstance(dialect, Duplex):
                await asyncio.shield(dialect.left(ended=code == 1000 and ws.close_code == 1000))
        finally:
            seat = seat or getattr(dialect, "seat", None)
            if seat is not None:
                await asyncio.shield(seat.leave())
                self._metrics.left(seat)
        return ws

    async def _models(self, request: web.Request) -> web.Response:
        data = [_model_object(served) for served in self.manager.served.values()]
        return web.json_response({"object": "list", "data": data})

    async def _model(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        if name not in self.manager.served:
            raise web.HTTPNotFound
        return web.json_response(_model_object(self.manager.served[name]))

    async def _health(self, request: web.Request) -> web.Response:
        """Ready only where a conversation would start. `?full=404`: what else it says then, which
        for HAProxy means that a server keeps those it has and takes nobody new."""
        room = max(self.manager.room(served) for served in self.manager.served.values())
        status = "ready" if room else ("busy" if self.manager.ready else "starting")
        body = {"status": status, "sessions": len(self.manager.seats), "room": room}
        again = {} if room else {"Retry-After": str(self.limits.busy_s)}
        full = 404 if request.query.get("full") == "404" else 503
        return web.json_response(body, status=200 if room else full, headers=again)

    async def _text_metrics(self, request: web.Request) -> web.Response:
        waiting = sum(seat.waiting_s for seat in self.manager.seats)
        sending = sum(connection.outbox.audio_s for connection in self._open)
        text = self._metrics.text(self.manager, {"heard": waiting, "said": sending})
        return web.Response(body=text, headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _page(self, request: web.Request) -> web.StreamResponse:
        page = PAGE / "index.html"
        if page.is_file():
            return web.FileResponse(page)
        return web.Response(text=f"parley {parley.__version__} serves /v1/realtime\n")


def _about(dialect: Dialect, seat: Seat | None) -> dict[str, object]:
    known = seat or getattr(dialect, "seat", None)
    about: dict[str, object] = {"protocol": type(dialect).__name__.lower()}
    return about | ({"session": known.id, "model": known.served.name} if known else {})


def _model_object(served: Served) -> dict[str, object]:
    """As OpenAI's API has it, and what a session may choose from."""
    known = {"id": served.name, "object": "model", "created": 0, "owned_by": "parley"}
    instructions = served.bundle.manifest["prompts"]["system"]
    return known | {"voices": list(served.bundle.voices), "instructions": instructions}
