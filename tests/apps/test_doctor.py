"""`parley doctor`: what it tells, and its exit code where something required is missing."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

import parley
from parley import libraries
from parley_apps import machine
from parley_apps.main import main

VERSIONS = {"onnxruntime": "1.31.1", "llama": "0.3.36"}


@pytest.fixture(autouse=True)
def _libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "loaded_versions", lambda: VERSIONS)
    monkeypatch.setattr(libraries, "providers", lambda: ["CPUExecutionProvider"])


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    told = json.loads(capsys.readouterr().out)
    return {check["name"]: check for check in told["checks"]}


def test_everything_required_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    checks = findings(capsys)
    assert checks["Python"]["present"] and checks["ONNX Runtime"]["present"]
    assert not checks["CUDA"]["present"] and "onnxruntime-gpu" in str(checks["CUDA"]["get"])
    for check in checks.values():
        assert check["present"] or check["get"], check


def test_a_missing_library_is_5_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> object:
        raise parley.LibraryError("[libraries.find] expected x, got none; do `pip install x`")

    monkeypatch.setattr(libraries, "find_llama", missing)
    assert main(["doctor", "--json"]) == 5
    check = findings(capsys)["llama.cpp"]
    assert not check["present"] and "pip install x" in str(check["get"])


def test_a_library_that_does_not_open(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {"onnxruntime": "[ort.open] expected a library, got none; do x", "llama": "0.3.36"}
    monkeypatch.setattr(libraries, "loaded_versions", lambda: wrong)
    assert main(["doctor"]) == 5
    out = capsys.readouterr().out
    assert "MISSING" in out and "[ort.open]" in out and "missing: libraries open" in out


def test_an_optional_package_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = machine.package_version
    monkeypatch.setattr(
        machine, "package_version", lambda *n: None if "matplotlib" in n else found(*n)
    )
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "pip install 'parley[plot]'" in out


def test_what_is_recommended_is_an_extra_that_exists(capsys: pytest.CaptureFixture[str]) -> None:
    """Regression: it told to install what live conversations need, which are not there yet."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    extras = set(project["project"]["optional-dependencies"])
    assert main(["doctor", "--json"]) in (0, 5)
    checks = findings(capsys)
    told = [re.findall(r"parley\[(\w+)\]", str(check["get"])) for check in checks.values()]
    assert {"plot", "export"} <= {name for names in told for name in names} <= extras
    assert not any("live" in str(check["purpose"]) for check in checks.values())


def test_machine() -> None:
    told = machine.describe()
    assert set(told) == {"os", "cpu", "cores", "memory_gb", "python"}
    assert machine.usable_cores() >= 1
    assert machine.package_version("no-such-package-here", "numpy")
