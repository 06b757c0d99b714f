"""`parley talk` live, without devices: what it shows and keeps, and that it can be held again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import parley
from parley_apps import options
from parley_apps.live.keys import Keys
from parley_apps.live.record import Recording
from parley_apps.live.screen import Screen, meter
from parley_apps.main import main

ROOT = Path(__file__).parents[2]
NANO = ROOT / "models" / "nano" / "bundle"
BLOCK = 480  # 10 ms at 48 kHz
SESSION = dict.fromkeys(options.SESSION) | {"seed": 7}

pytestmark = [
    pytest.mark.nano,
    pytest.mark.skipif(not NANO.is_dir(), reason="no models/nano/bundle; make nano makes one"),
]


def greeting() -> np.ndarray:
    """A user who says hello, and nano's answer cut off at 3 s; at 48 kHz."""
    samples, rate = parley.read_audio(ROOT / "apps/parley_apps/data/conversation.wav")
    return np.repeat(samples[: 4 * rate], 48_000 // rate)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a conversation in which the reply was interrupted."""
    folder, sound = tmp_path_factory.mktemp("live") / "kept", greeting()
    with parley.open(NANO, threads=1) as bundle:
        recording = Recording(folder, bundle, SESSION)
        with bundle.live(devices=False, start=False, record=True, **SESSION) as live:
            for at in range(0, sound.size, BLOCK):
                if at == 3 * 48_000:
                    live.interrupt()
                live.capture(sound[at : at + BLOCK])
                live.render(BLOCK)
                while live.turn():
                    pass
                while (event := live.wait(0)) is not None:
                    recording.event(event)
                recording.take(live.recorded())
        recording.close()
    return folder


@pytest.fixture
def folder(kept: Path, tmp_path: Path) -> Path:
    """A copy to be changed."""
    return Path(shutil.copytree(kept, tmp_path / "kept"))


def replay(folder: Path, *more: str) -> int:
    return main(["talk", str(NANO), "--threads", "1", "--replay", str(folder), *more])


def test_a_recorded_conversation_is_held_again(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "again.wav"
    assert replay(kept, "--out", str(out)) == 0
    told = capsys.readouterr().out
    assert "hello how" in told and "[interrupted]" in told
    assert told.endswith("3.8 s again: the same samples\n")
    assert parley.read_audio(out)[0].size == soundfile.info(kept / "said.wav").frames


def test_by_json(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert replay(kept, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["same"] and [reply["reason"] for reply in told["replies"]] == ["interrupted"]


def test_other_samples_are_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said, rate = soundfile.read(folder / "said.wav", dtype="float32")
    said[-1] += 0.25
    soundfile.write(folder / "said.wav", said, rate, subtype="FLOAT")
    assert replay(folder) == 1
    assert "other samples" in capsys.readouterr().out


def test_what_a_killed_conversation_left_is_held_again(folder: Path) -> None:
    """The sizes in the headers are not known then, and the last line has no end."""
    for name in ("heard.wav", "said.wav"):
        data = bytearray((folder / name).read_bytes())
        place = data.index(b"data") + 4
        data[place : place + 4] = bytes(4)
        (folder / name).write_bytes(data)
    with (folder / "events.jsonl").open("a") as file:
        file.write('{"kind": "st')
    assert replay(folder) == 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("conversation.json", "{"),
        ("conversation.json", "[]"),
        ("conversation.json", '{"session": {"seed": 1}}'),
        ("events.jsonl", "no line\n"),
        ("events.jsonl", "[]\n"),
        ("heard.wav", "no sound"),
    ],
)
def test_a_damaged_recording_is_3(
    name: str, content: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / name).write_text(content)
    assert replay(folder) == 3
    assert str(folder) in capsys.readouterr().err


def test_another_bundle_s_rate_is_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soundfile.write(folder / "heard.wav", np.zeros(16_000, np.float32), 16_000, subtype="FLOAT")
    assert replay(folder) == 3
    assert "got 16000 Hz" in capsys.readouterr().err


def test_no_recording_is_6(tmp_path: Path) -> None:
    assert replay(tmp_path) == 6


def test_what_cannot_be_written_is_told_before_the_work(
    kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert replay(kept, "--out", str(tmp_path / "none" / "o.wav")) == 6
    assert "again" not in capsys.readouterr().out


@pytest.fixture
def without_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Bundle.live` hears the greeting's first half second and has no loudspeaker."""
    open_live = parley.Bundle.live

    def live(bundle: parley.Bundle, *, input: str, output: str, **options: Any) -> parley.Live:
        opened = open_live(bundle, devices=False, **options)
        opened.capture(greeting()[:24_000])
        return opened

    monkeypatch.setattr(parley.Bundle, "live", live)


@pytest.mark.usefixtures("without_devices")
@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_the_command_until_q(
    flags: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, others = tmp_path / "new", [" ", "m", "m"]

    def pressed(_: Keys) -> str:
        if others:
            return others.pop()
        return "q" if (folder / "events.jsonl").read_text().count('"kind": "step"') >= 2 else ""

    monkeypatch.setattr(Keys, "pressed", pressed)
    assert main(["talk", str(NANO), "--threads", "1", "--record", str(folder), *flags]) == 0
    out, steps = capsys.readouterr().out, soundfile.info(folder / "heard.wav").frames // 3840
    if flags:
        told = json.loads(out)
        assert told["steps"] == steps >= 2 and told["step_p95_ms"] >= told["step_p50_ms"] > 0
    else:
        assert out.startswith("microphone: ") and f"{steps} steps of 160 ms took" in out


def test_a_microphone_that_is_not_there_is_3_and_the_recording_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def live(bundle: parley.Bundle, **options: Any) -> parley.Live:
        raise parley.InputError("[live.devices] expected a microphone, got none; plug one in")

    monkeypatch.setattr(parley.Bundle, "live", live)
    assert main(["talk", str(NANO), "--record", str(tmp_path / "new")]) == 3
    assert "plug one in" in capsys.readouterr().err
    assert soundfile.info(tmp_path / "new" / "heard.wav").frames == 0


@pytest.mark.parametrize(
    ("level", "bar"),
    [
        (0.0, "[          ]"),
        (1e-3, "[          ]"),
        (0.0316, "[#####     ]"),
        (2.0, "[##########]"),
    ],
)
def test_the_meter_is_in_decibels(level: float, bar: str) -> None:
    assert meter(level) == bar


def test_what_happens_is_told_in_lines(capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(160.0)
    for kind, more in (
        ("late", {"stage": "flow"}),
        ("missing", {"count": 80}),
        ("echo_found", {"lag_s": 0.08}),
        ("device_lost", {"text": "Headset"}),
        ("think", {}),
    ):
        screen.show(parley.LiveEvent(kind, 24_000, 1.0, **more))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and all(line.startswith("   1.00 s  ") for line in lines)
    assert "most of it: flow" in lines[0] and "80 samples" in lines[1] and "80 ms" in lines[2]
    assert "Headset went away" in lines[3]


def test_managed_turns_are_not_replayed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = json.loads((folder / "conversation.json").read_text())
    about["session"]["mode"] = "managed"
    (folder / "conversation.json").write_text(json.dumps(about))
    assert replay(folder) == 3
    assert "managed turns, whose samples hang on when" in capsys.readouterr().err
