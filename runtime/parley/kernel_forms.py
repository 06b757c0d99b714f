"""Keeps which form of an operation is the fastest on this machine, so that it is measured once.

An operation of ours, such as the convolution parley.Conv1d, may be slower than ONNX Runtime's own
on one processor and faster on another. The engine measures both when a graph first runs it and
stays with the faster one; here that is kept in a file per machine. Knows no operation.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

from parley import _core, processor
from parley.errors import LibraryError


def file(onnxruntime_version: str) -> Path:
    """The file of this machine, with this version of ONNX Runtime and of parley."""
    return processor.cache_file("kernels", ".txt", onnxruntime_version, _core.__version__)


def restore(path: Path) -> None:
    """Takes what the file says for measured; one that cannot be read says nothing."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        _core.set_kernel_forms(path.read_text())


def keep(path: Path) -> None:
    """Writes what has been measured, where there is something; a forked process must not ask."""
    with contextlib.suppress(LibraryError):
        if text := _core.kernel_forms():
            processor.keep(path, text)


def chosen(text: str) -> dict[str, str]:
    """Of lines "operation our_us library_us": operation -> "parley" or "onnxruntime"."""
    forms = {}
    for line in text.splitlines():
        operation, own, library = line.rsplit(" ", 2)
        forms[operation] = "onnxruntime" if 0 <= float(library) < float(own) else "parley"
    return forms
