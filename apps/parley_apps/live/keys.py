"""Single keys from a terminal; none where stdin is no terminal."""

from __future__ import annotations

import select
import sys
from typing import Any, Self


class Keys:
    """A context manager: inside, keys come without Enter and are not shown."""

    def __init__(self) -> None:
        self._saved: Any = None

    def __enter__(self) -> Self:
        if sys.stdin is not None and sys.stdin.isatty():
            import termios
            import tty

            self._saved = termios.tcgetattr(sys.stdin)
            tty.setcbreak(sys.stdin)
        return self

    def __exit__(self, *_: object) -> None:
        if self._saved is not None:
            import termios

            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._saved)

    def pressed(self) -> str:
        """The next key that was pressed; empty: none."""
        if self._saved is None or not select.select([sys.stdin], [], [], 0)[0]:
            return ""
        return sys.stdin.read(1)
