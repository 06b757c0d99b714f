"""The wheels of `make wheel` in an empty environment, where no compiler is and on old processors.

They lie in dist/; building them takes minutes, so a run without them skips this. Offline: what the
wheels depend on is copied from the environment of the tests.
"""

from __future__ import annotations

import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
RECORDING = ROOT / "apps" / "parley_apps" / "data" / "conversation.wav"
SECONDS = 4  # the user greets
TAG = f"cp{sys.version_info.major}{sys.version_info.minor}"
NEEDED = ("numpy", "onnxruntime", "soundfile")
# Where programs lie; mount itself in the last.
PROGRAMS = ("/usr/lib/gcc", "/usr/libexec", "/usr/local/bin", "/usr/sbin", "/usr/bin")


def wheel(pattern: str) -> Path:
    found = sorted((ROOT / "dist").glob(pattern), key=lambda path: path.stat().st_mtime)
    if not found:
        pytest.skip(f"no dist/{pattern}; make wheel makes it")
    return found[-1]


def needed_distributions() -> set[str]:
    """NEEDED and what these require in turn."""
    found: set[str] = set()
    left = list(NEEDED)
    while left:
        name = left.pop()
        if name in found:
            continue
        found.add(name)
        for line in importlib.metadata.requires(name) or []:
            if "extra ==" not in line:
                left.append(re.split(r"[^\w.-]", line, maxsplit=1)[0].lower())
    return found


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with both wheels and what they need, and nothing else."""
    wheels = [wheel(f"parley-*-{TAG}-*.whl"), wheel("parley_llama-*.whl")]
    folder = tmp_path_factory.mktemp("wheels")
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--copies", "--without-pip", venv], check=True)
    site = next(venv.glob("lib/python*/site-packages"))
    for name in needed_distributions():
        for file in importlib.metadata.files(name) or []:
            if ".." not in file.parts:
                target = site / file
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(file.locate(), target)
    # pip refuses a wheel whose platform is not this one's.
    pip = [sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install"]
    subprocess.run([*pip, "--quiet", "--no-index", *wheels], check=True)
    with wave.open(str(RECORDING)) as source, wave.open(str(folder / "in.wav"), "wb") as target:
        target.setparams(source.getparams())
        target.writeframes(source.readframes(SECONDS * source.getframerate()))
    return folder


def talk(installed: Path, *prefix: str) -> str:
    """What nano says in an empty home, and that it sounds; `prefix` starts the program."""
    home = installed / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir()
    command = [*prefix, installed / "venv" / "bin" / "python", "-m", "parley_apps", "talk", "nano"]
    command += ["--in", installed / "in.wav", "--out", installed / "answer.wav"]
    environment = {"HOME": str(home), "PATH": str(installed / "venv" / "bin")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    with wave.open(str(installed / "answer.wav")) as file:
        assert file.getnframes() > SECONDS * file.getframerate()
    return done.stdout


def test_nano_answers(installed: Path) -> None:
    assert "hello" in talk(installed)


def test_nano_answers_where_there_is_no_compiler(installed: Path) -> None:
    """In a root of its own, whose folders of programs are empty: no compiler, linker or shell."""
    mount, unshare = shutil.which("mount"), shutil.which("unshare")
    if mount is None or unshare is None:
        pytest.skip("no unshare and mount; apt-get install util-linux")
    hide = [f"{mount} -t tmpfs none {path}" for path in PROGRAMS if Path(path).is_dir()]
    root = [unshare, "--mount", "--map-root-user", "/bin/sh", "-c"]
    try:
        subprocess.run([*root, hide[0]], check=True, capture_output=True)
    except subprocess.CalledProcessError as error:
        pytest.skip(f"no root of its own can be made here: {error}")
    assert "hello" in talk(installed, *root, " && ".join([*hide, 'exec "$@"']), "sh")


@pytest.mark.parametrize("processor", ["Nehalem", "Haswell"])
def test_nano_answers_on_an_old_processor(installed: Path, processor: str) -> None:
    qemu = shutil.which("qemu-x86_64")
    if qemu is None or platform.machine() != "x86_64":
        pytest.skip("no qemu-x86_64; apt-get install qemu-user")
    assert "hello" in talk(installed, qemu, "-cpu", processor)
