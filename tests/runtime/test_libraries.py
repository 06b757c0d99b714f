"""Finding the libraries in wheels that are made up here: none is imported, versions are checked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import parley
from parley import libraries

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="made-up wheels have Linux names")

Install = Callable[[str, str, str, str], Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Makes a wheel that fails when it is imported; hides the installed ones."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for name in [m for m in sys.modules if m.split(".")[0] in ("onnxruntime", "parley_llama")]:
        monkeypatch.delitem(sys.modules, name)

    def make(wheel: str, version: str, package: str, library: str) -> Path:
        info = tmp_path / f"{wheel.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {wheel}\nVersion: {version}\n"
        )
        (info / "RECORD").write_text(f"{package}/{library},,\n")
        path = tmp_path / package / library
        path.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / package / "__init__.py").write_text("raise AssertionError('was imported')\n")
        path.write_bytes(b"")
        return path

    return make


ORT, LLAMA = ("onnxruntime", "capi/libonnxruntime.so.1.31.1"), ("parley_llama", "lib/libllama.so")


@pytest.mark.parametrize("wheel", ["onnxruntime", "onnxruntime-gpu"])
@pytest.mark.parametrize("version", ["1.29.0", "1.31.1", "2.0.0", "1.100"])
def test_onnxruntime_is_found(wheel: str, version: str, install: Install) -> None:
    path = install(wheel, version, *ORT)
    assert libraries.find_onnxruntime() == libraries.Library(wheel, version, path)


def test_two_builds_of_onnxruntime_are_an_error(install: Install) -> None:
    install("onnxruntime", "1.32.0", *ORT)
    install("onnxruntime-gpu", "1.31.1", *ORT)
    told = r"got onnxruntime 1\.32\.0 and onnxruntime-gpu 1\.31\.1; run `pip uninstall onnxruntime "
    with pytest.raises(parley.LibraryError, match=told):
        libraries.find_onnxruntime()


def test_a_package_that_only_bears_the_name_is_none(install: Install) -> None:
    path = install("onnxruntime", "1.32.0", *ORT)
    install("onnxruntime-extensions", "0.15.2", "onnxruntime_extensions", "capi/libother.so")
    assert libraries.find_onnxruntime() == libraries.Library("onnxruntime", "1.32.0", path)


def test_llama_is_found(install: Install) -> None:
    path = install("parley-llama", "0.3.36", *LLAMA)
    assert libraries.find_llama() == libraries.Library("parley-llama", "0.3.36", path)


def test_the_plain_name_comes_before_those_with_versions(install: Install) -> None:
    path = install("parley-llama", "0.3.36", *LLAMA)
    (path.parent / "libllama.so.0").write_bytes(b"")
    assert libraries.find_llama().path == path


# wheel, version -> what the error tells
WRONG = {
    ("onnxruntime", "1.28.9"): r"got onnxruntime 1\.28\.9; run `pip install 'onnxruntime>=1\.29'`",
    ("onnxruntime-gpu", "1.9"): r"got onnxruntime-gpu 1\.9; run `pip install 'onnxruntime-gpu>=",
    ("parley-llama", "0.3.35"): r"got parley-llama 0\.3\.35 .*; run `pip install \./third_party",
    ("parley-llama", "0.4.0"): r"expected parley-llama 0\.3\.36, got .* 0\.4\.0",
}


@pytest.mark.parametrize("wheel", WRONG, ids=" ".join)
def test_wrong_versions(wheel: tuple[str, str], install: Install) -> None:
    llama = wheel[0] == "parley-llama"
    install(*wheel, *(LLAMA if llama else ORT))
    with pytest.raises(parley.LibraryError, match=WRONG[wheel]):
        (libraries.find_llama if llama else libraries.find_onnxruntime)()


def test_a_path_comes_first_then_the_environment(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    ort, llama = (
        install("onnxruntime", "1.31.1", *ORT),
        install("parley-llama", "0.3.36", *LLAMA),
    )
    assert (libraries.onnxruntime_path(), libraries.llama_path()) == (str(ort), str(llama))
    monkeypatch.setenv("PARLEY_ONNXRUNTIME", "/elsewhere/ort.so")
    monkeypatch.setenv("PARLEY_LLAMA", "/elsewhere/llama.so")
    found = (libraries.onnxruntime_path(), libraries.llama_path())
    assert found == ("/elsewhere/ort.so", "/elsewhere/llama.so")
    assert libraries.llama_path("/given.so") == "/given.so"


@pytest.mark.parametrize("find", [libraries.find_onnxruntime, libraries.find_llama])
def test_nothing_installed(find: Callable[[], libraries.Library], install: Install) -> None:
    with pytest.raises(parley.LibraryError, match=r"got no .*; run `pip install"):
        find()


def test_a_wheel_without_its_library(install: Install) -> None:
    install("onnxruntime", "1.31.1", *ORT).unlink()
    with pytest.raises(parley.LibraryError, match="force-reinstall --no-deps onnxruntime"):
        libraries.find_onnxruntime()
