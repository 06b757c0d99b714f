"""Create a bundle folder whole or not at all; knows nothing of what lies in it but the manifest."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from parley_export.errors import BundleError, InputError
from parley_export.manifest import FileEntry, Manifest
from parley_export.progress import size

MANIFEST = "manifest.json"
SUFFIX = ".partial"
MARKER = ".parley-export"  # held locked by the export that owns the folder
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


class PartialBundle:
    """Write into `NAME.partial` beside the target and move it into place at the end.

    As a context manager: leaving it without `commit` removes the folder. After a kill the folder
    stays; the next export to the same target finds its lock free and removes it.

    Raises:
        InputError: the target cannot or must not be written, or another export is under way.
    """

    def __init__(self, target: Path, force: bool = False):
        self.target = Path(os.path.abspath(target))
        self.force = force
        self.folder = self.target.with_name(self.target.name + SUFFIX)
        self._lock: IO[bytes] | None = None

    def __enter__(self) -> PartialBundle:
        check_target(self.target, self.force)
        self._remove_leftover()
        try:
            self.folder.mkdir()
        except FileExistsError as e:
            raise self._busy() from e
        self._lock = (self.folder / MARKER).open("wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._lock is not None:
            self._lock.close()

    def _remove_leftover(self) -> None:
        if not os.path.lexists(self.folder):
            return
        marker = self.folder / MARKER
        ours = (
            not self.folder.is_symlink()
            and self.folder.is_dir()
            and (marker.is_file() or is_bundle(self.folder) or not any(self.folder.iterdir()))
        )
        if not ours:
            raise InputError(
                f"[bundle.start] expected {self.folder} to be free or left by an export, got "
                "something else; move it away"
            )
        if marker.is_file():
            with marker.open("rb") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError as e:
                    raise self._busy() from e
        shutil.rmtree(self.folder)

    def _busy(self) -> InputError:
        return InputError(
            f"[bundle.start] expected one export to {self.target} at a time, got another one under "
            "way; wait for it, or choose another --out"
        )

    def commit(self) -> None:
        """Move the finished folder to the target; replaces an old bundle in one step."""
        (self.folder / MARKER).unlink()
        _sync_folders(self.folder)
        check_target(self.target, self.force)  # somebody may have come in the meantime
        if self.target.is_dir() and any(self.target.iterdir()):
            _exchange(self.folder, self.target)  # the old bundle is now at .partial
        else:
            os.rename(self.folder, self.target)
        _sync(self.target.parent)


def check_target(target: Path, force: bool) -> None:
    """Raise InputError where `target` must not be written."""
    if not target.name or not target.parent.is_dir():
        raise InputError(
            f"[bundle.start] expected --out in an existing folder, got {target}; create "
            f"{target.parent} first"
        )
    if not os.path.lexists(target):
        return
    if target.is_symlink() or not target.is_dir():
        raise InputError(
            f"[bundle.start] expected a new folder for --out, got {target}, which is a file or a "
            "link; choose another path"
        )
    if not any(target.iterdir()):
        return
    if not is_bundle(target):
        raise InputError(
            f"[bundle.start] expected a new folder for --out, got {target}, which holds something "
            "else than a bundle; choose another path"
        )
    if not force:
        raise InputError(
            f"[bundle.start] expected a new folder for --out, got the bundle {target}; give "
            "--force to replace it"
        )


def is_bundle(folder: Path) -> bool:
    """True where a folder holds a manifest of any version."""
    path = folder / MANIFEST
    try:
        if path.is_symlink() or path.stat().st_size > 64 << 20:
            return False
        data = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(data, dict) and "schema_version" in data


def check_space(folder: Path, needed: int) -> None:
    """Raise OSError (ENOSPC) where the disk of `folder` has less than `needed` bytes free."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            errno.ENOSPC,
            f"[bundle.start] expected {size(needed)} free on the disk of {folder}, got "
            f"{size(free)}; free space, or choose another --out or a smaller --backbone",
        )


def file_table(folder: Path, hashed: Callable[[Path], str]) -> dict[str, FileEntry]:
    """Size and hash of every file of a bundle but the manifest, by relative path; syncs them."""
    table: dict[str, FileEntry] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise BundleError(
                f"[bundle.finish] expected plain files only, got {path}; export again"
            )
        if path.is_dir() or path == folder / MARKER or path == folder / MANIFEST:
            continue
        table[path.relative_to(folder).as_posix()] = {
            "bytes": path.stat().st_size,
            "sha256": hashed(path),
        }
        _sync(path)
    return table


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json and read it back with the engine's reader where that is installed."""
    path = folder / MANIFEST
    values = dict(manifest)
    ordered = {key: values[key] for key in Manifest.__annotations__ if key in values}
    text = json.dumps(ordered, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    path.write_text(text, encoding="utf-8")
    _sync(path)
    try:
        from parley import read_manifest
    except ImportError:
        return
    read_manifest(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_folders(folder: Path) -> None:
    for path in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
        _sync(path)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step where the kernel can (Linux 3.15), else in two renames."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if hasattr(libc, "renameat2"):
            names = (os.fsencode(new), os.fsencode(old))
            done = libc.renameat2(_AT_FDCWD, names[0], _AT_FDCWD, names[1], _RENAME_EXCHANGE)
            if done == 0:
                return
            if ctypes.get_errno() not in (errno.EINVAL, errno.ENOSYS):
                raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(old))
    aside = old.with_name(old.name + ".old" + SUFFIX)
    os.rename(old, aside)
    try:
        os.rename(new, old)
    except OSError:
        os.rename(aside, old)
        raise
    shutil.rmtree(aside, ignore_errors=True)
