"""The one place that prints errors, and what help says of exit codes; knows no engine."""

from __future__ import annotations

import contextlib
import json
import sys

from parley_export.exit_codes import (
    BAD_BUNDLE,
    BAD_INPUT,
    DIFFERS,
    INTERRUPTED,
    IO,
    MISSING,
    OK,
    USAGE,
    exit_code,
)

__all__ = [
    "BAD_BUNDLE",
    "BAD_INPUT",
    "DIFFERS",
    "EXIT_CODES_HELP",
    "INTERRUPTED",
    "IO",
    "MISSING",
    "OK",
    "USAGE",
    "exit_code",
    "report",
]

EXIT_CODES_HELP = """\
exit codes:
  0    done
  1    verify: the numbers differ by more than the tolerance
  2    wrong usage of the command line
  3    bad input: a recording, a text, an option's value, more than the context holds
  4    bad bundle or checkpoint
  5    a library or a device is missing, or is of a wrong version
  6    disk, memory or other input/output, such as no space left
  130  interrupted"""


def report(error: BaseException, as_json: bool) -> int:
    """Prints one error, as JSON on stdout too where a program asked for that; returns its code."""
    code = exit_code(error)
    if code is None:
        raise error
    message = "interrupted" if isinstance(error, KeyboardInterrupt) else _message(error)
    _tell(f"parley: error: {message}", "stderr")
    if as_json:
        kind = type(error).__name__
        _tell(json.dumps({"error": {"kind": kind, "message": message, "exit_code": code}}))
    return code


def _tell(text: str, stream: str = "stdout") -> None:
    """Prints where that is possible: a closed or full stream has no say in the exit code."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        file = getattr(sys, stream)
        file.write(text + "\n")
        file.flush()


def _message(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        name = f" ({error.filename})" if error.filename else ""
        return f"{error.strerror}{name}"
    if isinstance(error, MemoryError) and not str(error).startswith("["):
        return (
            "[memory.take] expected enough memory, got none left; close other programs, raise "
            "`ulimit -v`, or take fewer --threads, shorter recordings or a smaller bundle"
        )
    return " ".join(str(error).split()) or type(error).__name__
