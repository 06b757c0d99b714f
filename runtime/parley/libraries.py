"""Finds ONNX Runtime and llama.cpp in installed wheels; imports neither package."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from parley import _core, self_check
from parley.errors import LibraryError

ONNXRUNTIME_AT_LEAST = "1.29"
LLAMA_EXACTLY = "0.3.36"  # of llama-cpp-python too; llama.cpp's structs change between versions

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
    """The library of the installed onnxruntime wheel, whichever of its builds that is.

    Raises LibraryError where it is missing or older than ONNXRUNTIME_AT_LEAST, and where several
    builds are installed: their files lie in one folder, and the last one wins.
    """
    install = f"pip install 'onnxruntime>={ONNXRUNTIME_AT_LEAST}'"
    folder = _package_folder("onnxruntime")
    wheels = _onnxruntime_wheels(folder.parent) if folder is not None else {}
    if folder is None or not wheels:
        raise LibraryError(
            f"[libraries.find] expected ONNX Runtime {ONNXRUNTIME_AT_LEAST} or later, "
            f"got no onnxruntime package in {sys.prefix}; run `{install}` "
            "(`'onnxruntime-gpu[cuda,cudnn]'` for CUDA), or point PARLEY_ONNXRUNTIME at one"
        )
    if len(wheels) > 1:
        names = sorted(wheels)
        raise LibraryError(
            f"[libraries.find] expected one build of ONNX Runtime in {folder}, got "
            + " and ".join(f"{name} {wheels[name]}" for name in names)
            + f"; run `pip uninstall {' '.join(names)}`, then `pip install` the one you want: "
            "onnxruntime, or 'onnxruntime-gpu[cuda,cudnn]' for CUDA"
        )
    ((wheel, version),) = wheels.items()
    if _numbers(version) < _numbers(ONNXRUNTIME_AT_LEAST):
        raise LibraryError(
            f"[libraries.find] expected ONNX Runtime {ONNXRUNTIME_AT_LEAST} or later, "
            f"got {wheel} {version}; run `{install.replace('onnxruntime', wheel)}`"
        )
    return Library(wheel, version, _library_file(folder / "capi", "onnxruntime", wheel))


def find_llama() -> Library:
    """llama.cpp's library of the installed parley-llama wheel.

    Raises LibraryError where it is missing or not exactly LLAMA_EXACTLY.
    """
    folder = _package_folder("parley_llama")
    wheel, version = _installed(("parley-llama",))
    if folder is None or version != LLAMA_EXACTLY:
        got = f"{wheel} {version}" if folder is not None and version else "no such package"
        raise LibraryError(
            f"[libraries.find] expected parley-llama {LLAMA_EXACTLY}, got {got} in {sys.prefix}; "
            "run `pip install ./third_party/llama` in parley's sources, or point PARLEY_LLAMA at "
            f"the libllama.so of the same version, such as llama-cpp-python {LLAMA_EXACTLY}'s"
        )
    return Library(wheel, version, _library_file(folder / "lib", "llama", wheel))


def onnxruntime_path(given: str | Path | None = None) -> str:
    """What the engine opens: `given`, else $PARLEY_ONNXRUNTIME, else the installed wheel's."""
    return str(given or os.environ.get("PARLEY_ONNXRUNTIME") or find_onnxruntime().path)


def llama_path(given: str | Path | None = None) -> str:
    """What the engine opens: `given`, else $PARLEY_LLAMA, else the installed wheel's."""
    return str(given or os.environ.get("PARLEY_LLAMA") or find_llama().path)


def try_device(device: str) -> None:
    """Runs a graph of one node on `device`: cpu, cuda or tensorrt.

    Raises LibraryError where that fails. A driver at odds with its libraries may end the process.
    """
    _core.try_onnxruntime_device(os.fsencode(onnxruntime_path()), device)


def onnxruntime_version() -> str:
    """Of the ONNX Runtime that the engine opens. Raises LibraryError where it cannot."""
    return _core.onnxruntime_version(os.fsencode(onnxruntime_path()))


def runnable_llama(
    llama: str | Path | None = None,
    onnxruntime: str | Path | None = None,
    *,
    bundle: Path | None = None,
    anew: bool = False,
) -> str:
    """What the engine opens: as llama_path, or the variant beside it that runs on this processor.

    Tries it in a process of its own where this machine is new, or `anew`: see `self_check`. Raises
    LibraryError where nothing runs here.
    """
    paths = llama_path(llama), onnxruntime_path(onnxruntime)
    return self_check.runnable(*paths, bundle, anew=anew)


def llama_variant(*, anew: bool = False) -> str:
    """The kind of processor whose code llama.cpp runs here, such as "zen4"; "" without a choice.

    Raises LibraryError where it cannot be opened.
    """
    file = _core.llama_variant(os.fsencode(runnable_llama(anew=anew)))
    return self_check.short(os.fsdecode(file))


def llama_version() -> str:
    """Of the llama.cpp that the engine opens. Raises LibraryError where it cannot."""
    return _core.llama_version(os.fsencode(runnable_llama()))


def _package_folder(package: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)))


def _onnxruntime_wheels(packages: Path) -> dict[str, str]:
    """The wheels whose files lie in `packages`/onnxruntime: name -> version."""
    found = {}
    for info in packages.glob("onnxruntime*.dist-info"):
        wheel = importlib.metadata.Distribution.at(info)
        if "onnxruntime/capi/" in (wheel.read_text("RECORD") or ""):
            found[wheel.metadata["Name"]] = wheel.version
    return found


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
            f"run `pip install --force-reinstall --no-deps {wheel}`"
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
