"""`parley bench report`: results are kept, told with their commands, and failures are said."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from parley_apps.benchmark import PARTS, hour, report
from parley_apps.main import main

ROOT = Path(__file__).parents[2]
RESULT = {
    "minutes": [],
    "bundle": "nano",
    "mode": "duplex",
    "hours": 1.0,
    "speaking_share": 0.5,
    "settled_minutes": 58,
    "lines": {
        name: {"median": 7.0, "per_hour": 0.5, "percent_per_hour": 7.0} for name in hour.ROWS
    },
}


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Stands for the processes; the kernels' one fails."""
    ran: list[list[str]] = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        if "bench" in command:  # the platform module calls programs too
            ran.append(command[3:])
        if "kernels" in command:
            return SimpleNamespace(returncode=5, stdout='{"error": {"message": "none there"}}')
        return SimpleNamespace(returncode=0, stdout=json.dumps(RESULT))

    monkeypatch.setattr(subprocess, "run", run)
    return ran


def write(tmp_path: Path, *arguments: str, code: int = 0) -> str:
    out = tmp_path / "B.md"
    words = ["bench", "report", "--results", str(tmp_path), "--out", str(out), *arguments]
    assert main(words) == code
    return out.read_text()


def test_every_part_has_its_section(tmp_path: Path, commands: list[list[str]]) -> None:
    text = write(tmp_path)
    assert re.findall(r"^## (.*)", text, re.MULTILINE) == [part.title for part in report.SECTIONS]
    assert text.count("Not measured yet") == len(report.SECTIONS) and not commands


def test_a_part_is_measured_and_kept(tmp_path: Path, commands: list[list[str]]) -> None:
    text = write(tmp_path, "--run", "hour", "--threads", "1", "--note", "A busy machine.")
    picture = str(tmp_path / "hour.png")
    words = ["bench", "hour", "nano", "--hours", "1", "--plot", picture, "--threads", "1"]
    assert commands == [[*words, "--json"]]
    assert f"parley {' '.join(words)}" in text and "resident memory, MiB" in text
    assert "cores" in text and "onnxruntime" in text and "A busy machine." in text
    assert write(tmp_path) == text, "written again from what was kept"


def test_a_failure_is_said(tmp_path: Path, commands: list[list[str]]) -> None:
    text = write(tmp_path, "--run", "kernels,hour", code=5)
    assert "It failed: `parley bench kernels` on 2" in text and "exit code 5: none there" in text
    assert "resident memory" in text, "the others go on"
    assert "error" in json.loads((tmp_path / "kernels.json").read_text())


def test_a_failure_leaves_the_result_of_before(
    tmp_path: Path, commands: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed part took the place of a good result, and the exit code was 0."""
    good = write(tmp_path, "--run", "hour", "--note", "A calm machine.")
    killed = SimpleNamespace(returncode=-9, stdout="")
    with monkeypatch.context() as patched:
        patched.setattr(report.machine, "describe", lambda: {})
        patched.setattr(subprocess, "run", lambda command, **_: killed)
        text = write(tmp_path, "--run", "hour", "--threads", "1", code=1)
    assert "--threads 1` on 2" in text and "exit code -9: no message" in text
    assert "resident memory" in text and "A calm machine." in text and "before" in text
    kept = json.loads((tmp_path / "hour.json").read_text())
    assert kept["result"] == RESULT and "error" in kept
    assert write(tmp_path, "--run", "hour", "--note", "A calm machine.") == good


def test_last_words() -> None:
    assert report.last_words("Killed") == report.last_words("{}") == "no message"


def test_unknown_parts_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["bench", "report", "--run", "weather"])
    assert "expected some of nano" in capsys.readouterr().err


def test_every_part_has_a_module_with_a_table() -> None:
    for part in report.SECTIONS:
        assert hasattr(importlib.import_module(PARTS[part.words[0]][0]), "lines"), part.name


@pytest.mark.skipif(not (ROOT / "BENCHMARKS.md").is_file(), reason="no BENCHMARKS.md")
def test_the_report_in_the_tree_is_that_of_its_results() -> None:
    told = "\n".join(report.document(ROOT / "benchmarks")) + "\n"
    assert (ROOT / "BENCHMARKS.md").read_text() == told
