"""Writes files so that each is either whole or not there; knows no format."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

PROBE_BYTES = 65_536  # so that a full disk is told before the work
_NOT_BESIDE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV)


def write_atomically(contents: Mapping[str | Path, bytes]) -> None:
    """Writes all files or none: each to a temporary one beside its place, then all are renamed.

    What is there and is no file, such as /dev/null or a pipe, is written to instead of replaced.
    Raises OSError (a full disk, a missing folder, no permission) with nothing half written and
    files that were there before untouched.
    """
    for name in contents:
        check_writable(name)
    partial: list[tuple[str, str, bytes]] = []
    try:
        for name, data in contents.items():
            path, into = _place(name)
            partial.append(("" if into else _write_beside(path, data) or "", path, data))
        for temporary, path, data in partial:
            if not temporary:
                _write_into(path, data)
        while partial:
            temporary, path, data = partial[0]
            if temporary:
                _put(temporary, path, data)
            partial.pop(0)
    finally:
        for temporary, _, _ in partial:
            if temporary:
                _remove(temporary)


def check_writable(name: str | Path) -> None:
    """Raises OSError where `name` could not be written; for asking before the work is done."""
    mode = 0
    try:
        path, into = _place(name)
        with contextlib.suppress(FileNotFoundError):
            mode = os.stat(path).st_mode
    except ValueError as error:
        raise OSError(errno.EINVAL, str(error), ascii(name)) from error
    folder = os.path.dirname(path)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(
            f"[files.check] expected a file name, got the folder {path}; add a file name"
        )
    if not os.path.isdir(folder):
        raise FileNotFoundError(
            f"[files.check] expected the folder {folder} to exist, got none; "
            f"run `mkdir -p {folder}`"
        )
    if mode and not os.access(path, os.W_OK):
        raise PermissionError(
            f"[files.check] expected to write to {path}, got no permission; choose another place"
        )
    if into:
        return
    try:
        temporary = _write_beside(path, bytes(PROBE_BYTES))
    except PermissionError as error:
        raise PermissionError(
            f"[files.check] expected to write to {folder}, got no permission; choose another place"
        ) from error
    if temporary:
        _remove(temporary)


def _place(name: str | Path) -> tuple[str, bool]:
    """Where to write, links followed, and whether into what is there: a device, a pipe."""
    path = os.fsdecode(name)
    real = os.path.realpath(path)
    into = os.path.exists(path) and not os.path.isdir(path) and not os.path.isfile(real)
    return (path if into else real), into


def _write_beside(path: str, data: bytes) -> str | None:
    """A file with `data` beside `path`; None where its folder takes none, but has the file."""
    try:
        descriptor, temporary = tempfile.mkstemp(
            dir=os.path.dirname(path), prefix=".parley-", suffix=".partial"
        )
    except OSError as error:  # it names the temporary file, which the caller never heard of
        if error.errno in _NOT_BESIDE and os.path.isfile(path):
            return None
        raise type(error)(error.errno, error.strerror, path) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)  # mkstemp makes it readable by the owner alone
    except OSError as error:
        _remove(temporary)
        raise type(error)(error.errno, error.strerror, path) from error
    except BaseException:
        _remove(temporary)
        raise
    return temporary


def _put(temporary: str, path: str, data: bytes) -> None:
    """Renames it; where the place cannot be renamed to, such as a mounted file, writes into it."""
    try:
        os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _NOT_BESIDE or not os.path.isfile(path):
            raise type(error)(error.errno, error.strerror, path) from error
        _write_into(path, data)
        _remove(temporary)


def _write_into(path: str, data: bytes) -> None:
    with open(path, "wb") as file:
        file.write(data)


def _remove(temporary: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
