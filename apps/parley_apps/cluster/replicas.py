"""`parley serve` several times on a machine, each on cores or a GPU of its own; no balancer."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

AGAIN_S = 1.0  # before one that has ended is started anew
GOODBYE_S = 10.0  # to tell its clients that it ends


class Replica:
    """One server. cores: those that it runs on; gpu: the only one that it sees, or ""."""

    def __init__(self, name: str, command: Sequence[str], *, cores: set[int], gpu: str) -> None:
        self.name = name
        self.port = free_port()
        self._command = [sys.executable, "-m", "parley_apps", "serve", *command]
        self._cores, self._gpu = cores, gpu
        self._process: subprocess.Popen[bytes] | None = None
        self._ended_at = 0.0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Starts it; it says 503 until it is ready."""
        env = os.environ | ({"CUDA_VISIBLE_DEVICES": self._gpu} if self._gpu else {})
        self._process = subprocess.Popen(
            [*self._command, "--port", str(self.port)],
            env=env,
            stdout=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the one who tells them in order
        )
        os.sched_setaffinity(self._process.pid, self._cores)

    def look_after(self) -> bool:
        """Starts it anew where it has ended; whether it had."""
        if self._process is None or self._process.poll() is None:
            return False
        if not self._ended_at:
            self._ended_at = time.monotonic()
            return True
        if time.monotonic() - self._ended_at >= AGAIN_S:
            self._ended_at = 0.0
            self.start()
        return False

    def end(self) -> None:
        """Asks it to end in order."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def wait(self) -> None:
        """Waits until it has ended, and ends it where that takes too long."""
        if self._process is None:
            return
        try:
            self._process.wait(GOODBYE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def share(cores: Sequence[int], n: int) -> list[set[int]]:
    """Cores for n replicas, as even as it goes; fewer cores than replicas are used by several.

    >>> share([0, 1, 2, 3, 4], 2), share([0, 1], 3)
    ([{0, 1, 2}, {3, 4}], [{0}, {1}, {0}])
    """
    if len(cores) < n:
        return [{cores[i % len(cores)]} for i in range(n)]
    ends = [-(-len(cores) * i // n) for i in range(n + 1)]
    return [set(cores[start:end]) for start, end in itertools.pairwise(ends)]
