"""Tells a checkpoint's folder from a bundle's; reads no file of either and needs no torch."""

from __future__ import annotations

import os
from pathlib import Path

from parley_export.errors import BundleError, InputError

BUNDLE_FILE = "manifest.json"  # what a bundle has and a checkpoint has not


def check_folder(checkpoint: Path) -> None:
    """Check that a folder may be a checkpoint at all, before anything is read or made from it.

    Raises:
        InputError: it does not exist, is only a bundle's name, or its path is no UTF-8.
        BundleError: it is a bundle.
    """
    of_nano = "for nano, `python -m train assemble` in models/nano makes one"
    if (checkpoint / BUNDLE_FILE).is_file():
        raise BundleError(
            f"[checkpoint.locate] expected a checkpoint, got {checkpoint}, which is a bundle; give "
            f"the checkpoint that it was exported from ({of_nano})"
        )
    if not checkpoint.is_dir():
        more = f" ({of_nano})" if str(checkpoint) == "nano" else ""
        raise InputError(
            f"[checkpoint.locate] expected a checkpoint folder, got {checkpoint}; give the folder "
            f"that holds config.json, or a Hugging Face repository id such as org/name{more}"
        )
    try:
        str(checkpoint.resolve()).encode()
    except UnicodeEncodeError as e:
        raise InputError(
            f"[checkpoint.locate] expected a path in UTF-8, as torch and safetensors want it, got "
            f"{printable(checkpoint)}; rename it"
        ) from e


def printable(path: Path | str) -> str:
    """A path as text that can be written as UTF-8: to Linux a path is bytes of any encoding."""
    return os.fsencode(path).decode("utf-8", "replace")
