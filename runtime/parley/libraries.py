"""Finds ONNX Runtime and llama.cpp in installed wheels; imports neither package."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from parley import _core
from parley.errors import LibraryError

ONNXRUNTIME_AT_LEAST = "1.29"
LLAMA_EXACTLY = "0.3.36"  # llama.cpp's structs change between versions
ONNXRUNTIME_WHEELS = ("onnxruntime", "onnxruntime-gpu")

_PATTERNS = {
    "onnxruntime": {
        "linux": "libonnxruntime.so*",
        "darwin": "libonnxruntime*.dylib",
        "win32": "onnxruntime.dll",
    },
    "llama": {"linux": "libllama.so*", "darwin": "libllama*.dylib", "win32": "llama.dll"},
}


@dataclass(frozen=True, slots=True)
class Library:
    """A shared library of an installed wheel.

    `wheel` and `version` are the Python package's, `path` is the file that the engine opens.
    """

    wheel: str
    version: str
    path: Path


def find_onnxruntime() -> Library:
    """The library of the installed onnxruntime or onnxruntime-gpu wheel.

    Raises LibraryError where it is missing or older than ONNXRUNTIME_AT_LEAST.
    """
    install = f"pip install 'onnxruntime>={ONNXRUNTIME_AT_LEAST}'"
    folder = _package_folder("onnxruntime")
    wheel, version = _installed(ONNXRUNTIME_WHEELS)
    if folder is None or not version:
        raise LibraryError(
            f"[libraries.find] expected ONNX Runtime {ONNXRUNTIME_AT_LEAST} or later, "
            f"got no onnxruntime package in {sys.prefix}; do `{install}` "
            "(`onnxruntime-gpu` for CUDA)"
        )
    if _numbers(version) < _numbers(ONNXRUNTIME_AT_LEAST):
        raise LibraryError(
            f"[libraries.find] expected ONNX Runtime {ONNXRUNTIME_AT_LEAST} or later, "
            f"got {wheel} {version}; do `{install.replace('onnxruntime', wheel)}`"
        )
    return Library(wheel, version, _library_file(folder / "capi", "onnxruntime", wheel))


def find_llama() -> Library:
    """llama.cpp's library of the installed llama-cpp-python wheel.

    Raises LibraryError where it is missing or not exactly LLAMA_EXACTLY. The wheel installs a
    second copy of the library in site-packages/lib, which is never taken.
    """
    install = f"pip install 'llama-cpp-python=={LLAMA_EXACTLY}'"
    folder = _package_folder("llama_cpp")
    wheel, version = _installed(("llama-cpp-python",))
    if folder is None or version != LLAMA_EXACTLY:
        got = f"{wheel} {version}" if folder is not None and version else "no such package"
        raise LibraryError(
            f"[libraries.find] expected llama-cpp-python {LLAMA_EXACTLY}, got {got} "
            f"in {sys.prefix}; do `{install}`"
        )
    return Library(wheel, version, _library_file(folder / "lib", "llama", wheel))


def onnxruntime_path(given: str | Path | None = None) -> str:
    """What the engine opens: `given`, else $PARLEY_ONNXRUNTIME, else the installed wheel's."""
    return str(given or os.environ.get("PARLEY_ONNXRUNTIME") or find_onnxruntime().path)


def llama_path(given: str | Path | None = None) -> str:
    """What the engine opens: `given`, else $PARLEY_LLAMA, else the installed wheel's."""
    return str(given or os.environ.get("PARLEY_LLAMA") or find_llama().path)


def loaded_versions() -> dict[str, str]:
    """Opens both libraries as the engine does; name -> its version, or what was wrong with it."""
    return _core.library_versions(onnxruntime_path(), llama_path())


def providers() -> list[str]:
    """Execution providers of ONNX Runtime, such as CPUExecutionProvider.

    Raises LibraryError where it cannot be opened.
    """
    return _core.onnxruntime_providers(onnxruntime_path())


def _package_folder(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _installed(wheels: tuple[str, ...]) -> tuple[str, str]:
    """The first of `wheels` that is installed and its version; "" where none is."""
    for wheel in wheels:
        try:
            return wheel, importlib.metadata.version(wheel)
        except importlib.metadata.PackageNotFoundError:
            continue
    return wheels[0], ""


def _library_file(folder: Path, library: str, wheel: str) -> Path:
    pattern = _PATTERNS[library].get(sys.platform, _PATTERNS[library]["linux"])
    found = sorted(folder.glob(pattern), key=lambda path: len(path.name))
    if not found:
        raise LibraryError(
            f"[libraries.find] expected {pattern} in {folder}, got no such file; "
            f"do `pip install --force-reinstall --no-deps {wheel}`"
        )
    return found[0]


def _numbers(version: str) -> tuple[int, ...]:
    """The leading numbers of a version: "1.29.0rc1" gives (1, 29, 0)."""
    numbers = []
    for part in version.split("."):
        digits = part[: len(part) - len(part.lstrip("0123456789"))]
        if not digits:
            break
        numbers.append(int(digits))
        if digits != part:
            break
    return tuple(numbers)
