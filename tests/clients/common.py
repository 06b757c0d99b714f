"""What the Python clients share: recordings at the pace of a microphone, results as JSON lines."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

BASE, FOLDER = sys.argv[1:3]  # http://.../v1, folder with *.raw
BLOCK = 4800  # bytes: 0.1 s of 24 kHz, 16 bit
ANSWER = "reminder to buy flowers on friday"


async def blocks(name: str, ended: Callable[[], object]) -> AsyncIterator[bytes]:
    """A recording in blocks of 0.1 s, silence behind it until `ended()`."""
    sound = Path(FOLDER, f"{name}.raw").read_bytes()
    at = 0
    while at < len(sound) or not ended():
        yield sound[at : at + BLOCK].ljust(BLOCK, b"\0")
        at += BLOCK
        await asyncio.sleep(0.1)


async def part(what: str, work: Callable[[], Awaitable[tuple[object, object]]]) -> None:
    """Runs a part; what it raises, and what takes over 40 s, is its result."""
    try:
        ok, detail = await asyncio.wait_for(work(), 40)
    except Exception as error:
        ok, detail = False, f"{type(error).__name__}: {error}"
    print(json.dumps({"what": what, "ok": bool(ok), "detail": str(detail)}), flush=True)
