"""Where a checkpoint's weights come from: hashes, licence, notice; knows no family."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

MAX_LICENCE_BYTES = 1 << 20
HASH_BYTES = 4 << 20
LICENCE_NAMES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "License.txt", "LICENCE", "COPYING")
_OPEN_LICENCES = {
    "Apache-2.0": ("Apache License", "Version 2.0"),
    "MIT": ("Permission is hereby granted, free of charge", "MIT License"),
    "CC0-1.0": ("CC0 1.0 Universal",),
}


def licence_and_notice(text: str | None, family_notice: str) -> tuple[str, str]:
    """A checkpoint's licence in a few words and what its user must be shown.

    `family_notice` goes with weights whose licence is not known to be an open one.
    """
    if text is None:
        return "unknown", family_notice
    for name, marks in _OPEN_LICENCES.items():
        if all(mark in text for mark in marks):
            return name, f"The weights of this bundle are under {name}; its text is in LICENSE."
    title = next((line.strip() for line in text.splitlines() if line.strip()), "untitled")[:120]
    return f"see LICENSE: {title}", (
        f"The weights of this bundle come under their own licence ({title}); its text is in "
        f"LICENSE. {family_notice}"
    )


def licence_file(folder: Path) -> Path | None:
    """The licence text that lies with the checkpoint, if there is one."""
    for name in LICENCE_NAMES:
        path = folder / name
        if path.is_file() and path.stat().st_size <= MAX_LICENCE_BYTES:
            return path
    return None


def sha256(path: Path, progress: Callable[[int], None] = lambda n_bytes: None) -> str:
    """Hash a file piece by piece; `progress` gets the size of each piece."""
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as f:
        while piece := f.read(HASH_BYTES):
            digest.update(piece)
            progress(len(piece))
    return digest.hexdigest()
