"""Ctrl-C stops a long step at once; knows only that a session can be cancelled.

Python runs its signal handlers between its own instructions, so without this an interrupt would
wait until the engine returns from a step, which a long prompt can make take seconds.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import parley


@contextmanager
def cancel_on_interrupt(session: parley.Session) -> Iterator[None]:
    """While it lasts, SIGINT cancels the session's step; KeyboardInterrupt follows as ever."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    watch = threading.Thread(target=_watch, args=(reader, session), daemon=True)
    watch.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(writer)  # ends the thread
        watch.join()
        os.close(reader)


def _watch(reader: int, session: parley.Session) -> None:
    while number := os.read(reader, 1):
        if number[0] == signal.SIGINT:
            session.cancel()
