"""A real browser with a recorded microphone, and the page over HTTP; knows no server of ours."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Playwright

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "apps/parley_apps/serve/page"
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


class PageFiles(http.server.SimpleHTTPRequestHandler):
    """The page's files, one model, and what a server says of itself: `server.health` is a status,
    401 where it wants a token."""

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        health: int = self.server.health  # type: ignore[attr-defined]
        if path == "/health" or health == 401:
            self.send_response(health)
            self.send_header("Retry-After", "3")
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif path == "/v1/models":
            body = json.dumps({"object": "list", "data": [{"id": "nano"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def page_files() -> Iterator[http.server.ThreadingHTTPServer]:
    """Serves the page's files; its address is `http://127.0.0.1:{server.server_port}/`."""
    handler = functools.partial(PageFiles, directory=str(PAGE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.health = 200  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
