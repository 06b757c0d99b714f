"""Puts parley and what it needs into .venv, with progress; knows nothing of what parley does.

`install.py demo` takes what a conversation needs, `install.py all` every extra too, and `install.py
wheels` writes the wheels that others install into dist/. Only the standard library. Every step has
a stamp in .venv: a second run does only what changed.
"""

import concurrent.futures
import contextlib
import hashlib
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
LOGS = ROOT / "build" / "log"
SOURCES = ("pyproject.toml", "CMakeLists.txt", "LICENSE", "cpp", "kernels", "runtime", "export")
SOURCES += ("apps", "models/nano/bundle", "third_party")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LLAMA = ROOT / "third_party" / "llama"
OLDEST_LINUX = f"manylinux_2_28_{platform.machine()}"
RUNNING: set[subprocess.Popen[str]] = set()
DEMO = ("build", "plot")  # the extras that building parley and one conversation need


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
            start_new_session=True,  # so that stop() ends the compilers too
        )
        RUNNING.add(process)
        assert process.stdout
        for line in process.stdout:
            file.write(line)
            on_line(line.rstrip())
    code = process.wait()
    RUNNING.discard(process)
    if code != 0:
        raise StepError(tail(log, command))


def stop() -> None:
    for process in list(RUNNING):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)


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


def digest_of(*tops: Path) -> str:
    """Of files and folders by what is in them; of texts for people only those that are packed."""
    whole = hashlib.sha256()
    for top in tops:
        for file in sorted([top] if top.is_file() else top.rglob("*")):
            if file.is_file() and file.suffix not in (".pyc", ".so", ".md"):
                whole.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return whole.hexdigest()


def llama_version() -> str:
    return str(tomllib.loads((LLAMA / "pyproject.toml").read_text())["project"]["version"])


def llama_cache() -> Path:
    """A folder per version and family of processors: one build serves all of a family."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    key = f"{llama_version()}-{platform.machine()}-{digest_of(LLAMA)[:16]}"
    return base / "parley" / "wheels" / key


def find_llama(*places: Path) -> Path | None:
    """The wheel parley-llama for this family of processors."""
    name = f"parley_llama-{llama_version()}-py3-none-*{platform.machine()}.whl"
    return next((wheel for place in places for wheel in sorted(place.glob(name))), None)


def build_llama(on_progress: Callable[[str], None]) -> Path:
    """Compiles llama.cpp for every processor of this family, once, and keeps the wheel."""
    cache = llama_cache()
    began = 0.0

    def show(line: str) -> None:
        nonlocal began
        if match := re.search(r"\[(\d+)/(\d+)\]", line):
            done, total = int(match[1]), int(match[2])
            began = began or time.monotonic()
            spent = time.monotonic() - began
            left = spent / done * (total - done)
            on_progress(f"{done * 100 // total:3d} %  {clock(spent)} so far, {clock(left)} to go")
        elif not began:
            on_progress("fetching the source and its build tools")

    cache.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache.parent) as scratch:
        options = ["--verbose", "--no-deps", "--no-cache-dir", "--wheel-dir", scratch]
        run("llama", [python(), "-m", "pip", "wheel", *options, LLAMA], show)
        cache.mkdir(exist_ok=True)
        built = next(Path(scratch).glob("*.whl"))
        wheel = cache / built.name
        os.replace(built, wheel)
    shutil.rmtree(ROOT / "build" / "llama", ignore_errors=True)  # more than a gigabyte
    return wheel


class LlamaWheel:
    """The wheel parley-llama: at hand, or compiled beside the steps until it is asked for."""

    def __init__(self, *places: Path) -> None:
        self.said = ""
        self.found = find_llama(*places)
        if self.found:
            return
        self.began = time.monotonic()
        minutes = 9 / (os.cpu_count() or 1) + 1
        print(f"== llama.cpp, compiled for every processor, once: about {minutes:.0f} min beside")
        print(f"      the steps below; kept in {llama_cache()}", flush=True)
        self.building = concurrent.futures.ThreadPoolExecutor(1).submit(build_llama, self.say)

    def say(self, text: str) -> None:
        self.said = text

    def get(self) -> Path:
        if self.found:
            return self.found
        progress = Progress("== llama.cpp, the rest of it")
        progress.started = self.began
        while not self.building.done():
            progress.show(self.said)
            time.sleep(0.5)
        self.found = self.building.result()
        progress.done()
        return self.found


def requirements(extras: Iterable[str]) -> list[str]:
    """What pyproject.toml names to build, to run, and for these extras, but for our own."""
    project = PYPROJECT["project"]
    named = [*PYPROJECT["build-system"]["requires"], *project["dependencies"]]
    for extra in extras:
        named += project["optional-dependencies"][extra]
    return sorted({r for r in named if not r.startswith(project["name"])})


def dependencies(extras: Iterable[str]) -> None:
    wanted = requirements(extras)
    stamp = VENV / ".parley-dependencies"  # all that was asked for, one a line
    there = set(stamp.read_text().splitlines()) if stamp.is_file() else set()
    if there.issuperset(wanted):
        return
    large = "; torch is the large one" if any(r.startswith("torch") for r in wanted) else ""
    progress = Progress(f"== Python packages{large}")
    pip("packages", ["install", *wanted], progress)
    stamp.write_text("\n".join(sorted(there.union(wanted))))
    progress.done()


def llama(wheel: Path) -> None:
    stamp = digest(str(wheel), str(wheel.stat().st_mtime_ns))
    if is_stamped("llama", stamp):
        return
    options = ["--no-deps", "--force-reinstall"]
    run("llama-install", [python(), "-m", "pip", "install", *options, wheel], lambda line: None)
    put_stamp("llama", stamp)


def percentage(progress: Progress) -> Callable[[str], None]:
    def show(line: str) -> None:
        if match := re.search(r"\[(\d+)/(\d+)\]", line):
            progress.show(f"{int(match[1]) * 100 // int(match[2]):3d} %")

    return show


def parley() -> None:
    stamp = digest_of(*(ROOT / top for top in SOURCES))
    if is_stamped("parley", stamp):
        return
    progress = Progress("== parley, its C++ core compiled here")
    options = ["--verbose", "--no-build-isolation", "--no-deps", "--force-reinstall"]
    run("parley", [python(), "-m", "pip", "install", *options, "."], percentage(progress))
    put_stamp("parley", stamp)
    progress.done()


def install(extras: Iterable[str]) -> None:
    wheel = LlamaWheel(llama_cache(), ROOT / "dist", ROOT.parent)
    dependencies(extras)
    parley()
    llama(wheel.get())


def wheels() -> None:
    """Both wheels in dist/, for every Linux since 2018 and every processor of this family."""
    llama = LlamaWheel(llama_cache())
    dependencies(("wheel",))
    progress = Progress("== parley's wheel")
    options = ["--verbose", "--no-build-isolation", "--no-deps", "--wheel-dir", "build/wheels"]
    options += ["-C", "cmake.define.PARLEY_PORTABLE=ON", "-C", "build-dir=build/portable"]
    shutil.rmtree(ROOT / "build" / "wheels", ignore_errors=True)
    run("wheel", [python(), "-m", "pip", "wheel", *options, "."], percentage(progress))
    progress.done()
    for wheel in (next((ROOT / "build" / "wheels").glob("parley-*.whl")), llama.get()):
        check = ["-m", "auditwheel", "repair", "--plat", OLDEST_LINUX, "--wheel-dir", "dist"]
        run("auditwheel", [python(), *check, wheel], lambda line: None)
    for wheel in sorted((ROOT / "dist").glob("*.whl")):
        print(f"   {wheel.relative_to(ROOT)}  {wheel.stat().st_size / 1e6:.1f} MB")


def main() -> int:
    every = PYPROJECT["project"]["optional-dependencies"]
    todo = {"demo": lambda: install(DEMO), "all": lambda: install(every), "wheels": wheels}
    try:
        make_venv()
        todo[sys.argv[1]]()
    except StepError as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; run make again to go on", file=sys.stderr)
        return 130
    finally:
        stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
