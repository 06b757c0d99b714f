"""`parley doctor`: what is installed, what is missing and how to get it; opens no bundle."""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from parley_apps import errors, machine

EXAMPLES = """\
Tells what parley finds on this machine, what is missing and how to get it. What is required must be
there, the rest is for single commands. Exit code 5 where something required is missing.

examples:
  parley doctor
  parley doctor --json
"""


PROVIDERS = {"CUDA": "CUDAExecutionProvider", "TensorRT": "TensorrtExecutionProvider"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that may be there; `found` says what, `get` how to get it where it is missing."""

    name: str
    required: bool
    present: bool
    found: str
    purpose: str
    get: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.description = EXAMPLES
    parser.epilog = errors.EXIT_CODES_HELP
    parser.add_argument("--json", action="store_true", help="print the findings as JSON on stdout")


def run(args: argparse.Namespace) -> int:
    checks = list(all_checks())
    missing = [check for check in checks if check.required and not check.present]
    if args.json:
        findings = {
            "ok": not missing,
            "machine": machine.describe(),
            "checks": [asdict(check) for check in checks],
        }
        print(json.dumps(findings))
    else:
        _print(checks, missing)
    return errors.MISSING if missing else errors.OK


def all_checks() -> Iterator[Check]:
    """Everything that parley may use, the required things first."""
    yield _python()
    get = "pip install --force-reinstall parley"
    yield _tried("engine", "parley's own compiled module", _engine, get)
    yield _package("numpy", "arrays", "numpy", required=True)
    yield _tried("ONNX Runtime", "runs encoder, flow decoder, vocoder", _onnxruntime, "")
    yield _tried("llama.cpp", "runs the backbone", _llama, "")
    yield _tried("libraries open", "the engine opens both", _opened, "see the two lines above")
    yield _package("soundfile", "reads recordings", "soundfile", required=True)
    yield from _accelerators()
    yield _package("matplotlib", "talk --plot", "'parley[plot]'")
    yield _package("torch", "export", "'parley[export]'")
    yield _package("onnx", "export", "'parley[export]'")
    yield _package("gguf", "export", "'parley[export]'")
    yield _package("huggingface_hub", "export from a repository id", "'parley[hub]'")
    yield _compiler()


def _python() -> Check:
    present = sys.version_info >= (3, 11)
    found = sys.version.split()[0]
    return Check("Python", True, present, found, "everything", "install Python 3.11 or later")


def _tried(name: str, purpose: str, find: Callable[[], str], get: str) -> Check:
    """A required thing whose finder says what is wrong by its error."""
    try:
        return Check(name, True, True, find(), purpose, get)
    except Exception as error:  # whatever it is, the doctor tells it and goes on
        return Check(name, True, False, "", purpose, str(error) if not get else f"{error}; {get}")


def _engine() -> str:
    import parley

    return parley.__version__


def _onnxruntime() -> str:
    from parley import libraries

    library = libraries.find_onnxruntime()
    return f"{library.wheel} {library.version}"


def _llama() -> str:
    from parley import libraries

    library = libraries.find_llama()
    return f"{library.wheel} {library.version}"


def _opened() -> str:
    from parley import LibraryError, libraries

    versions = libraries.loaded_versions()
    wrong = [text for text in versions.values() if text.startswith("[")]
    if wrong:
        raise LibraryError("; ".join(wrong))
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _accelerators() -> Iterator[Check]:
    try:
        from parley import libraries

        providers = libraries.providers()
    except Exception:  # the lines above have told it
        providers = []
    get = "pip uninstall onnxruntime, then pip install onnxruntime-gpu (needs an NVIDIA driver)"
    for name, provider in PROVIDERS.items():
        flag = f"--device {name.lower()}"
        present = provider in providers
        yield Check(name, False, present, provider if present else "", flag, get)


def _package(name: str, purpose: str, install: str, required: bool = False) -> Check:
    version = machine.package_version(name)
    present = version is not None and importlib.util.find_spec(name) is not None
    return Check(name, required, present, version or "", purpose, f"pip install {install}")


def _compiler() -> Check:
    get = "apt install build-essential (only building parley or llama.cpp needs it)"
    path = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    found = ""
    if path:
        answer = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        found = answer.stdout.partition("\n")[0] or path
    return Check("C++ compiler", False, bool(path), found, "building parley", get)


def _print(checks: list[Check], missing: list[Check]) -> None:
    what = machine.describe()
    print(f"{what['os']}\n{what['cpu']}, {what['cores']} cores, {what['memory_gb']} GiB")
    for check in checks:
        sign = "ok" if check.present else "MISSING" if check.required else "-"
        print(f"  {sign:8s}{check.name:16s} {check.found or 'not found'}")
        if not check.present:
            print(f"          for {check.purpose}: {check.get}")
    if missing:
        print(f"missing: {', '.join(check.name for check in missing)}")
    else:
        print("everything that is required is there")
