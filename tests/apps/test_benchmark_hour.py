"""A long conversation: minutes, lines through them, the command over a script, the picture."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

import parley
from parley_apps.benchmark import hour
from parley_apps.main import main
from scripted_bundle import ScriptedBundle, opener, two_replies
from tolerances import LINE_ABS

CHUNKS = 375  # of 0.16 s in a minute


def test_minutes() -> None:
    log = hour.Log(chunk_s=0.16)
    for n in range(2 * CHUNKS + 5):
        speaking = n % 3 == 0
        log.add(60.0 if speaking else 2.0, 50.0 if speaking else 1.0, speaking, positions=n)
    assert [minute.chunks for minute in log.minutes] == [CHUNKS] * 2
    first, second = log.minutes
    assert first.speaking_chunks == CHUNKS // 3 and first.positions == CHUNKS - 1
    assert (first.median_ms, first.p99_ms, first.speaking_median_ms) == (2.0, 60.0, 60.0)
    assert (second.cpu_p99_ms, second.cpu_speaking_median_ms) == (50.0, 50.0)
    assert second.memory_mb > 1


def minute(ms: float, memory_mb: float) -> hour.Minute:
    return hour.Minute(CHUNKS, 100, ms, 2 * ms, ms, ms, ms, memory_mb, 0)


def test_lines() -> None:
    assert hour.slope_per_hour([5.0]) == 0.0
    assert hour.slope_per_hour([1.0, 2.0, 3.0]) == pytest.approx(60.0)
    # Two minutes of settling, then 30 MiB per hour and no change of cost.
    rows = [minute(9.0, 10.0), minute(9.0, 20.0), *(minute(4.0, 100 + 0.5 * k) for k in range(9))]
    told = hour.summary(rows)
    assert told["settled_minutes"] == 9 and told["speaking_share"] == pytest.approx(100 / CHUNKS)
    memory = told["lines"]["memory_mb"]
    assert memory["median"] == pytest.approx(102.0) and memory["per_hour"] == pytest.approx(30.0)
    assert memory["percent_per_hour"] == pytest.approx(100 * 30 / 102)
    assert told["lines"]["median_ms"]["per_hour"] == pytest.approx(0.0, abs=LINE_ABS)


def test_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="pip install 'parley[plot]'")
    bundle = ScriptedBundle(two_replies(), ("duplex",))
    monkeypatch.setattr(parley, "open", opener(bundle, []))
    arguments = ["bench", "hour", "b", "--hours", "0.05", "--plot", str(tmp_path / "flat.png")]
    assert main([*arguments, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["minutes"]) == 3 and told["hours"] == pytest.approx(0.05)
    assert told["lines"]["median_ms"]["median"] == 7.5
    data = (tmp_path / "flat.png").read_bytes()
    assert data.startswith(b"\x89PNG\r\n\x1a\n") and struct.unpack(">II", data[16:24])[0] > 800
    assert bundle.options[-1]["overlap"] is False and told["overlap"] is False
    assert main(arguments[:5]) == 0
    out = capsys.readouterr().out
    assert "resident memory" in out and "overlap" not in out
    assert main([*arguments[:5], "--overlap"]) == 0
    assert bundle.options[-1]["overlap"] is True
    assert "mode duplex, overlap" in capsys.readouterr().out.splitlines()[0]
