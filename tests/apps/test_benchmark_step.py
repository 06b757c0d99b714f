"""`parley bench BUNDLE` over a scripted engine: its JSON and how long it runs."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import parley
import tolerances
from parley import ContextError
from parley_apps.benchmark.step import steps
from parley_apps.main import main
from scripted_bundle import ScriptedBundle, opener, two_replies

PERCENTILES = {"p50_ms", "p95_ms", "p99_ms"}


def run(
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    modes: tuple[str, ...] = ("turns", "duplex"),
) -> tuple[str, ScriptedBundle]:
    bundle = ScriptedBundle(two_replies(), modes)
    monkeypatch.setattr(parley, "open", opener(bundle, []))
    assert main(["bench", "b", *arguments]) == 0
    return capsys.readouterr().out, bundle


@pytest.mark.parametrize("mode", ["turns", "duplex"])
def test_json(
    mode: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--seconds", "3.2", "--mode", mode, "--json"]
    out, bundle = run(arguments, monkeypatch, capsys)
    told: dict[str, Any] = json.loads(out)
    assert {
        "rtf",
        "step",
        "speaking",
        "stages",
        "peak_memory_mb",
        "machine",
        "versions",
        "command",
    } <= set(told)
    assert set(told["step"]) == set(told["speaking"]) == PERCENTILES
    assert set(told["stages"]) == {"encoder", "backbone", "engine"}
    assert all(set(stage) == PERCENTILES for stage in told["stages"].values())
    assert told["step"]["p50_ms"] == 7.5 and told["rtf"] == pytest.approx(7.5 / 160)
    assert told["seconds"] == pytest.approx(3.2) and told["mode"] == mode
    calls = bundle.sessions[0].calls
    assert "reset" in calls, "the warm-up is another conversation"
    assert calls[calls.index("reset") :].count("step") == 20


def test_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    out, _ = run(["--seconds", "1"], monkeypatch, capsys)
    for word in ("step", "encoder", "backbone", "median", "real-time factor", "cores"):
        assert word in out


def test_overlap_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, bundle = run(["--seconds", "1", "--overlap"], monkeypatch, capsys)
    assert bundle.options[0]["overlap"] is True and "overlap" in out.splitlines()[0]
    out, _ = run(["--seconds", "1"], monkeypatch, capsys)
    assert "overlap" not in out


def test_other_processes_compute_beside_it_and_end_with_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    others: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def started(command: list[str]) -> subprocess.Popen[bytes]:
        others.append(start(command))
        return others[-1]

    monkeypatch.setattr(subprocess, "Popen", started)
    out, _ = run(["--seconds", "1", "--beside", "2"], monkeypatch, capsys)
    assert out.splitlines()[0].endswith("on cpu, beside 2 busy processes")
    assert [other.returncode for other in others] == [-signal.SIGKILL] * 2


def test_nano_is_measured_where_no_bundle_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[dict[str, Any]] = []
    monkeypatch.setattr(parley, "open", opener(ScriptedBundle(two_replies()), opened))
    assert main(["bench", "--seconds", "1"]) == 0 and opened[0]["path"] == "nano"
    assert main(["bench", "hour", "--hours", "0.02"]) == 0 and opened[1]["path"] == "nano"


def test_a_recording_as_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "in.wav"
    parley.write_wav(path, np.full(24_000, 0.25, np.float32))
    _, bundle = run(["--seconds", "2", "--in", str(path)], monkeypatch, capsys)
    assert bundle.sessions[0].chunks[0][0] == pytest.approx(0.25, abs=tolerances.PCM_16)


class TurnsSession:
    """Holds `room` turns of one step each, then refuses another until it is reset."""

    mode = "turns"

    def __init__(self, room: int) -> None:
        self.room = room
        self.position = 0
        self.resets = 0

    def play(self, samples: Any) -> Iterator[str]:
        if self.position == self.room:
            raise ContextError("full")
        self.position += 1
        yield "step"

    def reset(self) -> None:
        self.position = 0
        self.resets += 1


def test_a_full_context_begins_another_conversation() -> None:
    session: Any = TurnsSession(room=3)
    assert len(list(islice(steps(session, None), 10))) == 10
    assert session.resets == 3


def test_a_turn_that_never_fits_is_an_error() -> None:
    session: Any = TurnsSession(room=0)
    with pytest.raises(ContextError):
        next(steps(session, None))
