"""What the web page shows and says, in a real browser: names, colours, errors; no model."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from page_browser import browser

from served import ROOT, Running, ScriptedServed

if TYPE_CHECKING:
    from playwright.sync_api import Page

RATE = 24_000
PAGE = ROOT / "apps/parley_apps/serve/page"
TOKEN = "a" * 32


def address(server: Running) -> str:
    return f"http://127.0.0.1:{server.port}/"


def contrast(one: str, other: str) -> float:
    """The ratio of two #rrggbb colours, as WCAG 2 defines it."""

    def luminance(colour: str) -> float:
        parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_text_stands_out_from_its_ground(scheme: int) -> None:
    blocks = re.findall(r":root \{(.*?)\}", (PAGE / "style.css").read_text(), re.DOTALL)
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", blocks[scheme]))
    for ground in ("paper", "raised"):
        for text in ("ink", "faint", "user", "model", "alarm", "shift"):
            assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
    assert contrast(colours["on-action"], colours["action"]) >= 4.5


def test_the_page_names_no_address() -> None:
    for path in PAGE.iterdir():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"(?:https?:)?//\w+\.\w", text), path.name


CONTROLS = {
    "button": ["Start", "Mute", "Interrupt", "Save sound", "Save timeline", "Settings"],
    "status": ["Ready"],
    "img": ["Timeline, empty"],
    "log": ["What was said"],
    "group": ["Controls", "More"],
}


def test_everything_has_a_role_and_a_name(module_page: Page) -> None:
    tree = module_page.locator("body").aria_snapshot()
    for role, names in CONTROLS.items():
        for name in names:
            assert re.search(rf'{role}(?:: | "){name}', tree), (role, name, tree)


def test_the_keyboard_reaches_everything_in_order(host: SimpleNamespace) -> None:
    page = host.browser.new_page()
    page.goto(host.url)
    order = []
    for _ in range(4):
        page.keyboard.press("Tab")
        focus = page.locator(":focus")
        order.append(focus.get_attribute("aria-label") or focus.inner_text())
    assert order == ["Timeline, empty", "What was said", "Start", "Settings"]
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Settings")
    for name in ("Microphone", "Loudspeaker"):
        dialog.get_by_role("combobox", name=name).wait_for()
    page.keyboard.press("Escape")
    dialog.wait_for(state="hidden")
    assert page.locator(":focus").inner_text() == "Settings"
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_rule_for_accessible_pages_is_broken(host: SimpleNamespace, scheme: str) -> None:
    """axe-core's rules, in the states that a person meets and at a phone's width."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="no axe; parley[test]"
    )
    options = {"viewport": {"width": 360, "height": 740}, "color_scheme": scheme}
    talk = Talk(host, bypass_csp=True, **options)
    found = [axe.Axe().run(talk.page)]
    talk.page.get_by_role("button", name="Settings").click()
    found.append(axe.Axe().run(talk.page))
    talk.page.keyboard.press("Escape")
    talk.page.get_by_role("button", name="Start").click()
    talk.wait("input_audio_buffer.append")
    talk.speak(1.0)
    talk.send(type="error", error={"code": "invalid_value", "message": "no such voice"})
    talk.notice("no such voice")
    found.append(axe.Axe().run(talk.page))
    talk.page.close()
    broken = [(one["id"], one["nodes"]) for run in found for one in run.response["violations"]]
    assert not broken
    assert all(len(run.response["passes"]) > 10 for run in found)  # the rules were tried


def test_a_phone_shows_all_without_scrolling_sideways(host: SimpleNamespace) -> None:
    page = host.browser.new_page(viewport={"width": 360, "height": 740}, bypass_csp=True)
    page.goto(host.url)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for name in CONTROLS["button"]:
        box = page.get_by_role("button", name=name).bounding_box()
        assert box is not None and box["height"] >= 44 and box["x"] + box["width"] <= 360
        assert box["y"] + box["height"] <= 740
    page.close()


class Talk:
    """A page whose server is played by the test."""

    def __init__(self, host: SimpleNamespace, **options: Any) -> None:
        self.page = host.browser.new_page(**options)
        self.sockets: list[Any] = []
        self.sent: list[dict[str, Any]] = []
        self.created: dict[str, Any] = {}  # more of session.created
        self.page.route_web_socket(re.compile("/v1/realtime"), self.open)
        self.page.goto(host.url)

    def open(self, socket: Any) -> None:
        self.sockets.append(socket)
        socket.on_message(lambda text: self.sent.append(json.loads(text)))
        session = {"type": "realtime", "model": "nano", "id": f"sess_{len(self.sockets)}"}
        self.send(type="session.created", session=session, **self.created)

    def send(self, **event: Any) -> None:
        self.sockets[-1].send(json.dumps(event))

    def speak(self, seconds: float = 5.0) -> None:
        """Begins a reply of so many seconds."""
        ids = {"response_id": "r1", "item_id": "i1"}
        self.send(type="response.created", response={"id": "r1"})
        self.send(type="response.output_audio_transcript.delta", delta="hello there", **ids)
        tone = (3000 * np.sin(np.arange(int(seconds * RATE)))).astype("<i2")
        for at in range(0, tone.size, 3840):
            delta = base64.b64encode(tone[at : at + 3840].tobytes()).decode()
            self.send(type="response.output_audio.delta", delta=delta, **ids)

    def wait(self, kind: str) -> dict[str, Any]:
        """The first event of a kind that the page sent."""
        for _ in range(100):
            for event in self.sent:
                if event["type"] == kind:
                    return event
            self.page.wait_for_timeout(50)
        raise AssertionError(f"no {kind} within 5 s")

    def notice(self, text: str) -> None:
        self.page.get_by_role("alert").get_by_text(text).wait_for(timeout=10_000)


@pytest.fixture
def talk(host: SimpleNamespace) -> Iterator[Talk]:
    made = Talk(host)
    made.page.get_by_role("button", name="Start").click()
    made.wait("input_audio_buffer.append")
    yield made
    made.page.close()


def test_a_reply_that_the_server_ends_is_silent_and_told_as_far_as_heard(talk: Talk) -> None:
    talk.speak()
    assert talk.wait("playback.ack")["item_id"] == "i1"
    talk.send(type="response.done", response={"id": "r1", "status": "cancelled"})
    cut = talk.wait("conversation.item.truncate")
    acknowledged = [e["played_ms"] for e in talk.sent if e["type"] == "playback.ack"]
    assert cut["item_id"] == "i1" and cut["content_index"] == 0
    assert acknowledged[-1] <= cut["audio_end_ms"] < 5000
    talk.page.get_by_text("hello there —").wait_for()


def test_a_lost_connection_is_told_and_made_again(host: SimpleNamespace, talk: Talk) -> None:
    talk.sockets[0].close(code=1012)
    talk.notice("The server is closing. Trying again in 1 s.")
    talk.notice("Connected again. The model has forgotten what was said before.")
    assert len(talk.sockets) == 2


@pytest.mark.parametrize("kept", [True, False])
def test_a_lost_conversation_is_taken_up_where_the_server_kept_it(
    host: SimpleNamespace, kept: bool
) -> None:
    talk = Talk(host)
    talk.created = {"resume_token": "secret"}
    talk.page.get_by_role("button", name="Start").click()
    talk.wait("input_audio_buffer.append")
    talk.sockets[0].close(code=1012)
    talk.sent.clear()
    asked = talk.wait("session.resume")
    assert asked["session_id"] == "sess_1" and asked["resume_token"] == "secret"
    assert len(talk.sent) == 1  # no sound before the answer
    if kept:
        talk.send(type="session.resumed", session={"id": "sess_2"}, at_ms=1000)
        talk.notice("Connected again. The conversation goes on.")
    else:
        talk.send(type="error", error={"code": "session_not_found", "message": "gone"})
        talk.notice("Connected again. The model has forgotten what was said before.")
    talk.wait("input_audio_buffer.append")
    talk.page.close()


def test_a_full_server_is_told_with_its_time(host: SimpleNamespace) -> None:
    first, second = (host.browser.new_page() for _ in range(2))
    for page in (first, second):
        page.goto(host.url)
        page.get_by_role("button", name="Start").click()
        if page is first:
            page.get_by_role("status").get_by_text("Listening").wait_for()
    second.get_by_role("alert").get_by_text("The server is full. Trying again in 5 s.").wait_for()
    first.get_by_role("button", name="End").click()
    second.get_by_role("status").get_by_text("Listening").wait_for()
    first.close()
    second.close()


def test_a_token_that_is_asked_for_is_told_and_taken(host: SimpleNamespace) -> None:
    with Running({"scripted": ScriptedServed()}, token=TOKEN) as server:
        page = host.browser.new_page()
        page.goto(address(server))
        page.get_by_role("button", name="Start").click()
        page.get_by_role("alert").get_by_text("The server asks for its token.").wait_for()
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Done").click()
        page.get_by_role("button", name="Start").click()
        page.get_by_role("status").get_by_text("Listening").wait_for()
        page.close()


def test_voice_and_system_prompt_are_asked_for_where_the_bundle_has_them(
    host: SimpleNamespace,
) -> None:
    bundle = ScriptedServed()
    with Running({"scripted": bundle}) as server:
        page = host.browser.new_page()
        page.goto(address(server))
        page.get_by_role("button", name="Settings").click()
        page.get_by_label("Voice").select_option("high")
        page.get_by_label("System prompt").fill("be kind")
        page.get_by_role("button", name="Done").click()
        page.get_by_role("button", name="Start").click()
        page.get_by_role("log").get_by_text("Hello world").first.wait_for()
        page.close()
    assert bundle.options[-1]["voice"] == "high" and bundle.options[-1]["system"] == "be kind"


def test_what_the_server_refuses_is_told(talk: Talk) -> None:
    talk.send(type="error", error={"code": "invalid_value", "message": "no such voice"})
    talk.notice("The server refuses: no such voice")


def test_a_loudspeaker_that_never_starts_is_told(host: SimpleNamespace) -> None:
    """As in Firefox on a machine without one."""
    page = host.browser.new_page()
    page.add_init_script("AudioContext.prototype.resume = () => new Promise(() => {})")
    page.goto(host.url)
    page.get_by_role("button", name="Start").click()
    page.get_by_role("alert").get_by_text("No loudspeaker could be opened.").wait_for()
    page.close()


def test_a_microphone_that_is_not_allowed_is_told(host: SimpleNamespace, silence: Path) -> None:
    with browser(host.driver, silence, allowed=False) as refusing:
        page = refusing.new_page()
        page.goto(host.url)
        page.get_by_role("button", name="Start").click()
        page.get_by_role("alert").get_by_text("was not allowed to use the microphone").wait_for()
        page.get_by_role("button", name="Start").wait_for()
