"""The exceptions of the engine under their public names; knows no cause of any of them."""

from __future__ import annotations

from parley._core import (
    BundleError,
    CancelledError,
    ContextError,
    Error,
    InputError,
    LibraryError,
)

__all__ = [
    "BundleError",
    "CancelledError",
    "ContextError",
    "Error",
    "InputError",
    "LibraryError",
]
