"""The commands on a real engine and the tiny bundle: both modes, seeds, agreement, bad input."""

from __future__ import annotations

import contextlib
import json
import shutil
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
from parley.libraries import try_device
from parley_apps.main import main

RATE, CHUNK = 24_000, 3840
# Random weights seldom stop by themselves; short replies are enough here.
SHORT = ["--max-new-tokens", "60", "--threads", "1"]
LISTEN_AGAIN_S = 1.5


@pytest.fixture(autouse=True)
def _short_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parley.session.LISTEN_AGAIN_S", LISTEN_AGAIN_S)


def talk(bundle: Path, recording: Path, folder: Path, *flags: str) -> dict[str, Path]:
    """Runs talk with all its text outputs; returns their paths."""
    folder.mkdir()
    names = {"out": "o.wav", "text": "o.jsonl", "trace": "o.json"}
    paths = {flag: folder / name for flag, name in names.items()}
    outputs = [part for flag, path in paths.items() for part in (f"--{flag}", str(path))]
    assert main(["talk", str(bundle), "--in", str(recording), *outputs, *flags]) == 0
    return paths


def samples_of(path: Path) -> np.ndarray:
    with wave.open(str(path)) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (RATE, 2, 1)
        return np.frombuffer(file.readframes(file.getnframes()), "<i2")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("mode", ["turns", "duplex"])
def test_talk(mode: str, tiny_bundle: Path, recording: Path, tmp_path: Path) -> None:
    paths = talk(tiny_bundle, recording, tmp_path / "a", "--mode", mode, *SHORT)
    samples, lines = samples_of(paths["out"]), lines_of(paths["text"])
    assert samples.size % CHUNK == 0 and samples.size >= 1.5 * RATE
    started = [line["t"] for line in lines if line["event"] == "reply_started"]
    assert started, "the model answers"
    assert not samples[: round(started[0] * RATE)].any(), "silence before the reply"
    assert samples[round(started[0] * RATE) :].any(), "sound in it"
    events = json.loads(paths["trace"].read_text())["traceEvents"]
    spoken = [e["ts"] / 1e6 for e in events if e["name"] == "reply_started"]
    assert spoken == pytest.approx(started)
    steps = [e for e in events if e["ph"] == "B" and e["name"].startswith("step ")]
    assert len(steps) == samples.size // CHUNK
    stages = {e["name"] for e in events if e["ph"] == "B" and e["pid"] == steps[0]["pid"]}
    assert {"encoder", "backbone", "flow", "vocoder"} <= stages


@pytest.mark.parametrize("mode", ["turns", "duplex"])
def test_same_seed_same_files(
    mode: str, tiny_bundle: Path, recording: Path, tmp_path: Path
) -> None:
    made = {}
    for name, seed in (("a", "3"), ("b", "3"), ("c", "4")):
        flags = ["--mode", mode, "--seed", seed, *SHORT]
        made[name] = talk(tiny_bundle, recording, tmp_path / name, *flags)
    for kind in ("out", "text"):
        assert made["a"][kind].read_bytes() == made["b"][kind].read_bytes()
    assert made["a"]["out"].read_bytes() != made["c"]["out"].read_bytes()


def test_two_turns(tiny_bundle: Path, recording: Path, tmp_path: Path) -> None:
    flags = ["--mode", "turns", "--in", str(recording), *SHORT]
    paths = talk(tiny_bundle, recording, tmp_path / "a", *flags)
    lines = lines_of(paths["text"])
    order = [line["event"] for line in lines if line["event"] in ("speech_started", "reply_ended")]
    assert order == ["speech_started", "reply_ended"] * 2


def test_a_typed_turn(tiny_bundle: Path, tmp_path: Path) -> None:
    out, text = tmp_path / "o.wav", tmp_path / "o.jsonl"
    flags = ["--mode", "turns", "--say", "Hello!", "--out", str(out), "--text", str(text)]
    assert main(["talk", str(tiny_bundle), *flags, *SHORT]) == 0
    events = [line["event"] for line in lines_of(text)]
    assert events[0] == "text" and "reply_started" in events and "reply_ended" in events


def test_the_picture(tiny_bundle: Path, recording: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'parley[plot]'")
    png = tmp_path / "o.png"
    talk(tiny_bundle, recording, tmp_path / "a", "--plot", str(png), *SHORT)
    assert png.read_bytes().startswith(b"\x89PNG")


def test_show(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(tiny_bundle), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["modes"]) == {"turns", "duplex", "managed"} and told["notice"]
    assert told["stages"]["backbone"]["precision"] == "f32"
    assert main(["show", str(tiny_bundle)]) == 0
    out = capsys.readouterr().out
    for word in (*told["stages"], "licence", "voices", "vocabulary", told["notice"]):
        assert word in out


@pytest.mark.parametrize("mode", ["turns", "duplex"])
def test_bench(mode: str, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(tiny_bundle), "--seconds", "3", "--mode", mode, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["rtf"] > 0 and told["peak_memory_mb"] > 1
    assert told["step"]["p50_ms"] <= told["step"]["p95_ms"] <= told["step"]["p99_ms"]
    assert {"encoder", "backbone"} <= set(told["stages"])


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    checks = {check["name"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["ONNX Runtime"]["present"] and checks["llama.cpp"]["present"]


def golden_file() -> Path:
    return Path(__file__).resolve().parents[1] / "golden_data" / "tiny.npz"


def test_verify(tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tiny_bundle), "--golden", str(golden_file()), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    passed = {row["stage"] for row in told["rows"] if row["pass"]}
    wanted = {"turn1_greedy_tokens", "turn2_greedy_tokens", "t2w_latents", "t2w_wave", "field_out"}
    assert told["pass"] is True and wanted <= passed


def test_verify_tells_a_difference(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(golden_file()) as file:
        values = {key: file[key] for key in file.files}
    values["turn2_prefill_logits"][5] += 0.01
    path = tmp_path / "golden.npz"
    np.savez(path, **values)
    assert main(["verify", str(tiny_bundle), "--golden", str(path), "--json"]) == 1
    told = json.loads(capsys.readouterr().out)
    assert told["worst"]["stage"] == "turn2_prefill_logits"


@pytest.mark.parametrize("change", [("turn1_input_ids", 10**6), ("turn1_input_ids", -5)], ids=str)
def test_verify_with_an_unknown_token(
    change: tuple[str, int], tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(golden_file()) as file:
        values = {key: file[key] for key in file.files}
    values[change[0]][3] = change[1]
    path = tmp_path / "golden.npz"
    np.savez(path, **values)
    assert main(["verify", str(tiny_bundle), "--golden", str(path)]) == 3
    assert f"got {change[1]}" in capsys.readouterr().err


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A bundle that a test may damage."""
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def edit(bundle: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = bundle / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def flip_a_byte(bundle: Path) -> None:
    path = bundle / "backbone.gguf"
    data = bytearray(path.read_bytes())
    data[-100] ^= 1
    path.write_bytes(data)


def truncate(bundle: Path) -> None:
    path = bundle / "vocoder.onnx"
    path.write_bytes(path.read_bytes()[:-1])


def leave_the_folder(bundle: Path) -> None:
    shutil.copy(bundle / "backbone.gguf", bundle.parent / "outside.gguf")

    def change(manifest: dict[str, Any]) -> None:
        entry = manifest["files"].pop("backbone.gguf")
        manifest["files"]["../outside.gguf"] = entry
        manifest["backbone"]["file"] = "../outside.gguf"

    edit(bundle, change)


def link(bundle: Path) -> None:
    path = bundle / "backbone.gguf"
    path.symlink_to(path.rename(bundle.parent / "outside.gguf"))


BAD_BUNDLES: dict[str, Callable[[Path], None]] = {
    "a byte differs": flip_a_byte,
    "truncated": truncate,
    "a path leaves the folder": leave_the_folder,
    "a link leaves the folder": link,
    "a file is gone": lambda bundle: (bundle / "flow_field.onnx").unlink(),
    "schema version": lambda bundle: edit(bundle, lambda m: m.update(schema_version=2)),
    "unknown key": lambda bundle: edit(bundle, lambda m: m.update(colour="red")),
    "unknown operator": lambda bundle: edit(
        bundle, lambda m: m["graphs"]["vocoder"].update(custom_ops=["parley.Later"])
    ),
    "no JSON": lambda bundle: (bundle / "manifest.json").write_text("{"),
    "no manifest": lambda bundle: (bundle / "manifest.json").unlink(),
}


@pytest.mark.parametrize("what", BAD_BUNDLES)
def test_bad_bundles(
    what: str, copy: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    BAD_BUNDLES[what](copy)
    out = tmp_path / "o.wav"
    assert main(["talk", str(copy), "--in", str(recording), "--out", str(out)]) == 4
    error = [line for line in capsys.readouterr().err.splitlines() if "parley: error:" in line]
    assert len(error) == 1 and "expected" in error[0] and "got" in error[0]
    assert not out.exists()


def test_duplex_of_a_bundle_without_it(
    copy: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["duplex"] = None
        graph = manifest["graphs"].pop("encoder_chunk")
        for name in (graph["file"], *graph["external"]):
            del manifest["files"][name]
            (copy / name).unlink()

    edit(copy, change)
    flags = ["--in", str(recording), "--out", str(tmp_path / "o.wav"), "--mode", "duplex"]
    assert main(["talk", str(copy), *flags]) == 3
    told = capsys.readouterr().err
    assert "parley export --duplex" in told and "--mode turns" in told
    assert main(["talk", str(copy), *flags[:-1], "turns", *SHORT]) == 0


@pytest.mark.parametrize(
    "flags",
    [
        ["--temperature", "-1"],
        ["--temperature", "nan"],
        ["--top-p", "0"],
        ["--top-p", "1.5"],
        ["--voice", "nobody"],
        ["--mode", "duplex", "--say", "typed turns need mode turns"],
    ],
    ids=" ".join,
)
def test_bad_values_are_3(
    flags: list[str], tiny_bundle: Path, recording: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.wav"
    said = [] if "--say" in flags else ["--in", str(recording)]
    assert main(["talk", str(tiny_bundle), *said, "--out", str(out), *flags]) == 3
    assert not out.exists()


@pytest.mark.parametrize("variable", ["PARLEY_ONNXRUNTIME", "PARLEY_LLAMA"])
def test_a_missing_library_is_5(
    variable: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "none.so"))
    assert main(["bench", str(tiny_bundle)]) == 5
    assert main(["doctor"]) == 5


def test_a_missing_device_is_5(
    tiny_bundle: Path, recording: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(parley.LibraryError):
        try_device("tensorrt")
        pytest.skip("this machine has TensorRT")
    flags = ["--in", str(recording), "--out", str(tmp_path / "o.wav")]
    assert main(["talk", str(tiny_bundle), *flags, "--device", "tensorrt"]) == 5
    assert "onnxruntime-gpu" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_6_and_the_other_files_are_whole(
    tiny_bundle: Path, recording: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o.wav"
    flags = ["--in", str(recording), "--out", str(out), "--text", "/dev/full", *SHORT]
    assert main(["talk", str(tiny_bundle), *flags]) == 6
    assert parley.read_audio(out)[0].size > 0
    assert list(tmp_path.iterdir()) == [out]


def test_forty_minutes_as_one_turn(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "long.wav", tmp_path / "o.wav"
    parley.write_wav(path, np.zeros(40 * 60 * 4000, np.float32), 4000)
    flags = ["--in", str(path), "--out", str(out), "--mode", "turns"]
    assert main(["talk", str(tiny_bundle), *flags]) == 3
    assert "context" in capsys.readouterr().err and not out.exists()


def test_talk_with_managed_turns(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The demo's first commands: the engine ends their turns, the summary tells of them."""
    samples, rate = parley.read_audio(
        Path(__file__).resolve().parents[2] / "apps/parley_apps/data/conversation.wav"
    )
    recording = tmp_path / "user.wav"
    parley.write_wav(recording, samples[: 6 * rate], rate)
    flags = ["--mode", "managed", "--timer", "commit_plain=400", *SHORT]
    told = []
    for name in ("a", "b"):
        paths = talk(tiny_bundle, recording, tmp_path / name, *flags, "--json")
        told.append((json.loads(capsys.readouterr().out), paths["out"].read_bytes()))
    (first, sound), (again, same) = told
    assert sound == same and first["replies"] == again["replies"]
    assert first["turns"]["replied"] >= 1 and first["mode"] == "managed"
    turn = first["turn_reports"][0]
    assert 0.35 < turn["commit_s"] - turn["speech_end_s"] < 0.45
