"""`parley talk` over a scripted engine: what it asks of the session and what it writes."""

from __future__ import annotations

import json
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
from parley_apps.main import main
from scripted_bundle import ScriptedBundle, opener, two_replies
from scripted_core import CHUNK, RATE


@pytest.fixture
def bundle() -> ScriptedBundle:
    return ScriptedBundle(two_replies())


@pytest.fixture
def opened(bundle: ScriptedBundle, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What parley.open was asked for."""
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr(parley, "open", opener(bundle, asked))
    return asked


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    path = tmp_path / "user.wav"
    parley.write_wav(path, np.full(2 * CHUNK + 100, 0.5, np.float32), RATE)
    return path


def read_wav(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (RATE, 2, 1)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


@pytest.mark.usefixtures("opened")
def test_writes_everything(
    bundle: ScriptedBundle, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'parley[plot]'")
    paths = {name: tmp_path / f"out.{name}" for name in ("wav", "jsonl", "json", "png")}
    flags = ["--out", paths["wav"], "--text", paths["jsonl"], "--trace", paths["json"]]
    arguments = ["talk", "b", "--in", recording, *flags, "--plot", paths["png"]]
    assert main([str(a) for a in arguments]) == 0
    steps = len(bundle.sessions[0].chunks)
    assert read_wav(paths["wav"]).size == steps * CHUNK
    lines = [json.loads(line) for line in paths["jsonl"].read_text().splitlines()]
    assert all({"t", "who", "event", "text"} <= set(line) for line in lines)
    assert json.loads(paths["json"].read_text())["traceEvents"]
    assert paths["png"].read_bytes().startswith(b"\x89PNG")
    out, err = capsys.readouterr()
    assert "Hello w\N{LATIN SMALL LETTER O WITH DIAERESIS}" in out and str(paths["wav"]) in out
    assert "for tests only" in err, "the licence notice is shown"


@pytest.mark.usefixtures("opened")
def test_turns_and_texts_keep_their_order(
    bundle: ScriptedBundle, recording: Path, tmp_path: Path
) -> None:
    out = str(tmp_path / "o.wav")
    said = ["--say", "first", "--in", str(recording), "--say", "last"]
    assert main(["talk", "b", *said, "--out", out]) == 0
    calls = [call for call in bundle.sessions[0].calls if call != "step"]
    assert calls[:2] == [("send_text", "first"), "end_turn"]
    assert calls[2] == ("send_text", "last")


def test_options_reach_bundle_and_session(
    bundle: ScriptedBundle, opened: list[dict[str, Any]], recording: Path, tmp_path: Path
) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Be brief. \N{SNOWMAN}\n", encoding="utf-8")
    options = "--seed 7 --voice v --temperature 0.5 --top-k 3 --top-p 0.9 --max-new-tokens 9"
    more = f"--device cuda --threads 2 --system @{prompt} --out {tmp_path / 'o.wav'}"
    assert main(["talk", "b", "--in", str(recording), *options.split(), *more.split()]) == 0
    assert opened[0] == {"path": "b", "device": "cuda", "threads": 2, "voice": "v", "kv": "f16"}
    expected = {"seed": 7, "temperature": 0.5, "top_k": 3, "top_p": 0.9, "max_new_tokens": 9}
    assert callable(bundle.options[0].pop("progress"))
    expected |= {"system": "Be brief. \N{SNOWMAN}\n", "timers": None}
    assert bundle.options[0] == expected


@pytest.mark.usefixtures("opened")
def test_json_summary(recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "o.wav")
    assert main(["talk", "b", "--in", str(recording), "--out", out, "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["mode"] == "turns" and summary["files"] == {"out": out}
    reply = summary["replies"][0]
    assert reply["text"] == " Hello w\N{LATIN SMALL LETTER O WITH DIAERESIS}"
    assert reply["reason"] == "model" and reply["start_s"] == pytest.approx(4 * 0.16)
    assert {"rtf", "step", "stages", "peak_memory_mb", "seconds"} <= set(summary)


@pytest.mark.usefixtures("opened")
def test_nothing_is_written_where_a_turn_fails(recording: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_bytes(b"RIFFoops")
    before = sorted(tmp_path.iterdir())
    arguments = ["--in", str(recording), "--in", str(bad), "--out", str(tmp_path / "o.wav")]
    assert main(["talk", "b", *arguments, "--text", str(tmp_path / "t.jsonl")]) == 3
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.usefixtures("opened")
def test_a_turn_beyond_the_context_fails_before_the_first_step(
    bundle: ScriptedBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "long.wav"
    parley.write_wav(path, np.zeros(40 * 60 * 4000, np.float32), 4000)
    assert main(["talk", "b", "--in", str(path), "--out", str(tmp_path / "o.wav")]) == 3
    assert "at most 600 s, got 2400.0 s" in capsys.readouterr().err
    assert bundle.sessions[0].calls == ["close"]
    assert not (tmp_path / "o.wav").exists()


@pytest.mark.usefixtures("opened")
@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (["--out", "{}/none/o.wav"], 6),
        (["--out", "{}"], 6),
        (["--out", "{}/o.wav", "--text", "{}/o.wav"], 3),
        (["--out", "{}/user.wav"], 3),
        (["--out", "{}/o.mp3"], 3),
        (["--out", "{}/o"], 3),
        (["--out", "{}/o.wav", "--system", "@{}/none.txt"], 6),
    ],
    ids=[
        "folder missing",
        "is a folder",
        "same file twice",
        "the input",
        "mp3",
        "none",
        "no prompt",
    ],
)
def test_bad_outputs_are_told_before_the_work(
    flags: list[str], code: int, bundle: ScriptedBundle, recording: Path, tmp_path: Path
) -> None:
    filled = [flag.format(tmp_path) for flag in flags]
    assert main(["talk", "b", "--in", str(recording), *filled]) == code
    assert bundle.sessions == []


@pytest.mark.usefixtures("opened")
def test_interrupted_writes_nothing(
    bundle: ScriptedBundle, recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("parley_apps.progress.Progress.update", stop)
    out = tmp_path / "o.wav"
    assert main(["talk", "b", "--in", str(recording), "--out", str(out)]) == 130
    assert not out.exists() and bundle.sessions[0].floor == "closed"


@pytest.mark.usefixtures("opened")
def test_without_matplotlib_a_plot_is_refused_at_once(
    bundle: ScriptedBundle,
    recording: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    flags = ["--out", str(tmp_path / "o.wav"), "--plot", str(tmp_path / "o.png")]
    assert main(["talk", "b", "--in", str(recording), *flags]) == 5
    assert "pip install 'parley[plot]'" in capsys.readouterr().err
    assert bundle.sessions == []


def test_timers_of_managed_turns(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["talk", "b", "--mode", "managed", "--timer", "patience=3"])
    assert "expected NAME=MS with one of onset, release" in capsys.readouterr().err
