"""Keeps which form of an operation is the fastest on this machine, so that it is measured once.

An operation of ours, such as the convolution parley.Conv1d, may be slower than ONNX Runtime's own
on one processor and faster on another. The engine measures both when a graph first runs it and
stays with the faster one; here that is kept in a file per machine. Knows no operation.
"""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

from parley import _core, files, processor
from parley.errors import LibraryError


def file(onnxruntime_version: str) -> Path:
    """The file of this machine, with this version of ONNX Runtime and of parley."""
    machine = "\n".join([processor.signature(), onnxruntime_version, _core.__version__])
    name = hashlib.sha256(machine.encode()).hexdigest()[:16]
    return processor.cache() / "kernels" / f"{name}.txt"


def restore(path: Path) -> None:
    """Takes what the file says for measured; one that cannot be read says nothing."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        _core.set_kernel_forms(path.read_text())


def keep(path: Path) -> None:
    """Writes what has been measured, where there is something.

    A read-only home is no error, and neither is a forked process, which must not ask the engine.
    """
    with contextlib.suppress(OSError, LibraryError):
        if text := _core.kernel_forms():
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write_atomically({path: text.encode()})


def chosen(text: str) -> dict[str, str]:
    """Of lines "operation our_us library_us": operation -> "parley" or "onnxruntime"."""
    forms = {}
    for line in text.splitlines():
        operation, own, library = line.rsplit(" ", 2)
        forms[operation] = "onnxruntime" if 0 <= float(library) < float(own) else "parley"
    return forms
