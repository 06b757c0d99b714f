"""Fixtures of the web page's tests: a server without models and a browser, and a page in it."""

from __future__ import annotations

import wave
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

RATE = 24_000


@pytest.fixture(scope="module")
def silence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "silence.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(2 * RATE))
    return path


@pytest.fixture(scope="module")
def host(silence: Path) -> Iterator[SimpleNamespace]:
    """A server without models for one conversation, and a browser."""
    from page_browser import browser, driver

    from served import Running, ScriptedServed

    bundles = {"scripted": ScriptedServed()}
    with (
        Running(bundles, sessions=1) as server,
        driver() as running,
        browser(running, silence) as launched,
    ):
        yield SimpleNamespace(
            server=server, driver=running, browser=launched, url=f"http://127.0.0.1:{server.port}/"
        )


@pytest.fixture
def module_page(host: SimpleNamespace) -> Iterator[Page]:
    """A page in which tests may run code of their own."""
    page = host.browser.new_page(bypass_csp=True)
    page.goto(host.url)
    yield page
    page.close()
