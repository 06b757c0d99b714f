"""Checks what callers pass, in one form of error; knows no audio and no engine."""

from __future__ import annotations

import operator
import reprlib
from typing import Any

import numpy as np

from parley.errors import InputError

LARGEST_INT = 2**31 - 1  # what the engine's counts hold
LARGEST_SEED = 2**64 - 1
LARGEST_THREADS = 512  # llama.cpp ends the process for more


def whole_number(
    where: str, name: str, value: Any, low: int, high: int, *, do: str = "give such a number"
) -> int:
    """An integer of any kind from `low` to `high`; raises InputError for all else."""
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise InputError(
            f"[{where}] expected {name} as a whole number from {low} to {high}, "
            f"got {reprlib.repr(value)}; {do}"
        )
    return number


def number(where: str, name: str, value: Any) -> float:
    """A real number of any kind and size; raises InputError for all else."""
    kinds = (int, float, np.integer, np.floating)
    try:
        if isinstance(value, kinds) and not isinstance(value, bool):
            return float(value)
    except OverflowError:
        pass
    raise InputError(
        f"[{where}] expected {name} as a number, got {reprlib.repr(value)}; give such a number"
    )


def flag(where: str, name: str, value: Any) -> bool:
    """True or False; raises InputError for all else."""
    if not isinstance(value, bool | np.bool_):
        raise InputError(
            f"[{where}] expected {name} as True or False, got {reprlib.repr(value)}; "
            "give one of them"
        )
    return bool(value)


def text(where: str, name: str, value: Any) -> str:
    """A string that UTF-8 can hold; raises InputError for all else.

    Python takes bytes of another encoding from the command line, as parts of characters.
    """
    if not isinstance(value, str):
        raise InputError(
            f"[{where}] expected {name} as a string, got {reprlib.repr(value)}; give a string"
        )
    try:
        value.encode()
    except UnicodeEncodeError as error:
        around = value[max(0, error.start - 10) : error.end + 10]
        raise InputError(
            f"[{where}] expected {name} as UTF-8, got {around!r} at character {error.start}; "
            "give it in UTF-8, which a terminal has under a locale such as C.UTF-8"
        ) from error
    return value
