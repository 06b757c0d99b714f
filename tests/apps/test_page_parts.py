"""The web page's own parts in a real browser: sound, files, states, colours; no model."""

from __future__ import annotations

import base64
import json
import re
import wave
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from page_browser import PAGE, browser, driver, page_files

import tolerances

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
    with page_files() as files, driver() as running, browser(running, silence) as launched:
        url = f"http://127.0.0.1:{files.server_port}/"
        yield SimpleNamespace(files=files, driver=running, browser=launched, url=url)


@pytest.fixture
def module_page(host: SimpleNamespace) -> Iterator[Page]:
    """A page in which tests may run code of their own."""
    page = host.browser.new_page(bypass_csp=True)
    page.goto(host.url)
    yield page
    page.close()


def run(page: Page, code: str, value: Any = None) -> Any:
    return page.evaluate(f"async (value) => {{ {code} }}", value)


def resampled(page: Page, samples: np.ndarray, *, source: int, target: int) -> np.ndarray:
    """By the page's Resampler, in blocks of 128 as an audio worklet has them."""
    code = """
      const { Resampler } = await import("/resampler.js");
      const stream = new Resampler(value.source, value.target), out = [];
      for (let at = 0; at < value.samples.length; at += 128) {
        stream.push(Float32Array.from(value.samples.slice(at, at + 128)));
        const block = new Float32Array(stream.ready());
        stream.take(block);
        out.push(...block);
      }
      return out;"""
    arguments = {"samples": samples.tolist(), "source": source, "target": target}
    return np.array(run(page, code, arguments))


@pytest.mark.parametrize(
    ("source", "target"), [(48_000, RATE), (44_100, RATE), (RATE, 48_000), (RATE, 44_100)]
)
def test_a_tone_keeps_its_shape_at_another_rate(
    module_page: Page, source: int, target: int
) -> None:
    hz, seconds = 3000.0, 0.5
    tone = np.sin(2 * np.pi * hz * np.arange(int(seconds * source)) / source)
    out = resampled(module_page, tone, source=source, target=target)
    expected = np.sin(2 * np.pi * hz * np.arange(out.size) / target)
    edge = 200  # samples in which the tone begins
    assert out.size > 0.95 * seconds * target
    assert np.abs(out - expected)[edge:].max() < tolerances.PAGE_TONE_ABS


def test_what_the_lower_rate_cannot_hold_is_gone(module_page: Page) -> None:
    tone = np.sin(2 * np.pi * 15_000.0 * np.arange(24_000) / 48_000)
    out = resampled(module_page, tone, source=48_000, target=RATE)
    assert np.abs(out)[200:].max() < tolerances.PAGE_TONE_ABS


PLAYBACK = """
  const { FADE, Playback } = await import("/playback.js");
  const playback = new Playback();
  const take = (n) => { const out = new Float32Array(n); playback.fill(out); return [...out]; };
"""


def test_sound_waits_a_little_and_then_plays_without_a_gap(module_page: Page) -> None:
    code = """
      playback.push("a", new Float32Array(3840).fill(1));
      const first = take(playback.hold);
      playback.push("a", new Float32Array(3840).fill(2));
      playback.end();
      return { first, sound: take(3840), more: take(3840), after: take(10),
               played: playback.played, underruns: playback.underruns };"""
    got = run(module_page, PLAYBACK + code)
    assert set(got["first"]) == {0}
    assert set(got["sound"]) == {1} and set(got["more"]) == {2} and set(got["after"]) == {0}
    assert got["played"] == 7680 and got["underruns"] == 0


def test_sound_that_comes_too_late_is_one_gap_and_the_next_waits_longer(module_page: Page) -> None:
    code = """
      playback.push("a", new Float32Array(100).fill(1));
      const hold = playback.hold;
      take(hold + 100);
      take(5000); take(5000);
      playback.push("a", new Float32Array(100).fill(1));
      return { hold, longer: playback.hold, gap: take(playback.hold), sound: take(100),
               underruns: playback.underruns, played: playback.played };"""
    got = run(module_page, PLAYBACK + code)
    assert got["underruns"] == 1 and got["longer"] > got["hold"]
    assert set(got["gap"]) == {0} and set(got["sound"]) == {1} and got["played"] == 200


def test_a_dropped_item_fades_out_and_is_counted_as_heard_so_far(module_page: Page) -> None:
    code = """
      playback.push("a", new Float32Array(9600).fill(1));
      take(playback.hold + 1000);
      const dropped = playback.drop();
      return { dropped, FADE, rest: take(FADE), after: take(100), waiting: playback.waiting };"""
    got = run(module_page, PLAYBACK + code)
    assert got["dropped"] == {"item": "a", "heard": 1000 + got["FADE"]}
    assert np.all(np.diff(got["rest"]) < 0) and got["rest"][-1] == 0
    assert set(got["after"]) == {0} and got["waiting"] == 0


def test_an_item_that_was_not_begun_was_not_heard(module_page: Page) -> None:
    code = """
      playback.push("a", new Float32Array(9600).fill(1));
      take(10);
      return { dropped: playback.drop(), after: take(4000) };"""
    got = run(module_page, PLAYBACK + code)
    assert got["dropped"] == {"item": "a", "heard": 0} and set(got["after"]) == {0}


def test_the_recording_is_stereo_and_bounded(module_page: Page, tmp_path: Path) -> None:
    """Half an hour is kept: the block before it is gone, and the file says so by its length."""
    code = """
      const { Timeline } = await import("/timeline.js");
      const { wav } = await import("/files.js");
      const timeline = new Timeline(), blocks = 1800 * 25 + 1;
      const heard = new Int16Array(960).fill(100), said = new Int16Array(960).fill(-200);
      for (let i = 0; i < blocks; i++) timeline.add({ heard, said });
      const kept = timeline.recording();
      const few = { heard: kept.heard.slice(0, 2), said: kept.said.slice(0, 2) };
      const bytes = new Uint8Array(await wav(few).arrayBuffer());
      return { start: kept.startS, blocks: kept.heard.length,
               seconds: timeline.seconds, wav: btoa(String.fromCharCode(...bytes)) };"""
    got = run(module_page, code)
    assert got["blocks"] == 45_000 and got["start"] == pytest.approx(0.04)
    assert got["seconds"] == pytest.approx(1800.04)
    path = tmp_path / "kept.wav"
    path.write_bytes(base64.b64decode(got["wav"]))
    samples, rate = soundfile.read(path, dtype="int16")
    assert rate == RATE and samples.shape == (1920, 2)
    assert set(samples[:, 0]) == {100} and set(samples[:, 1]) == {-200}


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
    assert run(page, "return document.documentElement.scrollWidth") == 360
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
        self.page.route_web_socket(re.compile("/v1/realtime"), self.open)
        self.page.goto(host.url)

    def open(self, socket: Any) -> None:
        self.sockets.append(socket)
        socket.on_message(lambda text: self.sent.append(json.loads(text)))
        self.send(type="session.created", session={"type": "realtime", "model": "nano"})

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
    host.files.health = 200


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


def test_a_full_server_is_told_with_its_time(host: SimpleNamespace, talk: Talk) -> None:
    talk.page.get_by_role("button", name="End").click()
    host.files.health = 503
    talk.page.route_web_socket(re.compile("/v1/realtime"), lambda socket: socket.close(code=1013))
    talk.page.get_by_role("button", name="Start").click()
    talk.notice("The server is full. Trying again in 3 s.")


def test_a_token_that_is_asked_for_is_told(host: SimpleNamespace, talk: Talk) -> None:
    talk.page.get_by_role("button", name="End").click()
    host.files.health = 401
    talk.page.route_web_socket(re.compile("/v1/realtime"), lambda socket: socket.close(code=3000))
    talk.page.get_by_role("button", name="Start").click()
    talk.notice("The server asks for its token.")
    talk.page.get_by_role("status").get_by_text("Ended").wait_for()


def test_what_the_server_refuses_is_told(talk: Talk) -> None:
    talk.send(type="error", error={"code": "invalid_value", "message": "no such voice"})
    talk.notice("The server refuses: no such voice")


def test_a_microphone_that_is_not_allowed_is_told(host: SimpleNamespace, silence: Path) -> None:
    with browser(host.driver, silence, allowed=False) as refusing:
        page = refusing.new_page()
        page.goto(host.url)
        page.get_by_role("button", name="Start").click()
        page.get_by_role("alert").get_by_text("was not allowed to use the microphone").wait_for()
        page.get_by_role("button", name="Start").wait_for()
