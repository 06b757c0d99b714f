"""`parley eval duplex` over a scripted engine, and the scenario format with its errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
from parley_apps.evaluation import evaluate, load_scenarios, runs, speech
from parley_apps.evaluation.scenarios import load_renderings
from parley_apps.main import main
from scripted_bundle import ScriptedBundle, opener
from scripted_core import CHUNK, RATE, reply

# The user speaks in chunks 2 to 5; the scripted model answers in chunk 7, in time.
TURN = {"start_s": 0.4, "end_s": 0.9, "text": "hi", "reply": "Hello you", "reply_s": 0.8}
SCRIPT = reply(7, 5, [" hello", " you"])


def write(folder: Path, name: str, what: Any, chunks: int = 20) -> Path:
    folder.mkdir(exist_ok=True)
    samples = np.zeros(chunks * CHUNK, np.float32)
    samples[2 * CHUNK : 5 * CHUNK] = 0.2
    samples[8 * CHUNK : 13 * CHUNK] = 0.1  # the scripted model's sound: half of what it gets
    parley.write_wav(folder / f"{name}.wav", samples, RATE)
    path = folder / f"{name}.json"
    path.write_text(what if isinstance(what, str) else json.dumps(what))
    return path


@pytest.fixture
def scenarios(tmp_path: Path) -> Path:
    folder = tmp_path / "scenarios"
    write(folder, "a", {"kind": "turn", "turns": [TURN], "tags": {"split": "one"}})
    write(folder, "b", {"kind": "turn", "turns": [TURN], "tags": {"split": "two"}})
    pauses = [{"start_s": 0.6, "end_s": 0.7}]
    write(folder, "c", {"kind": "pause", "turns": [TURN], "pauses": pauses})
    word = {"start_s": 1.45, "end_s": 1.6}
    write(folder, "d", {"kind": "backchannel", "turns": [TURN], "backchannels": [word]})
    stop = {**word, "text": "stop", "reply": None}
    write(folder, "e", {"kind": "interruption_stop", "turns": [TURN], "interruptions": [stop]})
    write(folder, "f", {"kind": "noise"})
    write(folder, "g", {"kind": "long", "turns": [TURN]})
    return folder


@pytest.fixture
def bundle(monkeypatch: pytest.MonkeyPatch) -> ScriptedBundle:
    bundle = ScriptedBundle(SCRIPT, modes=["duplex"])
    monkeypatch.setattr(parley, "open", opener(bundle, []))
    return bundle


def run(scenarios: Path, *more: str) -> int:
    return main(["eval", "duplex", "b", "--scenarios", str(scenarios), "--no-speech", *more])


def test_json(scenarios: Path, bundle: ScriptedBundle, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(scenarios, "--json", "--seed", "3") == 0
    told = json.loads(capsys.readouterr().out)
    groups = {(g["kind"], g["split"]): g for g in told["summary"]["groups"]}
    assert groups["turn", None]["n"] == 2 and groups["turn", None]["exact"]["rate"] == 1.0
    assert groups["turn", "one"]["n"] == groups["turn", "two"]["n"] == 1
    assert groups["backchannel", None]["success"]["k"] == 1
    assert groups["noise", None]["success"]["k"] == 0, "the script speaks without being asked"
    stop = groups["interruption_stop", None]
    assert stop["dropped_why"] == {"reply was over": 1}, "the reply ended by itself"
    rows = {s["name"]: s["rows"] for s in told["scenarios"]}
    (turn,) = rows["a"]
    assert turn["said"] == "hello you" and turn["expected"] == "Hello you"
    # SHIFT in chunk 7 is decided at its end; the sound of step 8 is heard in chunk 9.
    assert turn["shift_ms"] == pytest.approx(1000 * (8 * 0.16 - 0.9))
    assert turn["sound_ms"] == pytest.approx(1000 * (9 * 0.16 - 0.9))
    assert told["speech"] is None and told["seed"] == 3
    assert told["summary"]["false_starts"]["in_noise"]["count"] == 1
    assert len(bundle.sessions) == 7
    assert all(o == {"seed": 3, "timers": None, "observe": True} for o in bundle.options)
    assert all(s.mode == "duplex" and s.calls[-1] == "close" for s in bundle.sessions)


def test_table_and_picture(
    scenarios: Path, bundle: ScriptedBundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'parley[plot]'")
    picture = tmp_path / "behaviour.png"
    saved = tmp_path / "result.json"
    assert run(scenarios, "--plot", str(picture), "--save", str(saved)) == 0
    out = capsys.readouterr().out
    assert json.loads(saved.read_text())["bundle"] == "scripted"
    for word in ("turn-taking", "  one", "backchannel", "SHIFT 380 / 380", "false starts"):
        assert word in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_limit_counts_per_kind_and_split(
    scenarios: Path, bundle: ScriptedBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    write(scenarios, "h", {"kind": "noise"})
    assert run(scenarios, "--limit", "1", "--json") == 0
    names = [s["name"] for s in json.loads(capsys.readouterr().out)["scenarios"]]
    assert len(names) == 7 and {"a", "b", "c"} <= set(names)
    every = load_scenarios(scenarios)
    assert len({s.name for n in range(8) for s in runs.choose(every, 1, n)}) == 8


def test_several_bundles_by_the_function(scenarios: Path) -> None:
    some = [s for s in load_scenarios(scenarios) if s.kind == "turn"]
    scripts = (SCRIPT, reply(7, 5, [" hello", " them"]))
    results = [
        evaluate(ScriptedBundle(script, modes=["duplex"]), some, workers=1)  # type: ignore[arg-type]
        for script in scripts
    ]
    assert [r["summary"]["groups"][0]["exact"]["k"] for r in results] == [2, 0]


def test_an_unreadable_recording_ends_the_evaluation(
    scenarios: Path, bundle: ScriptedBundle, capsys: pytest.CaptureFixture[str]
) -> None:
    (scenarios / "c.wav").write_bytes(b"no recording")
    assert run(scenarios) == 3
    assert "c.wav" in capsys.readouterr().err


def test_cancelling_ends_the_evaluation(scenarios: Path, bundle: ScriptedBundle) -> None:
    make = bundle.session

    def failing(*arguments: Any, **options: Any) -> parley.Session:
        made = make(*arguments, **options)
        bundle.sessions[-1].fail_at = 3
        return made

    bundle.session = failing  # type: ignore[method-assign]
    assert run(scenarios) == 130


GOOD = {"kind": "turn", "turns": [TURN]}


@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("{", "JSON"),
        ([], "an object"),
        ({"turns": [TURN]}, "a kind of turn, pause"),
        ({"kind": "turns", "turns": [TURN]}, "'turns'"),
        ({**GOOD, "turn": []}, "turn"),
        ({**GOOD, "turns": {}}, "turns as a list"),
        ({**GOOD, "turns": []}, "turns in kind turn"),
        ({**GOOD, "turns": ["x"]}, "an object in turns"),
        ({**GOOD, "turns": [{**TURN, "begin": 1}]}, "begin"),
        ({**GOOD, "turns": [{"start_s": 0.1}]}, "end_s"),
        ({**GOOD, "turns": [{**TURN, "end_s": "1"}]}, "'1'"),
        ({**GOOD, "turns": [{**TURN, "end_s": True}]}, "True"),
        ({**GOOD, "turns": [{**TURN, "end_s": 0.4}]}, "start_s < end_s"),
        ({**GOOD, "turns": [{**TURN, "end_s": 99.0}]}, "inside the recording of 3.20 s"),
        ({**GOOD, "turns": [{**TURN, "reply": 3}]}, "a text as reply"),
        ({**GOOD, "tags": "x"}, "tags"),
        ({**GOOD, "kind": "pause"}, "pauses in kind pause"),
        ({**GOOD, "kind": "pause", "pauses": [{"start_s": 2, "end_s": 3}]}, "inside a turn"),
        ({**GOOD, "kind": "backchannel"}, "backchannels"),
        ({**GOOD, "kind": "noise"}, "no turn"),
        (
            {**GOOD, "kind": "interruption_command", "interruptions": [{**TURN, "reply": None}]},
            "a reply to the interrupting command",
        ),
    ],
)
def test_errors_name_the_file_and_what_is_wrong(tmp_path: Path, what: Any, told: str) -> None:
    path = write(tmp_path / "s", "bad", what)
    with pytest.raises(parley.InputError) as caught:
        load_scenarios(path.parent)
    assert told in str(caught.value) and "bad.json" in str(caught.value)


def test_errors_of_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path) == 3
    assert "NAME.wav with NAME.json" in capsys.readouterr().err
    for path, what in ((tmp_path / "missing", "no such folder"), (Path(__file__), "a file")):
        assert run(path) == 3
        told = capsys.readouterr().err
        assert f"[evaluation.read] expected a folder of scenarios at {path}, got {what}" in told
    write(tmp_path, "x", GOOD)
    (tmp_path / "x.wav").unlink()
    assert run(tmp_path) == 3
    assert "x.wav" in capsys.readouterr().err


def test_renderings_need_their_words(tmp_path: Path) -> None:
    assert load_renderings(tmp_path) == []
    folder = tmp_path / "replies"
    folder.mkdir()
    parley.write_wav(folder / "one.wav", np.zeros(CHUNK, np.float32))
    with pytest.raises(parley.InputError, match=r"one\.txt"):
        load_renderings(tmp_path)
    (folder / "one.txt").write_text("hello you\n")
    assert [r.text for r in load_renderings(tmp_path)] == ["hello you"]


def test_without_the_recogniser(
    scenarios: Path,
    bundle: ScriptedBundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(speech.importlib.util, "find_spec", lambda name: None)
    assert main(["eval", "duplex", "b", "--scenarios", str(scenarios), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["speech"] is None and "pip install 'parley[eval]'" in err
    with pytest.raises(ImportError, match="pocketsphinx"):
        evaluate(bundle, load_scenarios(scenarios), sample_speech=1)  # type: ignore[arg-type]


class _Ears:
    """Stands for the recogniser: hears the same from everything."""

    def __init__(self, sentences: list[str]) -> None:
        self.known = set(sentences)

    def hear(self, sound: np.ndarray, rate: int) -> str:
        assert rate == RATE and np.abs(sound).max() > 0.04
        return "hello you"


def test_speech_check(
    scenarios: Path,
    bundle: ScriptedBundle,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(speech, "is_installed", lambda: True)
    monkeypatch.setattr(speech, "Recogniser", _Ears)
    folder = scenarios / "replies"
    folder.mkdir()
    parley.write_wav(folder / "one.wav", np.full(CHUNK, 0.1, np.float32))
    (folder / "one.txt").write_text("Hello you")
    arguments = ["eval", "duplex", "b", "--scenarios", str(scenarios), "--sample-speech", "2"]
    assert main([*arguments, "--json"]) == 0
    heard = json.loads(capsys.readouterr().out)["speech"]
    assert (heard["n"], heard["expected"]["k"], heard["reference"]["k"]) == (2, 2, 2)
    assert main(arguments) == 0
    assert "100.0 % from the reference" in capsys.readouterr().out


def test_resampling_keeps_a_tone() -> None:
    time_s = np.arange(24_000) / 24_000
    tone = np.sin(2 * np.pi * 440 * time_s).astype(np.float32)
    got = speech.resampled(tone, 24_000, 16_000)
    assert got.size == 16_000
    spectrum = np.abs(np.fft.rfft(got))
    assert int(spectrum.argmax()) == 440 and round(spectrum.max() / 100) == 80
