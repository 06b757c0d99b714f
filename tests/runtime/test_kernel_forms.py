"""Which form of an operation is the faster one is kept in a file per machine, and taken again."""

from __future__ import annotations

from pathlib import Path

import pytest

import parley
from parley import _core, kernel_forms, libraries


def test_kept_and_taken_again(tmp_path: Path) -> None:
    _core.set_kernel_forms("conv1d 901 902 3 2.5 1.25\nno line\n\nalone\nname x y\n")
    assert "conv1d 901 902 3 2.5 1.25\n" in _core.kernel_forms()
    assert "name" not in _core.kernel_forms() and "alone" not in _core.kernel_forms()
    path = tmp_path / "new" / "kernels.txt"
    kernel_forms.keep(path)
    assert path.read_text() == _core.kernel_forms()
    _core.set_kernel_forms("conv1d 901 902 3 9 9\n")
    kernel_forms.restore(path)
    assert "conv1d 901 902 3 2.5 1.25\n" in _core.kernel_forms()


def test_what_cannot_be_read_or_written_is_no_error(tmp_path: Path) -> None:
    kernel_forms.restore(tmp_path / "none")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    kernel_forms.restore(tmp_path / "bytes")
    (tmp_path / "file").write_text("")
    kernel_forms.keep(tmp_path / "file" / "below a file")


def test_the_faster_form() -> None:
    text = "conv1d 3 3 7 12.5 9\nconv1d 3 3 3 10 20\nconv1d 4 4 3 5 -1\n"
    assert kernel_forms.chosen(text) == {
        "conv1d 3 3 7": "onnxruntime",
        "conv1d 3 3 3": "parley",
        "conv1d 4 4 3": "parley",
    }


def test_a_file_for_each_library_in_the_user_s_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    one, other = kernel_forms.file("1.32.0"), kernel_forms.file("1.31.1")
    assert one != other and one.parent == other.parent == tmp_path / "parley" / "kernels"


def test_a_bundle_takes_and_keeps(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = kernel_forms.file(libraries.onnxruntime_version())
    path.parent.mkdir(parents=True)
    path.write_text("conv1d 903 904 3 4 5\n")
    with parley.open(tiny_bundle, threads=1):
        assert "conv1d 903 904 3 4 5\n" in _core.kernel_forms()
        _core.set_kernel_forms("conv1d 905 906 3 4 5\n")
    assert "conv1d 903 904 3 4 5\n" in path.read_text()
    assert "conv1d 905 906 3 4 5\n" in path.read_text()
