"""`parley verify` over scripted stages: what passes, what fails, what is skipped and why."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import parley
import tolerances
from parley_apps import golden as compared
from parley_apps.main import main
from scripted_workbench import RATE, ScriptedWorkbench, as_opened, golden


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A golden file with its recordings beside it."""
    draw, recordings = np.random.default_rng(2), []
    for name, n in (("question_a.wav", 9600), ("question_b.wav", 7200)):
        path = tmp_path / name
        parley.write_wav(path, 0.3 * draw.standard_normal(n), RATE)
        recordings.append(parley.read_audio(path)[0])
    np.savez(tmp_path / "golden.npz", **golden(recordings))
    return tmp_path


def verify(
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    bench: ScriptedWorkbench | None = None,
    audio: list[str] | None = None,
) -> tuple[int, dict[str, Any]]:
    """The exit code and what --json printed."""
    asked = SimpleNamespace(options={})
    monkeypatch.setattr(parley, "open", as_opened(bench or ScriptedWorkbench(), asked))
    arguments = ["verify", "b", "--golden", str(path), "--json"]
    code = main([*arguments, *(["--audio", *audio] if audio else [])])
    assert asked.options == {} or asked.options["kv"] == "f32"
    return code, json.loads(capsys.readouterr().out)


def rewrite(folder: Path, **changes: Any) -> Path:
    """The golden file with keys changed; None leaves one out."""
    with np.load(folder / "golden.npz") as file:
        values = {key: file[key] for key in file.files} | changes
    path = folder / "changed.npz"
    np.savez(path, **{key: value for key, value in values.items() if value is not None})
    return path


def test_all_pass(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, told = verify(folder / "golden.npz", monkeypatch, capsys)
    assert code == 0 and told["pass"] is True
    assert all(row["pass"] for row in told["rows"])
    keys = {row["stage"] for row in told["rows"]}
    with np.load(folder / "golden.npz") as file:
        not_rows = {"t2w_codes", "t2w_noise", "vocoder_latents", "field_in_seed"}
        assert keys == set(file.files) - not_rows


# stage that is wrong, by how much -> the first row that fails
WRONG = {
    ("wav16k", 2e-4): "turn1_wav16k",
    ("log_mel", 2e-4): "turn1_log_mel",
    ("encoder", 1e-2): "turn1_encoder",
    ("features", 1e-2): "turn1_features",
    ("logits", 2e-3): "turn1_prefill_logits",
    ("first_step", 1.0): "t2w_latents_first_step",
    ("latents", 1.0): "t2w_latents",
    ("wave", 0.1): "t2w_wave",
    ("field", 0.1): "field_out",
    ("tokens", 0.0): "turn1_greedy_tokens",
}


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong[0])
def test_each_stage_can_fail(
    wrong: tuple[str, float],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, told = verify(folder / "golden.npz", monkeypatch, capsys, ScriptedWorkbench(*wrong))
    stages = [row["stage"] for row in told["rows"] if not row["pass"]]
    assert code == 1 and told["pass"] is False
    assert stages[0] == WRONG[wrong]
    assert told["worst"]["stage"] in stages


def test_errors_below_the_tolerance_pass(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = ScriptedWorkbench(wrong="logits", error=tolerances.LOGITS_ABS / 2)
    code, told = verify(folder / "golden.npz", monkeypatch, capsys, bench)
    assert code == 0
    assert told["worst"]["stage"].endswith("_logits")
    assert told["worst"]["figure"] == pytest.approx(
        tolerances.LOGITS_ABS / 2, abs=tolerances.LOGITS_ABS / 10
    )


def test_wrong_tokens_do_not_hide_later_logits(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = ScriptedWorkbench(wrong="tokens")
    _, told = verify(folder / "golden.npz", monkeypatch, capsys, bench)
    rows = {row["stage"]: row for row in told["rows"]}
    assert rows["turn2_step_logits"]["pass"] and not rows["turn2_greedy_tokens"]["pass"]
    assert rows["turn1_greedy_tokens"]["note"].startswith("first at ")


def test_missing_keys_are_left_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rewrite(folder, turn1_log_mel=None, t2w_wave=None, turn2_input_ids=None)
    code, told = verify(path, monkeypatch, capsys)
    assert code == 0
    stages = {row["stage"] for row in told["rows"]}
    assert "turn1_log_mel" not in stages and "t2w_wave" not in stages
    assert "turn1_greedy_tokens" in stages and "turn2_greedy_tokens" not in stages


def test_without_recordings_the_golden_features_are_used(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("question_a.wav", "question_b.wav"):
        (folder / name).unlink()
    code, told = verify(folder / "golden.npz", monkeypatch, capsys)
    rows = {row["stage"]: row for row in told["rows"]}
    assert code == 0
    assert rows["turn1_features"]["pass"] is None and "--audio" in rows["turn1_features"]["note"]
    assert rows["turn2_greedy_tokens"]["pass"] is True


def test_recordings_in_the_audio_folder_beside(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("audio", "reference"):
        (folder / place).mkdir()
    for name in ("question_a.wav", "question_b.wav"):
        (folder / name).rename(folder / "audio" / name)
    path = (folder / "golden.npz").rename(folder / "reference" / "golden.npz")
    code, told = verify(path, monkeypatch, capsys)
    assert code == 0 and all(row["pass"] for row in told["rows"])


def test_recordings_that_are_given(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = []
    for letter in "ab":
        names.append(str((folder / f"question_{letter}.wav").rename(folder / f"{letter}.wav")))
    code, told = verify(folder / "golden.npz", monkeypatch, capsys, audio=names)
    assert code == 0 and all(row["pass"] for row in told["rows"])
    code, told = verify(folder / "golden.npz", monkeypatch, capsys, audio=names[::-1])
    assert code == 1, "the wrong way round"


def test_other_lengths_fail_and_say_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = rewrite(folder, t2w_wave=np.zeros(3, np.float32))
    code, told = verify(path, monkeypatch, capsys)
    row = next(row for row in told["rows"] if row["stage"] == "t2w_wave")
    assert code == 1 and row["figure"] is None and row["note"] == "shape [70], golden [3]"


def test_table_for_people(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bench = ScriptedWorkbench(wrong="wave", error=0.1)
    monkeypatch.setattr(parley, "open", as_opened(bench, SimpleNamespace()))
    assert main(["verify", "b", "--golden", str(folder / "golden.npz")]) == 1
    out = capsys.readouterr().out
    assert "FAIL" in out and "pass" in out and "worst: " in out and "2 of 22 differ" in out


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04damaged", None])
def test_bad_golden_files(
    content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "golden.npz"
    if content is not None:
        path.write_bytes(content)
    assert main(["verify", "b", "--golden", str(path)]) == 3
    assert str(path) in capsys.readouterr().err


def test_a_golden_file_never_runs_code(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    np.savez(path, turn1_features=np.array([{"a": 1}], dtype=object))
    assert main(["verify", "b", "--golden", str(path)]) == 3


def test_nothing_to_compare(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = folder / "other.npz"
    np.savez(path, something=np.zeros(3))
    code, told = verify(path, monkeypatch, capsys)
    assert code == 3 and "at least one key" in told["error"]["message"]


def test_metrics() -> None:
    a, b = np.array([1.0, 2.0, 2.0]), np.array([1.0, 2.0, 1.0])
    assert compared.max_abs(a, b) == 1.0
    assert compared.relative_error(a, b) == pytest.approx(0.5)
    assert compared.snr_db(a, b) == pytest.approx(10 * np.log10(6.0))
    assert compared.snr_db(b, b) == np.inf
    assert not compared.compare("x", "logits", np.array([np.nan]), np.array([0.0])).passed
    assert compared.compare("x", "wave24k", b, b).strain == 0.0


def test_tolerances_are_the_promised_ones() -> None:
    told = {kind: value for kind, (_, value) in compared.TOLERANCES.items()}
    assert told == {
        "wave16k": tolerances.WAVE16K_ABS,
        "log_mel": tolerances.LOG_MEL_ABS,
        "encoder": tolerances.ENCODER_REL,
        "features": tolerances.ENCODER_REL,
        "logits": tolerances.LOGITS_ABS,
        "feedback": tolerances.FEEDBACK_ABS,
        "tokens": 0.0,
        "latents": tolerances.LATENTS_REL,
        "field": tolerances.LATENTS_REL,
        "wave24k": tolerances.WAVE_SNR_DB,
        "wave_of_source": tolerances.SOURCE_WAVE_SNR_DB,
    }
