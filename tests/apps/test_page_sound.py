"""The web page's sound and files in a real browser: rates, playback, recording; no model."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile

import tolerances

if TYPE_CHECKING:
    from playwright.sync_api import Page

RATE = 24_000


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


def test_an_item_that_waits_for_late_sound_is_dropped_in_silence(module_page: Page) -> None:
    code = """
      playback.push("a", new Float32Array(100).fill(1));
      take(playback.hold + 100);
      take(5000);
      playback.push("a", new Float32Array(9600).fill(1));
      take(10);
      return { dropped: playback.drop(), after: take(20000) };"""
    got = run(module_page, PLAYBACK + code)
    assert got["dropped"] == {"item": "a", "heard": 100} and set(got["after"]) == {0}


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
