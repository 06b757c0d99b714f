"""Tries llama.cpp and a bundle's graphs in a process of their own, once per machine and library.

A library may hold code that dies on this processor: built for another one, or compiled wrongly.
What dies here in a child would take the program with it. Where llama.cpp's code comes in variants,
the next one is tried, and the choice is kept in a file, so that later starts only look there.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from parley import _core, processor
from parley.bundle_folders import BUILT_IN
from parley.errors import LibraryError

TIMEOUT_S = 120.0
# What a processor's complaint looks like; other signals come from people and the system.
FAULTS = frozenset(
    {signal.SIGILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT, signal.SIGTRAP}
)
LLAMA, GRAPHS = "llama.cpp", "ONNX Runtime"
NANO = BUILT_IN / "nano"


@dataclass(frozen=True, slots=True)
class Finding:
    """What runs here: `variant` is the file of ggml's code to take, "" for ggml's own choice.

    `died` holds those that did not survive: "libggml-cpu-zen4.so" -> "SIGILL".
    """

    variant: str
    died: dict[str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a child ended: the signal that it died of, what it was at, and ggml's variants here."""

    fault: signal.Signals | None
    finished: bool
    stage: str
    variants: list[str]


def runnable(llama: str, onnxruntime: str, bundle: Path | None, *, anew: bool = False) -> str:
    """What to open for llama.cpp: `llama`, or the one of its variants that does not die here.

    Tries with nano, or with `bundle` where nano is not installed, if this machine or one of the
    libraries is new, or `anew`; else reads a file. A variant that is named is taken as it is. Warns
    of one that died. Raises LibraryError where nothing is left.
    """
    if NANO.is_dir():
        bundle = NANO
    if Path(llama).name.startswith("libggml-cpu") or not _can_try(llama, onnxruntime):
        return llama
    file = _file(llama, onnxruntime)
    finding = None if anew else remembered(file)
    if finding is None and bundle is not None:
        finding = check(llama, onnxruntime, bundle)
        if finding is not None:
            keep(file, finding)
    return finding.variant or llama if finding is not None else llama


def check(llama: str, onnxruntime: str, bundle: Path) -> Finding | None:
    """Tries, whatever is remembered. None: no child could tell, and nothing is to be kept.

    Raises LibraryError where llama.cpp, or a graph, dies in every way.
    """
    died: dict[str, str] = {}
    outcome = _try(llama, onnxruntime, bundle)
    left, taken = outcome.variants[1:], outcome.variants[:1]
    while outcome.fault is not None and outcome.stage == LLAMA:
        died[Path(taken[0] if taken else llama).name] = outcome.fault.name
        if not left:
            raise LibraryError(_nothing_left(LLAMA, llama, died))
        taken, left = left[:1], left[1:]
        outcome = _try(taken[0], onnxruntime, bundle)
    if outcome.fault is not None:
        file = Path(onnxruntime).name
        raise LibraryError(_nothing_left(GRAPHS, onnxruntime, {file: outcome.fault.name}))
    if died:
        warnings.warn(_fallen_back(died, taken[0]), RuntimeWarning, stacklevel=4)
    elif not outcome.finished:
        return None
    return Finding(taken[0] if died else "", died)


def remembered(file: Path) -> Finding | None:
    """What an earlier check found; None where there is none, or its file is gone."""
    try:
        found = json.loads(file.read_text())
        finding = Finding(str(found["variant"]), dict(found["died"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    there = not finding.variant or Path(finding.variant).is_file()
    return finding if there else None


def keep(file: Path, finding: Finding) -> None:
    """Writes a finding, with the processor's name for who reads the file."""
    processor.keep(file, json.dumps({"processor": processor.name(), **asdict(finding)}))


def _file(llama: str, onnxruntime: str) -> Path:
    """Another file for other contents of a library, and for another processor."""
    about = []
    for library in (llama, onnxruntime, _core.__file__):
        status = os.stat(library)
        about.append(f"{os.path.realpath(library)} {status.st_size} {status.st_mtime_ns}")
    return processor.cache_file("checked", ".json", *about)


def _can_try(*libraries: str) -> bool:
    """Not where the loader is to search, nor where no Python can be started."""
    return bool(sys.executable) and all(map(os.path.isfile, libraries))


def _try(llama: str, onnxruntime: str, bundle: Path) -> Outcome:
    """Runs the child. Python starts it without copying this process, so threads do not matter."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "GGML_NO_BACKTRACE": "1"}
    code = "import sys; from parley import self_check; self_check.main(*sys.argv[1:])"
    command = [sys.executable, "-c", code, llama, onnxruntime, str(bundle)]
    try:
        child = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return Outcome(None, False, "", [])
    told: dict[str, Any] = {}
    for line in child.stdout.splitlines():
        with contextlib.suppress(ValueError):
            told.update(json.loads(line))
    fault = signal.Signals(-child.returncode) if -child.returncode in FAULTS else None
    stage, variants = told.get("stage", ""), told.get("variants", [])
    return Outcome(fault if stage else None, child.returncode == 0, stage, variants)


def short(variant: str) -> str:
    """The kind of processor that a file of ggml's code is for: "zen4"."""
    return Path(variant).stem.removeprefix("libggml-cpu-")


def _fallen_back(died: dict[str, str], taken: str) -> str:
    names = ", ".join(f"{short(file)} dies of {fault}" for file, fault in died.items())
    return (
        f"[libraries.check] llama.cpp's code for {names} on this processor "
        f"({processor.name()}); {short(taken)} is taken, from now on too"
    )


def _nothing_left(library: str, path: str, died: dict[str, str]) -> str:
    names = ", ".join(f"{file} ends by {fault}" for file, fault in died.items())
    return (
        f"[libraries.check] expected {library} in '{path}' to run on this processor "
        f"({processor.name()}), got a child process in which {names}; install a build for this "
        "processor, or name one by PARLEY_LLAMA or PARLEY_ONNXRUNTIME"
    )


def _say(**message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def main(llama: str, onnxruntime: str, bundle: str) -> None:
    """The child: a batch and a single position by llama.cpp, then a step of a conversation."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    import numpy as np

    _say(variants=[os.fsdecode(file) for file in _core.llama_variants(os.fsencode(llama))])
    _say(stage=LLAMA)
    folder, library = os.fsencode(bundle), os.fsencode(llama)
    backbone = Path(bundle) / _core.read_manifest(folder)["backbone"]["file"]
    bench = _core.BackboneBench(os.fsencode(backbone), llama=library, n_cells=64)
    for n in (16, 1):
        bench.read(np.zeros((n, bench.width), np.float32))
    _say(stage=GRAPHS)
    graphs = os.fsencode(onnxruntime)
    # One thread runs all there is to try, and waits for no other where the machine is busy.
    options = _core.OpenOptions(verify=False, onnxruntime=graphs, llama=library, threads=1)
    opened = _core.Bundle(folder, options)
    opened.session(_core.SessionOptions()).step(np.zeros(opened.chunk_samples, np.float32))
