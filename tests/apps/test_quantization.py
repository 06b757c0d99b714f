"""`parley eval quantization`: what is compared, and that finished parts are not done again."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import parley
from parley_apps.evaluation import comparison, quantization
from parley_apps.main import main
from scripted_bundle import ScriptedBundle
from scripted_core import CHUNK, RATE, reply


def result(turns: list[tuple[bool | None, bool | None]]) -> dict[str, Any]:
    """What `evaluate` gives for turns of (success, exact), as far as it is compared."""
    counted = [ok for ok, _ in turns if ok is not None]
    share = {"n": len(counted), "k": sum(counted), "rate": 0.5, "low": 0.0, "high": 1.0}
    group = {"kind": "turn", "split": None, "success": share, "exact": share}
    rows = [{"item": "turn", "start_s": 1.0, "success": ok, "exact": same} for ok, same in turns]
    return {
        "summary": {"groups": [{**group, "word_error_rate": 0.25}]},
        "scenarios": [{"name": f"s{n}", "rows": [row]} for n, row in enumerate(rows)],
    }


def test_pairs_are_counted_on_the_same_scenarios() -> None:
    before = [(True, True)] * 8 + [(False, False)] * 2 + [(None, None), (True, None)]
    after = [(True, False)] * 8 + [(False, True)] + [(True, False)] + [(True, True), (False, None)]
    table = comparison.compare(
        {"f32": result(before), "q2_k": result(after)}, {"f32": 3_000_000, "q2_k": 500_000}
    )
    first, second = table["rows"]
    assert first["decisions"] == {"n": 11, "worse": 0, "better": 0, "p": 1.0}
    assert second["decisions"]["worse"] == 1 and second["decisions"]["better"] == 1
    assert (second["replies"]["worse"], second["replies"]["better"]) == (8, 1)
    # 2 (C(9, 0) + C(9, 1)) / 2^9
    assert second["replies"]["p"] == 20 / 512
    assert table["broken"] == {"decisions": [], "replies": ["q2_k"]}
    text = "\n".join(comparison.lines(table))
    assert (
        "| q2_k | 0.5 | 50.0 (12) | - | - | - | 50.0 (12) | 25.0 | -1 / +1 | -8 / +1, p 0" in text
    )
    assert "Worse replies than chance explains (p < 0.05): q2_k." in text


def test_sign_test() -> None:
    assert comparison.sign_test(0, 0) == 1.0
    assert comparison.sign_test(6, 0) == comparison.sign_test(0, 6) == 2 / 64
    assert comparison.sign_test(3, 4) == 1.0


@pytest.fixture
def scenarios(tmp_path: Path) -> Path:
    folder = tmp_path / "scenarios"
    folder.mkdir()
    parley.write_wav(folder / "a.wav", np.zeros(20 * CHUNK, np.float32), RATE)
    turn = {"start_s": 0.4, "end_s": 0.9, "text": "hi", "reply": "Hello you"}
    (folder / "a.json").write_text(json.dumps({"kind": "turn", "turns": [turn]}))
    return folder


class Machine:
    """Exports that write only what is looked at, and bundles that say what their name asks."""

    def __init__(self) -> None:
        self.exported: list[list[str]] = []
        self.opened: list[tuple[str, str]] = []

    def export(self, command: list[str], **_: Any) -> SimpleNamespace:
        self.exported.append(command)
        if "q2_k" in command:
            return SimpleNamespace(returncode=4, stderr="parley export: widths do not fit")
        bundle = Path(command[command.index("--out") + 1])
        bundle.mkdir()
        (bundle / "manifest.json").write_text("{}")
        (bundle / "backbone.gguf").write_bytes(b"x" * 1000)
        return SimpleNamespace(returncode=0, stderr="")

    def open(self, path: Path, *, threads: int, kv: str) -> ScriptedBundle:
        self.opened.append((path.name, kv))
        words = [" hello", " you" if path.name.startswith("f32") else " them"]
        return ScriptedBundle(reply(7, 5, words), modes=["duplex"])


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    fake = SimpleNamespace(run=machine.export, DEVNULL=subprocess.DEVNULL, PIPE=subprocess.PIPE)
    monkeypatch.setattr(quantization, "subprocess", fake)
    monkeypatch.setattr(parley, "open", machine.open)
    return machine


def run(scenarios: Path, types: str) -> int:
    work = str(scenarios.parent / "work")
    checkpoint = scenarios.parent / "checkpoint"
    checkpoint.mkdir(exist_ok=True)
    command = ["eval", "quantization", str(checkpoint), "--scenarios", str(scenarios)]
    return main([*command, "--work", work, "--types", types, "--json"])


def test_every_type_once(
    scenarios: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scenarios, "f32,q4_0+f16") == 0
    told = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in told["rows"]] == ["f32", "q4_0+f16"]
    assert told["rows"][1]["replies"]["worse"] == 1
    assert [c[c.index("--backbone") + 1] for c in machine.exported] == ["f32", "q4_0"]
    assert [c[c.index("--graphs") + 1] for c in machine.exported] == ["f32", "f16"]
    # Another cache needs no other bundle, and what was held is not held again.
    assert run(scenarios, "f32,q4_0+f16,q4_0+f16+q8_0") == 0
    assert len(machine.exported) == 2
    assert machine.opened == [("f32+f32", "f16"), ("q4_0+f16", "f16"), ("q4_0+f16", "q8_0")]


def test_other_scenarios_are_held_anew(
    scenarios: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scenarios, "f32") == 0
    for suffix in ("wav", "json"):
        (scenarios / f"b.{suffix}").write_bytes((scenarios / f"a.{suffix}").read_bytes())
    assert run(scenarios, "f32") == 0
    assert len(machine.exported) == 1 and len(machine.opened) == 2
    capsys.readouterr()


def test_a_failed_export_says_why(
    scenarios: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(scenarios, "f32,q2_k") == 4
    assert "widths do not fit" in capsys.readouterr().err


def test_a_bundle_where_a_checkpoint_is_wanted_is_told_before_any_export(
    scenarios: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: it was told as a failed export of the first type."""
    work = scenarios.parent / "work"
    bundle = scenarios.parent / "bundle"
    bundle.mkdir()
    (bundle / "manifest.json").write_text("{}")
    for checkpoint, code in ((str(bundle), 4), ("nano", 3)):
        command = ["eval", "quantization", checkpoint, "--scenarios", str(scenarios)]
        assert main([*command, "--work", str(work)]) == code
        told = capsys.readouterr().err
        assert "expected a checkpoint" in told and "python -m train assemble" in told
        assert "of type" not in told
    assert not machine.exported and not work.exists()


@pytest.mark.parametrize("types", ["q9", "f32+f64", "f32+f32+q4_0", "f32+f32+f16+f16", ""])
def test_unknown_types(types: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run(tmp_path / "nowhere", types)
    assert "expected types such as" in capsys.readouterr().err


def test_types_are_the_exporters() -> None:
    from parley_export.quantize import PRECISIONS

    assert quantization.TYPES.split(",") == list(PRECISIONS)
