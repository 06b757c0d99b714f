"""Exit codes and the one place that prints errors; knows error classes by name only."""

from __future__ import annotations

import contextlib
import json
import sys

OK = 0
DIFFERS = 1
USAGE = 2
BAD_INPUT = 3
BAD_BUNDLE = 4
MISSING = 5
IO = 6
INTERRUPTED = 130

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

# By name, so that a command fails well also where the engine cannot be imported.
_CODES = {
    "InputError": BAD_INPUT,
    "ContextError": BAD_INPUT,
    "BundleError": BAD_BUNDLE,
    "LibraryError": MISSING,
    "ImportError": MISSING,
    "CancelledError": INTERRUPTED,
    "KeyboardInterrupt": INTERRUPTED,
    "OSError": IO,
    "MemoryError": IO,
    "Error": BAD_BUNDLE,  # the engine could not go on with what the models gave
}


def exit_code(error: BaseException) -> int | None:
    """The exit code of an error that a user can act on; None for a fault of parley's own."""
    for cls in type(error).__mro__:
        if cls.__name__ in _CODES:
            return _CODES[cls.__name__]
    return None


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
