"""Exit codes of every command, by the names of error classes; imports none of them."""

from __future__ import annotations

OK = 0
DIFFERS = 1
USAGE = 2
BAD_INPUT = 3
BAD_BUNDLE = 4
MISSING = 5
IO = 6
INTERRUPTED = 130

# By name, so that a command fails well also where the engine cannot be imported.
CODES = {
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
        if cls.__name__ in CODES:
            return CODES[cls.__name__]
    return None
