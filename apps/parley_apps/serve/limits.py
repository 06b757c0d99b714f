"""What a client may take of the server: sizes, rates, queues and times; knows no protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection, each with the reason where it is not plain.

    message_bytes: 16 s of sound in one append; stock clients send recordings whole.
    control_bytes: of any other message; instructions and tools of a session are the longest.
    audio_rate, audio_burst_s: sound may come at twice real time, and a whole recording at once.
    queue_s, slow_s: seconds of sound that wait for a slow reader, whose oldest are then dropped;
    a reader that takes nothing for `slow_s` is closed. idle_s: without a message or a reply; a
    client that vanished is found by the ping. busy_s: what Retry-After says.
    """

    message_bytes: int = 1024 * 1024
    control_bytes: int = 64 * 1024
    depth: int = 32
    messages_per_s: float = 400.0
    message_burst: int = 4000
    audio_rate: float = 2.0
    audio_burst_s: float = 30.0
    buffer_s: float = 60.0
    queue_s: float = 2.0
    queue_events: int = 2000
    queue_bytes: int = 2 * 1024 * 1024
    slow_s: float = 5.0
    wrong_messages: int = 200
    handshake_s: float = 5.0
    pending_handshakes: int = 8
    header_bytes: int = 16 * 1024
    ping_s: float = 20.0
    idle_s: float = 300.0
    longest_s: float = 24 * 3600.0
    goodbye_s: float = 2.0
    busy_s: int = 5
    items: int = 128


class Bucket:
    """A token bucket: so much at once, so much per second.

    >>> bucket = Bucket(rate=1.0, burst=2.0, clock=lambda: 0.0)
    >>> bucket.take(2.0), bucket.take(0.5)
    (True, False)
    """

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._level, self._at = burst, clock()

    def take(self, amount: float) -> bool:
        """Whether so much was left; it is taken then."""
        now = self._clock()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if amount > self._level:
            return False
        self._level -= amount
        return True
