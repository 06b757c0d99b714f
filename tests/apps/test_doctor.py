"""`parley doctor`: what it tells, and its exit code where something required is missing."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from pathlib import Path

import pytest

import parley
from parley import kernel_forms, libraries
from parley_apps import doctor, machine
from parley_apps.main import main


@pytest.fixture(autouse=True)
def _devices(monkeypatch: pytest.MonkeyPatch) -> None:
    """No child process but where a test is about it."""
    monkeypatch.setattr(doctor, "_try_device", lambda device: f"no {device}; buy one")


def findings(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    told = json.loads(capsys.readouterr().out)
    return {check["name"]: check for check in told["checks"]}


def test_everything_required_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    checks = findings(capsys)
    assert checks["Python"]["present"] and checks["ONNX Runtime"]["present"]
    assert not checks["CUDA"]["present"] and checks["CUDA"]["get"] == "no cuda; buy one"
    for check in checks.values():
        assert check["present"] or check["get"], check
    assert "not measured yet" in str(checks["convolutions"]["found"])


def test_which_convolutions_are_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    path = kernel_forms.file(libraries.onnxruntime_version())
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("conv1d 3 3 7 12.5 9\nconv1d 3 3 3 1e1 20\nconv1d 4 4 3 5 -1\n")
    assert main(["doctor", "--json"]) == 0
    path.unlink()
    assert "parley's 2, ONNX Runtime's 1" in str(findings(capsys)["convolutions"]["found"])


def test_a_missing_library_is_5_and_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> object:
        raise parley.LibraryError("[libraries.find] expected x, got none; run `pip install x`")

    monkeypatch.delenv("PARLEY_LLAMA", raising=False)
    monkeypatch.setattr(libraries, "find_llama", missing)
    assert main(["doctor", "--json"]) == 5
    check = findings(capsys)["llama.cpp"]
    assert not check["present"] and "pip install x" in str(check["get"])


def test_a_library_that_does_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "libllama.so").write_text("no library")
    monkeypatch.setenv("PARLEY_LLAMA", str(tmp_path / "libllama.so"))
    assert main(["doctor"]) == 5
    out = capsys.readouterr().out
    assert "MISSING llama.cpp" in out and "[runners.open]" in out and "missing: llama.cpp" in out


def test_libraries_that_variables_name_are_enough(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Regression: what opened was called missing where no wheel was installed."""
    paths = {"ONNXRUNTIME": libraries.onnxruntime_path(), "LLAMA": libraries.llama_path()}
    for name, path in paths.items():
        monkeypatch.setenv(f"PARLEY_{name}", path)
        monkeypatch.setattr(libraries, f"find_{name.lower()}", None)
    assert main(["doctor", "--json"]) == 0
    checks = findings(capsys)
    assert paths["LLAMA"] in str(checks["llama.cpp"]["found"])
    assert paths["ONNXRUNTIME"] in str(checks["ONNX Runtime"]["found"])


def test_the_variant_in_use_is_told_and_tried_anew_on_request(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = []

    def variant(*, anew: bool) -> str:
        asked.append(anew)
        return "haswell"

    monkeypatch.setattr(libraries, "llama_variant", variant)
    for arguments in ([], ["--check"]):
        assert main(["doctor", *arguments]) == 0
        assert ", its code for haswell (" in capsys.readouterr().out
    assert asked == [False, True]


TRY_DEVICE = doctor._try_device


def test_a_device_is_tried_in_a_process_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    assert TRY_DEVICE("cpu") == ""
    assert "[ort.open] expected the device cpu, cuda or tensorrt" in TRY_DEVICE("npu")
    (tmp_path / "parley").mkdir()
    library = tmp_path / "parley" / "libraries.py"
    (tmp_path / "parley" / "__init__.py").write_text("")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    library.write_text(
        "import os, signal\ndef try_device(name): os.kill(os.getpid(), signal.SIGSEGV)"
    )
    assert "died of SIGSEGV" in TRY_DEVICE("cuda")
    library.write_text("import time\ndef try_device(name): time.sleep(60)")
    monkeypatch.setattr(doctor, "TRY_SECONDS", 1)
    assert "did not start within 1 s" in TRY_DEVICE("cuda")


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
