"""Says on stderr how far a command is; knows nothing of what it counts."""

from __future__ import annotations

import sys
import time


class Progress:
    """One line that renews itself on a terminal; elsewhere a line every few seconds."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._terminal = sys.stderr.isatty()
        self._last = 0.0
        self._open = False

    def say(self, text: str) -> None:
        """A line that stays."""
        if not self._quiet:
            self.done()
            print(text, file=sys.stderr, flush=True)

    def update(self, text: str) -> None:
        """How far it is; shown at most five times a second."""
        now = time.monotonic()
        if self._quiet or now - self._last < (0.2 if self._terminal else 5.0):
            return
        self._last = now
        if self._terminal:
            print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
            self._open = True
        else:
            print(text, file=sys.stderr, flush=True)

    def done(self) -> None:
        """Ends the line that renews itself."""
        if self._open:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)
            self._open = False
