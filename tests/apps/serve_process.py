"""`parley serve` as a process of its own, for as long as a test needs it."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def serving(bundle: Path, *options: str, port: int = 0) -> Iterator[str]:
    """Runs it on a free port, or the given one, and yields its page's address; ends it in order."""
    command = [sys.executable, "-m", "parley_apps", "serve", str(bundle)]
    process = subprocess.Popen(
        [*command, "--port", str(port), *options], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        ready = process.stdout.readline()
        assert "/v1" in ready, f"parley serve did not start: {ready!r}"
        yield ready.split()[0].removesuffix("v1")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
