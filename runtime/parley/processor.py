"""What tells this machine's processor from others, and where what was learned of it is kept."""

from __future__ import annotations

import os
import platform
from pathlib import Path

_TELLING = ("model name", "cpu family", "model\t", "flags", "Features", "CPU part")


def name() -> str:
    """As the system tells it."""
    for line in _lines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def signature() -> str:
    """Differs where code may run differently: names alone do not tell what a processor can do."""
    return "\n".join([platform.machine(), *_lines()])


def cache() -> Path:
    """The folder for what was learned of this machine; it may not exist yet."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "parley"


def _lines() -> list[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            first = file.read(1 << 14).partition("\n\n")[0]  # one core's; the others are alike
    except OSError:
        return []
    return [line for line in first.splitlines() if line.startswith(_TELLING)]
