"""A real browser with a recorded microphone, for tests of the web page; knows no page."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

ROOT = Path(__file__).parents[2]
ARGUMENTS = [
    "--no-sandbox",  # a root user, as in containers
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--mute-audio",
    "--use-fake-device-for-media-stream",
    # No name but this machine's is found: a request to elsewhere fails.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]


def browser_path() -> str:
    """The browser's program; skips the test where it or the package that drives it is missing."""
    if importlib.util.find_spec("playwright") is None:
        pytest.skip("no playwright; pip install 'parley[test]'")
    finder = ROOT / ".make/browser.sh"
    found = subprocess.run([finder], capture_output=True, text=True, check=True).stdout.strip()
    if not found:
        pytest.skip("no browser; apt-get install chromium")
    return found


@contextmanager
def driver() -> Iterator[Playwright]:
    """What drives browsers. One at a time, and while it is there its thread has an event loop."""
    browser_path()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as running:
        yield running


@contextmanager
def browser(running: Playwright, microphone: Path, *, allowed: bool = True) -> Iterator[Browser]:
    """A browser whose microphone plays a recording once, and whose user allows it, or does not."""
    device = f"--use-file-for-fake-audio-capture={microphone}%noloop"
    answer = "--use-fake-ui-for-media-stream" if allowed else "--deny-permission-prompts"
    launched = running.chromium.launch(
        executable_path=browser_path(), args=[*ARGUMENTS, device, answer]
    )
    try:
        yield launched
    finally:
        launched.close()
