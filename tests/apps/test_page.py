"""A conversation with nano through the web page, with a real browser and the real server."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from page_browser import browser, driver

import parley
from served import NANO, ROOT, serving

if TYPE_CHECKING:
    from playwright.sync_api import Page

# Of the demo's recording, in seconds: a greeting; a question that is changed in the middle of the
# answer; a wish for a story, whose reply the test interrupts by the button.
PIECES_S = [(0.0, 4.4), (11.2, 19.2), (24.2, 25.7)]

pytestmark = [
    pytest.mark.nano,
    pytest.mark.skipif(not NANO.is_dir(), reason="no models/nano/bundle; make nano makes one"),
]


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    samples, rate = soundfile.read(ROOT / "apps/parley_apps/data/conversation.wav", dtype="int16")
    pieces = [samples[int(start * rate) : int(end * rate)] for start, end in PIECES_S]
    path = tmp_path_factory.mktemp("page") / "user.wav"
    soundfile.write(path, np.concatenate(pieces), rate, subtype="PCM_16")
    return path


def saved(page: Page, button: str, path: Path) -> Path:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    download.value.save_as(path)
    return path


def converse(page: Page) -> None:
    """The whole conversation, as the user at the screen has it."""
    from playwright.sync_api import expect

    said, status = page.get_by_role("log"), page.get_by_role("status")
    page.get_by_role("button", name="Start").click()
    for words in ("hello how can i help", "bakery is one mile away", "once a small"):
        expect(said).to_contain_text(words, timeout=30_000)
    page.keyboard.press("Escape")
    expect(said).to_contain_text(re.compile("once a small.* —$"))
    expect(status).to_have_text("Listening")
    mute = page.get_by_role("button", name="Mute")
    mute.click()
    expect(status).to_have_text("Listening, you are muted")
    expect(mute).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(1500)
    page.get_by_role("button", name="End").click()
    expect(status).to_have_text("Ended")


@pytest.fixture(scope="module")
def talked(microphone: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    folder = tmp_path_factory.mktemp("kept")
    asked: list[str] = []
    told: list[str] = []
    with serving() as server, driver() as running, browser(running, microphone) as launched:
        url = f"http://127.0.0.1:{server.port}/"
        page = launched.new_page(viewport={"width": 1280, "height": 800})
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("console", lambda message: told.append(message.text))
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(url)
        converse(page)
        timeline = json.loads(saved(page, "Save timeline", folder / "kept.json").read_text())
        sound = saved(page, "Save sound", folder / "kept.wav")
        yield SimpleNamespace(
            url=url, asked=asked, told=told, timeline=timeline, sound=soundfile.read(sound)
        )


def reply(timeline: dict[str, Any], words: str) -> dict[str, Any]:
    found: dict[str, Any] = next(r for r in timeline["replies"] if words in r["text"])
    return found


def test_both_turns_and_the_changed_question_are_answered(talked: SimpleNamespace) -> None:
    assert reply(talked.timeline, "hello")["text"] == "hello how can i help"
    assert reply(talked.timeline, "bakery")["text"] == "the next bakery is one mile away"
    assert not reply(talked.timeline, "bakery")["interrupted"]


def test_cutting_in_and_the_button_end_a_reply(talked: SimpleNamespace) -> None:
    assert reply(talked.timeline, "route to the station")["interrupted"]
    assert reply(talked.timeline, "once a small")["interrupted"]


def test_the_timeline_has_decisions_floor_and_costs(talked: SimpleNamespace) -> None:
    timeline = talked.timeline
    kinds = [mark["kind"] for mark in timeline["marks"]]
    assert kinds.count("shift") == len(timeline["replies"]) >= 4
    assert {"think", "break", "interrupted"} <= set(kinds)
    assert {floor["floor"] for floor in timeline["floors"]} >= {"listening", "speaking"}
    chunks = timeline["chunks"]
    assert [c["at_s"] for c in chunks] == sorted(c["at_s"] for c in chunks)
    assert chunks[0]["at_s"] >= 0 and chunks[-1]["at_s"] + 0.16 <= timeline["seconds"]
    assert len(chunks) > 50 and all(chunk["cost_ms"] > 0 and chunk["stages_ms"] for chunk in chunks)


def test_the_recording_holds_both_sides_on_one_clock(talked: SimpleNamespace) -> None:
    samples, rate = talked.sound
    timeline = talked.timeline
    assert rate == 24_000 and samples.shape == (round(timeline["seconds"] * rate), 2)
    user, model = samples.T

    def loud(side: np.ndarray, start_s: float, end_s: float) -> float:
        return float(np.abs(side[int(start_s * rate) : int(end_s * rate)]).max())

    first, hello = timeline["replies"][0]["at_s"], reply(timeline, "hello")["at_s"]
    cut = next(m["at_s"] for m in reversed(timeline["marks"]) if m["kind"] == "interrupted")
    end = timeline["seconds"]
    assert loud(model, 0.0, first) == 0.0 and loud(model, hello, hello + 1.5) > 0.1
    assert loud(user, 0.0, hello) > 0.1
    assert loud(model, cut + 0.2, end) == 0.0  # faded out within a few blocks
    assert loud(user, end - 1.0, end) == 0.0  # muted


def test_what_was_recorded_is_what_the_model_heard(talked: SimpleNamespace) -> None:
    samples, rate = talked.sound
    with parley.open(NANO) as bundle, bundle.session() as session:
        answer = session.answer(samples[:, 0], rate)
    assert "hello how can i help" in answer.text and "bakery is one mile away" in answer.text


def test_nothing_is_asked_of_another_address(talked: SimpleNamespace) -> None:
    own = (talked.url, talked.url.replace("http", "ws", 1), f"blob:{talked.url.rstrip('/')}")
    assert any(url.startswith("ws:") for url in talked.asked)
    assert [url for url in talked.asked if not url.startswith(own)] == []
    assert talked.told == []  # no fault, and nothing that the policy had to stop
