"""What tells this machine's processor from others, and where what was learned of it is kept."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
from pathlib import Path

from parley import files

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


def cache_file(kind: str, suffix: str, *about: str) -> Path:
    """Where what was learned of this machine is kept; another file for another `about`.

    Neither the file nor its folder need exist.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    told = "\n".join([signature(), *about]).encode(errors="surrogateescape")
    return base / "parley" / kind / (hashlib.sha256(told).hexdigest()[:16] + suffix)


def keep(file: Path, text: str) -> None:
    """Writes it; a home that cannot be written only means to learn it again."""
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_atomically({file: text.encode()})


def _lines() -> list[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            first = file.read(1 << 14).partition("\n\n")[0]  # one core's; the others are alike
    except OSError:
        return []
    return [line for line in first.splitlines() if line.startswith(_TELLING)]
