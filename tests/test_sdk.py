"""The archive of `make sdk`: its program is built in C and talks with nano where no Python is.

It lies in dist/; building it takes minutes, so a run without it skips this.
"""

from __future__ import annotations

import array
import json
import os
import shutil
import subprocess
import sys
import tarfile
import wave
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "apps" / "parley_apps" / "data" / "conversation.wav"
SECONDS, RATE = 8, 24_000


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unpacked at a place of its own, moved once: nothing in it may know where it was."""
    found = sorted(
        (ROOT / "dist").glob("parley-sdk-*.tar.gz"), key=lambda path: path.stat().st_mtime
    )
    if not found:
        pytest.skip("no dist/parley-sdk-*.tar.gz; make sdk makes it")
    folder = tmp_path_factory.mktemp("sdk")
    with tarfile.open(max(found, key=lambda path: path.stat().st_mtime)) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.glob("parley-sdk-*")).rename(folder / "moved here")


@pytest.fixture(scope="module")
def program(sdk: Path) -> Path:
    """By the compiler and pkg-config alone."""
    compiler, pkg_config = shutil.which("cc"), shutil.which("pkg-config")
    if compiler is None or pkg_config is None:
        pytest.skip("no cc and pkg-config; apt-get install gcc pkg-config")
    environment = {"PATH": os.environ["PATH"], "PKG_CONFIG_PATH": str(sdk / "lib" / "pkgconfig")}
    asked = [pkg_config, "--cflags", "--libs", "parley"]
    flags = subprocess.run(asked, env=environment, capture_output=True, text=True, check=True)
    # As a shell reads them: pkg-config escapes what a shell would take apart.
    build = "exec cc -std=c99 -pedantic -Wall -Wextra -Werror examples/talk.c -o talk"
    command = f"{build} {flags.stdout.strip()} -lm -Wl,-rpath,'$ORIGIN/lib'"
    subprocess.run(["/bin/sh", "-c", command], cwd=sdk, check=True)
    return sdk / "talk"


def question() -> bytes:
    with wave.open(str(RECORDING)) as file:
        rate = file.getframerate()
        samples = array.array("h", file.readframes(SECONDS * rate + 1))
    places = (i * rate / RATE for i in range(SECONDS * RATE))
    return array.array(
        "h",
        (round(samples[int(p)] * (1 - p % 1) + samples[int(p) + 1] * (p % 1)) for p in places),
    ).tobytes()


def test_the_example_talks_with_nano_without_python(sdk: Path, program: Path) -> None:
    """In a root of its own that has the SDK and the C and C++ libraries of the system alone."""
    root = sdk / "root"
    libraries = sorted(map(str, sdk.glob("lib/parley/*.so")))
    needed = subprocess.run(["ldd", program, *libraries], capture_output=True, text=True).stdout
    for path in {word for word in needed.split() if word.startswith(("/lib", "/usr/lib"))}:
        target = root / path.lstrip("/").rstrip(":")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    shutil.copytree(sdk / "lib", root / "lib", dirs_exist_ok=True)
    shutil.copytree(sdk / "bundles", root / "bundles")
    shutil.copy2(program, root / "talk")
    (root / "proc").mkdir()
    enter = 'mount --rbind /proc "$0/proc" && exec chroot "$0" "$@"'
    inside = ["unshare", "--mount", "--map-root-user", "/bin/sh", "-c", enter, root]
    tried = subprocess.run([*inside, "/talk"], capture_output=True, text=True)
    if tried.returncode != 2:
        pytest.skip(f"no root of its own can be made here: {tried.stderr}")
    command = [*inside, "/talk", "/bundles/nano"]
    talk = subprocess.run(command, input=question(), capture_output=True)
    told = talk.stderr.decode()
    assert talk.returncode == 0, told
    assert "hello" in told
    assert max(map(abs, array.array("h", talk.stdout))) > 1000, "nano gave no sound"


def test_cmake_finds_it(sdk: Path, tmp_path: Path) -> None:
    cmake = [sys.executable, "-m", "cmake"] if shutil.which("cmake") is None else ["cmake"]
    configure = ["-S", sdk / "examples", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={sdk}"]
    for command in ([*cmake, *configure], [*cmake, "--build", tmp_path]):
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    program = tmp_path / "parley_talk"
    wrong = subprocess.run([program, tmp_path], capture_output=True, text=True)
    assert wrong.returncode == 1 and "[bundle.open] expected" in wrong.stderr


def test_it_lists_what_is_in_it_and_under_which_licence(sdk: Path) -> None:
    listed = json.loads((sdk / "parley.spdx.json").read_text())
    names = {file["fileName"] for file in listed["files"]}
    there = {
        f"./{path.relative_to(sdk)}"
        for folder in ("bundles", "examples", "include", "lib", "licenses")
        for path in (sdk / folder).rglob("*")
        if path.is_file()
    }
    assert there <= names
    parts = {package["name"]: package["licenseDeclared"] for package in listed["packages"]}
    assert parts["ONNX Runtime"] == parts["llama.cpp"] == "MIT"
    assert all((sdk / "licenses" / f"{name}.txt").stat().st_size > 500 for name in parts)
    related = {(r["relationshipType"], r["relatedSpdxElement"]) for r in listed["relationships"]}
    assert all(("CONTAINS", file["SPDXID"]) in related for file in listed["files"])
