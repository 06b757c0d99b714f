"""Says on stderr how far a command is; knows nothing of what it counts."""

from __future__ import annotations

import sys
import time


class Progress:
    """One line that renews itself on a terminal; elsewhere a line every few seconds.

    What cannot be told, since stderr is closed or its disk is full, is left untold.
    """

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet or sys.stderr is None
        self._terminal = not self._quiet and sys.stderr.isatty()
        self._last = 0.0
        self._open = False

    def say(self, text: str) -> None:
        """A line that stays."""
        self.done()
        self._print(text + "\n")

    def update(self, text: str) -> None:
        """How far it is; shown at most five times a second."""
        now = time.monotonic()
        if now - self._last < (0.2 if self._terminal else 5.0):
            return
        self._last = now
        self._print(f"\r\x1b[K{text}" if self._terminal else text + "\n")
        self._open = self._terminal

    def done(self) -> None:
        """Ends the line that renews itself."""
        if self._open:
            self._print("\r\x1b[K")
            self._open = False

    def _print(self, text: str) -> None:
        if self._quiet:
            return
        try:
            sys.stderr.write(text)
            sys.stderr.flush()
        except (OSError, ValueError):
            self._quiet = True
