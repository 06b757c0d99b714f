"""Tell a person how far a long job is and what it used; knows nothing of what the job does."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

BAR_CELLS = 24
REDRAW_S = 0.2
LINE_S = 15.0  # between lines where there is no terminal


class Progress:
    """A bar with an estimate on a terminal, now and then a line elsewhere.

    Args:
        steps: name -> expected seconds, in order. Only their ratios matter for the bar; the
            estimate starts from their sum and then follows the clock.
    """

    def __init__(self, steps: dict[str, float], stream: TextIO | None = None):
        self.stream = stream or sys.stderr
        self.steps = {name: max(cost, 0.01) for name, cost in steps.items()}
        self.total = sum(self.steps.values())
        self.terminal = self.stream.isatty()
        self.finished = 0.0
        self.current = ""
        self.start = time.monotonic()
        self.shown = -LINE_S

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Work on one step; `update` refers to it until it ends."""
        self.current = name
        self._show(0.0, force=not self.terminal)
        yield
        self.finished += self.steps[name]
        self._show(0.0, force=False)

    def update(self, done: float) -> None:
        """Report the fraction of the current step that is done."""
        self._show(done, force=False)

    def note(self, text: str) -> None:
        """Print a line without disturbing the bar."""
        self._clear()
        print(text, file=self.stream, flush=True)

    def close(self) -> None:
        self._clear()
        self.stream.flush()

    def fraction(self, done: float) -> float:
        step = self.steps.get(self.current, 0.0)
        return min(1.0, (self.finished + step * min(max(done, 0.0), 1.0)) / self.total)

    def _show(self, done: float, force: bool) -> None:
        now = time.monotonic()
        if not force and now - self.shown < (REDRAW_S if self.terminal else LINE_S):
            return
        self.shown = now
        part, elapsed = self.fraction(done), now - self.start
        # The guess fades out as the clock gathers evidence.
        guess = (1 - part) * ((1 - part) * self.total + elapsed)
        text = f"{part:4.0%} {self.current}, {clock(elapsed)} gone, about {clock(guess)} left"
        if self.terminal:
            bar = ("#" * round(part * BAR_CELLS)).ljust(BAR_CELLS, ".")
            print(f"\r[{bar}] {text}\x1b[K", end="", file=self.stream, flush=True)
        else:
            print(text, file=self.stream, flush=True)

    def _clear(self) -> None:
        if self.terminal:
            print("\r\x1b[K", end="", file=self.stream)


def clock(seconds: float) -> str:
    """Seconds as m:ss."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def size(n_bytes: float) -> str:
    """Bytes for a person, in powers of 1000."""
    for unit in ("B", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.0f} {unit}"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


class MemoryWatch:
    """Sample the anonymous memory of this process and of its helpers; mapped files don't count.

    `peak` is in bytes, or None where the system does not tell (no /proc).
    """

    def __init__(self, every_s: float = 0.05):
        self.every_s = every_s
        self.peak: int | None = None
        self.helpers: set[int] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> MemoryWatch:
        self._sample()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def add(self, pid: int) -> None:
        """Count a helper process too, for as long as it lives."""
        self.helpers.add(pid)

    def _watch(self) -> None:
        while not self._stop.wait(self.every_s):
            self._sample()

    def _sample(self) -> None:
        own = anonymous_bytes("self")
        if own is not None:
            total = own + sum(anonymous_bytes(str(pid)) or 0 for pid in tuple(self.helpers))
            self.peak = max(self.peak or 0, total)


def anonymous_bytes(pid: str) -> int | None:
    """RssAnon of a process in bytes; None where it ended or the system does not tell."""
    try:
        for line in Path("/proc", pid, "status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return None
