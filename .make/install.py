"""Puts parley and what it needs into .venv, with progress; knows nothing of what parley does.

Only the standard library. Every step has a stamp in .venv: a second run does only what changed.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOGS = ROOT / "build" / "log"
SOURCES = ("pyproject.toml", "CMakeLists.txt", "LICENSE", "cpp", "kernels", "runtime", "export")
SOURCES += ("apps", "models/nano/bundle", "third_party")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


class StepError(Exception):
    """A step's command failed; its log says why."""


class Progress:
    """One line per step: rewritten in place on a terminal, repeated sparingly in a log."""

    def __init__(self, step: str) -> None:
        self.started = time.monotonic()
        self.shown_at = 0.0
        self.terminal = sys.stdout.isatty()
        print(step, flush=True)

    def show(self, text: str) -> None:
        now = time.monotonic()
        if self.terminal:
            print(f"\r\033[K      {text}"[:120], end="", flush=True)
        elif now - self.shown_at > 15:
            print(f"      {text}", flush=True)
            self.shown_at = now

    def done(self) -> None:
        clear = "\r\033[K" if self.terminal else ""
        print(f"{clear}      done in {clock(time.monotonic() - self.started)}", flush=True)


def clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def run(name: str, command: list[str | Path], on_line: Callable[[str], None]) -> None:
    """Runs one command; all its output goes to build/log/NAME.log, line by line also to on_line."""
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    clean = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    clean |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONUNBUFFERED": "1"}
    with log.open("w") as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=ROOT,
            env=clean,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdout
        for line in process.stdout:
            file.write(line)
            on_line(line.rstrip())
    if process.wait() != 0:
        raise StepError(tail(log, command))


def tail(log: Path, command: list[str | Path]) -> str:
    lines = log.read_text(errors="replace").splitlines()
    # What pip says after a failed build is about pip; the reason stands before it.
    ends = [i for i, line in enumerate(lines) if "error: subprocess-exited-with-error" in line]
    last = ends[0] if ends else len(lines)
    shown = "\n".join(f"    {line}" for line in lines[max(0, last - 15) : last])
    program = " ".join(str(part) for part in command[:4])
    return f"{shown}\n[make.install] `{program} ...` failed; the whole output is in {log}"


def digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def is_stamped(name: str, value: str) -> bool:
    stamp = VENV / f".parley-{name}"
    return stamp.is_file() and stamp.read_text() == value


def put_stamp(name: str, value: str) -> None:
    (VENV / f".parley-{name}").write_text(value)


def python() -> Path:
    return VENV / "bin" / "python"


def pip(name: str, arguments: list[str | Path], progress: Progress) -> None:
    def show(line: str) -> None:
        if match := re.match(r"\s*Downloading (\S+?)-\d\S* \(([\d.]+ [kMG]B)\)", line):
            progress.show(f"downloading {match[1]}, {match[2]}")
        elif line.startswith("Installing collected packages"):
            progress.show("unpacking")

    run(name, [python(), "-m", "pip", *arguments], show)


def make_venv() -> None:
    """A new .venv where there is none, or where it was made for another Python or place."""
    stamp = digest(sys.version, str(VENV))
    if is_stamped("venv", stamp):
        return
    progress = Progress(f"== virtual environment in {VENV}")
    shutil.rmtree(VENV, ignore_errors=True)
    run("venv", [sys.executable, "-m", "venv", VENV], lambda line: None)
    put_stamp("venv", stamp)
    progress.done()


def llama_requirement() -> str:
    wanted = [r for r in PYPROJECT["project"]["dependencies"] if r.startswith("llama-cpp-python==")]
    return str(wanted[0])


def wheel_cache() -> Path:
    """A folder per version and processor: ggml is compiled for the machine that builds it."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    info = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    features = re.findall(r"^(?:flags|Features)\s*:.*$", info, re.MULTILINE)[:1]
    options = [
        f"{k}={v}" for k, v in sorted(os.environ.items()) if k in ("CMAKE_ARGS", "CC", "CXX")
    ]
    key = digest(platform.machine(), *platform.libc_ver(), *features, *options)
    version = llama_requirement().split("==")[1]
    return base / "parley" / "wheels" / f"{version}-{platform.machine()}-{key}"


def llama_wheel() -> Path:
    """The wheel of llama-cpp-python for this processor, built once and kept."""
    cache = wheel_cache()
    found = sorted(cache.glob("llama_cpp_python-*.whl"))
    if found:
        return found[0]
    cores = os.cpu_count() or 1
    progress = Progress(
        f"== llama.cpp, compiled once for this processor: about {9 / cores + 0.5:.0f} minutes\n"
        f"      kept in {cache}"
    )
    began = 0.0

    def show(line: str) -> None:
        nonlocal began
        if match := re.search(r"\[(\d+)/(\d+)\]", line):
            done, total = int(match[1]), int(match[2])
            began = began or time.monotonic()
            spent = time.monotonic() - began
            left = spent / done * (total - done)
            progress.show(f"{done * 100 // total:3d} %  {clock(spent)} so far, {clock(left)} to go")
        elif not began:
            progress.show("fetching the source and its build tools")

    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        # pip's own cache doesn't ask for which processor a wheel was built: keep it out of this.
        options = ["--verbose", "--no-deps", "--no-cache-dir", "--wheel-dir", scratch]
        run("llama", [python(), "-m", "pip", "wheel", *options, llama_requirement()], show)
        cache.mkdir(exist_ok=True)
        built = next(Path(scratch).glob("*.whl"))
        wheel = cache / built.name
        os.replace(built, wheel)
    progress.done()
    return wheel


def requirements() -> list[str]:
    """All that pyproject.toml names: to build, to run, and every extra."""
    project = PYPROJECT["project"]
    named = [*PYPROJECT["build-system"]["requires"], *project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        named += extra
    own = f"{project['name']}["
    return sorted({r for r in named if not r.startswith((own, "llama-cpp-python"))})


def dependencies(wheel: Path) -> None:
    wanted = requirements()
    stamp = digest(*wanted, str(wheel), str(wheel.stat().st_mtime_ns))
    if is_stamped("dependencies", stamp):
        return
    progress = Progress("== Python packages; torch is the large one")
    pip("packages", ["install", wheel, *wanted], progress)
    put_stamp("dependencies", stamp)
    progress.done()


def source_digest() -> str:
    whole = hashlib.sha256()
    for top in SOURCES:
        path = ROOT / top
        for file in sorted([path] if path.is_file() else path.rglob("*")):
            if file.is_file() and file.suffix not in (".pyc", ".so"):
                whole.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()


def parley() -> None:
    stamp = source_digest()
    if is_stamped("parley", stamp):
        return
    progress = Progress("== parley, its C++ core compiled here")

    def show(line: str) -> None:
        if match := re.search(r"\[(\d+)/(\d+)\]", line):
            progress.show(f"{int(match[1]) * 100 // int(match[2]):3d} %")

    options = ["--verbose", "--no-build-isolation", "--no-deps", "--force-reinstall"]
    run("parley", [python(), "-m", "pip", "install", *options, "."], show)
    put_stamp("parley", stamp)
    progress.done()


def main() -> int:
    try:
        make_venv()
        dependencies(llama_wheel())
        parley()
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; run make again to go on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
