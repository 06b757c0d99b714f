"""What the server counts, for Prometheus by its own client library; no audio, no text."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from parley_apps.serve.timeline import (
    Chunk,
    Happening,
    ReplyEnded,
    ReplyStarted,
    Sound,
    VoiceStarted,
    VoiceStopped,
)

if TYPE_CHECKING:
    from parley_apps.serve.manager import Seat, SessionManager

STEP_S = (0.002, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.12, 0.16, 0.24, 0.5, 1.0)
LATENCY_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0)


class Metrics:
    """Counters of one server, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        given: dict[str, Any] = {"registry": self.registry}
        self.sessions = Gauge("parley_sessions", "conversations now", ["model"], **given)
        self.started = Counter("parley_sessions_started", "conversations", ["model"], **given)
        self.refused = Counter("parley_refused", "clients sent away", ["why"], **given)
        self.room = Gauge("parley_room", "conversations that could start", ["model"], **given)
        self.load = Gauge("parley_load_ratio", "expected load, 1 is all it may be", **given)
        self.step = Histogram("parley_step_seconds", "a step", ["model"], buckets=STEP_S, **given)
        self.stage = Counter("parley_stage_seconds", "time in a stage", ["model", "stage"], **given)
        self.audio = Counter("parley_audio_seconds", "sound stepped through", ["model"], **given)
        self.misses = Counter(
            "parley_misses", "steps longer than a chunk", ["model", "stage"], **given
        )
        self.lag = Histogram(
            "parley_lag_seconds",
            "from a chunk's last sample to its answer",
            ["model"],
            buckets=STEP_S,
            **given,
        )
        self.first_audio = Histogram(
            "parley_first_audio_seconds",
            "on the timeline, from the end of the user's voice to the reply's sound",
            ["model"],
            buckets=LATENCY_S,
            **given,
        )
        self.barge_in = Histogram(
            "parley_barge_in_seconds",
            "on the timeline, from the user's voice to the end of the reply",
            ["model"],
            buckets=LATENCY_S,
            **given,
        )
        self.queued = Gauge("parley_queued_seconds", "sound that waits", ["queue"], **given)
        self.dropped = Counter("parley_dropped", "pieces of sound a slow reader missed", **given)
        self.received = Counter("parley_received_bytes", "from clients", **given)
        self.sent = Counter("parley_sent_bytes", "to clients", **given)
        self._voices: dict[str, tuple[int | None, int | None]] = {}

    def observe(self, seat: Seat, happening: Happening) -> None:
        """Counts something that happened in a conversation."""
        name, rate = seat.served.name, seat.served.bundle.out_rate
        began, stopped = self._voices.get(seat.id, (None, None))
        if isinstance(happening, Chunk):
            self._chunk(seat, happening)
        elif isinstance(happening, VoiceStarted):
            self._voices[seat.id] = (happening.at, None)
        elif isinstance(happening, VoiceStopped):
            self._voices[seat.id] = (began, happening.at)
        elif isinstance(happening, ReplyStarted):
            self._voices[seat.id] = (None, stopped)
        elif isinstance(happening, Sound) and stopped is not None and happening.samples.any():
            self._voices[seat.id] = (began, None)
            self.first_audio.labels(name).observe(max(0, happening.at - stopped) / rate)
        elif isinstance(happening, ReplyEnded) and happening.overlapped and began is not None:
            self.barge_in.labels(name).observe(max(0, happening.at - began) / rate)

    def left(self, seat: Seat) -> None:
        """The conversation is over."""
        self._voices.pop(seat.id, None)

    def _chunk(self, seat: Seat, chunk: Chunk) -> None:
        name = seat.served.name
        if chunk.index == 0:
            self.started.labels(name).inc()
        total_ms = chunk.timing_ms["total"]
        self.step.labels(name).observe(total_ms / 1000)
        self.lag.labels(name).observe(chunk.lag_ms / 1000)
        self.audio.labels(name).inc(seat.served.chunk_ms / 1000)
        for stage, ms in chunk.timing_ms.items():
            if stage != "total":
                self.stage.labels(name, stage).inc(ms / 1000)
        if total_ms > seat.served.chunk_ms:
            self.misses.labels(name, chunk.bottleneck or "engine").inc()

    def text(self, manager: SessionManager, queues: dict[str, float]) -> bytes:
        """What /metrics answers."""
        for name, served in manager.served.items():
            here = sum(seat.served is served for seat in manager.seats)
            self.sessions.labels(name).set(here)
            self.room.labels(name).set(manager.room(served))
        self.load.set(manager.load())
        for name, seconds in queues.items():
            self.queued.labels(name).set(seconds)
        return generate_latest(self.registry)


def unix_time() -> int:
    """Whole seconds, for fields of protocols."""
    return int(time.time())
