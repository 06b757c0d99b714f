"""Writes files so that each is either whole or not there; knows no format."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path


def write_atomically(contents: Mapping[str | Path, bytes]) -> None:
    """Writes all files or none: each to a temporary one beside its place, then all are renamed.

    What is there and is no file, such as /dev/null or a pipe, is written to instead of replaced.
    Raises OSError (a full disk, a missing folder, no permission) with nothing half written and
    files that were there before untouched.
    """
    for name in contents:
        check_writable(name)
    partial: list[tuple[Path, Path]] = []
    devices: list[tuple[Path, bytes]] = []
    try:
        for name, data in contents.items():
            path = Path(name).resolve()  # a link stays a link
            if _is_device(path):
                devices.append((path, data))
            else:
                partial.append((_write_beside(path, data), path))
        for path, data in devices:
            path.write_bytes(data)
        while partial:
            temporary, path = partial[0]
            os.replace(temporary, path)
            partial.pop(0)
    finally:
        for temporary, _ in partial:
            temporary.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Raises OSError where `path` could not be written; for asking before the work is done."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"[files.check] expected a file name, got the folder {path}; add a file name"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"[files.check] expected the folder {path.parent} to exist, got none; "
            f"do `mkdir -p {path.parent}`"
        )
    place = path if _is_device(path) else path.resolve().parent
    if not os.access(place, os.W_OK):
        raise PermissionError(
            f"[files.check] expected to write to {place}, got no permission; choose another place"
        )


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


def _write_beside(path: Path, data: bytes) -> Path:
    try:
        descriptor, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.name}.", suffix=".partial"
        )
    except OSError as error:  # it names the temporary file, which the caller never heard of
        raise OSError(error.errno, error.strerror, str(path)) from error
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)  # mkstemp makes it readable by the owner alone
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
