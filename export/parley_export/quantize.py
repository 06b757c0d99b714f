"""Quantize a GGUF file with the installed llama.cpp; knows nothing of checkpoints.

Runs as a process of its own: a crash or an endless loop over a hostile file ends that process
only, and an interruption stops it at once.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parley_export.errors import BundleError, LibraryError

PRECISIONS = ("f32", "f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0", "q3_k_m", "q2_k")
# llama.h's numbers of file types.
FILE_TYPES = {
    "q8_0": 7,
    "q6_k": 18,
    "q5_k_m": 17,
    "q4_k_m": 15,
    "q4_0": 2,
    "q3_k_m": 12,
    "q2_k": 10,
}
_TENSOR_LINE = re.compile(r"^\[\s*(\d+)/\s*(\d+)\]")


def require_llama() -> None:
    """Raise LibraryError where llama.cpp is not installed."""
    from parley import libraries

    libraries.llama_path()


def quantize(
    source: Path,
    target: Path,
    precision: str,
    progress: Callable[[float], None] = lambda done: None,
    on_start: Callable[[int], None] = lambda pid: None,
    *,
    importance: Mapping[str, np.ndarray] | None = None,
    requantize: bool = False,
) -> None:
    """Write `target` as a quantized copy of the GGUF file `source`.

    Args:
        progress: called with the fraction of tensors done.
        on_start: called with the id of the process that does the work.
        importance: as `parley.Bundle.importance` gives it, for columns that matter to lose least.
        requantize: take a source that is quantized already.
    Raises:
        LibraryError: llama.cpp is missing or cannot be loaded.
        BundleError: llama.cpp refuses the file; carries its last words.
        OSError: the disk is full or cannot be written.
    """
    require_llama()
    command = [sys.executable, "-m", "parley_export.quantize", str(source), str(target), precision]
    command += ["--requantize"] if requantize else []
    with tempfile.TemporaryDirectory(prefix="parley-quantize-") as folder:
        if importance:
            matrix = Path(folder) / "importance.npz"
            np.savez(matrix, **importance)  # type: ignore[arg-type]
            command += ["--importance", str(matrix)]
        _run_child(command, target, progress, on_start)


def _run_child(
    command: list[str],
    target: Path,
    progress: Callable[[float], None],
    on_start: Callable[[int], None],
) -> None:
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    outcome: dict[str, Any] = {"error": "the process ended without an answer", "kind": "crash"}
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        encoding="utf-8",
        errors="replace",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        start_new_session=True,  # a Ctrl-C reaches us; we end the child
    )
    assert process.stdout is not None
    try:
        on_start(process.pid)
        for line in process.stdout:
            if not line.startswith("{"):
                continue  # a library's own words
            message = json.loads(line)
            if "done" in message:
                progress(message["done"])
            else:
                outcome = message
    except BaseException:
        process.kill()
        raise
    finally:
        process.wait()
        process.stdout.close()
    _raise_failure(outcome, process.returncode, target)


def _raise_failure(outcome: dict[str, Any], code: int, target: Path) -> None:
    if outcome.get("error") is None and code == 0:
        return
    text = f"{outcome.get('error')} (exit code {code})"
    if outcome.get("kind") == "library":
        raise LibraryError(
            f"[backbone.quantize] expected a working llama.cpp, got {text}; follow what "
            "`parley doctor` says"
        )
    # llama.cpp reports a failed write as a broken stream and names no cause; ask the disk.
    free = os.statvfs(target.parent)
    if "iostream" in text or "stream error" in text or free.f_bavail * free.f_frsize < 1 << 20:
        raise OSError(
            f"[backbone.quantize] expected to write {target}, got {text}; free space on the disk"
        )
    raise BundleError(
        f"[backbone.quantize] expected llama.cpp to quantize the backbone, got {text}; "
        "export with --backbone f32 or f16, or fetch the checkpoint again"
    )


def _say(**message: Any) -> None:
    try:
        print(json.dumps(message), flush=True)
    except OSError:  # the exporter was killed, and nobody waits for the result
        os._exit(1)


class _Progress(logging.Handler):
    """Tells the parent of llama.cpp's lines how far it is; keeps those that say what is wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage().strip()
        found = _TENSOR_LINE.match(line)
        if found:
            _say(done=(int(found[1]) - 1) / int(found[2]))
        elif record.levelno >= logging.ERROR or "failed" in line:
            self.errors.append(line)


def _run(args: argparse.Namespace) -> int:
    """The child's work: quantize and tell progress as JSON lines."""
    progress = _Progress()
    try:
        from parley import backbone

        logger = logging.getLogger("parley.llama")
        logger.addHandler(progress)
        logger.setLevel(logging.INFO)
        threads = len(os.sched_getaffinity(0))
        importance = {} if args.importance is None else dict(np.load(args.importance))
        backbone.quantize(
            args.source,
            args.target,
            FILE_TYPES[args.precision],
            threads=threads,
            importance=importance,
            requantize=args.requantize,
        )
    except BundleError as e:
        _say(error=" ".join(progress.errors[-3:]) or str(e), kind="refused")
        return 1
    except Exception as e:  # any failure to load a native library ends the same way
        _say(error=f"{type(e).__name__}: {e}", kind="library")
        return 1
    _say(done=1.0)
    _say(error=None)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("precision", choices=sorted(FILE_TYPES))
    parser.add_argument("--importance", help="a .npz of columns by weight")
    parser.add_argument("--requantize", action="store_true")
    return _run(parser.parse_args())


if __name__ == "__main__":
    sys.exit(main())
