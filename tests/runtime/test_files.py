"""Files are written whole or not at all, several of them together."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from parley.files import check_writable, write_atomically


def test_writes_all(tmp_path: Path) -> None:
    write_atomically({tmp_path / "a": b"one", str(tmp_path / "b"): b"two"})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {"a": b"one", "b": b"two"}


def test_the_second_failing_leaves_neither(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_atomically({tmp_path / "a": b"one", tmp_path / "none" / "b": b"two"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_device_leaves_no_other_file(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No space left"):
        write_atomically({tmp_path / "a": b"one", "/dev/full": b"two"})
    assert list(tmp_path.iterdir()) == []
    assert Path("/dev/full").is_char_device(), "and the device is still one"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    write_atomically({tmp_path / "link": b"x"})
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "there" / "file").read_bytes() == b"x"


def test_rights_are_those_of_any_new_file(tmp_path: Path) -> None:
    write_atomically({tmp_path / "a": b"x"})
    (tmp_path / "b").write_bytes(b"x")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in "ab"]
    assert modes[0] == modes[1]


def test_check_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "new.wav")
    with pytest.raises(FileNotFoundError, match="mkdir -p"):
        check_writable(tmp_path / "none" / "new.wav")
    with pytest.raises(IsADirectoryError):
        check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere"
)
def test_check_writable_tells_of_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError):
        check_writable(tmp_path / "new.wav")
