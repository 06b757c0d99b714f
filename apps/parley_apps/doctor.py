"""`parley doctor`: what is installed, what is missing and how to get it; opens no bundle."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import shutil
import signal
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
  parley doctor --check
"""


# A device that hangs is as good as none; the first start of CUDA takes seconds.
TRY_SECONDS = 120
DEVICES = {"CUDA": "cuda", "TensorRT": "tensorrt"}


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
    parser.add_argument(
        "--check",
        action="store_true",
        help="try llama.cpp and a graph in another process, as the first run on a machine does",
    )


def run(args: argparse.Namespace) -> int:
    checks = list(all_checks(anew=args.check))
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


def all_checks(*, anew: bool = False) -> Iterator[Check]:
    """Everything that parley may use, the required things first; `anew` tries llama.cpp again."""
    yield _python()
    get = "pip install --force-reinstall parley"
    yield _tried("engine", "parley's own compiled module", _engine, get)
    yield _package("numpy", "arrays", "numpy", required=True)
    yield _tried("ONNX Runtime", "runs encoder, flow decoder, vocoder", _onnxruntime, "")
    yield _tried("llama.cpp", "runs the backbone", lambda: _llama(anew), "")
    yield _kernels()
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

    return f"{libraries.onnxruntime_version()} ({libraries.onnxruntime_path()})"


def _llama(anew: bool) -> str:
    from parley import libraries

    variant = libraries.llama_variant(anew=anew)
    code = f", its code for {variant}" if variant else ""
    return f"{libraries.llama_version()}{code} ({libraries.llama_path()})"


def _kernels() -> Check:
    """Whose operators the graphs have here; nothing is missing where none has run yet."""
    from parley import kernel_forms, libraries

    found = "not measured yet: the first conversation with a bundle that has any does it"
    with contextlib.suppress(Exception):  # the lines above have told it
        text = kernel_forms.file(libraries.onnxruntime_version()).read_text()
        chosen = kernel_forms.chosen(text)
        own = sum(form == "parley" for form in chosen.values())
        found = f"the faster one by measurement: parley's {own}, ONNX Runtime's {len(chosen) - own}"
    return Check("convolutions", False, True, found, "graphs in bfloat16", "")


def _accelerators() -> Iterator[Check]:
    for name, device in DEVICES.items():
        wrong = _try_device(device)
        found = "" if wrong else "runs a graph"
        yield Check(name, False, not wrong, found, f"--device {device}", wrong)


def _try_device(device: str) -> str:
    """What is wrong with a device; "" where a graph of one node ran on it.

    In a process of its own: a driver at odds with its libraries may end it or hang.
    """
    code = (
        "import sys, parley.libraries as l\n"
        "try: l.try_device(sys.argv[1])\n"
        "except Exception as error: print(error); sys.exit(1)"
    )
    command = [sys.executable, "-c", code, device]
    try:
        child = subprocess.run(
            command, capture_output=True, text=True, timeout=TRY_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"it did not start within {TRY_SECONDS} s; see whether `nvidia-smi` answers"
    if child.returncode < 0:
        died = signal.Signals(-child.returncode).name
        return f"its libraries died of {died}; install a driver that fits them"
    return child.stdout.strip() if child.returncode else ""


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
